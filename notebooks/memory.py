# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Memory · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from ui import frame, later
    from ui.pulse import Pulse

    PLAN = (
        ("Search", "Find entries by meaning and by words, with the score and the reason for each match."),
        ("Entries", "Conversations, facts and documents: where each came from and when it was last used."),
        ("Context", "What Timmy would be told before it answers a given question."),
        ("Forgetting", "Take an entry out, and see that it is gone."),
    )
    NOW = "The session's history is kept and shown on <a href='/'>Home</a>; the last turns go along with each question."


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail():
    frame.rail("memory")


@app.cell
def headline():
    frame.header(
        "Memory",
        "<strong>Timmy remembers conversations only.</strong> There is no memory of facts and documents yet.",
        plain="It will be searched before each question, so that answers can rest on what was said before.",
    )


@app.cell
def pulse(timmy):
    # It only keeps the connection dot; nothing on this page changes.
    mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=3600))


@app.cell
def plan():
    mo.Html(later.plan(PLAN, now=NOW))


@app.cell
def checks():
    def test_every_item_says_that_it_is_not_there_yet():
        assert later.plan(PLAN, now=NOW).count("not there yet") == len(PLAN)


if __name__ == "__main__":
    app.run()
