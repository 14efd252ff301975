"""The text index: FTS5 in a file of its own, filled by following a source, never in the path of an append.

Nothing in it is a source of truth. Where the file is gone, damaged, or about another log, it is filled again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from timmy_core.errors import StoreBusyError, StoreClosedError
from timmy_core.store.engine import Connection
from timmy_core.store.faults import translate
from timmy_core.store.lock import take
from timmy_core.store.shards import (
    Tokens,
    add_rows,
    find_rows,
    last_indexed,
    read_state,
    remove_all,
    row_holds,
    take_out,
    transaction,
)  # fmt: skip

T = TypeVar("T")

BATCH: Final = 10_000
PATIENCE_S: Final = 10.0  # how long a search waits while the file is filled again
FORMAT: Final = 1  # raised when what is indexed of a row changes; an older file is filled again

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    # A power cut may cost the last rows, which are filled again; forgetting makes itself durable.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-16000",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA secure_delete=ON",  # a page that is given up holds no word any more
)
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS state (
    only INTEGER PRIMARY KEY CHECK (only = 1), format INTEGER NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL,
    mark BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS removed (seq INTEGER PRIMARY KEY) STRICT;
COMMIT;
"""
# What a damaged, replaced or half deleted file is called by SQLite; ERROR is a table that should be there and is not.
_DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_READONLY,
    }
)


class Source(Protocol):
    """What the index is filled from: numbered rows without gaps, that never change."""

    @property
    def epoch(self) -> str:
        """Which sequence of rows this is."""
        ...

    def head(self) -> int:
        """Return the number of the last row."""
        ...

    def mark(self, seq: int) -> bytes:
        """Return what tells this row from another row of that number; nothing for row 0."""
        ...

    def texts(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return the next rows after a number with the text to index, in order."""
        ...


class _GoneError(Exception):
    """The file is not there, or was damaged and thrown away."""


class TextIndex:
    """Finds rows by their words; safe to use from several threads, and by several processes at once."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self._source = source
        self._writing, self._reading = _Held(path), _Held(path)
        self._lock = threading.Lock()
        self._lock_fd = -1
        self._closed = False
        self._tokens = Tokens()

    # Searching -----------------------------------------------------------------------------------------------

    def search(
        self,
        words: str,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        order: Literal["desc", "asc"] = "desc",
    ) -> list[int]:
        """Return the numbers of up to `limit` rows that hold every word, newest first unless `order="asc"`.

        Case and accents do not count; a word that ends with `*` stands for all that begin so. It answers for what is
        indexed: call `catch_up` first.

        Raises:
            StoreError: there is no word in `words`, or there are too many.
        """
        match = self._tokens.match(words)
        low, high = after or 0, before if before is not None else 1 << 62
        return self._read(lambda connection: find_rows(connection, match, low, high, limit, order))

    def among(self, words: str, seqs: Sequence[int]) -> set[int]:
        """Return those of the rows that hold every word."""
        match = self._tokens.match(words)
        return self._read(lambda connection: {seq for seq in seqs if row_holds(connection, match, seq)})

    def indexed(self) -> int:
        """Return the number of the last row that is indexed."""
        try:
            return self._look(last_indexed)
        except _GoneError:
            return 0

    # Filling -------------------------------------------------------------------------------------------------

    def catch_up(self, *, timeout_s: float | None = None, stop: Callable[[], bool] | None = None) -> bool:
        """Index what is new; return whether all is indexed that there was at the call.

        Args:
            timeout_s: give up after so many seconds; what was done stays done.
            stop: asked between batches; True ends it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        goal = self._source.head()
        # The common case costs one look, and no lock; whose rows they are is looked at where they are added.
        if self._fits(goal):
            return True
        while not (stop is not None and stop()):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            try:
                if self._write(self._fill, deadline) >= goal:
                    return True
            except StoreBusyError:
                return False
        return False

    def _fits(self, goal: int) -> bool:
        """Whether the index is about this log and ends where it ends."""
        try:
            state = self._look(read_state)
        except _GoneError:
            return False
        return state is not None and state == (FORMAT, self._source.epoch, goal, self._source.mark(goal))

    def _fill(self, connection: Connection) -> int:
        """Index one batch in one transaction and return the number of the last row that is indexed."""
        state = read_state(connection)
        if state is not None and not self._is_ours(state):
            remove_all(connection)
            state = None
        done = state[2] if state else 0
        rows = self._source.texts(done, BATCH)
        if rows:
            add_rows(connection, rows)
            done = rows[-1][0]
        if rows or state is None:
            connection.execute(
                "INSERT OR REPLACE INTO state (only, format, epoch, seq, mark) VALUES (1, ?, ?, ?, ?)",
                (FORMAT, self._source.epoch, done, self._source.mark(done)),
            )
        return done

    def _is_ours(self, state: tuple[int, str, int, bytes]) -> bool:
        form, epoch, seq, mark = state
        return (
            (form, epoch) == (FORMAT, self._source.epoch)
            and seq <= self._source.head()
            and self._source.mark(seq) == mark
        )

    def forget(self, rows: Iterable[tuple[int, str]], *, timeout_s: float = 60.0) -> None:
        """Take rows out so that their words are neither found nor in the file; doing it again changes nothing.

        Args:
            rows: each number with the very text that was indexed.
            timeout_s: how long to wait for others who write or read.

        Raises:
            StoreBusyError: others held the file all that time; do it again.
        """
        gone = list(rows)
        deadline = time.monotonic() + timeout_s
        self._write(lambda connection: take_out(connection, gone), deadline)
        with self._exclusive(deadline):
            # What a reader in another process still sees lies in the write-ahead log until it has finished.
            while self._writing.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= deadline:
                    message = f"{self.path}: others read it without end, so words may be left; redact again"
                    raise StoreBusyError(message)
                time.sleep(0.01)

    # The file ------------------------------------------------------------------------------------------------

    def _read(self, run: Callable[[Connection], T]) -> T:
        """Ask the file; one that is gone or damaged is filled again first, so that no answer is half of one."""
        for _ in range(2):
            try:
                return self._look(run)
            except _GoneError:
                if not self.catch_up(timeout_s=PATIENCE_S):
                    break
        message = f"{self.path} was lost and is being filled again; try again in a moment"
        raise StoreBusyError(message)

    def _look(self, run: Callable[[Connection], T]) -> T:
        self._check_open()
        if self.path.exists():
            try:
                with self._reading as connection:
                    return run(connection)
            except sqlite3.Error as error:
                self._mend(error, self._reading)
        raise _GoneError

    def _check_open(self) -> None:
        if self._closed:
            message = f"the text index {self.path} is closed; open it again"
            raise StoreClosedError(message)

    def _write(self, run: Callable[[Connection], T], deadline: float | None) -> T:
        """Run `run` in a transaction; a file that turns out to be damaged is begun anew first."""
        for last in (False, True):
            try:
                with self._exclusive(deadline), self._writing as connection, transaction(connection):
                    return run(connection)
            except sqlite3.Error as error:
                if last:
                    raise translate(error, self.path) from error
                self._mend(error, self._writing)
        raise AssertionError

    def _mend(self, error: sqlite3.Error, held: _Held) -> None:
        """Throw a damaged file away, unless somebody else did so before; any other error is said."""
        code = getattr(error, "sqlite_errorcode", None) or 0
        if code & 0xFF not in _DAMAGE and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            raise translate(error, self.path) from error
        with self._exclusive(None):
            replaced = held.stale()
            held.close()
            if not replaced:
                self.path.unlink(missing_ok=True)
                _drop_logs(self.path)

    @contextlib.contextmanager
    def _exclusive(self, deadline: float | None) -> Iterator[None]:
        """Hold the file's lock, in this process and among processes; the kernel gives it back when one dies."""
        if not self._lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            raise StoreBusyError(_busy(self.path))
        try:
            self._flock(deadline)
            try:
                yield
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        finally:
            self._lock.release()

    def _flock(self, deadline: float | None) -> None:
        self._check_open()
        if self._lock_fd < 0:
            self._lock_fd = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if deadline is None:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            return
        if not take(self._lock_fd, deadline - time.monotonic()):
            raise StoreBusyError(_busy(self.path))

    def close(self) -> None:
        """Give the file back; closing twice is harmless."""
        with self._lock:
            self._closed = True
            self._reading.close()
            self._writing.close()
            self._tokens.close()
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1


class _Held:
    """A connection that one thread uses at a time, opened anew when the file behind it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None

    def __enter__(self) -> Connection:
        self._lock.acquire()
        try:
            return self.connection()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def connection(self) -> Connection:
        """Return the connection to the file that now has the name."""
        if self._connection is not None and self.stale():
            self.close()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> Connection:
        if not self._path.exists():
            # A log of pages without its file would be played into the new file.
            _drop_logs(self._path)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._file = self._identity()
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=256)
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def stale(self) -> bool:
        """Whether the name stands for another file than the one that was opened."""
        return self._file != self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _drop_logs(path: Path) -> None:
    """Remove what SQLite keeps beside a file that is gone."""
    for kind in ("wal", "shm"):
        path.with_name(f"{path.name}-{kind}").unlink(missing_ok=True)


def _busy(path: Path) -> str:
    return f"{path}: another one fills the text index; try again in a moment"
