# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Ledger · Timmy", css_file="ui/theme.css")

with app.setup:
    import marimo as mo

    from timmy_core import open_timmy
    from ui import frame, later
    from ui.pulse import Pulse

    PLAN = (
        ("Balance", "What can be spent, what is pending and what is held back for a budget, in sats."),
        ("Invoices and payments", "Each with its state, fee and memo, and the events that belong to it."),
        ("Budgets", "How much each agent may spend in a day, and what it has spent."),
        ("Reconciliation", "Whether the books agree with the node, and since when."),
    )
    NOW = (
        "Invoice and payment events can already be written to the log; they show on <a href='/swarm/events'>Events</a>."
    )


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail():
    frame.rail("ledger")


@app.cell
def headline():
    frame.header(
        "Ledger",
        "<strong>There is no wallet here yet.</strong> Nothing can be received or spent.",
        plain="Timmy will keep its own double-entry books of Lightning invoices and payments.",
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
