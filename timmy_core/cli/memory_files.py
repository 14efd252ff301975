"""`timmy memory import` and `export`: files into memory, and memory into a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from timmy_core.cli.console import Home, err, out
from timmy_core.cli.memory_shown import Kind, Scope, Session, entries, given, kind_of
from timmy_core.errors import EntryError
from timmy_core.memory.exporting import export_lines
from timmy_core.memory.importing import Importer, Progress
from timmy_core.timmy import open_timmy


def register(app: typer.Typer) -> None:
    """Add both commands to `timmy memory`."""
    app.command("import")(import_)
    app.command("export")(export)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders of Markdown and text.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="markdown, text, jsonl or chatgpt; by the name otherwise.", show_default=False),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="shared, agent:ID or session:NAME; as exported, or shared, otherwise.", show_default=False),
    ] = None,
    home: Home = None,
) -> None:
    """Take files into memory; again, nothing is there twice. Exit status 1 when a part could not be kept."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    last = Progress("", 0, 0)
    with open_timmy(home) as timmy:
        steps = Importer(timmy.memory, timmy.store, timmy.clock).run(files, format=format_, scope=scope)
        try:
            with Bar(*columns, console=err, transient=True) as bar:
                task = bar.add_task("reading", total=None)
                for last in steps:
                    name = escape(last.file)
                    bar.update(task, description=name, completed=last.done_bytes, total=last.total_bytes)
        except KeyboardInterrupt:
            err.print("[yellow]stopped[/]; the same command goes on from there")
            raise typer.Exit(130) from None
    verb = "was" if last.added == 1 else "were"
    out.print(f"[green]✓[/] {entries(last.added)} {verb} added; {last.known:,} were there already")
    for problem in last.problems:
        err.print(f"[yellow]![/] {escape(problem)}", soft_wrap=True)
    if last.refused:
        err.print(f"{last.refused:,} {'part was' if last.refused == 1 else 'parts were'} not kept")
        raise typer.Exit(1)


def export(
    to: Annotated[Path, typer.Argument(help="The file; - prints.")],
    kind: Kind = None,
    session: Session = None,
    scope: Scope = None,
    home: Home = None,
) -> None:
    """Write entries as JSON lines, oldest first; `timmy memory import` reads them again."""
    filters = given(kind=kind_of(kind), session=session, scope=scope)
    with open_timmy(home) as timmy:
        lines = export_lines(timmy.store, filters)
        if str(to) == "-":
            for line in lines:
                sys.stdout.write(line)
            return
        count = _into_file(to, lines)
    verb = "is" if count == 1 else "are"
    out.print(f"[green]✓[/] {entries(count)} {verb} in {escape(str(to))}", soft_wrap=True)


def _into_file(path: Path, lines: Iterator[str]) -> int:
    """Write a file aside and put it in place when it is whole, so that no half of it is ever taken for all."""
    aside = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with aside.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
                count += 1
        # It holds what nobody else is to read.
        aside.chmod(0o600)
        aside.replace(path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}; name a file in a folder that is yours"
        raise EntryError(message) from error
    finally:
        aside.unlink(missing_ok=True)
    return count
