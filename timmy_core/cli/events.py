"""`timmy events`: look into the log; what keeps, proves and moves it stands in `archive`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli import archive
from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.filters import Agent, Family, Provider, Since, Source, Task, Text, Trace, Type, Until, wanted_of
from timmy_core.clock import iso
from timmy_core.events.feed import as_json
from timmy_core.events.model import EVENT_TYPES, Event
from timmy_core.timmy import open_timmy

app = typer.Typer(help="The event log: look into it, prove it, archive it, move it.", no_args_is_help=True)
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")]


@app.command("list")
def list_events(
    type_: Type = None,
    family: Family = None,
    source: Source = None,
    task: Task = None,
    agent: Agent = None,
    trace: Trace = None,
    provider: Provider = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_lines: Json = False,
    home: Home = None,
) -> None:
    """Print the latest events that match, newest last."""
    wanted = wanted_of(type_, family, source, task, agent, trace, provider, text, since, until)
    with open_timmy(home) as timmy:
        found = timmy.explorer.newest(wanted, limit=limit)
    _print(found[::-1], as_lines=as_lines)
    if not found:
        err.print("no event matches")


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that all have to occur in an event.")],
    type_: Type = None,
    family: Family = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_lines: Json = False,
    home: Home = None,
) -> None:
    """Print the latest events that hold every word, newest last; exit status 1 where none does."""
    wanted = wanted_of(type_, family, text=" ".join(words), since=since, until=until)
    with open_timmy(home) as timmy:
        found = timmy.explorer.newest(wanted, limit=limit)
    _print(found[::-1], as_lines=as_lines)
    if not found:
        err.print(f"no event holds {escape(' and '.join(words))}")
        raise typer.Exit(1)


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
def stats(
    minutes: Annotated[float, typer.Option(min=1, help="How far back.")] = 60,
    top: Annotated[int, typer.Option(min=1, max=100, help="So many values of each.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    home: Home = None,
) -> None:
    """Count the events of the last minutes, by type, source, agent and task."""
    with open_timmy(home) as timmy:
        found = timmy.questions.summary(minutes)
    groups = {"type": found.by_type, "source": found.by_source, "agent": found.by_agent, "task": found.by_task}
    if as_json:
        plain = {"since": iso(found.since), "until": iso(found.until), "total": found.total}
        print(json.dumps(plain | {f"by_{name}": dict(counts) for name, counts in groups.items()}, ensure_ascii=False))
        return
    noun = "event" if found.total == 1 else "events"
    out.print(f"[bold]{found.total:,} {noun}[/] since {found.since.astimezone():%Y-%m-%d %H:%M:%S}")
    for name, counts in groups.items():
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(min_width=24)
        table.add_column(justify="right")
        for value, count in list(counts.items())[:top]:
            table.add_row(escape(value), f"{count:,}")
        if counts:
            rest = f" [dim]({len(counts):,} in all)[/]" if len(counts) > top else ""
            out.print(f"\n[dim]by {name}[/]{rest}")
            out.print(table)


@app.command()
def types() -> None:
    """Print every declared event type with what it means."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, meaning in EVENT_TYPES.items():
        table.add_row(f"[bold]{name}[/]", meaning)
    out.print(table)
    out.print("Types of your own begin with [bold]x.[/], as in x.backup.made.")


for command in (
    archive.verify, archive.prove, archive.check, archive.seal, archive.prune, archive.redact, archive.export,
):  # fmt: skip
    app.command()(command)
app.command("import")(archive.import_)


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
