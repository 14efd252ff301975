"""The charts: small, transparent, with few lines; each takes a frame and gives a chart, and asks nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import polars as pl

from ui import palette

INK = "#79818a"
GRID = "#8c949c33"
FONT = "PT Sans"
BINS = 72
_STEPS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)


def step_s(span: timedelta, *, bins: int = BINS) -> int:
    """Return the shortest round step, in seconds, that cuts a span into at most `bins` pieces."""
    wanted = span.total_seconds() / bins
    return next((step for step in _STEPS if step >= wanted), _STEPS[-1])


def counts(events: pl.DataFrame, *, bins: int = BINS) -> pl.DataFrame:
    """Return how many events of each family each step of time holds: `start`, `end`, `family`, `events`."""
    if events.is_empty():
        kinds: dict[str, Any] = {
            "start": pl.Datetime("us", "UTC"),
            "end": pl.Datetime("us", "UTC"),
            "family": pl.String,
            "events": pl.Int64,
        }
        return pl.DataFrame(schema=kinds)
    step = step_s(_span(events["ts"]), bins=bins)
    return (
        events.group_by(pl.col("ts").dt.truncate(f"{step}s").alias("start"), "family")
        .agg(pl.len().cast(pl.Int64).alias("events"))
        .with_columns((pl.col("start") + pl.duration(seconds=step)).alias("end"))
        .select("start", "end", "family", "events")
        .sort("start", "family")
    )


def events_over_time(binned: pl.DataFrame) -> Any:
    """Return stacked bars of `counts`, one colour a family; dragging across it chooses a stretch of time."""
    families = sorted(binned["family"].unique().to_list())
    scale = alt.Scale(domain=families, range=[palette.family_color(family) for family in families])
    chart = (
        alt.Chart(binned)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("start:T", title=None, axis=_time_axis(binned["start"])),
            x2="end:T",
            y=alt.Y("sum(events):Q", title=None, axis=_axis(tickCount=3, tickMinStep=1, format="~s")),
            color=alt.Color("family:N", scale=scale, legend=None),
            tooltip=[
                alt.Tooltip("start:T", title="from", format="%d %b %H:%M:%S"),
                alt.Tooltip("family:N"),
                alt.Tooltip("events:Q", format=","),
            ],
        )
        .add_params(alt.selection_interval(encodings=["x"], name="stretch"))
    )
    return _styled(chart, height=110)


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
    form = "%d %b" if span > timedelta(days=2) else "%H:%M" if span > timedelta(minutes=10) else "%H:%M:%S"
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
