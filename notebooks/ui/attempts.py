"""The latest attempts as a table: who was asked, what came of it, how long it took, what it cost, and its trace."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ui import palette, parts, views
from ui.cascade import usd

if TYPE_CHECKING:
    import polars as pl

SHOWN = 25
_STATES: dict[str, tuple[parts.State, str]] = {
    "completed": ("good", "answered"),
    "failed": ("bad", "failed"),
    "cancelled": ("wait", "cancelled"),
}
_HEADS = (
    ("", "when"),
    ("", "asked"),
    ("", "what came of it"),
    ("tw-num", "took"),
    ("tw-num", "first token"),
    ("tw-num", "tokens"),
    ("tw-num", "cost"),
    ("", "trace"),
)


def table(rows: pl.DataFrame, colors: Mapping[str, str]) -> str:
    """Return the attempts, newest first; each leads to the events of its trace. HTML."""
    heads = "".join(f'<span class="{css}" role="columnheader">{word}</span>' for css, word in _HEADS)
    lines = "".join(_line(row, colors) for row in reversed(rows.to_dicts()))
    return f'<div class="tw-attempts" role="table"><div class="tw-head" role="row">{heads}</div>{lines}</div>'


def _line(row: Mapping[str, Any], colors: Mapping[str, str]) -> str:
    state, word = _STATES.get(row["outcome"], ("off", row["outcome"]))
    kind = (row["error_class"] or "").replace("_", " ")
    why = "" if row["why"] == "cascade" else f" · {row['why']}"
    message = parts.sentence(row["message"] or "")
    name = escape(row["provider"])
    swatch = views.swatch(colors.get(row["provider"], palette.NEUTRAL))
    came = (
        f'<span role="cell" class="tw-came" title="{escape(message, quote=True)}">{parts.pill(state, word)}'
        f'<span class="tw-muted">{escape(kind)}{escape(why)}</span></span>'
    )
    link = (
        f'<span role="cell" class="tw-trace-of"><a href="/swarm/events?trace={quote(row["trace_id"])}" '
        f'title="all events of this question">…{escape(row["trace_id"][-6:])}</a></span>'
    )
    cells = (
        f'<span role="cell">{parts.ago(row["ts"])}</span>',
        f'<span role="cell" class="tw-who">{swatch}<b>{name}</b><span class="tw-muted">{escape(row["model"])}</span></span>',
        came,
        f'<span role="cell" class="tw-num">{parts.latency(row["latency_ms"])}</span>',
        f'<span role="cell" class="tw-num"><small>first token</small>{parts.latency(row["first_token_ms"])}</span>',
        f'<span role="cell" class="tw-num"><small>tokens</small>{_tokens(row)}</span>',
        f'<span role="cell" class="tw-num"><small>cost</small>{_cost(row["cost_microusd"])}</span>',
        link,
    )
    return f'<div role="row" data-outcome="{escape(row["outcome"], quote=True)}">{"".join(cells)}</div>'


def _tokens(row: Mapping[str, Any]) -> str:
    if row["input_tokens"] is None and row["output_tokens"] is None:
        return "–"
    about = "≈ " if row["estimated"] else ""
    given, got = ("?" if row[name] is None else parts.count(row[name]) for name in ("input_tokens", "output_tokens"))
    return f"{about}{given} → {got}"


def _cost(microusd: int | None) -> str:
    return "?" if microusd is None else usd(microusd)
