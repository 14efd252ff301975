"""`timmy backup` and `timmy restore`: a home in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.backup.make import back_up, default_name
from timmy_core.backup.model import Checked
from timmy_core.backup.restore import check_backup
from timmy_core.backup.restore import restore as put_back
from timmy_core.cli.console import Home, err, out
from timmy_core.clock import SystemClock
from timmy_core.settings import default_home
from timmy_core.timmy import open_timmy

_KEEP_SAFE = "it holds the keys and secrets of the home: keep it where only you can read it"
File = Annotated[Path, typer.Argument(help="A file that `timmy backup` made.")]


def backup(
    to: Annotated[
        Path | None,
        typer.Argument(help="The file to be, or a folder for it.", show_default="timmy-DATE.tar.zst here"),
    ] = None,
    home: Home = None,
) -> None:
    """Write the whole home to one file; nothing has to be stopped for it."""
    with open_timmy(home) as timmy:
        target = (to or Path.cwd()).expanduser().absolute()
        if target.is_dir():
            target /= default_name(timmy.events)
        made = back_up(timmy.store, timmy.events, timmy.settings.home, target, _tell)
    manifest = made.manifest
    out.print(
        f"[green]✓[/] {escape(str(made.path))}: {_size(made.bytes)}, {manifest.seq:,} events, "
        f"{len(manifest.files):,} files, {made.took_s:.1f} s",
        soft_wrap=True,
    )
    for name in manifest.missing:
        err.print(f"[yellow]![/] {escape(name)} is missing in the home, so it is not in the backup", soft_wrap=True)
    out.print(f"[dim]{_KEEP_SAFE}; `timmy restore --check` looks at it as a restore would[/]", soft_wrap=True)


def restore(
    file: File,
    check: Annotated[bool, typer.Option("--check", help="Only look at it, as a restore would.")] = False,
    over: Annotated[bool, typer.Option("--over", help="Put a home that is there already aside.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on although the check found faults.")] = False,
    home: Home = None,
) -> None:
    """Put a backup in place of a home, once all of it was looked at; what was there before is kept beside it."""
    file = file.expanduser().absolute()
    root = (home or default_home()).expanduser().absolute()
    if check:
        checked = check_backup(file, root.parent, SystemClock())
        _show(checked)
        if checked.problems:
            raise typer.Exit(1)
        return
    done = put_back(file, root, SystemClock(), over=over, anyway=anyway)
    _show(done.checked)
    out.print(f"[green]✓[/] restored to {escape(str(done.home))}", soft_wrap=True)
    if done.aside is not None:
        out.print(
            f"[dim]what was there before is in {escape(str(done.aside))}; remove it when you are sure[/]",
            soft_wrap=True,
        )


def _tell(what: str) -> None:
    err.print(f"[dim]{escape(what)} …[/]")


def _show(checked: Checked) -> None:
    manifest = checked.manifest
    out.print(
        f"made {escape(manifest.made_at)} from {escape(manifest.home)} by version {escape(manifest.version)}: "
        f"{checked.events:,} events, {checked.segments:,} segments, {checked.blobs:,} blobs, "
        f"{checked.transfers:,} transfers",
        soft_wrap=True,
    )
    for problem in checked.problems:
        out.print(f"[red]✗[/] {escape(problem)}", soft_wrap=True)
    for note in checked.notes:
        out.print(f"[yellow]![/] {escape(note)}", soft_wrap=True)
    if not checked.problems:
        out.print("[green]✓[/] database, chain, signed heads, archive, blobs and book hold", soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.0f} kB"  # noqa: PLR2004
