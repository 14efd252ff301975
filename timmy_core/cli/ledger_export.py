"""`timmy ledger export`: the book as a file of another program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, out
from timmy_core.cli.filters import Since, Until, moment
from timmy_core.errors import LedgerError
from timmy_core.ledger.export.formats import FORMATS, Format, export_bytes, export_file, format_of
from timmy_core.timmy import open_timmy

_STDOUT: Final = "-"


def export(
    to: Annotated[Path, typer.Argument(help="The file; - prints.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(FORMATS)}; by the file's name otherwise.", show_default=False),
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only this node.", show_default=False)] = None,
    since: Since = None,
    until: Until = None,
    home: Home = None,
) -> None:
    """Write what is booked into a file, oldest first; what is only set aside is not in it."""
    chosen = format_of(format_) if format_ else _by_name(to)
    begins, ends = moment(since), moment(until)
    with open_timmy(home) as timmy:
        if str(to) == _STDOUT:
            for chunk in export_bytes(timmy.ledger, chosen.name, since=begins, until=ends, node=node):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        written = export_file(timmy.ledger, chosen.name, to, since=begins, until=ends, node=node)
    bookings = "1 booking is" if written.bookings == 1 else f"{written.bookings:,} bookings are"
    out.print(f"[green]✓[/] {bookings} in {escape(str(to))}, {chosen.about}", soft_wrap=True)


def _by_name(path: Path) -> Format:
    """Return the format that a file's name says: the longest ending counts."""
    fitting = [each for each in FORMATS.values() if path.name.lower().endswith(each.suffix)]
    if not fitting:
        endings = ", ".join(f"{each.suffix} ({each.name})" for each in FORMATS.values())
        message = f"{path} does not say its format; give --format, or a name that ends with one of {endings}"
        raise LedgerError(message)
    return max(fitting, key=lambda each: len(each.suffix))
