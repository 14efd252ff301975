"""How entries look in a terminal, and the options that several commands of `timmy memory` share."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import err, out
from timmy_core.errors import EntryError
from timmy_core.memory.model import KINDS, Entry

Kind = Annotated[str | None, typer.Option(help="Only conversation, fact or document.", show_default=False)]
Agent = Annotated[str | None, typer.Option(help="Only of this agent.", show_default=False)]
Session = Annotated[str | None, typer.Option(help="Only of this session.", show_default=False)]
Scope = Annotated[
    str | None, typer.Option(help="Only in this scope: shared, agent:ID or session:NAME.", show_default=False)
]
Task = Annotated[str | None, typer.Option(help="Only of this task.", show_default=False)]
Source = Annotated[str | None, typer.Option(help="Only what this stored.", show_default=False)]
By = Annotated[str, typer.Option(help="Who asks; it stays on record.", show_default="you")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]
Key = Annotated[str, typer.Argument(help="The entry's number or id.")]

_SHOWN: Final = 300


def key_of(text: str) -> int | str:
    """Return a number as the number of an entry, anything else as its id."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text  # noqa: PLR2004 - of 64 bits


def kind_of(text: str | None) -> Any:
    """Return a kind, checked.

    Raises:
        EntryError: there is no such kind.
    """
    if text is not None and text not in KINDS:
        message = f"the kind {text!r} is not known; expected one of {', '.join(KINDS)}"
        raise EntryError(message)
    return text


def asker(by: str) -> str:
    """Return who asks: the one named, else the user of this terminal."""
    return by or os.environ.get("USER") or os.environ.get("LOGNAME") or "cli"


def given(**filters: Any) -> dict[str, Any]:
    """Return the filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}


def confirm(question: str) -> None:
    """Ask, and stop with status 1 unless the answer is yes."""
    if not typer.confirm(question, default=False, err=True):
        err.print("nothing was changed")
        raise typer.Exit(1)


def entries(count: int) -> str:
    """Return a number of entries in words."""
    return "1 entry" if count == 1 else f"{count:,} entries"


def show(entry: Entry, *, indent: str = "") -> None:
    """Print an entry in two lines: what and whence, then its text."""
    notes = [f"{entry.created_at.astimezone():%Y-%m-%d %H:%M}", entry.kind, entry.scope]
    if entry.session and entry.scope != f"session:{entry.session}":
        notes.append(f"session {entry.session}")
    if entry.speaker:
        notes.append(entry.speaker)
    if entry.subject:
        notes.append(f"about {entry.subject}")
    if entry.state != "stored":
        notes.append(f"[yellow]{entry.state}[/]")
    if entry.valid_to is not None:
        notes.append(f"[yellow]until {entry.valid_to.astimezone():%Y-%m-%d %H:%M}[/]")
    head, *rest = notes
    words = " · ".join([head, *(one if one.startswith("[") else escape(one) for one in rest)])
    out.print(f"{indent}[bold]{entry.seq}[/] [dim]{words}[/]", soft_wrap=True)
    line = " ".join(entry.text[: 4 * _SHOWN].split())
    out.print(f"{indent}   {escape(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + '…')}", soft_wrap=True)
