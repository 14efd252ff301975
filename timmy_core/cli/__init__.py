"""The command `timmy`: each subcommand opens the home, calls the core and prints."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli import (
    agent,
    alerts,
    backup,
    chat,
    demo,
    doctor,
    events,
    lab,
    ledger,
    memory,
    router,
    swarm,
    up,
    upgrades,
)
from timmy_core.cli.console import err
from timmy_core.errors import TimmyError

app = typer.Typer(
    name="timmy",
    help="Timmy Workbench: see what your agent does, trust it, account for it and stay in control.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("chat")(chat.chat)
app.command("demo")(demo.demo)
app.command("lab")(lab.lab)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(alerts.app, name="alerts")
app.add_typer(events.app, name="events")
app.add_typer(ledger.app, name="ledger")
app.add_typer(memory.app, name="memory")
app.add_typer(router.app, name="router")
app.add_typer(upgrades.app, name="upgrades")
app.add_typer(swarm.app, name="swarm")
app.add_typer(agent.app, name="agent")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"timmy-workbench {installed('timmy-workbench')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command; an error that Timmy knows is one sentence and exit status 1, without a traceback."""
    try:
        app()
    except TimmyError as error:
        err.print(f"[bold red]timmy:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
