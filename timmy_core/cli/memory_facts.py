"""`timmy memory remember`, `facts`, `edit`, `confirm`, `reject`, `close` and `forget`: what a person says of memory."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.filters import Since, Until, moment
from timmy_core.cli.memory_shown import (
    Agent,
    By,
    Key,
    Kind,
    Scope,
    Session,
    Source,
    Task,
    Yes,
    asker,
    confirm,
    entries,
    given,
    key_of,
    kind_of,
    show,
)
from timmy_core.errors import EntryError
from timmy_core.timmy import open_timmy

_PREVIEWED = 10


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy memory`."""
    app.command("remember")(remember)
    app.command("facts")(facts)
    app.command("edit")(edit)
    app.command("confirm")(confirm_one)
    app.command("reject")(reject)
    app.command("close")(close)
    app.command("forget")(forget)


def remember(
    text: Annotated[str, typer.Argument(help="What to remember; - reads it from the input.")],
    kind: Annotated[str, typer.Option(help="conversation, fact or document.")] = "fact",
    subject: Annotated[
        str | None,
        typer.Option(help="What a fact says the one value of; it ends the older one about it.", show_default=False),
    ] = None,
    replaces: Annotated[
        list[str] | None, typer.Option(help="The id of a fact that it ends; may be repeated.", show_default=False)
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="shared, agent:ID or session:NAME; shared otherwise.", show_default=False)
    ] = None,
    importance: Annotated[float, typer.Option(min=0.0, max=1.0, help="From 0 to 1.")] = 0.5,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Remember a text; the same one again is kept once."""
    words = sys.stdin.read() if text == "-" else text
    with open_timmy(home) as timmy:
        entry = timmy.memory.remember(
            words, kind=kind_of(kind), subject=subject, replaces=tuple(replaces or ()), scope=scope or "shared",
            importance=importance, source="cli",
        )  # fmt: skip
    if as_json:
        print(json.dumps(entry.as_dict(), ensure_ascii=False))
        return
    show(entry)


def facts(
    candidates: Annotated[bool, typer.Option("--candidates", help="Those that wait to be confirmed.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Those that no longer hold, too.")] = False,
    agent: Agent = None,
    scope: Scope = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print the facts that hold now, the newest first."""
    filters = given(agent_id=agent, scope=scope)
    with open_timmy(home) as timmy:
        if candidates:
            found = timmy.memory.candidates(limit=limit, **filters)
        elif all_:
            found = timmy.memory.facts(limit=limit, valid_at=None, **filters)
        else:
            found = timmy.memory.facts(limit=limit, **filters)
    for fact in found:
        if as_json:
            print(json.dumps(fact.as_dict(), ensure_ascii=False))
            continue
        show(fact)
        if candidates and fact.metadata.get("turn"):
            out.print(f"   [dim]from the turn {escape(str(fact.metadata['turn']))}[/]")
    if not found and not as_json:
        err.print("no candidate waits" if candidates else "no fact is known; `timmy memory remember` adds one")


def edit(
    key: Key,
    text: Annotated[str | None, typer.Argument(help="The new text; - reads it.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="Of a fact; empty for none.", show_default=False)] = None,
    importance: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="From 0 to 1.", show_default=False)] = None,
    by: By = "",
    home: Home = None,
) -> None:
    """Change an entry; nothing of its former text is left."""
    words = sys.stdin.read() if text == "-" else text
    with open_timmy(home) as timmy:
        entry = timmy.memory.edit(
            key_of(key), text=words, subject=... if subject is None else subject or None, importance=importance,
            by=asker(by),
        )  # fmt: skip
    show(entry)


def confirm_one(key: Key, by: By = "", home: Home = None) -> None:
    """Take a proposed fact over; it ends what it contradicts."""
    with open_timmy(home) as timmy:
        show(timmy.memory.confirm(key_of(key), by=asker(by)))


def reject(key: Key, by: By = "", home: Home = None) -> None:
    """Turn a proposed fact down; it is not proposed again."""
    with open_timmy(home) as timmy:
        show(timmy.memory.reject(key_of(key), by=asker(by)))


def close(
    key: Key,
    replaced_by: Annotated[
        str | None, typer.Option(help="The fact that took its place, by number or id.", show_default=False)
    ] = None,
    by: By = "",
    home: Home = None,
) -> None:
    """Say that a fact no longer holds; it stays, with the moment."""
    newer = None if replaced_by is None else key_of(replaced_by)
    with open_timmy(home) as timmy:
        show(timmy.memory.close_fact(key_of(key), replaced_by=newer, by=asker(by)))


def forget(
    keys: Annotated[list[str] | None, typer.Argument(help="Numbers or ids of entries.", show_default=False)] = None,
    kind: Kind = None,
    agent: Agent = None,
    session: Session = None,
    scope: Scope = None,
    task: Task = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "asked to",
    by: By = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would go.")] = False,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Remove entries for good: text, words and vectors, everywhere. It shows first what goes."""
    where = given(
        kind=kind_of(kind), agent_id=agent, session=session, scope=scope, task_id=task, source=source,
        since=moment(since), until=moment(until),
    )  # fmt: skip
    if bool(keys) == bool(where):
        message = "say what to forget: either numbers or ids, or filters such as --session s1"
        raise EntryError(message)
    with open_timmy(home) as timmy:
        if keys:
            found = [timmy.memory.get(key_of(key)) for key in keys]
            where = {"id": list(dict.fromkeys(entry.id for entry in found))}
            count = len(where["id"])
        else:
            count = timmy.memory.count(**where)
            found = list(timmy.memory.list(limit=_PREVIEWED, **where)) if count else []
        if not count:
            out.print("nothing that is remembered matches; nothing was changed")
            return
        if preview or not yes:
            for entry in found[:_PREVIEWED]:
                show(entry)
            if count > _PREVIEWED:
                out.print(f"   [dim]and {count - _PREVIEWED:,} more[/]")
        if preview:
            return
        if not yes:
            confirm(f"Forget {entries(count)} for good? It cannot be undone.")
        done = timmy.memory.forget(where=where, reason=reason, by=asker(by))
    verb = "was" if done.entries == 1 else "were"
    out.print(f"[green]✓[/] {entries(done.entries)} {verb} forgotten")
    if not done.erased:
        err.print("[yellow]![/] somebody reads just now what holds a copy; the next forgetting or start erases it")
