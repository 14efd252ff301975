# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
#
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Events · Timmy", css_file="ui/theme.css")

with app.setup:
    from html import escape
    from json import dumps

    import marimo as mo
    import polars as pl

    from timmy_core import TimmyError, check_proof, open_timmy
    from ui import asking, charts, exploring, frame, palette, parts, traces, views
    from ui.icons import family_icon
    from ui.listing import Listing
    from ui.pulse import Pulse


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("events", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=30))
    pulse
    return (pulse,)


@app.cell
def question(timmy):
    address = frame.query()
    asked = mo.ui.anywidget(
        asking.Asking(
            query=asking.from_address(address),
            views=timmy.views.list,
            save=timmy.views.save,
            delete=timmy.views.delete,
            export=exploring.exporting(timmy),
        )
    )
    return address, asked


@app.cell
def found(asked, timmy):
    query = asked.value["query"]
    found = exploring.look(timmy, query)
    return found, query


@app.cell
def headline(found, pulse, timmy):
    pulse.value
    latest = timmy.events.list(limit=1)
    frame.header("Events", exploring.headline(found, timmy.events.head()[0], latest[0].ts if latest else None))


@app.cell
def matching(counted, found):
    said = exploring.matching(found, counted)
    mo.Html(f'<p class="tw-line tw-matching">{said}</p>') if said else None


@app.cell
def controls(asked):
    asked


@app.cell
def counting(asked, found, laid, timmy):
    # The rows come first: counting a large log anew can take a while.
    laid
    counted = exploring.count(timmy, found)
    asked.widget.facets = counted.facets
    return (counted,)


@app.cell
def over_time(counted, found):
    bars = mo.ui.altair_chart(
        charts.events_over_time(counted.counts, by=found.by), legend_selection=False, chart_selection=False
    )
    # Of one trace the waterfall below says more.
    mo.Html(chart_title(counted, found.by) + bars.text) if len(counted.counts) and not found.wanted.trace_id else None
    return (bars,)


@app.cell
def zoom(asked, bars, counted):
    # The widget turns this into since and until in the address, once the reader has let go.
    chosen = charts.stretch(counted.counts, bars.selections) if bars.value else None
    if chosen:
        asked.widget.brush = {"since": chosen[0].isoformat(), "until": chosen[1].isoformat()}


@app.cell
def trace_view(found, listed, timmy):
    mo.Html(trace_card(timmy, found.wanted.trace_id, listed.value["chosen"])) if found.wanted.trace_id else None


@app.cell
def listing(address):
    listed = mo.ui.anywidget(Listing(chosen=chosen_seq(address.get("seq"))))
    return (listed,)


@app.cell
def showing(found, listed, timmy):
    listed.widget.show(found.events, exploring.more(timmy, found.wanted))
    shown = len(found.events)
    return (shown,)


@app.cell
def table(found, listed, query, shown, timmy):
    shown
    instead = exploring.trouble(found.problem) if found.problem else exploring.nothing(query, timmy.events.head()[0])
    laid = True
    listed if found.events else mo.Html(instead)
    return (laid,)


@app.cell
def detail(listed, timmy):
    seq = listed.value["chosen"]
    verify = mo.ui.run_button(label="Verify this event", tooltip="Check it against the chain and a signed head")
    record(timmy, seq, verify) if seq else None
    return seq, verify


@app.cell
def proof(seq, timmy, verify):
    proof_card(timmy, seq) if verify.value else None


@app.function
def chosen_seq(asked):
    """Return the seq that the address names, or 0."""
    return int(asked) if asked and str(asked).isdecimal() else 0


@app.function
def chart_title(counted, by):
    """Return what the bars show, one label a key, how to use them, and the SQL behind them."""
    color = {"family": palette.family_color, "type": charts.type_color}[by]
    totals = counted.counts.group_by("key").agg(pl.col("events").sum()).sort("events", descending=True).rows()
    # By family the chips above say the same; a second row of them would be noise.
    labels = "".join(views.label(name, color(name), count=count) for name, count in totals if by == "type")
    other = "type" if by == "family" else "family"
    switch = escape(dumps({"by": "type" if other == "type" else ""}), quote=True)
    return (
        f'<div class="tw-chart-title"><span>{parts.plural(counted.total, "event")} over time, by {by}</span>'
        f'<span class="tw-muted tw-hint">drag to zoom, double click to go back · '
        f'<a href="#" data-ask="{switch}">by {other}</a></span></div><div class="tw-labels">{labels}</div>'
        f"{question_asked(counted.sql)}"
    )


@app.function
def question_asked(sql):
    """Return the SQL behind the chart, folded, to be copied; a search by words has none."""
    if not sql:
        return '<p class="tw-sql">counted over the newest 10,000 hits at most</p>'
    copied = parts.command("copy it for timmy.sql(…)", copies=sql)
    return f'<details class="tw-sql"><summary>SQL</summary><pre class="tw-json">{escape(sql)}</pre>{copied}</details>'


@app.function
def trace_card(timmy, trace_id, current):
    """Return a trace as a waterfall with the time it took in all."""
    spans = timmy.questions.trace(trace_id)
    return parts.section("Everything of one trace", traces.whole(spans, trace_id, current=current, other="live"))


@app.function
def record(timmy, seq, verify):
    """Return an event's whole record: its facts, its data, its neighbours and its trace."""
    try:
        event = timmy.events.get(seq)
        near = timmy.questions.trace(event.trace_id) if event.trace_id else []
    except TimmyError as error:
        return mo.Html(f'<div class="tw-detail" data-seq="{seq}">{parts.empty(str(error))}</div>')
    said = parts.pretty(event.data) if event.data is not None else parts.empty("What this event said was redacted.")
    trace = ""
    if len(near) > 1:
        took = parts.latency(traces.took_ms(near))
        shown = f"{traces.story(near)}{traces.waterfall(near, current=seq)}"
        trace = f"<h3>Its trace, {parts.plural(len(near), 'event')} in {took}</h3>{shown}"
    return mo.Html(
        f'<div class="tw-detail" data-seq="{seq}"><h2>{family_icon(event.family)}<span>{escape(event.type)}</span>'
        f"{views.neighbours(seq, timmy.events.head()[0])}</h2>"
        f"{exploring.things_of(event)}{exploring.record_facts(event)}{said}<div class='tw-verify'>{verify}</div>{trace}</div>"
    )


@app.function
def proof_card(timmy, seq):
    """Return whether an event stands in the signed chain, with the proof to take away."""
    try:
        proof = timmy.events.prove(seq)
        checked = check_proof(proof, timmy.events.heads.public_key())
    except TimmyError as error:
        return mo.Html(f'<div class="tw-proof">{parts.pill("bad", "not proven")}<p>{escape(str(error))}</p></div>')
    return mo.Html(views.proof(proof, checked.problem) + download(proof, seq).text)


@app.function
def download(proof, seq):
    """Return a button that saves a proof."""
    text = exploring.proof_text(proof).encode()
    return mo.download(text, filename=f"event-{seq}.proof.json", mimetype="application/json", label="Download proof")


@app.cell
def checks():
    def test_the_address_can_name_an_event():
        assert [chosen_seq("7"), chosen_seq("x"), chosen_seq(None)] == [7, 0, 0]

    def test_a_title_counts_what_is_drawn_and_shows_the_question():
        title = chart_title(exploring.Counted(sql="SELECT 1 < 2"), "family")
        assert "0 events over time" in title
        assert "1 &lt; 2" in title

    def test_a_wrong_filter_is_said_and_not_raised():
        assert exploring.look(None, {"since": "noon"}).problem.startswith("'noon' is not a time")

    def test_an_empty_log_is_told_from_a_filter_that_nothing_matches():
        assert "Nothing is recorded yet" in exploring.nothing({}, 0)
        assert "Look at all time" in exploring.nothing({"range": "1h"}, 5)
        assert "Clear a filter" in exploring.nothing({"type": "llm.failed"}, 5)


if __name__ == "__main__":
    app.run()
