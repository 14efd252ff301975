"""The charts of the memory page: how it grew, and its entries on a plane where what is near is alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from ui import palette
from ui.charts import axis, styled, time_axis

if TYPE_CHECKING:
    from timmy_core.memory.model import Entry
    from timmy_core.memory.overview import Bar, Point

READ = 40
_TIP_CHARS = 120


def scale() -> alt.Scale:
    """Return the colours of the kinds."""
    return alt.Scale(domain=list(palette.KINDS), range=list(palette.KINDS.values()))


def growth(bars: Sequence[Bar]) -> Any:
    """Return what was remembered over time, one colour a kind; dragging across it chooses a stretch of time."""
    values = [
        {"start": bar.start.isoformat(), "end": bar.end.isoformat(), "kind": bar.kind, "entries": bar.entries}
        for bar in bars
    ]
    ends = pl.Series([*(bar.start for bar in bars), *(bar.end for bar in bars)])
    chart = (
        alt.Chart({"values": values})
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("start:T", title=None, axis=time_axis(ends)),
            x2="end:T",
            y=alt.Y("sum(entries):Q", title=None, axis=axis(tickCount=3, tickMinStep=1, format="~s")),
            color=alt.Color("kind:N", scale=scale(), legend=None),
            tooltip=[
                alt.Tooltip("start:T", title="from", format="%d %b %Y %H:%M"),
                "kind:N",
                alt.Tooltip("entries:Q", format=","),
            ],
        )
        .add_params(alt.selection_interval(encodings=["x"], name="stretch"))
    )
    return styled(chart, height=120)


def plane(points: Sequence[Point], entries: Mapping[int, Entry]) -> Any:
    """Return one mark an entry, in its kind's colour; dragging across some lists them below."""
    values = [
        {"seq": point.seq, "x": round(point.x, 4), "y": round(point.y, 4), "kind": entry.kind, "text": _tip(entry.text)}
        for point in points
        if (entry := entries.get(point.seq)) is not None
    ]
    quiet = axis(labels=False, grid=False)
    brush = alt.selection_interval(name="near")
    chart = (
        alt.Chart({"values": values})
        .mark_circle(size=46)
        .encode(
            x=alt.X("x:Q", title=None, axis=quiet, scale=alt.Scale(domain=[-1.05, 1.05])),
            y=alt.Y("y:Q", title=None, axis=quiet, scale=alt.Scale(domain=[-1.05, 1.05])),
            color=alt.Color("kind:N", scale=scale(), legend=None),
            opacity=alt.condition(brush, alt.value(0.8), alt.value(0.18)),
            tooltip=[alt.Tooltip("text:N", title="says"), "kind:N"],
        )
        .add_params(brush)
    )
    return styled(chart, height=340)


def stretch(bars: Sequence[Bar], selections: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return the ends of what was chosen in the chart of growth, rounded outwards to whole bars."""
    chosen = selections.get("stretch", {}).get("start")
    if not chosen or len(chosen) != len(("since", "until")):
        return None
    first, last = (float(ms) / 1000 for ms in chosen)
    touched = [bar for bar in bars if bar.end.timestamp() > first and bar.start.timestamp() < last]
    return (min(bar.start for bar in touched), max(bar.end for bar in touched)) if touched else None


def brushed(points: Sequence[Point], selections: Mapping[str, Any]) -> list[int]:
    """Return the entries inside what was chosen on the plane, at most 40, those nearest to its middle first."""
    chosen = selections.get("near", {})
    xs, ys = chosen.get("x"), chosen.get("y")
    if not xs or not ys:
        return []
    (left, right), (low, high) = sorted(map(float, xs)), sorted(map(float, ys))
    inside = [point for point in points if left <= point.x <= right and low <= point.y <= high]
    middle = ((left + right) / 2, (low + high) / 2)
    inside.sort(key=lambda point: (point.x - middle[0]) ** 2 + (point.y - middle[1]) ** 2)
    return [point.seq for point in inside]


def _tip(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _TIP_CHARS else words[: _TIP_CHARS - 1] + "…"
