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
            x=alt.X("start:T", title=None, axis=_time_axis(ends)),
            x2="end:T",
            y=alt.Y("sum(events):Q", title=None, axis=_axis(tickCount=3, tickMinStep=1, format="~s")),
            color=alt.Color("key:N", scale=scale, legend=None),
            tooltip=[
                alt.Tooltip("start:T", title="from", format="%d %b %H:%M:%S"),
                alt.Tooltip("key:N", title=by),
                alt.Tooltip("events:Q", format=","),
            ],
        )
        .add_params(alt.selection_interval(encodings=["x"], name="stretch"))
    )
    return _styled(chart, height=120)


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


def measured(attempts: pl.DataFrame) -> pl.DataFrame:
    """Return the attempts that took time; a provider that was passed over did not."""
    return attempts.filter((pl.col("latency_ms") > 0) & pl.col("outcome").is_in(["completed", "failed"]))


def latencies(attempts: pl.DataFrame, kinds: Mapping[str, str]) -> Any:
    """Return one mark an attempt over time, on a logarithmic scale; failures are crosses.

    Args:
        attempts: the frame of that name.
        kinds: provider name -> kind, which gives the colour.
    """
    rows = measured(attempts).select("ts", "provider", "model", "outcome", "error_class", "latency_ms")
    names = rows["provider"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=names, range=[palette.provider_color(kinds.get(name, name)) for name in names])
    shape = alt.Scale(domain=["completed", "failed"], range=["circle", "cross"])
    base = alt.Chart(rows).encode(
        x=alt.X("ts:T", title=None, axis=_time_axis(rows["ts"])),
        y=alt.Y("latency_ms:Q", title=None, scale=alt.Scale(type="log", nice=False, padding=8), axis=_latency_axis()),
        color=alt.Color("provider:N", scale=scale, legend=None),
    )
    marks = base.mark_point(size=34, filled=True, opacity=0.9).encode(
        shape=alt.Shape("outcome:N", scale=shape, legend=None),
        tooltip=[
            alt.Tooltip("ts:T", title="when", format="%d %b %H:%M:%S"),
            "provider:N",
            "model:N",
            "outcome:N",
            alt.Tooltip("error_class:N", title="why"),
            alt.Tooltip("latency_ms:Q", title="latency, ms", format=",.0f"),
        ],
    )
    return _styled(alt.layer(marks), height=220)


def _time_axis(times: pl.Series) -> alt.Axis:
    span = _span(times)
    forms = ((timedelta(days=12), "%d %b"), (timedelta(days=1), "%d %b %H:%M"), (timedelta(minutes=10), "%H:%M"))
    form = next((form for least, form in forms if span > least), "%H:%M:%S")
    return _axis(grid=False, tickCount=7, format=form)


def _span(times: pl.Series) -> timedelta:
    first, last = times.min(), times.max()
    return last - first if isinstance(first, datetime) and isinstance(last, datetime) else timedelta(0)


def _latency_axis() -> alt.Axis:
    words = "datum.value < 1000 ? format(datum.value, ',') + ' ms' : format(datum.value / 1000, '~g') + ' s'"
    return _axis(values=[10, 30, 100, 300, 1000, 3000, 10_000, 30_000], labelExpr=words)


def _axis(**options: Any) -> alt.Axis:
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


def _styled(chart: Any, *, height: int) -> Any:
    quiet = {"embedOptions": {"actions": False}}
    sized = chart.properties(width="container", height=height, background="transparent", usermeta=quiet)
    return sized.configure_view(strokeWidth=0)
