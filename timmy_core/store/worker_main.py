"""What a worker runs: it bounds itself, opens the lake for reading, and answers one query after another."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import resource
import select
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import QueryError, StoreError
from timmy_core.store.duck import MAX_RESULT_BYTES, RESULT_TOO_LARGE, TOO_LARGE, Result
from timmy_core.store.frames import Selection
from timmy_core.store.lake import Lake
from timmy_core.store.readers import Readers
from timmy_core.store.wire import TAKEN, Incoming, Origin, packed
from timmy_core.store.worker import GRACE_S

MAX_MEMORY_BYTES: Final = 2 << 30  # DuckDB's own bound, and as much again for its libraries and a frame on its way
MAX_FILES: Final = 256
MAX_FILE_BYTES: Final = 16 << 20  # SQLite's index of its write-ahead log may grow; nothing else is written
NICENESS: Final = 5
LOOK_S: Final = 2.0  # how often it looks whether its parent is still there, should the pipe not say so
_LATE_S: Final = 5.0

# The data limit counts what a process can fill, the address space also what it only reserves, of which the libraries
# take a gigabyte and a half. A system that lacks one of these goes without it.
_LIMITS: Final = {
    "RLIMIT_DATA": MAX_MEMORY_BYTES,
    "RLIMIT_CORE": 0,
    "RLIMIT_NOFILE": MAX_FILES,
    "RLIMIT_FSIZE": MAX_FILE_BYTES,
}


def main() -> None:
    """Answer what comes on stdin until it ends."""
    parent = os.getppid()
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is for the log
    bound()
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, parent), daemon=True).start()
    lake = _open(Origin.of(_take(requests, out)))
    _send(out, packed({"ready": True}))
    last = False
    while not last:
        request = _take(requests, out)
        # The kernel ends what nobody is left to kill.
        signal.setitimer(signal.ITIMER_REAL, float(request["timeout_s"]) + GRACE_S + _LATE_S)
        words, body = answer(lake, request)
        _send(out, packed(words, body))
        signal.setitimer(signal.ITIMER_REAL, 0)
        last = bool(words.get("last"))
    os._exit(0)


def bound() -> None:
    """Take only so much of the machine from here on."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for name, wanted in _LIMITS.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            kind = getattr(resource, name)
            _, most = resource.getrlimit(kind)
            least = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(kind, (least, least))
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):
        # A system that runs out of memory ends this process before any other.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _listen(requests: queue.SimpleQueue[dict[str, Any]], parent: int) -> None:
    """Read requests, and end the process with its parent, whatever it is doing."""
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    incoming = Incoming()
    while os.getppid() == parent:
        if waiting.poll(LOOK_S * 1000):
            piece = os.read(0, incoming.missing())
            if not piece:
                break
            incoming.feed(piece)
            if not incoming.missing():
                requests.put(incoming.take()[0])
                incoming = Incoming()
    os._exit(0)


def _take(requests: queue.SimpleQueue[dict[str, Any]], out: int) -> dict[str, Any]:
    request = requests.get()
    os.write(out, TAKEN)
    return request


def _open(origin: Origin) -> Lake:
    # What takes long to load is loaded before the first query's time begins.
    import polars as pl
    import pyarrow as pa

    readers = Readers(origin.database)
    lake = Lake(readers, origin.specs, folder=origin.folder, promotion=origin.promotion, apart=False)
    lake.open()
    pl.from_arrow(pa.table({"one": [1]}))
    return lake


def answer(lake: Lake, request: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the reply to one request: what to say, and the frame's bytes."""
    try:
        if "select" in request:
            result = Result(lake.select(Selection(**request["select"])), truncated=False, seconds=0.0)
        else:
            result = lake.query(request["query"], limit=request["limit"], timeout_s=request["timeout_s"])
        body = _written(result)
    except StoreError as error:
        words: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
        return {**words, "last": _is_spent(error.__cause__)}, b""
    except MemoryError:
        return {"error": QueryError.__name__, "message": TOO_LARGE, "last": True}, b""
    return {"truncated": result.truncated, "seconds": result.seconds}, body


def _written(result: Result) -> bytes:
    buffer = io.BytesIO()
    result.frame.write_ipc_stream(buffer)
    if buffer.tell() > MAX_RESULT_BYTES:
        raise QueryError(RESULT_TOO_LARGE)
    return buffer.getvalue()


def _is_spent(cause: BaseException | None) -> bool:
    """Whether the process had better be a new one: memory that was nearly used up does not all come back."""
    import duckdb

    return isinstance(
        cause, (duckdb.OutOfMemoryException, duckdb.InternalException, duckdb.FatalException, MemoryError)
    )


def _send(out: int, message: bytes) -> None:
    left = memoryview(message)
    while left:
        left = left[os.write(out, left) :]
