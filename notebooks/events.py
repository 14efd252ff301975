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
    from datetime import UTC, datetime, timedelta

    import marimo as mo

    from timmy_core import TimmyError, open_timmy
    from ui import charts, frame, palette, parts, sentences, tables, views
    from ui.icons import family_icon
    from ui.pulse import Pulse

    RANGES = {"15 minutes": 15, "1 hour": 60, "24 hours": 1440, "7 days": 10_080, "all": None}
    LIMIT = 5_000


@app.cell
def core():
    timmy = open_timmy()
    return (timmy,)


@app.cell
def rail():
    frame.rail("events")


@app.cell
def pulse(timmy):
    pulse = mo.ui.anywidget(Pulse(since=timmy.events.head()[0], every_s=30))
    pulse
    return (pulse,)


@app.cell
def headline(pulse, timmy):
    pulse.value
    status = timmy.status()
    frame.header("Events", sentences.log_state(status.events, timmy.events.head()[0], status.last_event_at))


@app.cell
def controls(timmy):
    address = mo.query_params()
    look_again = mo.ui.button(label="Look again", tooltip="Show what came since")
    filters = tables.controls(
        timmy.frame("events", limit=LIMIT), address, list(RANGES), lambda values: remember(address, values)
    )
    tables.laid_out(filters, look_again)
    return address, filters, look_again


@app.cell
def found(filters, look_again, timmy):
    look_again.value
    events = timmy.frame("events", since=begin(filters.value["range"]), limit=LIMIT, **tables.columns(filters.value))
    return (events,)


@app.cell
def over_time(events):
    bars = mo.ui.altair_chart(
        charts.events_over_time(charts.counts(events)), legend_selection=False, chart_selection=False
    )
    mo.Html(chart_title(events) + bars.text) if len(events) else None
    return (bars,)


@app.cell
def table(bars, events, filters):
    chosen = stretch(events, bars.value)
    listed = tables.table(tables.rows(chosen))
    listed if len(chosen) else mo.Html(nothing(filters.value))
    return (listed,)


@app.cell
def detail(address, listed, timmy):
    seq = chosen_seq(listed.value, address.get("seq"))
    record(timmy, seq) if seq else None


@app.function
def begin(name):
    """Return since when events are shown, or None for all of them."""
    minutes = RANGES.get(name)
    return None if minutes is None else datetime.now(UTC) - timedelta(minutes=minutes)


@app.function
def remember(address, values):
    """Keep the filters in the page's address; what is empty or the default leaves it."""
    for name, value in values.items():
        if not value or (name == "range" and value == "all"):
            if name in address:
                address.remove(name)
        elif address.get(name) != value:
            address.set(name, value)


@app.function
def nothing(values):
    """Return what stands there instead of a table without rows."""
    if begin(values["range"]) or tables.columns(values):
        return parts.empty("No event matches.", then="Choose a longer time, or clear a filter.")
    return parts.empty("Nothing is recorded yet.", then=f"Ask Timmy something, or type {parts.command('timmy chat')}")


@app.function
def stretch(events, chosen):
    """Return the events in the stretch of time that was chosen in the chart; all where none was."""
    if chosen is None or len(chosen) == 0:
        return events
    return events.filter(events["ts"].is_between(chosen["start"].min(), chosen["end"].max(), closed="left"))


@app.function
def chosen_seq(rows, asked):
    """Return the seq of the chosen row, else the one in the address, else None."""
    if rows is not None and len(rows):
        return int(rows["seq"][0])
    return int(asked) if asked and str(asked).isdecimal() else None


@app.function
def chart_title(events):
    """Return what the bars show, one label a family, and how to use them."""
    counted = events.group_by("family").len().sort("family").rows()
    labels = "".join(views.label(family, palette.family_color(family), count=count) for family, count in counted)
    newest = "the newest " if len(events) == LIMIT else ""
    return (
        f'<div class="tw-chart-title"><span>{newest}{parts.plural(len(events), "event")} over time</span>'
        f'<span class="tw-muted tw-hint">drag to choose a stretch of time, double click to go back</span></div>'
        f'<div class="tw-labels">{labels}</div>'
    )


@app.function
def record(timmy, seq):
    """Return an event's whole record and its neighbours of the same trace."""
    try:
        event = timmy.events.get(seq)
    except TimmyError as error:
        return mo.Html(f'<div class="tw-detail">{parts.empty(str(error))}</div>')
    near = timmy.events.list(trace_id=event.trace_id, order="asc", limit=30) if event.trace_id else []
    facts = parts.facts(
        [
            ("place", f"#{event.seq:,}"),
            ("when", parts.ago(event.ts)),
            ("source", event.source),
            ("task", parts.ident(event.task_id)),
            ("agent", parts.ident(event.agent_id)),
            ("trace", parts.ident(event.trace_id)),
            ("id", parts.ident(event.id)),
            ("hash", parts.ident(event.hash)),
        ]
    )
    trace = f"<h3>The whole trace</h3>{views.event_rows(near, current=event.seq)}" if len(near) > 1 else ""
    return mo.Html(
        f'<div class="tw-detail"><h2>{family_icon(event.family)}{event.type}</h2>{facts}{parts.pretty(event.data)}{trace}</div>'
    )


@app.cell
def checks():
    def test_all_has_no_beginning():
        assert begin("all") is None

    def test_an_hour_begins_an_hour_ago():
        assert timedelta(minutes=59) < datetime.now(UTC) - begin("1 hour") < timedelta(minutes=61)

    def test_the_address_keeps_what_is_set_only():
        address = {"family": "llm", "type": "llm.failed"}
        address_like = type("Address", (dict,), {"set": dict.__setitem__, "remove": dict.__delitem__})(address)
        remember(address_like, {"range": "all", "family": "chat", "type": "", "trace": None})
        assert dict(address_like) == {"family": "chat"}

    def test_an_empty_log_is_told_from_a_filter_that_nothing_matches():
        assert "Nothing is recorded yet" in nothing({"range": "all"})
        assert "clear a filter" in nothing({"range": "all", "family": "llm"})

    def test_the_address_can_name_an_event():
        assert [chosen_seq(None, "7"), chosen_seq(None, "x"), chosen_seq(None, None)] == [7, None, None]


if __name__ == "__main__":
    app.run()
