"""The workers: at most two processes that answer users' SQL, started when asked and ended when idle."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import QueryError, StoreClosedError
from timmy_core.store.duck import Result
from timmy_core.store.frames import Selection
from timmy_core.store.wire import Origin, error_of
from timmy_core.store.worker import GRACE_S, Worker, WorkerGoneError

if TYPE_CHECKING:
    import polars as pl

AT_ONCE: Final = 2  # each holds a copy of its own, and answers one query at a time; more queries wait for their turn
IDLE_S: Final = 600.0
_PATIENCE_S: Final = 0.25  # for the worker that is there, before a second is started
_CLOSING_S: Final = 10.0


class _NotTakenError(QueryError):
    """A worker ended before it began with a query, as one does that was killed while it waited for it."""


class Workers:
    """Answers users' SQL in other processes; safe to use from any thread.

    Args:
        origin: what the processes open.
        idle_s: how long one waits for the next query before it is ended and its memory given back.
        start: makes a worker.
    """

    def __init__(self, origin: Origin, *, idle_s: float = IDLE_S, start: Callable[[Origin], Worker] = Worker) -> None:
        self._origin = origin
        self._idle_s = idle_s
        self._start = start
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._all: list[Worker] = []
        self._idle: list[Worker] = []
        self._closed = False
        self._timer: threading.Timer | None = None

    def query(self, query: str, *, limit: int, timeout_s: float) -> Result:
        """Answer one query; see `Lake.query`."""
        return self._ask({"query": query, "limit": limit, "timeout_s": timeout_s}, timeout_s)

    def select(self, wanted: Selection, timeout_s: float) -> pl.DataFrame:
        """Return rows of a frame; see `Lake.frame`."""
        return self._ask({"select": asdict(wanted), "timeout_s": timeout_s}, timeout_s).frame

    @property
    def pids(self) -> list[int]:
        """The processes."""
        with self._changed:
            return [worker.pid for worker in self._all]

    def close(self) -> None:
        """End every process; who still waits for an answer is told that the store is closed."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = [worker for worker in self._all if worker not in idle]
            timer, self._timer = self._timer, None
            self._changed.notify_all()
        if timer is not None:
            timer.cancel()
            timer.join()
        for worker in busy:
            worker.kill()
        for worker in idle:
            self._end(worker)
        with self._changed:
            # Those who use the others end them.
            self._changed.wait_for(lambda: not self._all, _CLOSING_S)

    # One query -----------------------------------------------------------------------------------------------

    def _ask(self, request: Mapping[str, Any], timeout_s: float) -> Result:
        for _ in range(AT_ONCE):
            worker = self._take(timeout_s)
            with contextlib.suppress(_NotTakenError):
                return self._ask_one(worker, request, timeout_s)
        return self._ask_one(self._take(timeout_s), request, timeout_s)

    def _ask_one(self, worker: Worker, request: Mapping[str, Any], timeout_s: float) -> Result:
        keep = False
        try:
            words, body = worker.ask(request, wait_s=timeout_s + GRACE_S, given_s=timeout_s)
            keep = not words.get("last")
        except WorkerGoneError as gone:
            self._check_open()
            if not worker.taken:
                raise _NotTakenError(str(gone)) from gone
            raise
        finally:
            # Also where the caller was interrupted: a reply that nobody read would be taken for the next query's.
            if keep:
                self._give_back(worker)
            else:
                self._end(worker)
        error = error_of(words)
        if error is not None:
            raise error
        return Result(_frame(body), bool(words["truncated"]), float(words["seconds"]))

    def _take(self, timeout_s: float) -> Worker:
        """Return a worker that waits for a query, starting one if there may be more."""
        began_s = time.monotonic()
        while True:
            with self._changed:
                self._check_open()
                waited_s = time.monotonic() - began_s
                worker = self._idle.pop() if self._idle else None
                if worker is None and len(self._all) < AT_ONCE and (not self._all or waited_s >= _PATIENCE_S):
                    # A process takes a moment to begin, but only its opening is waited for without the lock.
                    worker = self._start(self._origin)
                    self._all.append(worker)
                    break
                if worker is None:
                    self._wait(timeout_s, waited_s)
                    continue
            if worker.alive:
                return worker
            self._end(worker)
        try:
            worker.open()
        except BaseException:
            self._end(worker)
            with self._changed:
                self._check_open()
            raise
        return worker

    def _wait(self, timeout_s: float, waited_s: float) -> None:
        if waited_s >= timeout_s:
            message = f"{len(self._all)} queries are running already and none ended within {timeout_s:g} s; try again"
            raise QueryError(message)
        left_s = timeout_s - waited_s
        if len(self._all) < AT_ONCE and waited_s < _PATIENCE_S:
            left_s = min(left_s, _PATIENCE_S - waited_s)
        self._changed.wait(left_s)

    def _check_open(self) -> None:
        if self._closed:
            message = f"the store {self._origin.database} is closed; open it again"
            raise StoreClosedError(message)
        if os.getpid() != self._pid:
            message = f"the store {self._origin.database} was opened by process {self._pid}; open it anew after a fork"
            raise StoreClosedError(message)

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            if not self._closed:
                worker.idle_since_s = time.monotonic()
                self._idle.append(worker)
                self._watch(self._idle_s)
                self._changed.notify()
                return
        self._end(worker)

    def _end(self, worker: Worker) -> None:
        worker.end()
        with self._changed:
            self._all.remove(worker)
            self._changed.notify_all()

    # Idle workers --------------------------------------------------------------------------------------------

    def _watch(self, after_s: float) -> None:
        """See to it that idle workers are looked at; one timer does, however many queries there are."""
        if self._timer is None:
            self._timer = threading.Timer(after_s, self._sweep)
            self._timer.name = "timmy-workers"
            self._timer.daemon = True
            self._timer.start()

    def _sweep(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._timer = None
            now_s = time.monotonic()
            over = [worker for worker in self._idle if now_s - worker.idle_since_s >= self._idle_s]
            self._idle = [worker for worker in self._idle if worker not in over]
            if self._idle:
                self._watch(min(worker.idle_since_s for worker in self._idle) + self._idle_s - now_s)
        for worker in over:
            self._end(worker)


def _frame(body: memoryview) -> pl.DataFrame:
    import polars as pl

    return pl.read_ipc_stream(io.BytesIO(body))
