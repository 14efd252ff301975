"""What the events page looks up for a query, and the words and files that it makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from json import dumps
from typing import TYPE_CHECKING, Any

import polars as pl

from timmy_core import TimmyError, Wanted
from timmy_core.events.model import EVENT_TYPES
from ui import charts, parts, present, things
from ui.addressed import RANGES
from ui.as_notebook import notebook
from ui.asking import CHUNK, KEYS
from ui.listing import PAGE

if TYPE_CHECKING:
    from timmy_core import Event, Timmy

MAX_EXPORT = 100_000


@dataclass(frozen=True)
class Found:
    """The newest events that match a query, or the problem that kept them from being looked up."""

    wanted: Wanted = field(default_factory=Wanted)
    by: str = "family"
    problem: str = ""
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Counted:
    """How many events match over time and by their values, or the problem that kept them from being counted."""

    problem: str = ""
    counts: pl.DataFrame = field(default_factory=charts.no_counts)
    facets: Mapping[str, list[tuple[str, int]]] = field(default_factory=dict)
    sql: str = ""

    @property
    def total(self) -> int:
        """How many events match; of a search by words, of the newest hits."""
        return int(self.counts["events"].sum())


def look(timmy: Timmy, query: Mapping[str, str], *, now: datetime | None = None) -> Found:
    """Look the newest events of a query up; what is wrong with it becomes words."""
    try:
        wanted = wanted_of(query, now or present.now())
        return Found(wanted, by_of(query), events=timmy.explorer.newest(wanted, limit=PAGE))
    except TimmyError as error:
        return Found(by=by_of(query), problem=str(error))


def count(timmy: Timmy, found: Found) -> Counted:
    """Count what matches; where that does not work, the rows that were found still stand."""
    if found.problem:
        return Counted()
    try:
        counted = timmy.explorer.counts(found.wanted, by=found.by)
        return Counted(counts=charts.few(counted.over_time), facets=counted.facets, sql=counted.sql)
    except TimmyError as error:
        return Counted(problem=str(error))


def by_of(query: Mapping[str, str]) -> str:
    """Return by what the chart tells events apart: `family` or `type`."""
    return "type" if query.get("by") == "type" else "family"


def wanted_of(query: Mapping[str, str], now: datetime) -> Wanted:
    """Return the filter that a query describes; a range ends now."""
    stretch = RANGES.get(query.get("range", ""))
    since = {"since": (now - stretch[1]).isoformat()} if stretch else {}
    return Wanted.of({**since, **query})


def more(timmy: Timmy, wanted: Wanted) -> Callable[[int], list[Event]]:
    """Return what fetches the events before a seq."""
    return lambda before: timmy.explorer.newest(wanted, before=before, limit=PAGE)


def exporting(timmy: Timmy) -> Callable[[str, Mapping[str, str]], Iterable[tuple[bytes, str]]]:
    """Return what yields a file of what a query shows, in pieces, with the words to say meanwhile."""

    def export(format_: str, query: Mapping[str, str]) -> Iterator[tuple[bytes, str]]:
        wanted = wanted_of(query, present.now())
        if format_ == "notebook":
            sql = timmy.explorer.query(wanted, by=by_of(query))
            text = notebook(wanted.described(), home=timmy.settings.home, sql=sql)
            yield text.encode(), "events_view.py is saved; open it with: marimo edit events_view.py"
            return
        with tempfile.TemporaryFile() as file:
            count = timmy.explorer.export(wanted, format_, file, limit=MAX_EXPORT)
            words = f"{parts.plural(count, 'event')} saved"
            if count == MAX_EXPORT:
                words += f": the newest {MAX_EXPORT:,}; `timmy events export` writes all that match"
            file.seek(0)
            while piece := file.read(CHUNK):
                yield piece, words

    return export


# Words -------------------------------------------------------------------------------------------------------


def headline(found: Found, head: int, last: datetime | None) -> str:
    """Answer what the log holds, without counting. HTML."""
    if not head:
        return "<strong>No event yet.</strong> Ask Timmy something on <a href='/'>Home</a>, and it is recorded here."
    recorded = f"<strong>{parts.plural(head, 'event')}</strong>"
    if found.problem:
        return f"{recorded} are recorded, but this cannot be looked up."
    return f"{recorded}; the last one of all came {parts.ago(last)}."


def matching(found: Found, counted: Counted) -> str:
    """Answer what of the log matches, and whether something failed; empty where that goes without saying. HTML."""
    if found.problem:
        return ""
    if counted.problem:
        return f"Those that match were not counted: {escape(counted.problem)}."
    matched = [f"<strong>{parts.count(counted.total)}</strong> match"] if found.wanted.described() else []
    failed = _failures(found, counted)
    wrong = [f"{'went' if matched else 'Went'} wrong: {failed}"] if failed else []
    said = "; ".join([*matched, *wrong])
    return f"{said}." if said else ""


def _failures(found: Found, counted: Counted) -> str:
    failed = [(name, count) for name, count in counted.facets.get("type", []) if name.endswith((".failed", ".error"))]
    if found.wanted.type:
        return ""
    links = [
        f"<a href='/swarm/events?type={name}' data-ask='{escape(dumps({'type': name}), quote=True)}'>"
        f"{parts.count(number)} {name}</a>"
        for name, number in failed[:3]
    ]
    return ", ".join(links)


def nothing(query: Mapping[str, str], head: int) -> str:
    """Return what stands there instead of a table without rows. HTML."""
    if not head:
        return parts.empty(
            "Nothing is recorded yet.", then=f"Ask Timmy something, or type {parts.command('timmy chat')}"
        )
    if query.get("since") or query.get("range"):
        wider = escape(dumps({"since": "", "until": "", "range": ""}), quote=True)
        return parts.empty(
            "No event matches.",
            then=f'<a href="/swarm/events" data-ask="{wider}">Look at all time</a>, or clear a filter above.',
        )
    return parts.empty("No event matches.", then="Clear a filter above, or search for other words.")


def trouble(problem: str) -> str:
    """Return a problem as a card with what still works. HTML."""
    return parts.empty(parts.sentence(problem), then="Change or clear the filter above; the log itself goes on.")


def things_of(event: Event) -> str:
    """Return what an event means, and the ways to the things that it tells of. HTML."""
    meaning = EVENT_TYPES.get(event.type, "a type of one's own")
    links = "".join(
        f'<li><a href="{escape(link.href, quote=True)}">{escape(link.word)}</a></li>' for link in things.links(event)
    )
    return f'<p class="tw-meaning tw-muted">{escape(parts.sentence(meaning))}</p><ul class="tw-things">{links}</ul>'


def record_facts(event: Any) -> str:
    """Return the facts of one event. HTML."""
    return parts.facts(
        [
            ("when", f"{parts.moment(event.ts)} · {parts.ago(event.ts)}"),
            ("source", escape(event.source)),
            ("task", _asks("task", event.task_id)),
            ("agent", _asks("agent", event.agent_id)),
            ("trace", _asks("trace", event.trace_id)),
            ("id", parts.ident(event.id)),
            ("hash", parts.ident(event.hash)),
        ]
    )


def _asks(key: str, value: str | None) -> str:
    """Return a value that shows, when clicked, all events that have it."""
    if not value:
        return parts.ident(None)
    query = escape(dumps(dict.fromkeys(KEYS, "") | {key: value}), quote=True)
    title = escape(f"show all events of {key} {value}, without the other filters", quote=True)
    return f'{parts.ident(value, chars=16)}<a href="#" data-ask="{query}" title="{title}">show all</a>'


def proof_text(proof: Mapping[str, Any]) -> str:
    """Return a proof as the JSON that is saved and given away."""
    return dumps(proof, ensure_ascii=False, indent=2) + "\n"
