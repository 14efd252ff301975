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
    from functools import partial

    import marimo as mo

    from timmy_core import open_timmy
    from ui import book, bookkeeping, chips, entries, frame, ledger_charts, parts, sats, saving, views
    from ui.booking import Booking
    from ui.entries import Entries
    from ui.pulse import Pulse
    from ui.steering import who


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("ledger", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=15, families=list(book.FAMILIES)))
    pulse
    return (pulse,)


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(Booking(timmy, by=who()))
    hands
    return (hands,)


@app.cell
def questions(timmy):
    sought = mo.ui.anywidget(Entries(timmy, query=entries.from_address(frame.query())))
    choice = mo.ui.anywidget(chips.Chips(chips.from_address(frame.query(), book.GROUPS), book.GROUPS, layout="line"))
    return choice, sought


@app.cell
def saving_pulse(sought, timmy):
    mo.ui.anywidget(saving.Saving(ledger=partial(saving.ledger, timmy, sought.widget)))


@app.cell
def state(choice, hands, pulse, timmy):
    pulse.value, hands.value["done"]
    here = book.look(timmy, choice.value["query"])
    return (here,)


@app.cell
def headline(here):
    frame.header("Ledger", book.first_line(here), more=book.notes(here))


@app.cell
def looking_line(choice):
    choice


@app.cell
def cards(here):
    mo.Html(book.cards(here)) if not here.problem else None


@app.cell
def slow_pulse():
    # The chart is drawn anew less often than the numbers, so that it can be read and brushed.
    slow = mo.ui.anywidget(Pulse(follow=False, dot=False, every_s=60))
    slow
    return (slow,)


@app.cell
def flowing(choice, hands, slow, timmy):
    slow.value, hands.value["done"]
    days = book.days(timmy, choice.value["query"])
    moved = any(one.invoices or one.payments for one in days)
    bars = (
        mo.ui.altair_chart(ledger_charts.flow(days), legend_selection=False, chart_selection=False) if moved else None
    )
    return bars, days


@app.cell
def flow(bars, days):
    mo.Html(flow_title(days) + bars.text) if bars is not None else mo.Html(nothing_moved(days))


@app.cell
def stretch(bars, days, sought):
    # The table turns this into since and until in the address, once the reader has let go.
    chosen = ledger_charts.stretch(days, bars.selections) if bars is not None and bars.value is not None else None
    if chosen:
        sought.widget.brush = {"since": chosen[0].isoformat(), "until": chosen[1].isoformat()}


@app.cell
def beside(here):
    mo.Html(bookkeeping.pending(here) + bookkeeping.budgets(here)) if not here.problem else None


@app.cell
def shares(here):
    mo.Html(bookkeeping.shares(here)) if here.any else None


@app.cell
def table_title(here):
    mo.Html(
        f'<h2 class="tw-table-title">Invoices and payments{saving.links("ledger")}</h2>' if here.any else first_entry()
    ) if not here.problem else None


@app.cell
def table(sought):
    # It depends on nothing that changes, so that what is typed and open stays while the rest is drawn anew.
    sought


@app.cell
def refreshing(hands, here, sought):
    agents = book.agents(here)
    sought.widget.names = {"agent": agents, "node": [node.name for node in here.nodes]}
    hands.widget.offer(book.offered(here), agents)
    sought.widget.again(here.changed)


@app.cell
def found(here):
    mo.Html(bookkeeping.findings(here)) if not here.problem else None


@app.cell
def accounts(here):
    mo.Html(bookkeeping.accounts(here)) if not here.problem else None


@app.function
def flow_title(days):
    """Return what the bars show, one label a kind with its sum, and how to use them."""
    sums = (
        ("came in", sum(one.incoming_msat for one in days)),
        ("went out", sum(one.outgoing_msat for one in days)),
        ("fees", sum(one.fees_msat for one in days)),
    )
    labels = "".join(
        f'{views.label(word, ledger_charts.COLORS[word])}<b class="tw-label-sum">{sats.plain(amount)}</b>'
        for word, amount in sums
    )
    return (
        '<div class="tw-chart-title"><span>Income and spending a day, in sat <span class="tw-muted tw-hint">drag to look at '
        f'some days</span></span><span class="tw-labels">{labels}</span></div>'
    )


@app.function
def nothing_moved(days):
    """Return what stands instead of a chart without bars."""
    words = f"Nothing came in or went out in the last {parts.plural(len(days), 'day')}."
    return parts.section("Income and spending a day", parts.empty(words, then="What settles is drawn here at once."))


@app.function
def first_entry():
    """Return what stands where no invoice and no payment is yet."""
    then = f"Press Receive above, or type {parts.command('timmy ledger invoice 21 --memo coffee')}"
    return parts.section("Invoices and payments", parts.empty("There is no invoice and no payment yet.", then=then))


@app.cell
def checks():
    def test_the_address_keeps_only_what_it_can_mean():
        assert entries.from_address({"status": "odd", "text": " a ", "direction": "in"}) == {
            "text": "a",
            "direction": "in",
        }
        assert chips.from_address({"range": "9y", "at": "yesterday"}, book.GROUPS) == {"range": "30d"}

    def test_amounts_show_a_fraction_only_where_there_is_one():
        assert sats.words(21_340_000) == "21,340 sat"
        assert sats.words(1_021) == "1.021 sat"

    def test_without_movement_there_is_a_sentence_instead_of_a_chart():
        assert "Nothing came in or went out" in nothing_moved([])


if __name__ == "__main__":
    app.run()
