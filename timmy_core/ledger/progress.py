"""How far each node was read, and who reconciles it now; kept in the store, so that the next process goes on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from timmy_core.clock import Clock, from_us, to_us
from timmy_core.store.engine import Connection, Store

EVENTS: Final = "events"  # the node's own word for how far its events were heard
INVOICES: Final = "invoices"  # up to which moment its invoices were compared
PAYMENTS: Final = "payments"  # likewise its payments
OPENED: Final = "opened"  # when the book of the node began

_CURSOR: Final = "SELECT value FROM node_cursors WHERE node = ? AND stream = ?"
_SAVE: Final = """
INSERT INTO node_cursors (node, stream, value, at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (node, stream) DO UPDATE SET value = ?3, at = ?4
"""
_TAKE: Final = """
INSERT INTO node_leases (node, owner, until) VALUES (?1, ?2, ?3)
ON CONFLICT (node) DO UPDATE SET owner = ?2, until = ?3 WHERE owner = ?2 OR until <= ?4
RETURNING owner
"""
_GIVE: Final = "DELETE FROM node_leases WHERE node = ? AND owner = ?"


class Progress:
    """The cursors and leases of all nodes.

    Args:
        store: where they are.
        clock: the time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def cursor(self, node: str, stream: str) -> str | None:
        """Return how far a stream was read, or None where it never was."""
        with self._store.read() as connection:
            row = connection.execute(_CURSOR, (node, stream)).fetchone()
        return None if row is None else str(row[0])

    def moment(self, node: str, stream: str) -> datetime | None:
        """Return the moment up to which a stream was read."""
        value = self.cursor(node, stream)
        return None if value is None else from_us(int(value))

    def save(self, node: str, stream: str, value: str | datetime) -> None:
        """Note how far a stream was read; durable when it returns."""
        text = value if isinstance(value, str) else str(to_us(value))
        now = to_us(self._clock.now())
        self._store.write(lambda connection: connection.execute(_SAVE, (node, stream, text, now)).rowcount)

    def take(self, node: str, owner: str, seconds: float) -> bool:
        """Take a node's lease, or hold it longer; False while somebody else has it."""
        now = self._clock.now()
        until = to_us(now + timedelta(seconds=seconds))

        def write(connection: Connection) -> bool:
            return connection.execute(_TAKE, (node, owner, until, to_us(now))).fetchone() is not None

        return self._store.write(write)

    def give_back(self, node: str, owner: str) -> None:
        """Let the next one have the lease."""
        self._store.write(lambda connection: connection.execute(_GIVE, (node, owner)).rowcount)
