"""The log itself: append, read, follow and verify."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from timmy_core.clock import Clock, SystemClock, from_us, to_us
from timmy_core.errors import EventConflictError, EventDataError, EventError, EventNotFoundError
from timmy_core.events.archive import Archive
from timmy_core.events.chain import GENESIS, SALT_BYTES, hash_data, hash_event
from timmy_core.events.cold import Cold
from timmy_core.events.findings import Verification
from timmy_core.events.model import EVENT_TYPES, VERSION, Event, NewEvent, Prepared, prepare
from timmy_core.events.segment import Row, Segment
from timmy_core.events.selection import (
    COLUMNS,
    MAX_LIST,
    Order,
    Selection,
    check_bounds,
    check_types,
    moment_us,
    to_sql,
    types_present,
)  # fmt: skip
from timmy_core.events.text import TextSearch
from timmy_core.events.verify import CheckHeads, verify
from timmy_core.store.engine import Connection, Store

__all__ = ["BATCH", "MAX_LIST", "MAX_MANY", "EventLog", "Events", "Verification"]

# Named, because inside the class `list` is the method.
Events: TypeAlias = list[Event]
Rows: TypeAlias = list[Row]

MAX_MANY: Final = 10_000
BATCH: Final = 5_000
TAIL_POLL_S: Final = 1.0
_AT_ONCE: Final = 500

_INSERT: Final = (
    "INSERT INTO events (seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, salt, data_hash, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BASE: Final = "SELECT seq FROM log_base"  # the last event that is in the archive only; 0 where nothing was pruned


@dataclasses.dataclass(frozen=True, slots=True)
class _Archived:
    """Which of the given ids are in the archive, and up to which base it was asked."""

    base: int
    rows: Mapping[str, Row]


class EventLog:
    """The append-only audit trail over a `Store`; safe to use from any thread.

    Events that were pruned from the table are read from the archive, with the same results.

    Args:
        store: where the events are.
        clock: stamps events that bring no time.
        folder: where the archive is; `archive` beside the store if None.
    """

    def __init__(self, store: Store, clock: Clock | None = None, folder: Path | None = None) -> None:
        self._store = store
        self.clock: Clock = clock or SystemClock()
        self.archive = Archive(store, self, folder or store.path.parent / "archive")
        self._cold = Cold(store, self.archive.folder)
        # Set by whoever wires: what cleans data before it is hashed, and what compares the log with its signed heads.
        self.clean: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
        self.check_heads: CheckHeads | None = None
        self.text: TextSearch | None = None
        with store.read() as connection:
            # What readers keep cursors in: a restored log goes on under another name, though its heads still hold.
            self.epoch: str = connection.execute(
                "SELECT value FROM meta WHERE key IN ('epoch', 'restored') ORDER BY key DESC LIMIT 1"
            ).fetchone()[0]

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
        prepared, given = self._prepare(event), event.id is not None
        return await self._store.awrite(lambda connection: self._insert(connection, prepared, given=given))

    def append_many(self, events: Sequence[NewEvent]) -> Events:
        """Write up to 10,000 events in one transaction, all or none, and return them in order.

        Raises:
            EventError: one of them was refused; none is kept.
        """
        if len(events) > MAX_MANY:
            message = f"{len(events):,} events at once are too many; at most {MAX_MANY:,} fit in one call"
            raise EventDataError(message)
        prepared = [(self._prepare(event), event.id is not None) for event in events]
        # The archive is asked before the transaction, so that nobody else waits for it.
        archived = self._archived([event.id for event, given in prepared if given])
        return self._store.write(
            lambda connection: [self._insert(connection, event, archived, given=given) for event, given in prepared]
        )

    def append_in(self, connection: Connection, event: NewEvent) -> Event:
        """Write an event inside somebody's own `store.write`, so that a state change and its event commit together."""
        return self._insert(connection, self._prepare(event), given=event.id is not None)

    def next_seq(self, connection: Connection) -> int:
        """Return the seq that the next event of this transaction will have, so that rows can name it beforehand."""
        last = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
        return (_one(connection, _BASE) if last is None else int(last)) + 1

    def _prepare(self, event: NewEvent) -> Prepared:
        if self.clean is not None:
            event = dataclasses.replace(event, data=self.clean(event.data))
        return prepare(event)

    def _insert(
        self, connection: Connection, event: Prepared, archived: _Archived | None = None, *, given: bool
    ) -> Event:
        known = connection.execute(f"SELECT {COLUMNS} FROM events WHERE id = ?", (event.id,)).fetchone()  # noqa: S608
        if given and known is None:
            # Only an id that somebody brings can have been written and pruned before.
            base = _one(connection, _BASE)
            if base:
                looked = archived if archived and archived.base == base else self._look(base, [event.id])
                known = looked.rows.get(event.id)
        if known:
            return _same(_event(known), event)
        last = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = last or connection.execute("SELECT seq, hash FROM log_base").fetchone()
        seq += 1
        ts_us = event.ts_us if event.ts_us is not None else to_us(self.clock.now())
        salt = secrets.token_bytes(SALT_BYTES)
        data_hash = hash_data(salt, event.data_json)
        texts = (event.id, event.type, event.source, event.task_id, event.agent_id, event.trace_id)
        chained = hash_event(previous, seq, ts_us, VERSION, texts, data_hash)
        connection.execute(_INSERT, (seq, *texts, event.data_json, ts_us, VERSION, salt, data_hash, chained))
        return _event((seq, *texts, event.data_json, ts_us, VERSION, chained))

    def _archived(self, ids: Sequence[str]) -> _Archived | None:
        if not ids:
            return None
        with self._store.read() as connection:
            base = _one(connection, _BASE)
        return self._look(base, ids)

    def _look(self, base: int, ids: Sequence[str]) -> _Archived:
        return _Archived(base, self._cold.by_id(ids, base) if base else {})

    # Reading -------------------------------------------------------------------------------------------------

    def get(self, key: int | str) -> Event:
        """Return the event with this seq (a number) or id (text).

        Raises:
            EventNotFoundError: there is none.
        """
        column = "seq" if isinstance(key, int) else "id"
        with self._store.read() as connection:
            row = connection.execute(f"SELECT {COLUMNS} FROM events WHERE {column} = ?", (key,)).fetchone()  # noqa: S608
            base = 0 if row else _one(connection, _BASE)
        if base:
            row = self._from_archive(key, base)
        if row is None:
            message = f"no event has the {column} {key!r}; the log ends at seq {self.head()[0]}"
            raise EventNotFoundError(message)
        return _event(row)

    def _from_archive(self, key: int | str, base: int) -> Row | None:
        if isinstance(key, str):
            return self._cold.by_id([key], base).get(key)
        if not 1 <= key <= base:
            return None
        return next(iter(self._cold.select(Selection(after=key - 1, before=key + 1), base, 1, "asc")), None)

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
        text: str | None = None,
        limit: int = 100,
        order: Literal["desc", "asc"] = "desc",
    ) -> Events:
        """Return up to `limit` (at most 10,000) events that match every filter, newest first unless `order="asc"`.

        `since` is included and `until` is not; `after` and `before` are seqs, both excluded. A type that was never
        declared nor written is an error that names near ones, rather than an empty list. `text` has words that all
        have to be in the data; `*` at a word's end stands for any ending.

        Raises:
            EventError: a filter is wrong.
            StoreBusyError: the text index is being filled.
        """
        check_bounds(limit, order)
        types = [type] if isinstance(type, str) else type
        chosen = Selection(
            None if types is None else tuple(types), family, source, task_id, agent_id, trace_id,
            moment_us(since), moment_us(until), after, before,
        )  # fmt: skip
        if text is not None:
            return [_event(row) for row in self._search(text, chosen, limit, order)]
        return [_event(row) for row in self.select(chosen, limit, order)]

    def _search(self, text: str, chosen: Selection, limit: int, order: Order) -> Rows:
        if self.text is None:
            message = "this log has no text index; open the home with `open_timmy` to search in it"
            raise EventError(message)
        if chosen.types:
            self.select(chosen, 1, order)  # an unknown type is an error here too
        return self.text.find(text, chosen, select=self.select, rows_at=self.rows_at, limit=limit, order=order)

    def select(self, chosen: Selection, limit: int, order: Order) -> Rows:
        """Return the matching rows, from the table and, where it does not reach, from the archive."""
        with self._store.read() as connection:
            present = types_present(connection) if chosen.family or chosen.types else []
            hot = connection.execute(*to_sql(chosen, chosen.of_family(present), limit, order)).fetchall()
            # Asked after the rows: whatever a pruning took meanwhile lies at or below this base, in the archive.
            base = _one(connection, _BASE)
        unknown = [name for name in chosen.types or () if name not in EVENT_TYPES and name not in present]
        if unknown:
            check_types(unknown, [*present, *(self._cold.types(base) if base else ())])
        if not base:
            return hot
        hot = [row for row in hot if row[0] > base]
        if order == "asc":
            cold = self._cold.select(chosen, base, limit, order)
            return [*cold, *hot[: limit - len(cold)]]
        return [*hot, *(self._cold.select(chosen, base, limit - len(hot), order) if len(hot) < limit else ())]

    def rows_at(self, seqs: Sequence[int]) -> Rows:
        """Return the rows of these seqs, in the order given; one that is not there is left out."""
        found: dict[int, Row] = {}
        for start in range(0, len(seqs), _AT_ONCE):
            some = seqs[start : start + _AT_ONCE]
            query = f"SELECT {COLUMNS} FROM events WHERE seq IN ({', '.join('?' * len(some))})"  # noqa: S608
            with self._store.read() as connection:
                found |= {row[0]: row for row in connection.execute(query, some)}
                base = 0 if len(found) >= start + len(some) else _one(connection, _BASE)
            missing = [seq for seq in some if seq not in found]
            if base and missing:
                found |= self._cold.at(missing, base)
        return [found[seq] for seq in seqs if seq in found]

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
            row = row or connection.execute("SELECT seq, hash FROM log_base").fetchone() or (0, GENESIS)
        return row[0], row[1].hex()

    def read_after(self, after: int, limit: int = BATCH) -> Events:
        """Return the next events after a seq, oldest first; an empty list at the end."""
        with self._store.read() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                (after, limit),
            ).fetchall()
            base = 0 if rows and rows[0][0] == after + 1 else _one(connection, _BASE)
        if base > after:
            rows = self._cold.select(Selection(after=after), base, limit, "asc")
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

    def forget_read(self) -> None:
        """Drop what was kept in memory of the archive; after a redaction."""
        self._cold.forget()

    def index_ids(self, segment: Segment) -> None:
        """Make a segment's ids quick to find; before its rows leave the table."""
        self._cold.index_ids(segment)

    def wake(self) -> None:
        """Wake everybody who follows the log, so that they look at once whether they should stop."""
        self._store.ring()

    # Proving -------------------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """Walk the whole chain, in the archive and the table, and explain what does not hold; writers go on."""
        return verify(self._store, self.archive, self.check_heads)


def _one(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return row[0] if row else 0


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
