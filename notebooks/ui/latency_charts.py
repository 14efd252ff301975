"""The charts of the latency lab; each takes a frame that SQL gave."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import altair as alt
import polars as pl

from timmy_core.router import latency
from ui import palette
from ui.charts import INK, axis, styled, time_axis

_TIMES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
_WORDS = "datum.value < 1000 ? format(datum.value, ',') + ' ms' : format(datum.value / 1000, '~g') + ' s'"
_ROW = 30
_OVERDRAWN = 4.0  # times the error budget; more is not told apart

Colors = Mapping[str, str]


def ms(value: float | None) -> str:
    """Return a time as charts name it: `412 ms`, `1.8 s`."""
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value < 1000 else f"{value / 1000:.3g} s"


def percentiles(frame: pl.DataFrame, by: latency.By, colors: Colors) -> Any:
    """Return a line a row from the median to the 99th percentile, with marks at 50, 90, 95 and 99."""
    rows = frame.to_dicts()
    names = [latency.PROMPT_WORDS[row["key"]] if by == "prompt" else str(row["key"]) for row in rows]
    one = by in ("provider", "model")
    values = [
        {
            "name": name, "percentile": f"p{percent}", "at": row[f"p{percent}"], "from": row["p50"], "to": row["p99"],
            "color": colors.get(row["provider"], palette.NEUTRAL) if one else INK, "answers": row["answers"],
            "failed": row["failed"], "said": ms(row[f"p{percent}"]),
        }
        for name, row in zip(names, rows, strict=True) for percent in (50, 90, 95, 99)
    ]  # fmt: skip
    base = alt.Chart({"values": values}).encode(
        y=alt.Y("name:N", title=None, sort=names, axis=axis(grid=False, labelLimit=170)),
        color=alt.Color("color:N", scale=None),
    )
    tip = [alt.Tooltip("name:N"), alt.Tooltip("percentile:N"), alt.Tooltip("said:N", title="took"),
           alt.Tooltip("answers:Q", format=","), alt.Tooltip("failed:Q", format=",")]  # fmt: skip
    lines = base.mark_rule(strokeWidth=3, opacity=0.35).encode(x=_time("from"), x2="to:Q")
    shapes = alt.Scale(domain=["p50", "p90", "p95", "p99"], range=["circle", "square", "diamond", "triangle-left"])
    marks = base.mark_point(size=90, filled=True, opacity=1, strokeWidth=2).encode(
        x=_time("at"), shape=alt.Shape("percentile:N", scale=shapes, legend=None), tooltip=tip
    )
    return styled(alt.layer(lines, marks), height=max(90, _ROW * len(names)))


def distribution(frame: pl.DataFrame, colors: Colors) -> Any:
    """Return how many answers took how long, a stepped line a provider."""
    values = [
        {"provider": provider, "at": 10 ** (step / latency.BINS), "answers": answers,
         "said": f"{ms(10 ** (step / latency.BINS))} to {ms(10 ** ((step + 1) / latency.BINS))}"}
        for provider, step, answers in _filled(frame)
    ]  # fmt: skip
    chart = (
        alt.Chart({"values": values})
        .mark_area(interpolate="step-after", opacity=0.28, line={"strokeWidth": 1.6})
        .encode(
            x=_time("at"),
            y=alt.Y("answers:Q", stack=None, title=None, axis=axis(tickCount=3, format="~s")),
            color=_color(values, colors),
            tooltip=["provider:N", alt.Tooltip("said:N", title="took"), alt.Tooltip("answers:Q", format=",")],
        )
    )
    return styled(alt.layer(chart), height=170)


def first_against_whole(frame: pl.DataFrame, colors: Colors) -> Any:
    """Return circles: how late the first token came, and how late the last; larger where more answers lie."""
    bins = latency.BINS / 2
    values = [
        {"provider": provider, "first": 10 ** ((first + 0.5) / bins), "whole": 10 ** ((whole + 0.5) / bins),
         "answers": answers}
        for provider, first, whole, answers in frame.rows()
    ]  # fmt: skip
    chart = (
        alt.Chart({"values": values})
        .mark_circle(opacity=0.6)
        .encode(
            x=_time("first", title="first token"),
            y=alt.Y("whole:Q", title=None, scale=_log(), axis=axis(values=_TIMES, labelExpr=_WORDS, labelOverlap=True)),
            size=alt.Size("answers:Q", scale=alt.Scale(range=[14, 420]), legend=None),
            color=_color(values, colors),
            tooltip=["provider:N", alt.Tooltip("first:Q", title="first token, ms", format=",.0f"),
                     alt.Tooltip("whole:Q", title="whole, ms", format=",.0f"), alt.Tooltip("answers:Q", format=",")],
        )
    )  # fmt: skip
    return styled(alt.layer(chart), height=230)


def error_budget(frame: pl.DataFrame, colors: Colors) -> Any:
    """Return how much of its error budget each provider had used by when; the line at 100 % is all of it."""
    values = [
        {
            "provider": provider,
            "start": start.isoformat(),
            "used": used or 0.0,
            "faults": faults,
            "asked": fine + faults,
        }
        for provider, start, fine, faults, used in frame.rows()
    ]
    most = min(_OVERDRAWN, max(1.1, *(value["used"] for value in values)))
    lines = (
        alt.Chart({"values": values})
        .mark_line(interpolate="step-after", strokeWidth=2, point={"size": 18})
        .encode(
            x=alt.X("start:T", title=None, axis=time_axis(frame["start"])),
            y=alt.Y("used:Q", title=None, scale=alt.Scale(domain=[0, most], clamp=True), axis=axis(tickCount=4, format=".0%")),
            color=_color(values, colors),
            tooltip=["provider:N", alt.Tooltip("start:T", title="from", format="%d %b %H:%M"),
                     alt.Tooltip("used:Q", format=".0%"), alt.Tooltip("faults:Q"), alt.Tooltip("asked:Q")],
        )
    )  # fmt: skip
    limit = alt.Chart({"values": [{"used": 1}]}).mark_rule(color="#bd2c24", strokeDash=[4, 3]).encode(y="used:Q")
    return styled(alt.layer(lines, limit), height=170)


def cost_against_latency(frame: pl.DataFrame, colors: Colors) -> Any:
    """Return a point a model: what a thousand answers cost, and how long half of them took."""
    values = [{**row, "said": ms(row["p50"]), "dollars": f"${row['usd_a_thousand']:,.2f}"} for row in frame.to_dicts()]
    base = alt.Chart({"values": values}).encode(
        x=_time("p50"),
        y=alt.Y("usd_a_thousand:Q", title=None, axis=axis(tickCount=4, format="$~g"), scale=alt.Scale(zero=True)),
    )
    points = base.mark_circle(opacity=0.85).encode(
        size=alt.Size("answers:Q", scale=alt.Scale(range=[80, 500]), legend=None),
        color=_color(values, colors),
        tooltip=["provider:N", "model:N", alt.Tooltip("said:N", title="half took"),
                 alt.Tooltip("dollars:N", title="a thousand answers"), alt.Tooltip("answers:Q", format=",")],
    )  # fmt: skip
    names = base.mark_text(dy=-15, color=INK, fontSize=12).encode(text="model:N")
    return styled(alt.layer(points, names), height=200)


def points(frame: pl.DataFrame, colors: Colors, since: datetime, until: datetime) -> Any:
    """Return one mark an attempt; dragging a box chooses the attempts that the table below shows."""
    values = [
        {"ts": row["ts"].isoformat(), "latency": row["latency_ms"], "said": ms(row["latency_ms"]),
         "why": row["error_class"] or "", **{key: row[key] for key in ("provider", "model", "outcome")}}
        for row in frame.to_dicts()
    ]  # fmt: skip
    shape = alt.Scale(domain=["completed", "failed"], range=["circle", "cross"])
    chart = (
        alt.Chart({"values": values})
        .mark_point(size=26, filled=True, opacity=0.75)
        .encode(
            x=alt.X("ts:T", title=None, axis=time_axis(pl.Series([since, until])), scale=alt.Scale(domain=[since.isoformat(), until.isoformat()])),
            y=alt.Y("latency:Q", title=None, scale=_log(), axis=axis(values=_TIMES, labelExpr=_WORDS, labelOverlap=True)),
            color=_color(values, colors),
            shape=alt.Shape("outcome:N", scale=shape, legend=None),
            tooltip=[alt.Tooltip("ts:T", title="when", format="%d %b %H:%M:%S"), "provider:N", "model:N", "outcome:N", "why:N", alt.Tooltip("said:N", title="took")],
        )
        .add_params(alt.selection_interval(encodings=["x", "y"], name="box"))
    )  # fmt: skip
    return styled(chart, height=230)


def _filled(frame: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Return the steps with their gaps as zeros, so that the line falls between them."""
    found: list[tuple[str, int, int]] = []
    for (provider,), group in frame.group_by("provider", maintain_order=True):
        counts = dict(zip(group["step"].to_list(), group["answers"].to_list(), strict=True))
        steps = range(min(counts) - 1, max(counts) + 2)
        found += [(str(provider), step, counts.get(step, 0)) for step in steps]
    return found


def _time(name: str, *, title: str | None = None) -> alt.X:
    shown = axis(values=_TIMES, labelExpr=_WORDS, labelOverlap=True, titleColor=INK, titleFontWeight="normal")
    return alt.X(f"{name}:Q", title=title, scale=_log(), axis=shown)


def _log() -> alt.Scale:
    return alt.Scale(type="log", nice=False, padding=10)


def _color(values: list[dict[str, Any]], colors: Colors) -> alt.Color:
    names = sorted({str(value["provider"]) for value in values})
    scale = alt.Scale(domain=names, range=[colors.get(name, palette.NEUTRAL) for name in names])
    return alt.Color("provider:N", scale=scale, legend=None)
