# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Upgrades · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from ui import frame, later
    from ui.pulse import Pulse

    PLAN = (
        ("Queue", "Each proposal with its tests and who made it; those that wait for you first."),
        ("Diff", "What would change, line by line, beside the evidence."),
        (
            "Decision",
            "Apply to the branch or reject, with a PIN; of two people deciding at once, one wins and the other is told.",
        ),
        ("Roll back", "Take an applied proposal out again."),
    )
    NOW = "Nothing in this repository is touched by Timmy."


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail():
    frame.rail("upgrades")


@app.cell
def headline():
    frame.header(
        "Upgrades",
        "<strong>No proposal can be made yet.</strong> Timmy cannot change its own code.",
        plain="It will propose changes as patches; they are tested apart, and a person decides.",
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
