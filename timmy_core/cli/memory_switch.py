"""`timmy memory on` and `off`: whether a session uses memory."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, out
from timmy_core.cli.memory_shown import By, asker
from timmy_core.timmy import open_timmy

Session = Annotated[str, typer.Option("--session", "-s", help="Which one.")]


def register(app: typer.Typer) -> None:
    """Add both commands to `timmy memory`."""
    app.command("on")(on)
    app.command("off")(off)


def on(session: Session = "default", by: By = "", home: Home = None) -> None:
    """Let a session recall before an answer and remember after it."""
    _switch(session, by, home, enabled=True)


def off(session: Session = "default", by: By = "", home: Home = None) -> None:
    """Neither recall nor remember in a session; what is remembered stays."""
    _switch(session, by, home, enabled=False)


def _switch(session: str, by: str, home: Home, *, enabled: bool) -> None:
    with open_timmy(home) as timmy:
        timmy.switches.put(session, enabled, by=asker(by))
    out.print(f"memory is [bold]{'on' if enabled else 'off'}[/] in the session {escape(session)}")
