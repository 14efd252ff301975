"""The archive: closed segments of the log as Parquet files, sealed once and checked before anything relies on them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timmy_core.clock import to_us
from timmy_core.errors import StoreBusyError, StoreError
from timmy_core.events.chain import GENESIS, broken
from timmy_core.events.files import ASIDE, aside, digest_of, make_folder, put_in_place, writing
from timmy_core.events.findings import Finding
from timmy_core.events.model import NewEvent
from timmy_core.events.segment import (
    ROW,
    SEGMENT_COLUMNS,
    Row,
    Segment,
    SegmentWriter,
    file_name,
    misled,
    read_segments,
    reading,
    rows_of,
    tables,
    without_data,
)  # fmt: skip
from timmy_core.store.engine import Connection, Store
from timmy_core.store.lock import take

if TYPE_CHECKING:
    from timmy_core.events.log import EventLog

SEGMENT: int = 500_000  # events in a segment
BATCH: Final = 5_000  # events in one read; short, so that the write-ahead log can be emptied between two
PATIENCE_S: Final = 600.0

_ROW: Final = ", ".join(ROW)


class Archive:
    """Seals, checks and mends the segments of one log; one process at a time does, and writers go on meanwhile."""

    def __init__(self, store: Store, log: EventLog, folder: Path) -> None:
        self.folder = folder
        self._store = store
        self._log = log

    def segments(self) -> list[Segment]:
        """Return every sealed segment, first to last."""
        return read_segments(self._store)

    def path(self, segment: Segment) -> Path:
        """Return where a segment's file is."""
        return self.folder / segment.file

    @contextlib.contextmanager
    def exclusive(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Hold the archive alone, over all processes; the kernel lets go of it when the holder dies.

        Raises:
            StoreBusyError: another held it for all of `patience_s` seconds.
        """
        make_folder(self.folder)
        with writing(self.folder):
            fd = os.open(self.folder / "seal.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if not take(fd, patience_s):
                message = f"another process seals, prunes or redacts in {self.folder}; try again when it is done"
                raise StoreBusyError(message)
            yield
        finally:
            os.close(fd)

    # Sealing -------------------------------------------------------------------------------------------------

    def seal(self, *, limit: int | None = None) -> list[Segment]:
        """Archive every closed segment, at most `limit` of them, and return those; writers go on meanwhile.

        Raises:
            StoreFullError: the disk is full; what was sealed before stays, and nothing is lost.
            StoreError: a file cannot be written, or the log is damaged there.
        """
        sealed: list[Segment] = []
        while limit is None or len(sealed) < limit:
            # Asked without the lock first: most calls find nothing to do.
            if self._due() is None:
                break
            with self.exclusive():
                due = self._due()
                if due is not None:
                    sealed.append(self._seal(*due))
        return sealed

    def _due(self) -> tuple[int, bytes] | None:
        """The last sealed seq and its hash, where a whole segment of events follows it."""
        with self._store.read() as connection:
            last = connection.execute("SELECT last_seq, last_hash FROM segments ORDER BY first_seq DESC LIMIT 1")
            after, previous = last.fetchone() or (0, GENESIS)
            head = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        return (after, previous) if head >= after + SEGMENT else None

    def _seal(self, after: int, previous: bytes) -> Segment:
        path = self.folder / file_name(after + 1, after + SEGMENT)
        segment = self._write(path, after, after + SEGMENT, previous)
        with writing(path):
            put_in_place(path)

        def keep(connection: Connection) -> None:
            marks = ", ".join("?" * len(fields(Segment)))
            values = [getattr(segment, field.name) for field in fields(Segment)]
            connection.execute(f"INSERT INTO segments ({SEGMENT_COLUMNS}) VALUES ({marks})", values)  # noqa: S608
            self._log.append_in(connection, _sealed_event(segment))

        self._store.write(keep)
        return segment

    def _write(self, path: Path, after: int, last: int, previous: bytes) -> Segment:
        """Write the events after one seq to another, aside; the rows come in short reads and are checked."""
        with writing(path):
            with SegmentWriter(path, after, previous) as writer:
                while writer.last_seq < last:
                    rows = self._rows(writer.last_seq, min(BATCH, last - writer.last_seq))
                    if not rows:
                        message = (
                            f"events {writer.last_seq + 1:,} to {last:,} are not in the database; nothing was sealed"
                        )
                        raise StoreError(message)
                    writer.add(rows)
            digest, size = digest_of(aside(path)), aside(path).stat().st_size
        return Segment(
            after + 1, last, path.name, digest, previous, writer.last_hash, writer.first_ts or 0, writer.last_ts or 0,
            size, to_us(self._log.clock.now()),
        )  # fmt: skip

    def _rows(self, after: int, limit: int) -> list[Row]:
        with self._store.read() as connection:
            query = f"SELECT {_ROW} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
            return connection.execute(query, (after, limit)).fetchall()

    # Checking ------------------------------------------------------------------------------------------------

    def check(self, segment: Segment) -> str:
        """Say what is wrong with a segment, or return an empty text: its bytes, and its chain from hash to hash."""
        found = self.check_file(segment)
        if found:
            return found.message
        seq, previous = segment.first_seq - 1, segment.before_hash
        try:
            for row in chain.from_iterable(self.groups(segment)):
                problem = broken(row, seq, previous)
                if problem:
                    return f"the archive segment {segment} does not hold: {problem.message}"
                seq, previous = row[0], row[10]
        except StoreError as error:
            return str(error)
        if (seq, previous) != (segment.last_seq, segment.last_hash):
            return f"the archive segment {segment} does not end as it was sealed"
        return ""

    def check_file(self, segment: Segment) -> Finding | None:
        """Compare the bytes of a segment's file with what was sealed."""
        path = self.path(segment)
        try:
            digest = digest_of(path)
        except FileNotFoundError:
            return Finding("segment_missing", segment.first_seq, f"the archive segment {segment} is missing")
        except OSError as error:
            message = f"the archive segment {segment} cannot be read: {error.strerror}"
            return Finding("segment_missing", segment.first_seq, message)
        if digest in self._digests(segment):
            return None
        message = f"the archive segment {segment} was altered: its bytes are not those that were sealed"
        return Finding("segment_altered", segment.first_seq, message)

    def _digests(self, segment: Segment) -> set[str | None]:
        """What the file may be now; asked anew, because a redaction may replace it while somebody reads."""
        with self._store.read() as connection:
            row = connection.execute(
                "SELECT digest, next_digest FROM segments WHERE first_seq = ?", (segment.first_seq,)
            ).fetchone()
        return {*(row or ()), segment.digest, segment.next_digest}

    def groups(self, segment: Segment) -> Iterator[list[Row]]:
        """Yield the rows of a segment's file, group by group, in the order they stand there.

        Raises:
            StoreError: the file is missing or damaged.
        """
        for table in self._tables(segment):
            rows = rows_of(table)
            yield rows
            # After the rows: what is wrong with the data itself says more.
            column = misled(table, rows)
            if column:
                message = f"the archive segment {segment} was altered: its column {column} is not what the data says"
                raise StoreError(message)

    def _tables(self, segment: Segment) -> Iterator[Any]:
        with reading(segment):
            yield from tables(self.path(segment))

    # Replacing and mending -----------------------------------------------------------------------------------

    def erase(self, segment: Segment, seqs: Collection[int]) -> Segment:
        """Write a segment anew without the data of these events; call it while holding `exclusive`.

        Raises:
            StoreError: the file is not what was sealed, and its rows are no longer in the database.
        """
        if self.check_file(segment):
            # Never give a damaged file a digest of its own; the database has erased the data already.
            return self.rebuild(segment)
        path = self.path(segment)
        with writing(path):
            with SegmentWriter(path, segment.first_seq - 1, segment.before_hash) as writer:
                for table in self._tables(segment):
                    writer.add_table(without_data(table, seqs))
            digest, size = digest_of(aside(path)), aside(path).stat().st_size
        return self._replace(replace(segment, digest=digest, bytes=size))

    def rebuild(self, segment: Segment) -> Segment:
        """Write a lost or damaged segment anew from the database, where its rows still are.

        Raises:
            StoreError: the rows were pruned, or are not those that were sealed.
        """
        path = self.path(segment)
        written = self._write(path, segment.first_seq - 1, segment.last_seq, segment.before_hash)
        if written.last_hash != segment.last_hash:
            aside(path).unlink(missing_ok=True)
            message = f"the archive segment {segment} cannot be made anew: the database does not hold what was sealed"
            raise StoreError(message)
        return self._replace(replace(segment, digest=written.digest, bytes=written.bytes))

    def _replace(self, segment: Segment) -> Segment:
        """Put the file written aside in place; at every moment the row names what the file may be."""
        first, path = segment.first_seq, self.path(segment)
        self._store.write(
            lambda c: c.execute("UPDATE segments SET next_digest = ? WHERE first_seq = ?", (segment.digest, first))
        )
        with writing(path):
            put_in_place(path)
        return self._settle(segment)

    def _settle(self, segment: Segment) -> Segment:
        settled = replace(segment, next_digest=None)
        values = (segment.digest, segment.bytes, segment.first_seq)
        self._store.write(
            lambda c: c.execute(
                "UPDATE segments SET digest = ?, bytes = ?, next_digest = NULL WHERE first_seq = ?", values
            )
        )
        return settled

    def settle(self) -> None:
        """Finish a replacement that a crash cut short; call it while holding `exclusive`."""
        for segment in self.segments():
            if segment.next_digest is not None and self.path(segment).exists():
                digest = digest_of(self.path(segment))
                if digest in (segment.digest, segment.next_digest):
                    self._settle(replace(segment, digest=digest, bytes=self.path(segment).stat().st_size))

    def recover(self, *, thorough: bool = False) -> list[Finding]:
        """Mend what a crash or a loss left, and return what cannot be mended; quick unless `thorough`.

        Strays are removed, a replacement is finished, and a segment that is gone or of another size, or with
        `thorough` of other bytes, is made anew from the database while its rows are still there.
        """
        segments = self.segments()
        if not segments and not self.folder.is_dir():
            return []
        try:
            with self.exclusive(PATIENCE_S if thorough else 0):
                with writing(self.folder):
                    self._remove_strays({segment.file for segment in self.segments()})
                self.settle()
                return [found for segment in self.segments() if (found := self._mend(segment, thorough=thorough))]
        except StoreBusyError:
            # Whoever holds the archive mended it as it began.
            return []

    def _remove_strays(self, known: set[str]) -> None:
        with self._store.read() as connection:
            head = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        for path in self.folder.iterdir():
            if path.name.endswith(ASIDE):
                path.unlink()
            elif path.suffix == ".parquet" and path.name not in known:
                # A file beyond the head is no half-done seal: an older database was put back beside it. It may hold
                # the only copy of those events, so it is set aside for a person.
                last = path.stem.rpartition("-")[2]
                if last.isdecimal() and int(last) <= head:
                    path.unlink()
                else:
                    path.rename(path.with_name(path.name + ".unknown"))

    def _mend(self, segment: Segment, *, thorough: bool) -> Finding | None:
        path = self.path(segment)
        size = path.stat().st_size if path.exists() else -1
        if size == segment.bytes and not thorough and segment.next_digest is None:
            return None
        found = self.check_file(segment)
        if found is None:
            return None
        try:
            self.rebuild(segment)
        except StoreError as error:
            return replace(found, message=f"{found.message}; {error}")
        return None


def _sealed_event(segment: Segment) -> NewEvent:
    data: dict[str, Any] = {
        "first_seq": segment.first_seq,
        "last_seq": segment.last_seq,
        "file": segment.file,
        "bytes": segment.bytes,
        "digest": segment.digest,
        "last_hash": segment.last_hash.hex(),
    }
    return NewEvent("log.sealed", "archive", data)
