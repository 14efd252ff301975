"""Which events are asked for: one description, and the bounded SQL that answers it from the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from timmy_core.clock import to_us
from timmy_core.errors import EventError
from timmy_core.events.model import EVENT_TYPES, near_types
from timmy_core.store.engine import Connection

MAX_LIST: Final = 10_000
Order = Literal["desc", "asc"]

COLUMNS: Final = "seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, hash"
# Every type that occurs, by hopping along the index: as many steps as there are types, however long the log is.
_TYPES_PRESENT: Final = (
    "WITH RECURSIVE t (name) AS (SELECT min(event_type) FROM events "
    "UNION ALL SELECT (SELECT min(event_type) FROM events WHERE event_type > t.name) FROM t WHERE t.name IS NOT NULL) "
    "SELECT name FROM t WHERE name IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Every filter has to hold; None is no filter. `since_us` is included; `until_us`, `after`, `before` are not."""

    types: tuple[str, ...] | None = None
    family: str | None = None
    source: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    trace_id: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    after: int | None = None
    before: int | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The columns that have to equal a text."""
        pairs = (
            ("source", self.source),
            ("task_id", self.task_id),
            ("agent_id", self.agent_id),
            ("trace_id", self.trace_id),
        )
        return {name: value for name, value in pairs if value is not None}

    def of_family(self, present: Sequence[str]) -> tuple[str, ...] | None:
        """Turn types and family into the types of them that occur; None means every type."""
        if self.family is None:
            return self.types
        members = (name for name in present if name.partition(".")[0] == self.family)
        return tuple(name for name in members if self.types is None or name in self.types)


def moment_us(moment: datetime | None) -> int | None:
    """Return a filter's time in µs, or None.

    Raises:
        EventError: it has no zone.
    """
    try:
        return None if moment is None else to_us(moment)
    except ValueError as error:
        raise EventError(str(error)) from None


def check_bounds(limit: int, order: str) -> None:
    """Refuse a limit or an order that cannot be.

    Raises:
        EventError: it names what was expected.
    """
    if not 1 <= limit <= MAX_LIST:
        message = f"limit {limit} is out of range; expected 1 to {MAX_LIST:,}"
        raise EventError(message)
    if order not in ("desc", "asc"):
        message = f"order {order!r} is not known; expected 'desc' or 'asc'"
        raise EventError(message)


def types_present(connection: Connection) -> list[str]:
    """Return every type that occurs in the table."""
    return [row[0] for row in connection.execute(_TYPES_PRESENT)]


def check_types(types: Sequence[str], present: Sequence[str]) -> None:
    """Refuse a type that is neither declared nor written.

    Raises:
        EventError: it names near ones.
    """
    for name in types:
        if name not in EVENT_TYPES and name not in present:
            near = near_types(name, (*EVENT_TYPES, *present))
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            message = f"event type {name!r} is neither declared nor in the log{hint}"
            raise EventError(message)


def to_sql(chosen: Selection, types: Sequence[str] | None, limit: int, order: Order) -> tuple[str, list[Any]]:
    """One bounded walk of an index per type, merged: the cost follows the limit, not the length of the log."""
    numbers = (
        ("ts >= ?", chosen.since_us),
        ("ts < ?", chosen.until_us),
        ("seq > ?", chosen.after),
        ("seq < ?", chosen.before),
    )
    pairs: list[tuple[str, Any]] = [(f"{name} = ?", value) for name, value in chosen.texts.items()]
    pairs += [(clause, number) for clause, number in numbers if number is not None]
    where, values = [clause for clause, _ in pairs], [value for _, value in pairs]
    tail = f"ORDER BY seq {order.upper()} LIMIT {limit:d}"
    if types is None:
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {COLUMNS} FROM events {clause} {tail}", values  # noqa: S608 - clauses are this module's own
    if not types:
        return f"SELECT {COLUMNS} FROM events WHERE 0", []  # noqa: S608
    clause = " AND ".join(["event_type = ?", *where])
    one = f"SELECT * FROM (SELECT {COLUMNS} FROM events WHERE {clause} {tail})"  # noqa: S608
    return f"{' UNION ALL '.join([one] * len(types))} {tail}", [x for name in types for x in (name, *values)]
