"""`timmy up`: serve the workbench and say where it is."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import SecretStr
from rich.markup import escape

from timmy_core.cli.console import Home, out
from timmy_core.settings import default_home
from timmy_core.settings_file import write_template
from timmy_core.timmy import open_timmy


def up(
    host: Annotated[str | None, typer.Option(help="Where to listen; wider than this machine needs a password.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = None,
    home: Home = None,
    password: Annotated[
        str | None,
        typer.Option(help="Ask for it at login. TIMMY_PASSWORD keeps it out of the process list.", show_default=False),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Serve pages, API and live feed until Ctrl-C; prints the address."""
    root = (home or default_home()).expanduser().absolute()
    first = write_template(root)
    notes = [f"wrote {root / 'timmy.toml'}: name your providers there"] if first else []
    serve_home(root, host=host, port=port, password=password, no_open=no_open, notes=notes)
    leave()


def serve_home(
    root: Path, *, host: str | None, port: int | None, password: str | None, no_open: bool, notes: Sequence[str]
) -> None:
    """Serve a home until Ctrl-C; prints the address, and the notes below it."""
    from timmy_core.server.run import Serving, serve

    # The pages open the home by themselves, and this tells them which one is served.
    os.environ["TIMMY_HOME"] = str(root)
    with open_timmy(root) as timmy:
        settings = timmy.settings.server
        secret = SecretStr(password) if password else settings.password

        def ready(serving: Serving) -> None:
            # Only whoever serves the home keeps its log, so not before it is known that nobody else does.
            timmy.start_schedule()
            out.print(f"[bold green]Timmy Workbench[/] is at [bold]{escape(serving.url)}[/]", soft_wrap=True)
            out.print(f"[dim]home {escape(str(root))} · Ctrl-C stops it[/]", soft_wrap=True)
            for note in notes:
                out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)

        try:
            serve(
                timmy,
                host=host or settings.host,
                port=settings.port if port is None else port,
                password=secret.get_secret_value() if secret else None,
                allowed_hosts=settings.allowed_hosts,
                open_browser=not no_open,
                on_ready=ready,
            )
        finally:
            timmy.shutdown()


def leave() -> NoReturn:
    """End this process, all of whose work was closed, without taking the interpreter apart.

    Threads of libraries may still run, and one that meets an interpreter that is half gone aborts the process.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself calls, and the only door to it
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
