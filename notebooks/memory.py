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
    from functools import partial
    from html import escape

    import marimo as mo

    from timmy_core import TimmyError, open_timmy
    from timmy_core.memory import overview
    from ui import filters, frame, knowing, memory_charts, palette, parts, remembered, saving, views
    from ui.carrying import Carrying
    from ui.finding import Finding
    from ui.keeping import Keeping
    from ui.pulse import Pulse
    from ui.steering import who


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail(timmy):
    frame.rail("memory", timmy)


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=10, families=["memory"]))
    pulse
    return (pulse,)


@app.cell
def hands_pulse(timmy):
    hands = mo.ui.anywidget(Keeping(timmy, by=who()))
    hands
    return (hands,)


@app.cell
def questions(timmy):
    sought = mo.ui.anywidget(Finding(timmy, query=filters.from_address(frame.query())))
    carried = mo.ui.anywidget(Carrying(timmy))
    return carried, sought


@app.cell
def saving_pulse(sought, timmy):
    mo.ui.anywidget(saving.Saving(memory=partial(saving.memory, timmy, sought.widget)))


@app.cell
def state(carried, hands, pulse, timmy):
    pulse.value, hands.value, carried.value["done"]
    here = remembered.look(timmy)
    return (here,)


@app.cell
def headline(here):
    frame.header("Memory", remembered.first_line(here), more=remembered.notes(here))


@app.cell
def seeking(sought):
    # It depends on nothing that changes, so that what is typed stays while the rest is drawn anew.
    sought


@app.cell
def saves(here):
    mo.Html(f'<p class="tw-saves-of">{saving.links("memory")}</p>') if here.number() else None


@app.cell
def refreshing(here, sought, timmy):
    sought.widget.names = overview.names(timmy.store)
    sought.widget.again(here.changed)


@app.cell
def facts(here):
    mo.Html(knowing.facts(here))


@app.cell
def resolving(here, timmy):
    # Comparing facts with one another takes longer than listing them, so it comes after what is listed.
    mo.Html(pairs(timmy)) if here.holding > 1 else None


@app.cell
def recalled(here, timmy):
    mo.Html(knowing.recalled(timmy)) if here.number() else None


@app.cell
def slow_pulse():
    # The chart is drawn anew less often than the numbers, so that it can be read.
    slow = mo.ui.anywidget(Pulse(follow=False, dot=False, every_s=60))
    slow
    return (slow,)


@app.cell
def growing(carried, hands, slow, timmy):
    slow.value, hands.value, carried.value["done"]
    grown = overview.grown(timmy.store)
    bars = mo.ui.altair_chart(memory_charts.growth(grown), legend_selection=False, chart_selection=False)
    return bars, grown


@app.cell
def growth(bars, grown):
    mo.Html(growth_title(grown) + bars.text) if grown else None


@app.cell
def stretch(bars, grown, sought):
    # The search turns this into since and until in the address, once the reader has let go.
    chosen = memory_charts.stretch(grown, bars.selections) if bars.value is not None else None
    if chosen:
        sought.widget.brush = {"since": chosen[0].isoformat(), "until": chosen[1].isoformat()}


@app.cell
def anew(here):
    # Drawn when the page is opened and when somebody asks for it: a map that moves by itself cannot be read.
    draw = mo.ui.button(value=0, on_click=lambda times: times + 1, label="Draw it anew")
    has_vectors = bool(here.meaning.done)
    return draw, has_vectors


@app.cell
def plane(draw, has_vectors, timmy):
    draw.value
    points, entries = plane_of(timmy) if has_vectors else ([], {})
    drawn = mo.ui.altair_chart(memory_charts.plane(points, entries), legend_selection=False, chart_selection=False)
    return drawn, entries, points


@app.cell
def map_(draw, drawn, points):
    mo.Html(map_title(len(points)) + drawn.text + f'<div class="tw-anew">{draw}</div>') if points else None


@app.cell
def near(drawn, entries, points):
    mo.Html(
        read(memory_charts.brushed(points, drawn.selections), entries)
    ) if points and drawn.value is not None else None


@app.cell
def carrying(carried):
    mo.Html(f'<section class="tw-section"><h2>Bring in, take out</h2>{carried}</section>')


@app.cell
def health(here, timmy):
    mo.Html(remembered.health(timmy, here))


@app.function
def pairs(timmy):
    """Return what contradicts itself or stands there twice; nothing where all is well."""
    try:
        against = knowing.open_pairs(timmy.memory.contradictions(limit=knowing.LOOKED_AT))
        twice = knowing.open_pairs(timmy.memory.duplicates(limit=knowing.LOOKED_AT))
    except TimmyError as error:
        return parts.section("To be resolved", parts.empty(str(error)))
    return knowing.resolving(against, twice)


@app.function
def growth_title(grown):
    """Return what the bars show, one label a kind, and how to use them."""
    totals = {kind: sum(bar.entries for bar in grown if bar.kind == kind) for kind in palette.KINDS}
    labels = "".join(views.label(kind, palette.KINDS[kind], count=n) for kind, n in totals.items() if n)
    return (
        '<div class="tw-chart-title"><span>Remembered over time <span class="tw-muted tw-hint">drag to look at a stretch</span>'
        f'</span><span class="tw-labels">{labels}</span></div>'
    )


@app.function
def plane_of(timmy):
    """Return the newest entries on a plane, and the entries themselves by seq."""
    models = remembered.models(timmy)
    points = overview.laid_out(timmy.store, models[0]) if models else []
    return points, {entry.seq: entry for entry in timmy.memory.at([point.seq for point in points])}


@app.function
def map_title(number):
    """Return what the map shows, and how to read it."""
    labels = "".join(views.label(kind, color) for kind, color in palette.KINDS.items())
    newest = f"the newest {number:,}" if number >= overview.MAX_POINTS else f"{number:,}"
    return (
        f'<div class="tw-chart-title"><span>A map of {newest} entries <span class="tw-muted">what is near is alike in meaning'
        f' <span class="tw-hint">· drag over some to read them</span></span></span><span class="tw-labels">{labels}</span></div>'
    )


@app.function
def read(seqs, entries):
    """Return what lies inside the brush, to be read."""
    if not seqs:
        return ""
    some = [entries[seq] for seq in seqs[: memory_charts.READ] if seq in entries]
    rows = "".join(
        f"<li>{views.swatch(palette.KINDS.get(one.kind, palette.NEUTRAL))}<span>{knowing.quoted(one)}</span></li>"
        for one in some
    )
    more = (
        f"the {len(some)} nearest to the middle of {len(seqs):,}"
        if len(seqs) > len(some)
        else parts.plural(len(seqs), "entry", "entries")
    )
    return f'<ul class="tw-read" aria-label="{escape(more, quote=True)}">{rows}</ul><p class="tw-muted tw-read-foot">{more}</p>'


@app.cell
def checks():
    def test_an_empty_memory_says_what_to_do():
        text = remembered.first_line(remembered.Held()) + remembered.notes(remembered.Held())
        assert "remembers nothing yet" in text
        assert "by words only" in text

    def test_the_address_keeps_only_what_it_can_mean():
        assert filters.from_address({"kind": "secret", "text": " a ", "range": "7d"}) == {"text": "a", "range": "7d"}

    def test_nothing_inside_the_brush_is_nothing_to_read():
        assert read([], {}) == ""


if __name__ == "__main__":
    app.run()
