"""`timmy events`: list, follow and verify the log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli.console import Home, err, out
from timmy_core.errors import EventError
from timmy_core.events.feed import as_json
from timmy_core.events.model import EVENT_TYPES, Event
from timmy_core.timmy import open_timmy

app = typer.Typer(help="The event log: list, tail, verify.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Type = Annotated[str | None, typer.Option("--type", help="Only this type, such as llm.failed.", show_default=False)]
Family = Annotated[str | None, typer.Option(help="Only this family, such as llm.", show_default=False)]


@app.command("list")
def list_events(
    type_: Type = None,
    family: Family = None,
    source: Annotated[str | None, typer.Option(show_default=False)] = None,
    task: Annotated[str | None, typer.Option(show_default=False)] = None,
    agent: Annotated[str | None, typer.Option(show_default=False)] = None,
    trace: Annotated[str | None, typer.Option(show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 with a zone.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="ISO 8601 with a zone.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_lines: Json = False,
    home: Home = None,
) -> None:
    """Print the latest events, newest last."""
    with open_timmy(home) as timmy:
        found = timmy.events.list(
            type=type_,
            family=family,
            source=source,
            task_id=task,
            agent_id=agent,
            trace_id=trace,
            since=_moment(since),
            until=_moment(until),
            limit=limit,
        )
    _print(found[::-1], as_lines=as_lines)
    if not found:
        err.print("no event matches")


@app.command()
def tail(
    type_: Type = None,
    family: Family = None,
    after: Annotated[int | None, typer.Option(help="Begin after this seq.", show_default=False)] = None,
    as_lines: Json = False,
    home: Home = None,
) -> None:
    """Follow the log as it grows, from any process; Ctrl-C ends it."""
    with open_timmy(home) as timmy:
        start = timmy.events.head()[0] if after is None else after
        try:
            for batch in timmy.events.tail(after=start):
                wanted = [event for event in batch if type_ in (None, event.type) and family in (None, event.family)]
                _print(wanted, as_lines=as_lines)
                sys.stdout.flush()
        except KeyboardInterrupt:
            return


@app.command()
def verify(home: Home = None) -> None:
    """Walk the hash chain from the first event to the last; exit status 1 where it does not hold."""
    with open_timmy(home) as timmy:
        found = timmy.events.verify()
    if found.ok:
        note = f", {found.redacted:,} of them redacted" if found.redacted else ""
        out.print(f"[green]✓[/] the chain holds over {found.checked:,} events{note}; its head is {found.head_hash}")
        return
    err.print(f"[bold red]✗[/] {found.problem}; {found.checked:,} events before it hold")
    raise typer.Exit(1)


@app.command()
def types() -> None:
    """Print every declared event type with what it means."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, meaning in EVENT_TYPES.items():
        table.add_row(f"[bold]{name}[/]", meaning)
    out.print(table)
    out.print("Types of your own begin with [bold]x.[/], as in x.backup.made.")


def _print(events: list[Event], *, as_lines: bool) -> None:
    for event in events:
        if as_lines:
            print(as_json(event))
            continue
        moment = event.ts.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        data = "(redacted)" if event.data is None else json.dumps(event.data, ensure_ascii=False)
        who = " ".join(name for name in (event.task_id, event.agent_id) if name)
        line = f"[dim]{event.seq:>7}  {moment}[/]  [bold]{event.type:<20}[/] {escape(event.source)} {escape(who)}"
        out.print(line, f"[dim]{escape(data)}[/]", soft_wrap=True)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time; expected ISO 8601, such as 2026-05-01T12:00:00Z"
        raise EventError(message) from None
    return moment if moment.tzinfo else moment.astimezone(UTC)
