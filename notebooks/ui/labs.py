"""What the labs share: the way from one to the other, asking in SQL, and showing what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import marimo as mo
import polars as pl

from timmy_core import TimmyError
from ui import parts

if TYPE_CHECKING:
    from timmy_core import Timmy

LABS = (("latency", "Latency", "/labs/latency"), ("policy", "Policy", "/labs/policy"))
OFFERED, USUAL = ("1h", "24h", "7d", "30d"), "7d"


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
