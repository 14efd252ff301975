"""`timmy memory search`, `list`, `show` and `status`: finding what is remembered, and saying why it was found."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.filters import Since, Until, moment
from timmy_core.cli.memory_shown import (
    Agent,
    Key,
    Kind,
    Scope,
    Session,
    Source,
    Task,
    entries,
    given,
    key_of,
    kind_of,
    show,
)
from timmy_core.memory.model import Match, Why
from timmy_core.memory.report import match_dict, status_of
from timmy_core.timmy import open_timmy

Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy memory`."""
    app.command("search")(search)
    app.command("list")(list_)
    app.command("show")(show_one)
    app.command("status")(status)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    kind: Kind = None,
    agent: Agent = None,
    session: Session = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Only in this scope; may be repeated.", show_default=False)
    ] = None,
    task: Task = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 10,
    why: Annotated[bool, typer.Option("--why", help="Say where each score comes from.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print what fits best, best first, by words and by meaning. Exit status 1 when nothing does."""
    with open_timmy(home) as timmy:
        found = timmy.memory.search(
            query, limit=limit, kind=kind_of(kind), agent_id=agent, session=session, scopes=scope or None,
            task_id=task, since=moment(since), until=moment(until),
        )  # fmt: skip
    for match in found:
        if as_json:
            print(json.dumps(match_dict(match), ensure_ascii=False))
            continue
        show(match.entry)
        if why:
            out.print(f"   [dim]{escape(reasons(match))}[/]", soft_wrap=True)
    if not found:
        err.print(f"nothing that is remembered fits {escape(repr(query))}")
        raise typer.Exit(1)


def reasons(match: Match) -> str:
    """Return where a score comes from, in words."""
    why: Why = match.why
    parts = [f"score {match.score:.3f}"]
    if why.words:
        parts.append(f"words {', '.join(why.words)}" + (f" ({why.keyword:.3f})" if why.keyword is not None else ""))
    figures = {
        "similarity": why.similarity,
        "with the turn before": why.window,
        "recency": why.recency,
        "importance": why.importance,
    }
    parts += [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
    if why.neighbours:
        parts.append(f"beside it {', '.join(why.neighbours)}")
    if why.passage is not None:
        parts.append(f"passage at character {why.passage.start:,}")
    return " · ".join(parts) + (f"; {why.note}" if why.note else "")


def list_(
    kind: Kind = None,
    agent: Agent = None,
    session: Session = None,
    scope: Scope = None,
    task: Task = None,
    source: Source = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print entries, the newest first."""
    filters = given(
        kind=kind_of(kind), agent_id=agent, session=session, scope=scope, task_id=task, source=source,
        since=moment(since), until=moment(until),
    )  # fmt: skip
    with open_timmy(home) as timmy:
        page = timmy.memory.list(limit=limit, **filters)
        total = None if page.cursor is None else timmy.memory.count(**filters)
    for entry in page:
        if as_json:
            print(json.dumps(entry.as_dict(), ensure_ascii=False))
        else:
            show(entry)
    if total is not None and not as_json:
        err.print(f"[dim]{total - len(page):,} older ones are left out; --limit shows more[/]")


def show_one(key: Key, as_json: Json = False, home: Home = None) -> None:
    """Print one entry whole, with the turns beside it."""
    with open_timmy(home) as timmy:
        entry = timmy.memory.get(key_of(key))
        beside = timmy.memory.around(entry.id)
    if as_json:
        print(json.dumps(entry.as_dict(), ensure_ascii=False))
        return
    for name, value in entry.as_dict().items():
        if name != "text" and value not in (None, [], {}, ""):
            out.print(f"[dim]{name:12}[/] {escape(str(value))}", soft_wrap=True)
    out.print()
    out.out(entry.text, highlight=False)
    if beside:
        out.print("\n[dim]beside it[/]")
        for turn in beside:
            show(turn, indent="  ")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False, home: Home = None
) -> None:
    """Print how much is remembered, of which kinds and scopes, and how it is found."""
    with open_timmy(home) as timmy:
        found = status_of(timmy.memory)
        switched = timmy.switches.all()
        default = timmy.settings.memory.recall
    if as_json:
        print(json.dumps({**found, "sessions_off": [one.session for one in switched if not one.enabled]}))
        return
    out.print(f"remembered  {entries(found['entries'])}, {found['passages']:,} passages of documents")
    for name in ("kinds", "states", "scopes", "vectors"):
        counts = found[name]
        if counts:
            words = ", ".join(f"{escape(key)} {count:,}" for key, count in counts.items())
            out.print(f"{name:11} {words}", soft_wrap=True)
    off = [one.session for one in switched if one.enabled != default]
    named = f", but for {escape(', '.join(off))}" if off else ""
    out.print(f"sessions    memory is {'on' if default else 'off'}{named}", soft_wrap=True)
    if found["note"]:
        out.print(f"[yellow]![/] {escape(found['note'])}", soft_wrap=True)
