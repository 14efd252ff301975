"""What the log is told of the memory: that an entry was stored, changed or forgotten, never its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.memory.intervals import Closed
from timmy_core.memory.model import Entry
from timmy_core.memory.rows import fetch
from timmy_core.store.engine import Connection

SOURCE: Final = "memory"


class Journal:
    """Writes events into the transaction of the change itself."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def say(self, connection: Connection, type_: str, entry: Entry, data: Mapping[str, Any]) -> None:
        """Write an event about one entry, in its trace."""
        event = NewEvent(
            type_, SOURCE, {"entry": entry.id, **data}, entry.task_id, entry.agent_id, entry.trace_id
        )  # fmt: skip
        self._events.append_in(connection, event)

    def stored(self, connection: Connection, entry: Entry, *, again: bool) -> None:
        """Say that an entry was remembered, or once more."""
        data = {
            "kind": entry.kind, "state": entry.state, "scope": entry.scope, "session": entry.session,
            "characters": len(entry.text), "passages": entry.parts, "again": again,
        }  # fmt: skip
        self.say(connection, "memory.stored", entry, data)

    def closed(self, connection: Connection, closed: Sequence[Closed], by: str = SOURCE) -> None:
        """Say of each fact that it no longer holds, in the trace of the entry that took its place."""
        for one in closed:
            cause = fetch(connection, one.cause)
            data = {"entry": one.id, "replaced_by": cause.id if one.cause != one.seq else None, "by": by}
            event = NewEvent("memory.closed", SOURCE, data, cause.task_id, cause.agent_id, cause.trace_id)
            self._events.append_in(connection, event)

    def forgotten(self, connection: Connection, ids: Sequence[str], reason: str, by: str) -> None:
        """Say which entries were removed, why and for whom."""
        data = {"entries": list(ids), "count": len(ids), "reason": reason, "by": by}
        self._events.append_in(connection, NewEvent("memory.forgotten", SOURCE, data))
