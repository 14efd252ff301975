"""Whether a session uses memory: a switch a session, on unless the settings or a person say otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from timmy_core.clock import Clock, from_us, to_us
from timmy_core.errors import QuestionError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store

_SESSION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}$")
_MAX_BY: Final = 100
_MAX_LISTED: Final = 1000
_PUT: Final = """
INSERT INTO session_memory (session, enabled, changed_by, changed_at) VALUES (?, ?, ?, ?)
ON CONFLICT (session) DO UPDATE SET enabled = excluded.enabled, changed_by = excluded.changed_by,
    changed_at = excluded.changed_at
"""


@dataclass(frozen=True, slots=True)
class Switch:
    """How a session's switch stands; `changed_by` is None where nobody touched it."""

    session: str
    enabled: bool
    changed_by: str | None = None
    changed_at: datetime | None = None


class Switches:
    """The switches of all sessions of one home.

    Args:
        store: where they are.
        events: is told of each change.
        clock: stamps it.
        agent: whose memory it is.
        default: how a session stands that nobody switched.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock, *, agent: str, default: bool) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._agent = agent
        self._default = default

    def get(self, session: str) -> Switch:
        """Return how a session stands."""
        with self._store.read() as connection:
            return self.get_in(connection, session)

    def get_in(self, connection: Connection, session: str) -> Switch:
        """Return how a session stands, by a connection that is open already."""
        query = "SELECT enabled, changed_by, changed_at FROM session_memory WHERE session = ?"
        row = connection.execute(query, (session,)).fetchone()
        return Switch(session, self._default) if row is None else Switch(session, bool(row[0]), row[1], from_us(row[2]))

    def all(self) -> list[Switch]:
        """Return the sessions that somebody switched, the latest first; a thousand at most."""
        query = "SELECT session, enabled, changed_by, changed_at FROM session_memory ORDER BY changed_at DESC LIMIT ?"
        with self._store.read() as connection:
            rows = connection.execute(query, (_MAX_LISTED,)).fetchall()
        return [Switch(row[0], bool(row[1]), row[2], from_us(row[3])) for row in rows]

    def put(self, session: str, enabled: bool, *, by: str) -> Switch:  # noqa: FBT001 - the state itself
        """Switch memory on or off for a session; durable when this returns, with its event.

        Raises:
            QuestionError: the session's name is not usable, or nobody is named.
        """
        check_session(session)
        if not by or len(by) > _MAX_BY or not by.isprintable():
            message = f"'by' has to say who switches, in 1 to {_MAX_BY} printable characters"
            raise QuestionError(message)

        def run(connection: Connection) -> Switch:
            before = self.get_in(connection, session)
            if before.enabled == enabled and before.changed_by is not None:
                return before
            now = self._clock.now()
            connection.execute(_PUT, (session, enabled, by, to_us(now)))
            data = {"session": session, "enabled": enabled, "by": by}
            self._events.append_in(connection, NewEvent("memory.switched", "agent", data, agent_id=self._agent))
            return Switch(session, enabled, by, now)

        return self._store.write(run)


def check_session(session: str) -> None:
    """Check a session's name.

    Raises:
        QuestionError: it is not usable.
    """
    if not _SESSION.match(session):
        message = f"the session {session!r} is not usable; expected 1 to 100 letters, digits or _ . : -, such as 's1'"
        raise QuestionError(message)
