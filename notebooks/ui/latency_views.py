"""What the latency lab chooses, asks and says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import Any, cast

from timmy_core.router import latency
from ui import addressed, chips, latency_charts, palette, parts, views
from ui.chips import Choice, Group
from ui.labs import OFFERED, USUAL, Asked

BY = {"model": "model", "provider": "provider", "hour": "hour of day (UTC)", "prompt": "size of the question"}
MEASURES = {"latency_ms": "whole answer", "first_token_ms": "first token"}


def groups(colors: Mapping[str, str]) -> list[Group]:
    """Return what there is to choose."""
    return [
        Group("range", "time", [Choice(key, key) for key in OFFERED], USUAL),
        chips.providers(colors),
        Group("how", "asked for", [Choice("", "all"), Choice("stream", "streams"), Choice("whole", "whole answers")]),
        Group("measure", "measured", [Choice(key, word) for key, word in MEASURES.items()], "latency_ms"),
        Group("by", "told apart by", [Choice(key, key) for key in BY], "model"),
        Group("split", "compare at", moment=True),
    ]


def chosen(query: Mapping[str, str], now: datetime) -> latency.Chosen:
    """Return which attempts are asked about."""
    since, until = addressed.span(query, now, USUAL)
    how = query.get("how", "")
    return latency.Chosen(since, until, query.get("provider", ""), None if not how else how == "stream")


def by_of(query: Mapping[str, str]) -> latency.By:
    """Return by what the percentiles are told apart."""
    return cast("latency.By", query.get("by", "model"))


def measure_of(query: Mapping[str, str]) -> latency.Measure:
    """Return what is measured."""
    return cast("latency.Measure", query.get("measure", "latency_ms"))


def labels(asked: Asked, colors: Mapping[str, str]) -> str:
    """Return one label a provider that is drawn. HTML."""
    if not asked.any or "provider" not in asked.frame.columns:
        return ""
    names = sorted(set(asked.frame["provider"].to_list()))
    return "".join(views.label(name, colors.get(name, palette.NEUTRAL)) for name in names)


def headline(asked: Asked, query: Mapping[str, str]) -> str:
    """Answer in one line how long answers took. HTML; `asked` is of the percentiles by provider."""
    words = addressed.words(query, USUAL)
    if asked.problem:
        return escape(parts.sentence(f"this could not be measured: {asked.problem}"))
    if asked.frame.is_empty():
        return f"No answer in {words}, so there is nothing to measure. Ask something on <a href='/'>Home</a>."
    rows = asked.frame.to_dicts()
    answers, failed = sum(row["answers"] for row in rows), sum(row["failed"] for row in rows)
    fastest, slowest = min(rows, key=lambda row: row["p50"]), max(rows, key=lambda row: row["p95"])
    said = f"<strong>{parts.plural(answers, 'answer')}</strong> in {words}, {parts.count(failed)} attempts failed"
    if len(rows) == 1:
        row = rows[0]
        return f"{said}: half took up to {parts.latency(row['p50'])}, 19 of 20 up to {parts.latency(row['p95'])}."
    return (
        f"{said}. Half of what {escape(fastest['key'])} answered took up to {parts.latency(fastest['p50'])}; "
        f"1 of 20 of {escape(slowest['key'])} took longer than {parts.latency(slowest['p95'])}."
    )


def percentile_table(asked: Asked, by: latency.By) -> str:
    """Return the percentiles in numbers. HTML."""
    rows = [
        [latency.PROMPT_WORDS[row["key"]] + " tokens" if by == "prompt" else str(row["key"]), parts.count(row["answers"]),
         parts.count(row["failed"]), *(latency_charts.ms(row[name]) for name in ("p50", "p90", "p95", "p99"))]
        for row in asked.frame.to_dicts()
    ]  # fmt: skip
    return number_table([BY[by], "answers", "failed", "p50", "p90", "p95", "p99"], rows)


def split_of(query: Mapping[str, str], among: latency.Chosen) -> datetime:
    """Return the moment before and after which is compared: the chosen one, or the middle."""
    asked = addressed.moment(query.get("split", ""))
    middle = among.since + (among.until - among.since) / 2
    return asked if asked is not None and among.since < asked < among.until else middle


def before_and_after(asked: Asked) -> str:
    """Return what changed at a moment, a row a model. HTML."""
    sides: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in asked.frame.to_dicts():
        sides.setdefault(f"{row['provider']} · {row['model']}", {})[row["side"]] = row
    rows = [[name, *(_both(of, key) for key in ("answers", "p50", "p95")), _changed(of)] for name, of in sides.items()]
    return number_table(["model", "answers", "p50", "p95", "the median"], rows)


def number_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is words and whose others are numbers. HTML."""
    head = "".join(
        f"<th{'' if place == 0 else ' class=tw-num'}>{escape(word)}</th>" for place, word in enumerate(heads)
    )
    body = "".join(
        "<tr>" + "".join(f'<td{"" if place == 0 else " class=tw-num"}>{escape(cell)}</td>' for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )  # fmt: skip
    return f'<div class="tw-wide"><table class="tw-lines"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def narrowed(among: latency.Chosen, selections: Mapping[str, Any]) -> tuple[latency.Chosen, float, float | None, str]:
    """Return what was chosen in the chart of points: when, from how many ms to how many, and words for it."""
    box = selections.get("box", {})
    times, took = box.get("ts"), box.get("latency")
    if not times or not took:
        return among, 0.0, None, "the newest; drag a box in the chart above to choose"
    since, until = (datetime.fromtimestamp(float(ms) / 1000, UTC) for ms in sorted(times))
    least, most = sorted(float(ms) for ms in took)
    words = f"those of {latency_charts.ms(least)} to {latency_charts.ms(most)} in the box above"
    return replace(among, since=since, until=until), least, most, words


def _both(sides: Mapping[str, Mapping[str, Any]], key: str) -> str:
    show = parts.count if key == "answers" else latency_charts.ms
    before, after = (show(sides[side][key]) if side in sides else "–" for side in ("before", "after"))
    return f"{before} → {after}"


def _changed(sides: Mapping[str, Mapping[str, Any]]) -> str:
    if len(sides) < len(("before", "after")) or not sides["before"]["p50"]:
        return "–"
    change = sides["after"]["p50"] / sides["before"]["p50"] - 1
    return f"{change:+.0%}"
