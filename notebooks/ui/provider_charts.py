"""The charts of the router page: how long answers took, when, and what they cost; each from data that is handed in."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import altair as alt
import polars as pl

from ui import palette
from ui.charts import INK, axis, styled, time_axis

MODELS = 6  # as many rows are told apart at a glance
MARKS = 1_000
_BINS = 10  # a decade
_ROW = 30
_FULL = 0.82  # of a row's height
_LATENCIES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
_WORDS = "datum.value < 1000 ? format(datum.value, ',') + ' ms' : format(datum.value / 1000, '~g') + ' s'"


def measured(attempts: pl.DataFrame) -> pl.DataFrame:
    """Return the attempts that took time; a provider that was passed over did not."""
    return attempts.filter((pl.col("latency_ms") > 0) & pl.col("outcome").is_in(["completed", "failed"]))


def answered(attempts: pl.DataFrame) -> pl.DataFrame:
    """Return the attempts that were answered, of the models with the most of them."""
    fine = attempts.filter((pl.col("latency_ms") > 0) & (pl.col("outcome") == "completed"))
    top = fine.group_by("provider", "model").len().sort("len", descending=True).head(MODELS)
    return fine.join(top, on=["provider", "model"], how="semi")


def rows_of(attempts: pl.DataFrame) -> list[tuple[str, str, bool, list[float]]]:
    """Return (provider, model, whether it is the first token, the times in ms), a row of the chart each."""
    found: list[tuple[str, str, bool, list[float]]] = []
    for (provider, model), group in sorted(
        answered(attempts).group_by("provider", "model"), key=lambda pair: str(pair[0])
    ):
        found.append((str(provider), str(model), False, sorted(group["latency_ms"].to_list())))
        first = sorted(time for time in group["first_token_ms"].to_list() if time)
        if first:
            found.append((str(provider), str(model), True, first))
    return found


def _names(rows: Sequence[tuple[str, str, bool, list[float]]]) -> list[str]:
    """Return how each row is called: by its provider, or by its model where that provider has several."""
    whole = Counter(provider for provider, _, first, _ in rows if not first)
    return [
        "first token" if first else model if whole[provider] > 1 else provider for provider, model, first, _ in rows
    ]


def distributions(attempts: pl.DataFrame, colors: Mapping[str, str]) -> Any:
    """Return how long answers took: for each model the whole answer, and below it the first token, on one scale.

    Args:
        attempts: the frame of that name.
        colors: provider -> colour.
    """
    rows = rows_of(attempts)
    bars = [bar for place, row in enumerate(rows) for bar in _bars(place, row)]
    ticks = [tick for place, row in enumerate(rows) for tick in _percentiles(place, row)]
    names = _names(rows)
    low, high = min(bar["from"] for bar in bars), max(bar["to"] for bar in bars)
    # Both layers say the same of their axes: one that says nothing brings its own back.
    x_scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x_axis = axis(values=_LATENCIES, labelExpr=_WORDS, labelOverlap=True)
    x = alt.X("from:Q", title=None, scale=x_scale, axis=x_axis)
    label = f"{json.dumps(names)}[floor(-datum.value)]"
    y_axis = axis(
        grid=False,
        values=[-place - 0.5 for place in range(len(rows))],
        labelExpr=label,
        labelLimit=130,
        labelOverlap=False,
    )
    y = alt.Y("low:Q", title=None, scale=alt.Scale(domain=[-len(rows), 0], nice=False), axis=y_axis)
    used = sorted({provider for provider, *_ in rows})
    scale = alt.Scale(domain=used, range=[colors.get(name, palette.NEUTRAL) for name in used])
    tip = [
        alt.Tooltip("provider:N"),
        alt.Tooltip("model:N"),
        alt.Tooltip("what:N"),
        alt.Tooltip("span:N", title="took"),
    ]
    marks = (
        alt.Chart({"values": bars})
        .mark_rect()
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            y2="high:Q",
            color=alt.Color("provider:N", scale=scale, legend=None),
            opacity=alt.Opacity("depth:Q", scale=None),
            tooltip=[*tip, alt.Tooltip("answers:Q", format=",")],
        )
    )
    rules = (
        alt.Chart({"values": ticks})
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(x=alt.X("at:Q", title=None, scale=x_scale, axis=x_axis), y=y, y2="high:Q", strokeDash=alt.StrokeDash("dash:N", scale=alt.Scale(domain=["p50", "p95"], range=[[1, 0], [2, 2]]), legend=None),
                tooltip=[*tip[:3], alt.Tooltip("dash:N", title="percentile"), alt.Tooltip("span:N", title="took")])
    )  # fmt: skip
    return styled(alt.layer(marks, rules), height=_ROW * len(rows))


def over_time(attempts: pl.DataFrame, colors: Mapping[str, str], since: datetime, until: datetime) -> Any:
    """Return one mark an attempt over time, on a logarithmic scale; failures are crosses."""
    rows = measured(attempts).tail(MARKS)
    points = [
        {"ts": row["ts"].isoformat(), "latency": row["latency_ms"], **{k: row[k] for k in ("provider", "model", "outcome")}, "why": row["error_class"] or ""}
        for row in rows.to_dicts()
    ]  # fmt: skip
    names = sorted({point["provider"] for point in points})
    scale = alt.Scale(domain=names, range=[colors.get(name, palette.NEUTRAL) for name in names])
    shape = alt.Scale(domain=["completed", "failed"], range=["circle", "cross"])
    ends = pl.Series([since, until])
    y = alt.Y(
        "latency:Q",
        title=None,
        scale=alt.Scale(type="log", nice=False, padding=10),
        axis=axis(values=_LATENCIES, labelExpr=_WORDS, labelOverlap=True),
    )
    chart = (
        alt.Chart({"values": points})
        .mark_point(size=34, filled=True, opacity=0.85)
        .encode(
            x=alt.X("ts:T", title=None, axis=time_axis(ends), scale=alt.Scale(domain=[since.isoformat(), until.isoformat()])),
            y=y,
            color=alt.Color("provider:N", scale=scale, legend=None),
            shape=alt.Shape("outcome:N", scale=shape, legend=None),
            tooltip=[alt.Tooltip("ts:T", title="when", format="%d %b %H:%M:%S"), "provider:N", "model:N", "outcome:N", alt.Tooltip("why:N"), alt.Tooltip("latency:Q", title="ms", format=",.0f")],
        )
    )  # fmt: skip
    return styled(alt.layer(chart), height=170)


def costs(days: Sequence[Mapping[str, Any]], today: datetime, colors: Mapping[str, str]) -> Any:
    """Return what was spent on each of the last seven days, one colour a provider.

    Args:
        days: `day`, `provider` and `usd`.
        today: the last of the days.
        colors: provider -> colour.
    """
    names = sorted({str(day["provider"]) for day in days})
    scale = alt.Scale(domain=names, range=[colors.get(name, palette.NEUTRAL) for name in names])
    order = [f"{today.date().toordinal() - back}" for back in range(6, -1, -1)]
    words = {number: datetime.fromordinal(int(number)).strftime("%-d %b") for number in order}
    bars = [
        {**day, "place": f"{datetime.fromisoformat(day['day']).toordinal()}", "said": f"${day['usd']:.4f}"}
        for day in days
    ]
    chart = (
        alt.Chart({"values": bars})
        .mark_bar(size=26)
        .encode(
            x=alt.X("place:O", title=None, scale=alt.Scale(domain=order), axis=axis(grid=False, labelAngle=0, labelExpr=f"{json.dumps(words)}[datum.value]")),
            y=alt.Y("sum(usd):Q", title=None, axis=axis(tickCount=3, format="$~g")),
            color=alt.Color("provider:N", scale=scale, legend=None),
            tooltip=["day:N", "provider:N", alt.Tooltip("said:N", title="cost")],
        )
    )  # fmt: skip
    return styled(chart, height=150)


_Row = tuple[str, str, bool, list[float]]


def _bars(place: int, row: _Row) -> list[dict[str, Any]]:
    provider, model, first, times = row
    counts: dict[int, int] = {}
    for time in times:
        step = math.floor(_BINS * math.log10(max(time, 0.1)))
        counts[step] = counts.get(step, 0) + 1
    most = max(counts.values())
    return [
        {
            "provider": provider, "model": model, "what": "first token" if first else "whole answer",
            "from": 10 ** (step / _BINS), "to": 10 ** ((step + 1) / _BINS), "low": -place - 1,
            "high": -place - 1 + _FULL * number / most, "answers": number, "depth": 0.5 if first else 0.95,
            "span": f"{_ms(10 ** (step / _BINS))} to {_ms(10 ** ((step + 1) / _BINS))}",
        }
        for step, number in sorted(counts.items())
    ]  # fmt: skip


def _percentiles(place: int, row: _Row) -> list[dict[str, Any]]:
    provider, model, first, times = row
    what = "first token" if first else "whole answer"
    found = []
    for percent in (50, 95):
        at = times[-(-len(times) * percent // 100) - 1]
        found.append(
            {"provider": provider, "model": model, "what": what, "at": at, "low": -place - 1, "high": -place - 0.06, "dash": f"p{percent}", "span": _ms(at)}
        )  # fmt: skip
    return found


def _ms(time: float) -> str:
    return f"{time:.3g} ms" if time < 1000 else f"{time / 1000:.3g} s"
