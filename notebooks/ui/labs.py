"""What the labs share: the way from one to the other, asking in SQL, and showing what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

import marimo as mo
import polars as pl

from timmy_core import TimmyError
from ui import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from timmy_core import Timmy

LABS = (("latency", "Latency", "/labs/latency"), ("policy", "Policy", "/labs/policy"))
RANGES: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
WORDS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}


@dataclass(frozen=True)
class Asked:
    """A question in SQL with its answer, or with the problem that kept it from being answered."""

    sql: str
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    problem: str = ""

    @property
    def any(self) -> bool:
        """Whether there is something to show."""
        return not self.problem and not self.frame.is_empty()


def ask(timmy: Timmy, sql: str) -> Asked:
    """Ask; what goes wrong becomes words."""
    try:
        return Asked(sql, timmy.sql(sql))
    except TimmyError as error:
        return Asked(sql, problem=str(error))


def tabs(current: str) -> str:
    """Return the links between the labs. HTML."""
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if key == current else ""}>{word}</a>' for key, word, path in LABS
    )
    return f'<nav class="tw-tabs" aria-label="Labs">{links}</nav>'


def titled(title: str, how: str, asked: Asked, *, labels: str = "") -> str:
    """Return what a chart shows, how it is read, one label a colour, and the SQL behind it. HTML."""
    note = f' <span class="tw-muted">{how}</span>' if how else ""
    return (
        f'<div class="tw-chart-title"><span>{escape(title)}{note}</span><span class="tw-labels">{labels}</span></div>'
        f"{sql_of(asked.sql)}"
    )


def sql_of(sql: str) -> str:
    """Return the SQL behind a chart, folded, to be copied. HTML."""
    copied = parts.command("copy it for timmy.sql(…)", copies=sql)
    return f'<details class="tw-sql"><summary>SQL</summary><pre class="tw-json">{escape(sql)}</pre>{copied}</details>'


def view(title: str, how: str, asked: Asked, chart: Any, *, labels: str = "", nothing: str = "") -> Any:
    """Return a chart below its title and its SQL; a sentence where there is nothing to draw."""
    if not asked.any:
        words = f"This could not be measured: {asked.problem}" if asked.problem else nothing
        return mo.Html(parts.section(title, parts.empty(parts.sentence(words)) + sql_of(asked.sql)))
    return mo.vstack([mo.Html(titled(title, how, asked, labels=labels)), chart(asked.frame)], gap=0)


def span(query: Mapping[str, str], now: datetime, usual: str = "7d") -> tuple[datetime, datetime]:
    """Return the two ends of what the address asks for."""
    return now - RANGES.get(query.get("range", usual), RANGES[usual]), now


def moment_of(text: str) -> datetime | None:
    """Return a moment of the address; None where it is none, or has no zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC)
