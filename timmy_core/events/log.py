"""The log itself: append, read, follow and verify."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from timmy_core.clock import Clock, SystemClock, from_us, to_us
from timmy_core.errors import EventConflictError, EventDataError, EventError, EventNotFoundError
from timmy_core.events.chain import GENESIS, SALT_BYTES, hash_data, hash_event
from timmy_core.events.model import EVENT_TYPES, VERSION, Event, NewEvent, Prepared, near_types, prepare
from timmy_core.store.engine import Connection, Store
from timmy_core.store.lake import FrameSpec

# Named, because inside the class `list` is the method.
Events: TypeAlias = list[Event]

MAX_LIST: Final = 10_000
MAX_MANY: Final = 10_000
BATCH: Final = 5_000
TAIL_POLL_S: Final = 1.0

_COLUMNS: Final = "seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, hash"
_INSERT: Final = (
    "INSERT INTO events (seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, salt, data_hash, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Every type that occurs, by hopping along the index: as many steps as there are types, however long the log is.
_TYPES_PRESENT: Final = (
    "WITH RECURSIVE t (name) AS (SELECT min(event_type) FROM events "
    "UNION ALL SELECT (SELECT min(event_type) FROM events WHERE event_type > t.name) FROM t WHERE t.name IS NOT NULL) "
    "SELECT name FROM t WHERE name IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the chain found: how many events hold, and the hash (hex) of the last of them.

    `problem` names the first event that does not hold, and is empty where all do.
    """

    problem: str
    checked: int
    redacted: int
    head_hash: str

    @property
    def ok(self) -> bool:
        """Whether the whole chain holds."""
        return not self.problem


class EventLog:
    """The append-only audit trail over a `Store`; safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        with store.read() as connection:
            self.epoch: str = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]

    # Appending -----------------------------------------------------------------------------------------------

    def append(
        self,
        type: str,  # noqa: A002 - the field's own name
        *,
        source: str,
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002
        ts: datetime | None = None,
    ) -> Event:
        """Write one event and return it once it is durable; the same `id` again returns the event of the first time.

        Raises:
            UnknownEventTypeError: the type is not declared; the message names near ones.
            EventDataError: the data or a field cannot be written.
            EventConflictError: the id is taken by an event with other content.
            StoreError: it could not be made durable.
        """
        return self.append_many([NewEvent(type, source, data or {}, task_id, agent_id, trace_id, id, ts)])[0]

    async def aappend(self, event: NewEvent) -> Event:
        """Do as `append`, without blocking the event loop."""
        prepared = prepare(event)
        return await self._store.awrite(lambda connection: self._insert(connection, prepared))

    def append_many(self, events: Sequence[NewEvent]) -> Events:
        """Write up to 10,000 events in one transaction, all or none, and return them in order.

        Raises:
            EventError: one of them was refused; none is kept.
        """
        if len(events) > MAX_MANY:
            message = f"{len(events):,} events at once are too many; at most {MAX_MANY:,} fit in one call"
            raise EventDataError(message)
        prepared = [prepare(event) for event in events]
        return self._store.write(lambda connection: [self._insert(connection, event) for event in prepared])

    def append_in(self, connection: Connection, event: NewEvent) -> Event:
        """Write an event inside somebody's own `store.write`, so that a state change and its event commit together."""
        return self._insert(connection, prepare(event))

    def _insert(self, connection: Connection, event: Prepared) -> Event:
        known = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE id = ?", (event.id,)).fetchone()  # noqa: S608
        if known:
            return _same(_event(known), event)
        last = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
        ts_us = event.ts_us if event.ts_us is not None else to_us(self._clock.now())
        salt = secrets.token_bytes(SALT_BYTES)
        data_hash = hash_data(salt, event.data_json)
        texts = (event.id, event.type, event.source, event.task_id, event.agent_id, event.trace_id)
        chained = hash_event(previous, seq, ts_us, VERSION, texts, data_hash)
        connection.execute(_INSERT, (seq, *texts, event.data_json, ts_us, VERSION, salt, data_hash, chained))
        return _event((seq, *texts, event.data_json, ts_us, VERSION, chained))

    # Reading -------------------------------------------------------------------------------------------------

    def get(self, key: int | str) -> Event:
        """Return the event with this seq (a number) or id (text).

        Raises:
            EventNotFoundError: there is none.
        """
        column = "seq" if isinstance(key, int) else "id"
        with self._store.read() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE {column} = ?", (key,)).fetchone()  # noqa: S608
        if row is None:
            message = f"no event has the {column} {key!r}; the log ends at seq {self.head()[0]}"
            raise EventNotFoundError(message)
        return _event(row)

    def list(
        self,
        *,
        type: str | Sequence[str] | None = None,  # noqa: A002 - the field's own name
        family: str | None = None,
        source: str | None = None,
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        order: Literal["desc", "asc"] = "desc",
    ) -> Events:
        """Return up to `limit` (at most 10,000) events that match every filter, newest first unless `order="asc"`.

        `since` is included and `until` is not; `after` and `before` are seqs, both excluded. A type that was never
        declared nor written is an error that names near ones, rather than an empty list.

        Raises:
            EventError: a filter is wrong.
        """
        if not 1 <= limit <= MAX_LIST:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LIST:,}"
            raise EventError(message)
        types = [type] if isinstance(type, str) else type
        where, values = _conditions(
            (("source = ?", source), ("task_id = ?", task_id), ("agent_id = ?", agent_id), ("trace_id = ?", trace_id)),
            (("ts >= ?", since), ("ts < ?", until)),
            (("seq > ?", after), ("seq < ?", before)),
        )
        with self._store.read() as connection:
            wanted = _wanted_types(connection, types, family)
            query, arguments = _query(where, values, wanted, limit, order)
            return [_event(row) for row in connection.execute(query, arguments).fetchall()]

    def for_task(self, task_id: str, limit: int = 1000) -> Events:
        """Return a task's events, oldest first."""
        return self.list(task_id=task_id, limit=limit, order="asc")

    def for_agent(self, agent_id: str, limit: int = 100) -> Events:
        """Return an agent's latest events, newest first."""
        return self.list(agent_id=agent_id, limit=limit)

    def head(self) -> tuple[int, str]:
        """Return the last seq and its hash in hex; (0, 64 zeros) for an empty log."""
        with self._store.read() as connection:
            row = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return (row[0], row[1].hex()) if row else (0, GENESIS.hex())

    def read_after(self, after: int, limit: int = BATCH) -> Events:
        """Return the next events after a seq, oldest first; an empty list at the end."""
        with self._store.read() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                (after, limit),
            ).fetchall()
        return [_event(row) for row in rows]

    def tail(self, after: int = 0, stop: Callable[[], bool] | None = None) -> Iterator[Events]:
        """Yield batches of events after a seq: first what is there, then what comes, from any process, without gaps.

        Args:
            after: the last seq already seen; 0 for the whole log.
            stop: asked at least once a second; True ends the iteration.
        """
        with self._store.watch() as bell:
            while stop is None or not stop():
                batch = self.read_after(after)
                if batch:
                    after = batch[-1].seq
                    yield batch
                else:
                    bell.wait(TAIL_POLL_S)

    def wake(self) -> None:
        """Wake everybody who follows the log, so that they look at once whether they should stop."""
        self._store.ring()

    # Proving -------------------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """Walk the whole chain and compare every hash; reads in short batches, so writers go on."""
        previous, seq, redacted = GENESIS, 0, 0
        while True:
            with self._store.read() as connection:
                rows = connection.execute(
                    f"SELECT {_COLUMNS}, salt, data_hash FROM events WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                    (seq, BATCH),
                ).fetchall()
            if not rows:
                return Verification("", seq, redacted, previous.hex())
            for row in rows:
                problem = _broken(row, seq, previous)
                if problem:
                    return Verification(problem, seq, redacted, previous.hex())
                seq, previous = row[0], row[10]
                redacted += row[7] is None


def _event(row: Sequence[Any]) -> Event:
    seq, id_, type_, source, task_id, agent_id, trace_id, data, ts_us, v, chained = row
    return Event(
        seq, id_, type_, from_us(ts_us), source, task_id, agent_id, trace_id,
        None if data is None else json.loads(data), v, chained.hex(),
    )  # fmt: skip


def _same(first: Event, again: Prepared) -> Event:
    """Return the event of the first time when a retry brings the same content, and refuse other content."""
    same_fields = (first.type, first.source, first.task_id, first.agent_id, first.trace_id) == (
        again.type,
        again.source,
        again.task_id,
        again.agent_id,
        again.trace_id,
    )
    if same_fields and (first.data is None or first.data == json.loads(again.data_json)):
        return first
    message = f"the id {again.id!r} belongs to event {first.seq} with other content; a new event needs a new id"
    raise EventConflictError(message)


def _conditions(
    texts: Sequence[tuple[str, str | None]],
    times: Sequence[tuple[str, datetime | None]],
    numbers: Sequence[tuple[str, int | None]],
) -> tuple[list[str], list[Any]]:
    pairs: list[tuple[str, Any]] = [(clause, value) for clause, value in texts if value is not None]
    try:
        pairs += [(clause, to_us(moment)) for clause, moment in times if moment is not None]
    except ValueError as error:
        raise EventError(str(error)) from None
    pairs += [(clause, number) for clause, number in numbers if number is not None]
    return [clause for clause, _ in pairs], [value for _, value in pairs]


def _wanted_types(connection: Connection, types: Sequence[str] | None, family: str | None) -> Sequence[str] | None:
    """Turn a family into the types of it that occur; None means every type."""
    present = [row[0] for row in connection.execute(_TYPES_PRESENT)] if family or types else []
    for name in types or ():
        if name not in EVENT_TYPES and name not in present:
            near = near_types(name, (*EVENT_TYPES, *present))
            message = f"event type {name!r} is neither declared nor in the log" + (
                f"; did you mean {' or '.join(near)}?" if near else ""
            )
            raise EventError(message)
    if family is None:
        return types
    members = [name for name in present if name.partition(".")[0] == family]
    return [name for name in members if types is None or name in types]


def _query(
    where: list[str], values: list[Any], types: Sequence[str] | None, limit: int, order: Literal["desc", "asc"]
) -> tuple[str, list[Any]]:
    """One bounded walk of an index per type, merged: the cost follows the limit, not the length of the log."""
    if order not in ("desc", "asc"):
        message = f"order {order!r} is not known; expected 'desc' or 'asc'"
        raise EventError(message)
    tail = f"ORDER BY seq {order.upper()} LIMIT {limit:d}"
    if types is None:
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {_COLUMNS} FROM events {clause} {tail}", values  # noqa: S608 - clauses are this module's own
    if not types:
        return f"SELECT {_COLUMNS} FROM events WHERE 0", []  # noqa: S608
    clause = " AND ".join(["event_type = ?", *where])
    one = f"SELECT * FROM (SELECT {_COLUMNS} FROM events WHERE {clause} {tail})"  # noqa: S608
    return f"{' UNION ALL '.join([one] * len(types))} {tail}", [x for name in types for x in (name, *values)]


def _broken(row: Sequence[Any], last_seq: int, previous: bytes) -> str | None:
    seq, data, salt, data_hash = row[0], row[7], row[11], row[12]
    if seq != last_seq + 1:
        return f"seq {last_seq + 1} is missing; the next event is {seq}"
    if data is not None and hash_data(salt, data) != data_hash:
        return f"the data of event {seq} was altered"
    if hash_event(previous, seq, row[8], row[9], tuple(row[1:7]), data_hash) != row[10]:
        return f"event {seq} does not follow from the one before: it, or one before it, was altered"
    return None


EVENTS_FRAME: Final = FrameSpec(
    name="events",
    source="events",
    columns={
        "seq": ("seq", "int"),
        "ts": ("ts", "time"),
        "type": ("event_type", "text"),
        "family": ("substr(event_type, 1, instr(event_type, '.') - 1)", "text"),
        "source": ("source", "text"),
        "task_id": ("task_id", "text"),
        "agent_id": ("agent_id", "text"),
        "trace_id": ("trace_id", "text"),
        "data": ("data", "text"),
        "id": ("id", "text"),
    },
    time="ts",
    key="seq",
)
