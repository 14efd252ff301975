"""Saved views: filters of the events page under a name, kept in the home."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from timmy_core.clock import Clock, SystemClock, from_us, to_us
from timmy_core.errors import EventError
from timmy_core.store.engine import Connection, Store

MAX_VIEWS: Final = 200
MAX_NAME_CHARS: Final = 60
_MAX_QUERY_CHARS: Final = 4000


@dataclass(frozen=True, slots=True)
class View:
    """A name and the filters, as they stand in the page's address."""

    name: str
    query: Mapping[str, str]
    saved_at: datetime


class Views:
    """The saved views of one home; a view is not an event, and can be replaced and deleted."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()

    def list(self) -> tuple[View, ...]:
        """Return every view, by name."""
        with self._store.read() as connection:
            rows = connection.execute("SELECT name, query, saved_at FROM saved_views ORDER BY name").fetchall()
        return tuple(View(name, json.loads(query), from_us(at)) for name, query, at in rows)

    def save(self, name: str, query: Mapping[str, str]) -> View:
        """Keep the filters under a name; the same name again replaces them.

        Raises:
            EventError: the name or the filters cannot be kept, or there are too many views.
        """
        name = name.strip()
        text = json.dumps({str(key): str(value) for key, value in query.items() if value}, ensure_ascii=False)
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            message = f"a view's name has 1 to {MAX_NAME_CHARS} printable characters, not {name[:80]!r}"
            raise EventError(message)
        if len(text) > _MAX_QUERY_CHARS:
            message = f"the view's filters are {len(text):,} characters long; at most {_MAX_QUERY_CHARS:,} are kept"
            raise EventError(message)
        now = self._clock.now()

        def keep(connection: Connection) -> None:
            others = connection.execute("SELECT count(*) FROM saved_views WHERE name <> ?", (name,)).fetchone()[0]
            if others >= MAX_VIEWS:
                message = f"there are {MAX_VIEWS} saved views already; delete one first"
                raise EventError(message)
            connection.execute(
                "INSERT INTO saved_views (name, query, saved_at) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET query = excluded.query, saved_at = excluded.saved_at",
                (name, text, to_us(now)),
            )

        self._store.write(keep)
        return View(name, json.loads(text), now)

    def delete(self, name: str) -> bool:
        """Delete a view; False if there was none of that name."""
        return self._store.write(
            lambda connection: connection.execute("DELETE FROM saved_views WHERE name = ?", (name,)).rowcount > 0
        )
