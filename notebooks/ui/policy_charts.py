"""The charts of the policy lab: each draws what happened, today's policy and the tried one, from their fates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from ui import views
from ui.charts import axis, styled, time_axis

if TYPE_CHECKING:
    from timmy_core.router.replay import Replayed

Series = Sequence[tuple[str, "Replayed"]]

COLORS = {"recorded": "#717a84", "today's policy": "#0072b2", "this policy": "#d55e00"}
_DASHES = {"recorded": [2, 3], "today's policy": [1, 0], "this policy": [6, 2]}
_STEPS = 160
_BUCKETS = 48
_TIMES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]
_WORDS = "datum.value < 1 ? format(datum.value * 1000, '~g') + ' ms' : format(datum.value, '~g') + ' s'"


def labels(series: Series) -> str:
    """Return one label a line. HTML."""
    return "".join(views.label(name, COLORS[name]) for name, _ in series)


def within(series: Series) -> Any:
    """Return which share of all requests was answered within how long: speed and availability in one line each."""
    values: list[dict[str, Any]] = []
    for name, one in series:
        times = sorted(fate.latency_s for fate in one.fates if fate.answered)
        for place in sorted(
            {math.ceil(len(times) * step / _STEPS) - 1 for step in range(1, _STEPS + 1)} if times else ()
        ):
            share = (place + 1) / len(one.fates)
            values.append({"policy": name, "s": max(times[place], 0.001), "share": share})
    least = min((value["share"] for value in values), default=0.0)
    chart = (
        alt.Chart({"values": values})
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("s:Q", title=None, scale=alt.Scale(type="log", nice=False), axis=axis(values=_TIMES, labelExpr=_WORDS, labelOverlap=True)),
            y=alt.Y("share:Q", title=None, scale=alt.Scale(domain=[min(0.0, least), 1]), axis=axis(tickCount=5, format=".0%")),
            color=_color(),
            strokeDash=_dash(),
            tooltip=["policy:N", alt.Tooltip("share:Q", title="answered", format=".1%"), alt.Tooltip("s:Q", title="within, s", format=".3~g")],
        )
    )  # fmt: skip
    return styled(alt.layer(chart), height=210)


def over_time(series: Series) -> Any:
    """Return which share of the requests was answered, in equal parts of the time."""
    since, until = series[0][1].since, series[0][1].until
    times = [fate.at_s for _, one in series for fate in one.fates]
    first, last = min(times), max(times)
    part_s = max(1.0, (last - first) / _BUCKETS)
    values: list[dict[str, Any]] = []
    for name, one in series:
        counts: dict[int, list[int]] = {}
        for fate in one.fates:
            count = counts.setdefault(int((fate.at_s - first) / part_s), [0, 0])
            count[0] += 1
            count[1] += fate.answered
        values += [
            {"policy": name, "at": (since + timedelta(seconds=first + part * part_s)).isoformat(),
             "share": answered / asked, "asked": asked, "lost": asked - answered}
            for part, (asked, answered) in sorted(counts.items())
        ]  # fmt: skip
    ends = pl.Series([since + timedelta(seconds=first), min(until, since + timedelta(seconds=last))])
    chart = (
        alt.Chart({"values": values})
        .mark_line(strokeWidth=2, point={"size": 16})
        .encode(
            x=alt.X("at:T", title=None, axis=time_axis(ends)),
            y=alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=axis(tickCount=3, format=".0%")),
            color=_color(),
            strokeDash=_dash(),
            tooltip=["policy:N", alt.Tooltip("at:T", title="from", format="%d %b %H:%M"), alt.Tooltip("share:Q", title="answered", format=".1%"), alt.Tooltip("asked:Q", title="requests"), alt.Tooltip("lost:Q", title="without an answer")],
        )
    )  # fmt: skip
    return styled(alt.layer(chart), height=150)


def _color() -> alt.Color:
    return alt.Color("policy:N", scale=alt.Scale(domain=list(COLORS), range=list(COLORS.values())), legend=None)


def _dash() -> alt.StrokeDash:
    scale = alt.Scale(domain=list(_DASHES), range=list(_DASHES.values()))
    return alt.StrokeDash("policy:N", scale=scale, legend=None)
