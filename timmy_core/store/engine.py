"""The engine: every write of the process goes through one thread that groups waiting writes into one durable commit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from timmy_core.errors import StoreBusyError, StoreClosedError, StoreError, StoreReadOnlyError
from timmy_core.store.bell import Bell, BellWatcher
from timmy_core.store.faults import translate as _translate
from timmy_core.store.migrations import migrate
from timmy_core.store.readers import Readers

T = TypeVar("T")
Connection = sqlite3.Connection
SQLITE_VERSION: Final = sqlite3.sqlite_version
MAX_GROUP: Final = 512  # writes in one commit; more would only make the first one wait longer
MAX_QUEUE: Final = 10_000  # writes that nobody waits for; past this `submit` refuses
MAX_STEPS: Final = 1_000_000  # of one long write; it should end long before
LINGER_S: Final = 0.02  # how long writes that nobody waits for may gather before they are committed
_EMPTYING_S: Final = 0.2  # how long writers wait for readers at a time, while the write-ahead log is emptied

_WRITER_PRAGMAS: Final = (
    "PRAGMA auto_vacuum=INCREMENTAL",  # takes effect in a new file only; lets pruning give room back bit by bit
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA busy_timeout=10000",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-16000",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is redacted is overwritten, not only given up; appending deletes nothing
)


@dataclass(slots=True)
class _Unit:
    """One write: a function that runs inside the transaction, and the future its caller waits on."""

    run: Callable[[Connection], Any]
    future: Future[Any]
    waited: bool  # False: nobody waits for it, so it may wait for company


class Store:
    """One SQLite file in WAL mode; writes are grouped, durable when they return, and serialised over processes.

    A write is acknowledged only after COMMIT with `synchronous=FULL`, so it survives `kill -9` and power loss.
    Before each transaction the writer takes an exclusive `flock` on `<path>.lock`, which gives processes a fair
    queue and is released by the kernel when one dies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._closed = False
        self._read_only = False
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._readers = Readers(path)
        self._lock_fd = -1
        self._writer: Connection
        self._bell: Bell
        self._thread: threading.Thread

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the store, creating and migrating it where needed.

        Raises:
            StoreError: the file cannot be opened, is damaged, or was written by a later version.
        """
        store = cls(path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            store._lock_fd = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            store._bell = Bell(store.bell_path)
        except OSError as error:
            if store._lock_fd >= 0:
                os.close(store._lock_fd)
            message = f"the home {path.parent} cannot be used: {error.strerror}; name another with --home or TIMMY_HOME"
            raise StoreError(message) from error
        try:
            store._writer = store._open_writer()
        except BaseException:
            store._bell.close()
            os.close(store._lock_fd)
            raise
        store._thread = threading.Thread(target=store._run, name="timmy-writer", daemon=True)
        store._thread.start()
        return store

    @property
    def bell_path(self) -> Path:
        """The file that is written to after each commit."""
        return self.path.with_name(self.path.name + ".bell")

    def watch(self) -> BellWatcher:
        """Return an armed watcher of the doorbell; close it."""
        return BellWatcher(self.bell_path)

    def ring(self) -> None:
        """Wake every reader, in this process and in others, without writing anything; closed, it did so already."""
        with self._closing:
            if not self._closed:
                self._bell.ring()

    # Writing -------------------------------------------------------------------------------------------------

    def write(self, run: Callable[[Connection], T]) -> T:
        """Run `run` inside the next group commit and return its result once it is durable.

        `run` gets the writer's connection, inside a transaction and a savepoint of its own: what it raises undoes
        its own statements only and reaches the caller as it is. It must not commit, block or keep the connection.

        Raises:
            StoreFullError: the disk is full; nothing was kept.
            StoreReadOnlyError: the home was opened to be read only.
            StoreClosedError: the store is closed.
            StoreError: the transaction could not be committed.
        """
        return self._enqueue(run).result()

    def write_steps(self, step: Callable[[Connection], int]) -> int:
        """Repeat a short write, each a transaction of its own, until it returns nothing; return the sum of what it did.

        Raises:
            StoreError: as `write`; what the steps before it did stays.
        """
        total = 0
        for _ in range(MAX_STEPS):
            done = self.write(step)
            if not done:
                break
            total += done
        return total

    async def awrite(self, run: Callable[[Connection], T]) -> T:
        """Do as `write`, without blocking the event loop; a cancelled caller's write is dropped if it has not begun."""
        return await asyncio.wrap_future(self._enqueue(run))

    def submit(self, run: Callable[[Connection], T]) -> Future[T]:
        """Queue a write that nobody waits for, in order with the others; it is committed within about 20 ms.

        Raises:
            StoreBusyError: `MAX_QUEUE` writes wait already.
        """
        if self._queue.qsize() >= MAX_QUEUE:
            message = f"{MAX_QUEUE:,} writes wait for the disk already; slow down or wait for them"
            raise StoreBusyError(message)
        return self._enqueue(run, waited=False)

    def only_read(self) -> None:
        """Refuse every write of this process from now on; what is queued is still written."""
        with self._closing:
            self._read_only = True

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._read_only

    def _enqueue(self, run: Callable[[Connection], T], *, waited: bool = True) -> Future[T]:
        unit = _Unit(run, Future(), waited)
        with self._closing:
            self._check_open()
            if self._read_only:
                message = (
                    f"the home {self.path.parent} is open to be read only; start with `timmy lab --write` to change it"
                )
                raise StoreReadOnlyError(message)
            self._queue.put(unit)
        return unit.future

    def _check_open(self) -> None:
        if self._closed:
            message = f"the store {self.path} is closed; open it again"
            raise StoreClosedError(message)
        if os.getpid() != self._pid:
            message = f"the store {self.path} was opened by process {self._pid}; open it anew after a fork"
            raise StoreClosedError(message)

    def _run(self) -> None:
        """Serve the queue until the closing mark comes; what stands before the mark is still written."""
        last = False
        while not last:
            group: list[_Unit] = []
            last = self._take(group, self._queue.get()) or self._linger(group)
            if group:
                last = self._commit(group) or last

    def _take(self, group: list[_Unit], unit: _Unit | None) -> bool:
        """Put a unit into the group unless its caller gave it up; return whether it was the closing mark."""
        if unit is None:
            return True
        if unit.future.set_running_or_notify_cancel():
            group.append(unit)
        return False

    def _linger(self, group: list[_Unit]) -> bool:
        """Let writes that nobody waits for gather company, which spares a commit each; a waited one ends it at once."""
        ends = time.monotonic() + LINGER_S
        while group and not group[-1].waited and len(group) < MAX_GROUP:
            try:
                unit = self._queue.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                return False
            if self._take(group, unit):
                return True
        return False

    def _gather(self, group: list[_Unit]) -> bool:
        """Take what came meanwhile; return whether the closing mark did."""
        # Threads that were just released write again at once; this lets them in before the queue is looked at.
        time.sleep(0)
        while len(group) < MAX_GROUP:
            try:
                unit = self._queue.get_nowait()
            except queue.Empty:
                return False
            if self._take(group, unit):
                return True
        return False

    def _commit(self, group: list[_Unit]) -> bool:
        """Commit a group, and whoever joins it while the lock is waited for; return whether the closing mark came."""
        last = False
        try:
            with self._exclusive():
                last = self._gather(group)
                outcomes = self._transaction(group)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the callers wait for it and the thread goes on
            refused = _translate(error, self.path)
            for unit in group:
                unit.future.set_exception(refused)
            return last
        self._bell.ring()
        for unit, (result, problem) in zip(group, outcomes, strict=True):
            if problem is None:
                unit.future.set_result(result)
            else:
                unit.future.set_exception(problem)
        return last

    def _transaction(self, group: list[_Unit]) -> list[tuple[Any, BaseException | None]]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._step(unit) for unit in group]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return outcomes

    def _step(self, unit: _Unit) -> tuple[Any, BaseException | None]:
        """Run one unit in its savepoint; its own error undoes it alone, a lost transaction undoes the group."""
        self._writer.execute("SAVEPOINT unit")
        try:
            result = unit.run(self._writer)
        except BaseException as error:
            # A full or failing disk rolls the whole transaction back inside SQLite; then nobody's write is kept.
            if not self._writer.in_transaction:
                raise
            self._writer.execute("ROLLBACK TO unit")
            self._writer.execute("RELEASE unit")
            return None, _translate(error, self.path) if isinstance(error, sqlite3.Error) else error
        self._writer.execute("RELEASE unit")
        return result, None

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # Reading -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a read-only connection for a short read; an open one would let the write-ahead log grow.

        Raises:
            StoreClosedError: the store is closed.
            StoreError: the file could not be read.
        """
        self._check_open()
        with self._readers.read() as connection:
            yield connection

    # Opening and closing -------------------------------------------------------------------------------------

    def _open_writer(self) -> Connection:
        try:
            if not self.path.exists():
                # Created here for its mode only. An existing file is never opened apart from SQLite: closing such a
                # descriptor would drop this process's locks on it.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with self._exclusive():
                connection = sqlite3.connect(
                    self.path, isolation_level=None, check_same_thread=False, cached_statements=256
                )
                try:
                    for pragma in _WRITER_PRAGMAS:
                        connection.execute(pragma)
                    migrate(connection, self.path)
                except BaseException:
                    connection.close()
                    raise
        except (sqlite3.Error, OSError) as error:
            raise _translate(error, self.path) from error
        return connection

    def close(self) -> None:
        """Write what is queued, then close every connection; closing twice is harmless."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._readers.close()
        with self._exclusive():
            # The last connection checkpoints as it closes, so it closes under the lock too.
            self._writer.close()
        self._bell.ring()
        self._bell.close()
        os.close(self._lock_fd)

    def empty_wal(self, *, patience_s: float = 5.0) -> bool:
        """Move the write-ahead log into the database and cut it to nothing; False while others read from it.

        It works on a connection of its own, in the caller's thread; writers of every process wait meanwhile.

        Raises:
            StoreClosedError: the store is closed.
            StoreError: the disk failed.
        """
        self._check_open()
        deadline = time.monotonic() + patience_s
        # A lock belongs to the descriptor: the writer's own would let this thread in beside it.
        fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            with contextlib.closing(
                sqlite3.connect(self.path, isolation_level=None, timeout=_EMPTYING_S)
            ) as connection:
                while True:
                    fcntl.flock(fd, fcntl.LOCK_EX)
                    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                    fcntl.flock(fd, fcntl.LOCK_UN)
                    if not busy or time.monotonic() >= deadline:
                        return not busy
                    time.sleep(_EMPTYING_S)
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error
        finally:
            os.close(fd)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def size_bytes(self) -> int:
        """The size of the database and its write-ahead log, in bytes."""
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())
