"""`timmy agent`: who works for sats: register, give tokens, run one from another process."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli import agent_run
from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.shown import age
from timmy_core.errors import SwarmError
from timmy_core.plain import plain
from timmy_core.timmy import open_timmy

app = typer.Typer(no_args_is_help=True, help="Agents of the swarm: register, list, give tokens, run one.")
app.command("run")(agent_run.run)

Name = Annotated[str, typer.Argument(help="The agent.", show_default=False)]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="Write the token into this file instead of printing it.", show_default=False),
]

_TONES: Final = {"idle": "green", "working": "blue", "lost": "red", "left": "dim"}


@app.command()
def register(
    name: Name,
    can: Annotated[
        list[str] | None, typer.Option("--can", help="A capability, such as text or code.", show_default=False)
    ] = None,
    description: Annotated[str, typer.Option(help="What it does, for people.")] = "",
    wallet: Annotated[
        str, typer.Option(help="own: it brings invoices; home: the home's node makes them for it.")
    ] = "own",
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """Let an agent from elsewhere join, and make its token. The token is shown this once, and kept only as a hash."""
    if wallet not in ("own", "home"):
        message = f"--wallet {wallet!r} is not known; expected own or home"
        raise SwarmError(message)
    with open_timmy(home) as timmy:
        made = timmy.swarm.register(
            name, kind="remote", capabilities=can or (), description=description,
            wallet="home" if wallet == "home" else "own",
        )  # fmt: skip
        token = timmy.swarm.make_token(made.name, by=getpass.getuser())
    out.print(f"[green]✓[/] {made.name} is in the swarm")
    _hand_over(token, token_file)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also those that left.")] = False,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Print the agents. The home's own join with their first task."""
    with open_timmy(home) as timmy:
        found = timmy.swarm.agents(left=all_)
    if json_:
        for one in found:
            print(json.dumps(plain(one), ensure_ascii=False))
        return
    if not found:
        err.print("no agent is in the swarm; the home's own join with their first task")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "kind", "state", "can", "done", "failed", "earned", "token", "seen"):
        right = column in {"done", "failed", "earned", "seen"}
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "can")
    for one in found:
        table.add_row(
            escape(one.name), one.kind, f"[{_TONES[one.status]}]{one.status}[/]", ", ".join(one.capabilities) or "–",
            str(one.completed), str(one.failed), f"{one.earned_msat / 1000:g}", "yes" if one.has_token else "–",
            age(one.seen_at),
        )  # fmt: skip
    out.print(table)


@app.command()
def token(
    name: Name,
    revoke: Annotated[bool, typer.Option("--revoke", help="Make the token void, without another.")] = False,
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """Make an agent's token anew; the one before is void at once."""
    by = getpass.getuser()
    with open_timmy(home) as timmy:
        if revoke:
            timmy.swarm.revoke_token(name, by=by)
            out.print(f"[green]✓[/] the token of {escape(name)} is void")
            return
        made = timmy.swarm.make_token(name, by=by)
    _hand_over(made, token_file)


@app.command()
def leave(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "asked to",
    home: Home = None,
) -> None:
    """Let an agent go; what it works on is given to somebody else, and its token is void."""
    with open_timmy(home) as timmy:
        gone = timmy.swarm.leave(name, reason=reason)
    out.print(f"[green]✓[/] {gone.name} left")


def _hand_over(made: str, path: Path | None) -> None:
    if path is None:
        print(made)
        err.print("[dim]this is the token; it is shown this once[/]")
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o600)
            file.write(made + "\n")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}; make the token again with `timmy agent token`"
        raise SwarmError(message) from error
    out.print(f"the token is in {escape(str(path))}, which only you can read", soft_wrap=True)
