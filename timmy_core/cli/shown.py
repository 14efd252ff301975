"""How things look in a terminal, whatever they are: times, ages, names with values, JSON, and the question before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.markup import escape

from timmy_core.cli.console import err, out
from timmy_core.plain import plain


def print_json(*values: Any) -> None:
    """Print one JSON object a line."""
    for value in values:
        print(json.dumps(plain(value), ensure_ascii=False))


def when(moment: datetime | None) -> str:
    """Return a moment in the zone of this machine, to the minute."""
    return "–" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def age(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago something was: `41 s`, `3 min`, `2 h`, `5 d`."""
    seconds = max(0, round(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def print_pairs(pairs: Sequence[tuple[str, str | None]]) -> None:
    """Print names and values, those that there are."""
    given = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        out.print(f"  [dim]{name:<{width}}[/]  {escape(value)}", soft_wrap=True)


def confirm(question: str) -> None:
    """Ask, and stop with status 1 unless the answer is yes."""
    if not typer.confirm(question, default=False, err=True):
        err.print("nothing was changed")
        raise typer.Exit(1)
