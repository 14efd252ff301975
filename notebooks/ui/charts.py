"""The charts: small, transparent, with few lines; each takes a frame and gives a chart, and asks nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import altair as alt
import polars as pl

from ui import palette

INK = "#79818a"
GRID = "#8c949c33"
FONT = "PT Sans"
_TINTS = (0.0, 0.34, -0.3, 0.55, -0.16, 0.18)  # of white, or below 0 of black


def no_counts() -> pl.DataFrame:
    """Return the frame of counts over time of nothing: `start`, `end`, `key`, `events`."""
    kinds: dict[str, Any] = {
        "start": pl.Datetime("us", "UTC"),
        "end": pl.Datetime("us", "UTC"),
        "key": pl.String,
        "events": pl.Int64,
    }
    return pl.DataFrame(schema=kinds)


def few(counts: pl.DataFrame, *, keys: int = 12) -> pl.DataFrame:
    """Return the counts with the most frequent keys told apart, and the rest of them as `other`."""
    totals = counts.group_by("key").agg(pl.col("events").sum()).sort("events", "key", descending=[True, False])
    if len(totals) <= keys:
        return counts
    kept = totals["key"].head(keys - 1).implode()
    named = counts.with_columns(pl.when(pl.col("key").is_in(kept)).then("key").otherwise(pl.lit("other")).alias("key"))
    return named.group_by("start", "end", "key").agg(pl.col("events").sum()).sort("start", "key")


def type_color(name: str) -> str:
    """Return the colour of an event type: that of its family, lighter or darker; the rest is grey."""
    family, _, verb = name.partition(".")
    base = palette.family_color(family)
    if family == name:
        return palette.NEUTRAL
    step = sum(verb.encode()) % len(_TINTS)
    channels = [int(base[place : place + 2], 16) for place in (1, 3, 5)]
    mixed = (
        round(one + (255 - one) * _TINTS[step] if _TINTS[step] > 0 else one * (1 + _TINTS[step])) for one in channels
    )
    return "#" + "".join(f"{one:02x}" for one in mixed)


def events_over_time(counts: pl.DataFrame, *, by: str = "family") -> Any:
    """Return stacked bars of counts over time, one colour a key; dragging across it chooses a stretch of time.

    Args:
        counts: `start`, `end`, `key` and `events`.
        by: what the keys are, `family` or `type`.
    """
    color = type_color if by == "type" else palette.family_color
    keys = sorted(counts["key"].unique().to_list())
    scale = alt.Scale(domain=keys, range=[color(key) for key in keys])
    ends = pl.concat([counts["start"], counts["end"]])
    # A few hundred bars stand in the chart itself: a file of its own could be gone before the browser asks for it,
    # when the reader is quick to ask for something else.
    bars = [
        {"start": start.isoformat(), "end": end.isoformat(), "key": key, "events": events}
        for start, end, key, events in counts.rows()
    ]
    chart = (
        alt.Chart({"values": bars})
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("start:T", title=None, axis=time_axis(ends)),
            x2="end:T",
            y=alt.Y("sum(events):Q", title=None, axis=axis(tickCount=3, tickMinStep=1, format="~s")),
            color=alt.Color("key:N", scale=scale, legend=None),
            tooltip=[
                alt.Tooltip("start:T", title="from", format="%d %b %H:%M:%S"),
                alt.Tooltip("key:N", title=by),
                alt.Tooltip("events:Q", format=","),
            ],
        )
        .add_params(alt.selection_interval(encodings=["x"], name="stretch"))
    )
    return styled(chart, height=120)


def stretch(counts: pl.DataFrame, selections: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return the ends of what was chosen in the chart, rounded outwards to whole bars; None where nothing was.

    Args:
        counts: what the chart was drawn from.
        selections: what it says was chosen: times in milliseconds since 1970.
    """
    chosen = selections.get("stretch", {}).get("start")
    if not chosen or len(chosen) != len(("since", "until")):
        return None
    first, last = (datetime.fromtimestamp(float(ms) / 1000, UTC) for ms in chosen)
    touched = counts.filter((pl.col("end") > first) & (pl.col("start") < last))
    since, until = touched["start"].min(), touched["end"].max()
    return (since, until) if isinstance(since, datetime) and isinstance(until, datetime) else (first, last)


def time_axis(times: pl.Series) -> alt.Axis:
    """Return an axis of time whose labels fit the stretch."""
    span = _span(times)
    forms = ((timedelta(days=12), "%d %b"), (timedelta(days=1), "%d %b %H:%M"), (timedelta(minutes=10), "%H:%M"))
    form = next((form for least, form in forms if span > least), "%H:%M:%S")
    return axis(grid=False, tickCount=7, format=form)


def _span(times: pl.Series) -> timedelta:
    first, last = times.min(), times.max()
    return last - first if isinstance(first, datetime) and isinstance(last, datetime) else timedelta(0)


def axis(**options: Any) -> alt.Axis:
    """Return a quiet axis; options say what differs."""
    quiet: dict[str, Any] = {
        "domain": False,
        "ticks": False,
        "labelColor": INK,
        "gridColor": GRID,
        "labelFont": FONT,
        "labelFontSize": 12,
        "labelPadding": 6,
    }
    return alt.Axis(**(quiet | options))


def styled(chart: Any, *, height: int) -> Any:
    """Return a chart without a frame, as wide as its place."""
    quiet = {"embedOptions": {"actions": False}}
    sized = chart.properties(width="container", height=height, background="transparent", usermeta=quiet)
    return sized.configure_view(strokeWidth=0)
