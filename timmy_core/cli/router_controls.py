"""`timmy router enable`, `disable`, `isolate`, `close`, `priority`, `reload`: steering the cascade, a server's too."""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, err, out
from timmy_core.errors import SettingsError
from timmy_core.timmy import Timmy, open_timmy

_WAIT_S: Final = 5.0
_LOOK_S: Final = 0.05

Name = Annotated[str, typer.Argument(help="The provider.")]
By = Annotated[str, typer.Option(help="Who asks; it stays on record.", show_default="you")]


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy router`."""
    for command in (enable, disable, isolate, close, priority, reload):
        app.command()(command)


def enable(name: Name, by: By = "", home: Home = None) -> None:
    """Let a provider be asked again; wins over `enabled` in timmy.toml."""
    _control(home, name, "enable", by, "is switched on")


def disable(name: Name, by: By = "", home: Home = None) -> None:
    """Switch a provider off, until somebody enables it."""
    _control(home, name, "disable", by, "is switched off")


def isolate(name: Name, by: By = "", home: Home = None) -> None:
    """Take a provider out by opening its circuits, until somebody closes them."""
    _control(home, name, "isolate", by, "is isolated, and is not asked until it is closed")


def close(name: Name, by: By = "", home: Home = None) -> None:
    """Close a provider's circuits and forget what kept it from being asked."""
    _control(home, name, "close", by, "may be asked again at once")


def priority(
    name: Name,
    value: Annotated[
        int | None, typer.Argument(help="0 is asked first; without it timmy.toml's holds again.", show_default=False)
    ] = None,
    by: By = "",
    home: Home = None,
) -> None:
    """Change when a provider's turn comes; the lowest number is asked first."""
    _control(home, name, "priority", by, "has priority {priority}", value)


def _control(home: Path | None, name: str, action: str, by: str, done: str, value: int | None = None) -> None:
    with open_timmy(home) as timmy:
        status = timmy.router.control_sync(name, action, by=by or _user(), value=value)
        out.print(f"[green]✓[/] [bold]{escape(name)}[/] {done.format(priority=status.priority)}")
        if _is_served(timmy):
            out.print("[dim]The running server obeys within a second.[/]")


def reload(home: Home = None) -> None:
    """Check timmy.toml and let the running server read it again. Status 1 when it is wrong: then nothing changes."""
    with open_timmy(home) as timmy:
        path = timmy.settings.toml_path
        if not _is_served(timmy):
            out.print(f"[green]✓[/] {escape(str(path))} is right; no server runs, so the next start reads it")
            return
        seen = timmy.events.head()[0]
        # A server reads a file again when its time changes.
        os.utime(path)
        _report(timmy, seen)


def _report(timmy: Timmy, seen: int) -> None:
    """Print what the server says about the file, as soon as it does."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        for event in timmy.events.list(family="router", after=seen, order="asc"):
            data = event.data or {}
            if event.type == "router.reload_failed":
                raise SettingsError(str(data.get("problem")))
            changed = ", ".join(data.get("changed", ())) or "nothing has changed since it last did"
            out.print(f"[green]✓[/] the server took {escape(str(timmy.settings.toml_path))}: {escape(changed)}")
            if data.get("restart"):
                out.print(f"[yellow]![/] needs a restart: {escape(', '.join(data['restart']))}")
            return
        time.sleep(_LOOK_S)
    err.print(f"[yellow]the server did not say within {_WAIT_S:g} s that it has read the file[/]")
    raise typer.Exit(1)


def _is_served(timmy: Timmy) -> bool:
    """Say whether a server holds this home; the lock is the kernel's, so what the file says does not matter."""
    try:
        with (timmy.settings.home / "serve.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _user() -> str:
    """The operating system's name of who runs this, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
