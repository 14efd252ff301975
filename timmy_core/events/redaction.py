"""Redacting: what an event said is removed everywhere it is kept, and that it was there stays provable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

from timmy_core.clock import to_us
from timmy_core.errors import EventError, StoreBusyError
from timmy_core.events.blobs import Blobs, named_in
from timmy_core.events.model import Event, NewEvent
from timmy_core.events.segment import DATA
from timmy_core.store.engine import Connection, Store

if TYPE_CHECKING:
    from timmy_core.events.log import EventLog

FILTERS: Final = (
    "type", "family", "source", "task_id", "agent_id", "trace_id", "since", "until", "after", "before",
)  # fmt: skip
MAX_REASON_CHARS: Final = 500
_CHUNK: Final = 500  # events whose data is removed in one transaction
_OWN_FAMILY: Final = "log"  # what the log says of itself holds no content, and a redaction stays on record


@dataclass(frozen=True, slots=True)
class Redacted:
    """What a redaction did: how many events lost their data, and how many segments were written anew."""

    count: int
    segments: int


class Forgets(Protocol):
    """Whoever keeps something made from events' data, such as an index of their words."""

    def forget(self, events: Sequence[tuple[int, str]], /) -> None:
        """Remove all that was made from these events, given as seq and data (JSON); a repetition changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class _Request:
    """Why events are redacted, who asked, and when, in µs."""

    reason: str
    asked_by: str
    at: int


class Redaction:
    """Removes the data of events from the table, the archive, the blobs and every `Forgets`.

    What is to go is noted first. A crash at any point leaves the note, and the next start finishes the work.
    """

    def __init__(self, store: Store, log: EventLog, blobs: Blobs) -> None:
        self.forgetters: list[Forgets] = []
        self._store = store
        self._log = log
        self._blobs = blobs

    def redact(
        self,
        *,
        seq: int | Sequence[int] | None = None,
        where: Mapping[str, Any] | None = None,
        reason: str,
        by: str,
    ) -> Redacted:
        """Redact one event, several, or all that match the filters of `list`, and return when no byte is left.

        Raises:
            EventError: it is not clear what to redact, or the reason or the name is missing.
            EventNotFoundError: there is no such event.
            StoreBusyError: others held the archive or the write-ahead log; the next start finishes what began.
            StoreError: a segment that holds the data is missing or damaged; so too.
        """
        if (seq is None) == (where is None):
            message = "say what to redact: either seq=… or where={…}"
            raise EventError(message)
        for name, text in (("reason", reason), ("by", by)):
            if not text.strip() or len(text) > MAX_REASON_CHARS:
                message = f"{name} has to be text of 1 to {MAX_REASON_CHARS} characters; it stays on record"
                raise EventError(message)
        request = _Request(reason, by, to_us(self._log.clock.now()))
        with self._log.archive.exclusive():
            self.finish()
            if seq is not None:
                self._note_seqs([seq] if isinstance(seq, int) else seq, request)
            else:
                self._note_matching(where or {}, request)
            return self.finish()

    # Noting what is to go ------------------------------------------------------------------------------------

    def _note_seqs(self, seqs: Sequence[int], request: _Request) -> None:
        events = [self._log.get(int(number)) for number in seqs]
        own = next((event for event in events if event.family == _OWN_FAMILY), None)
        if own is not None:
            message = f"event {own.seq} is {own.type}: what the log says of itself is not redacted"
            raise EventError(message)
        self._note(events, request)

    def _note_matching(self, where: Mapping[str, Any], request: _Request) -> None:
        unknown = [name for name in where if name not in FILTERS]
        if unknown or not where:
            wrong = f"{unknown[0]!r} is no filter" if unknown else "no filter was given"
            message = f"{wrong}; expected one or more of {', '.join(FILTERS)}"
            raise EventError(message)
        filters = dict(where)
        cursor = filters.pop("after", None) or 0
        # What is appended from now on is not meant.
        before = filters.pop("before", None) or self._log.head()[0] + 1
        while events := self._log.list(**filters, after=cursor, before=before, limit=_CHUNK, order="asc"):
            cursor = events[-1].seq
            self._note([event for event in events if event.family != _OWN_FAMILY], request)

    def _note(self, events: Sequence[Event], request: _Request) -> None:
        rows = [(event.seq, request.reason, request.asked_by, request.at) for event in events if event.data is not None]
        if rows:
            statement = (
                "INSERT INTO redactions (seq, state, reason, asked_by, at) VALUES (?, 'pending', ?, ?, ?) "
                "ON CONFLICT (seq) DO UPDATE SET state = 'pending'"
            )
            self._store.write(lambda connection: connection.executemany(statement, rows))

    # Removing ------------------------------------------------------------------------------------------------

    def finish(self) -> Redacted:
        """Remove all that is noted; call it while holding the archive alone. Doing it again changes nothing."""
        self._log.archive.settle()
        pending = self._pending(0, _CHUNK)
        if not pending:
            return Redacted(0, 0)
        while pending:
            self._remove([seq for seq, _ in pending])
            pending = self._pending(pending[-1][0], _CHUNK)
        segments = self._remove_from_archive()
        if not self._store.empty_wal():
            message = (
                "the data is removed, but others read the write-ahead log, which still holds a copy; "
                "redact again, or start anew, to finish"
            )
            raise StoreBusyError(message)
        return Redacted(self._store.write(self._close), segments)

    def _pending(self, after: int, limit: int) -> list[tuple[int, _Request]]:
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT seq, reason, asked_by, at FROM redactions WHERE state = 'pending' AND seq > ? "
                "ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        return [(row[0], _Request(*row[1:])) for row in rows]

    def _remove(self, seqs: Sequence[int]) -> None:
        """Remove some events' data from all but the archive; what was made from the data goes before the data."""
        kept = [(row[0], row[DATA]) for row in self._log.rows_at(seqs) if row[DATA] is not None]
        if kept:
            for forgetter in self.forgetters:
                forgetter.forget(kept)
            self._blobs.delete(digest for _, data in kept if (digest := named_in(json.loads(data))))
        # Nothing but numbers enters the text.
        chosen = ", ".join(map(str, map(int, seqs)))
        statement = f"UPDATE events SET data = NULL, salt = zeroblob(16) WHERE seq IN ({chosen}) AND data IS NOT NULL"  # noqa: S608
        self._store.write(lambda connection: connection.execute(statement))

    def _remove_from_archive(self) -> int:
        rewritten = 0
        for segment in self._log.archive.segments():
            with self._store.read() as connection:
                seqs = {
                    row[0]
                    for row in connection.execute(
                        "SELECT seq FROM redactions WHERE state = 'pending' AND seq BETWEEN ? AND ?",
                        (segment.first_seq, segment.last_seq),
                    )
                }
            if seqs:
                self._log.archive.erase(segment, seqs)
                rewritten += 1
        self._log.forget_read()
        return rewritten

    def _close(self, connection: Connection) -> int:
        """Say in the log what was redacted, one event a request, and that it is done, in one transaction."""
        rows = connection.execute(
            "SELECT at, reason, asked_by, seq FROM redactions WHERE state = 'pending' "
            "ORDER BY at, reason, asked_by, seq"
        ).fetchall()
        for (_, reason, asked_by), group in groupby(rows, key=lambda row: row[:3]):
            seqs = [row[3] for row in group]
            data = {"by": asked_by, "reason": reason, "count": len(seqs), "first_seq": seqs[0], "last_seq": seqs[-1]}
            self._log.append_in(connection, NewEvent("log.redacted", "archive", data))
        connection.execute("UPDATE redactions SET state = 'done' WHERE state = 'pending'")
        return len(rows)
