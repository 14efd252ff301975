"""Retention: what is archived and old leaves the database, and what must be forgotten is redacted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from timmy_core.clock import to_us
from timmy_core.errors import EventError, StoreError
from timmy_core.events.blobs import Blobs
from timmy_core.events.model import NewEvent
from timmy_core.events.redaction import Redacted, Redaction
from timmy_core.events.segment import DATA, Segment
from timmy_core.store.engine import Connection, Store

if TYPE_CHECKING:
    from timmy_core.events.log import EventLog

CHUNK: int = 2_000  # events deleted in one transaction; others wait so long
_VACUUM_PAGES: Final = 512


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning did: how many events and segments left the database, and what the disk got back."""

    events: int
    segments: int
    bytes_back: int


class Retention:
    """Prunes and redacts one log; crash-safe, and one process at a time."""

    def __init__(self, store: Store, log: EventLog, blobs: Blobs) -> None:
        self.redaction = Redaction(store, log, blobs)
        self._store = store
        self._log = log

    def prune(self, older_than: timedelta | datetime) -> Pruned:
        """Remove whole archived segments from the database, all of whose events are older than an age or a moment.

        Each segment is checked, byte by byte and hash by hash, right before its rows are deleted. They are still
        read, through the archive. Writers wait for one short transaction at a time.

        Raises:
            EventError: the age is negative, or the moment has no zone.
            StoreError: a segment does not hold and cannot be made anew; what was pruned before stays so.
        """
        cutoff = self._cutoff(older_than)
        size = self._store.size_bytes()
        events = segments = 0
        while True:
            with self._log.archive.exclusive():
                events += self._delete()
                segment = self._next(cutoff)
                if segment is None:
                    break
                self._allow(segment)
                events += self._delete()
                segments += 1
        if events:
            self._give_back()
        return Pruned(events, segments, max(0, size - self._store.size_bytes()) if events else 0)

    def redact(
        self,
        *,
        seq: int | Sequence[int] | None = None,
        where: Mapping[str, Any] | None = None,
        reason: str,
        by: str,
    ) -> Redacted:
        """Remove the data of events everywhere; see `Redaction.redact`."""
        return self.redaction.redact(seq=seq, where=where, reason=reason, by=by)

    def finish(self) -> None:
        """Finish what a crash left of a pruning or a redaction.

        Raises:
            StoreBusyError: another process is at work in the archive, and finishes it.
            StoreError: it cannot be finished, for instance because a segment is missing.
        """
        if not self.unfinished():
            return
        with self._log.archive.exclusive(0):
            if self._delete():
                self._give_back()
            self.redaction.finish()

    def unfinished(self) -> bool:
        """Whether a pruning or a redaction began and has not ended."""
        with self._store.read() as connection:
            return bool(
                connection.execute(
                    "SELECT EXISTS (SELECT 1 FROM log_base WHERE prune_to > seq) "
                    "OR EXISTS (SELECT 1 FROM redactions WHERE state = 'pending')"
                ).fetchone()[0]
            )

    # The steps of a pruning ----------------------------------------------------------------------------------

    def _cutoff(self, older_than: timedelta | datetime) -> int:
        try:
            if isinstance(older_than, datetime):
                return to_us(older_than)
        except ValueError as error:
            raise EventError(str(error)) from None
        if older_than < timedelta(0):
            message = f"an age of {older_than} lies in the future; give a positive one, such as timedelta(days=90)"
            raise EventError(message)
        return to_us(self._log.clock.now() - older_than)

    def _next(self, cutoff: int) -> Segment | None:
        """The next segment, where all of it is old enough and events follow it."""
        with self._store.read() as connection:
            base = connection.execute("SELECT seq FROM log_base").fetchone()[0]
            head = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        following = (segment for segment in self._log.archive.segments() if segment.last_seq > base)
        segment = next(following, None)
        return segment if segment and segment.last_ts < cutoff and segment.last_seq < head else None

    def _allow(self, segment: Segment) -> None:
        """Let a segment's rows be deleted, once its file was shown to hold all of them."""
        archive = self._log.archive
        problem = archive.check(segment) or self._lacks(segment)
        if problem:
            # The rows are still here, so the file can be made anew; what is then wrong is said.
            segment = archive.rebuild(segment)
            problem = archive.check(segment) or self._lacks(segment)
        with self._store.read() as connection:
            last = connection.execute("SELECT hash FROM events WHERE seq = ?", (segment.last_seq,)).fetchone()
            base = connection.execute("SELECT hash FROM log_base").fetchone()
        if not problem and (last, base) != ((segment.last_hash,), (segment.before_hash,)):
            problem = f"the database does not hold what was sealed in {segment}"
        if problem:
            message = f"{problem}; it was not pruned: `timmy events verify` says more"
            raise StoreError(message)
        self._log.index_ids(segment)
        self._store.write(lambda c: c.execute("UPDATE log_base SET prune_to = ?", (segment.last_seq,)))

    def _lacks(self, segment: Segment) -> str:
        """Say so where a file holds fewer data than the table; the chain alone would take it for redaction."""
        with self._store.read() as connection:
            query = "SELECT count(*) FROM events WHERE seq BETWEEN ? AND ? AND data IS NULL"
            redacted = connection.execute(query, (segment.first_seq, segment.last_seq)).fetchone()[0]
        empty = sum(row[DATA] is None for rows in self._log.archive.groups(segment) for row in rows)
        return "" if empty == redacted else f"the archive segment {segment} does not hold the data of all its events"

    def _delete(self) -> int:
        """Delete what is allowed, in short transactions that each move the base along."""
        return self._store.write_steps(self._delete_some)

    def _delete_some(self, connection: Connection) -> int:
        base, prune_to = connection.execute("SELECT seq, prune_to FROM log_base").fetchone()
        upto = min(base + CHUNK, prune_to)
        if upto <= base:
            return 0
        last = connection.execute("SELECT hash FROM events WHERE seq = ?", (upto,)).fetchone()[0]
        deleted = connection.execute("DELETE FROM events WHERE seq <= ?", (upto,)).rowcount
        connection.execute("UPDATE log_base SET seq = ?, hash = ?", (upto, last))
        _vacuum(connection)
        if upto == prune_to:
            first = connection.execute("SELECT max(first_seq) FROM segments WHERE last_seq <= ?", (upto,)).fetchone()[0]
            data = {"first_seq": first, "last_seq": upto, "last_hash": last.hex()}
            self._log.append_in(connection, NewEvent("log.pruned", "archive", data))
        return deleted

    def _give_back(self) -> None:
        self._store.write_steps(_vacuum)
        # Where others read just now, the next checkpoint cuts the file instead.
        self._store.empty_wal()


def _vacuum(connection: Connection) -> int:
    """Give some free pages back to the disk, and return how many are left that can be."""
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free:
        connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES:d})").fetchall()
    left: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    # In a store that was made without it, nothing moves; the room is used again by what comes.
    return left if left < free else 0
