"""The filters and the table of the events page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import marimo as mo
import polars as pl

from ui import palette, parts

# What stands in the address -> the column of the events frame that it filters.
FILTERS: dict[str, str] = {
    "family": "family",
    "type": "type",
    "source": "source",
    "task": "task_id",
    "agent": "agent_id",
    "trace": "trace_id",
}
ANY = "any"
MANY = 14  # from here on a dropdown can be searched
_CHOSEN = ("family", "type", "source")


def controls(known: pl.DataFrame, address: Mapping[str, Any], ranges: Sequence[str], remember: Any) -> Any:
    """Return one control a filter, set from the address; `remember` is called with the values when one changes."""
    elements: dict[str, Any] = {"range": _dropdown("time", ranges, _one(address, "range"), default=ranges[-1])}
    for name, column in FILTERS.items():
        now = _one(address, name)
        if name in _CHOSEN:
            found = sorted(value for value in known[column].unique().to_list() if value)
            elements[name] = _dropdown(name, found, now, default=ANY)
        else:
            elements[name] = mo.ui.text(value=now, label=name, placeholder=ANY, debounce=400)
    return mo.ui.dictionary(elements, on_change=remember)


def laid_out(filters: Any, *more: Any) -> mo.Html:
    """Return the controls in one line that wraps."""
    cells = "".join(f"<div>{element}</div>" for element in (*filters.values(), *more))
    return mo.Html(f'<div class="tw-filters">{cells}</div>')


def columns(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the filters that are set, by the column that each filters."""
    return {column: values[name].strip() for name, column in FILTERS.items() if (values.get(name) or "").strip()}


def rows(events: pl.DataFrame) -> pl.DataFrame:
    """Return an events frame as the table shows it: newest first, in words, ids shortened."""
    about = [parts.summary(json.loads(data) if data else None) for data in events["data"].to_list()]
    short = [pl.col(name).str.slice(-8).alias(name.removesuffix("_id")) for name in ("task_id", "agent_id", "trace_id")]
    shown = events.with_columns(pl.Series("about", about, dtype=pl.String), *short).reverse()
    kept = [name for name in ("task", "agent") if shown[name].null_count() < len(shown)]
    return shown.select(pl.col("ts").alias("when"), "type", "about", "source", *kept, "trace", "seq")


def table(shown: pl.DataFrame, *, page_size: int = 15) -> mo.ui.table:
    """Return the table; choosing a row chooses its event."""

    def style(_row: str, column: str, value: Any) -> dict[str, Any]:
        if column == "type":
            tone = palette.family_color(str(value).split(".")[0])
            return {"color": f"color-mix(in srgb, {tone} 65%, var(--tw-text))", "fontFamily": "var(--tw-mono)"}
        quiet = column in ("source", "task", "agent", "trace", "seq", "when")
        return {"color": "var(--tw-muted)", "whiteSpace": "nowrap"} if quiet else {}

    return mo.ui.table(
        shown,
        selection="single",
        page_size=page_size,
        style_cell=style,
        format_mapping={"when": _when, "trace": _dash, "task": _dash, "agent": _dash, "seq": "{:,}".format},
        show_column_summaries=False,
        show_data_types=False,
        text_justify_columns={"seq": "right"},
        wrapped_columns=[],
        label="",
    )


def _dropdown(label: str, options: Sequence[str], now: str, *, default: str) -> mo.ui.dropdown:
    """A value in the address that no event has is kept, so that the page shows that nothing matches it."""
    named = {default: "" if default == ANY else default} | {option: option for option in options}
    if now:
        named[now] = now
    return mo.ui.dropdown(named, value=now or default, label=label, searchable=len(named) > MANY)


def _one(address: Mapping[str, Any], name: str) -> str:
    value = address.get(name) or ""
    return value if isinstance(value, str) else value[-1]


def _when(moment: datetime) -> str:
    return f"{moment:%d %b %H:%M:%S}"


def _dash(value: Any) -> str:
    return value or "–"
