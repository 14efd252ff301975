"""A worker: one process that answers users' SQL, seen from the process that asks.

A query may build a single value that minds neither DuckDB's bound of memory nor its interrupt. So it runs where the
kernel bounds the memory, and where it can be killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import QueryError
from timmy_core.store.duck import TOO_LARGE, too_long
from timmy_core.store.wire import TAKEN, Incoming, Origin, packed

GRACE_S: Final = 2.0  # after a query's own time, for the worker to say so itself; then it is killed
START_S: Final = 30.0
_END_S: Final = 5.0  # how long a killed process may take to be gone
_SAID: Final = 4096  # of what a worker writes to its stderr, the last bytes that are logged
_PIECE: Final = 1 << 18
_PACKAGES: Final = ("timmy_core", "duckdb", "polars", "pyarrow")

# `-I` keeps the caller's folder and variables out; what it leaves out of the path and is needed comes last.
_BOOT: Final = (
    "import json, sys; sys.path += [p for p in json.loads(sys.argv[1]) if p not in sys.path]; "
    "from timmy_core.store.worker_main import main; main()"
)
# Nothing of this process's environment is handed on, keys least of all. What reserves much and uses little is kept
# small, because the kernel counts what is reserved.
_ENVIRONMENT: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "POLARS_MAX_THREADS": "1"}

_log = logging.getLogger(__name__)


class WorkerGoneError(QueryError):
    """A worker ended before it answered; the message says how."""


class Worker:
    """One process. It is used by one thread at a time, but any may kill it.

    Raises:
        QueryError: the process cannot be started.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._said = bytearray()
        self.taken = False  # whether it began with the request that was sent last
        self.idle_since_s = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a text of ours
                [sys.executable, "-I", "-c", _BOOT, json.dumps(_roots())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,  # Ctrl-C in a terminal is for the process that asks
            )
        except OSError as error:
            message = f"the process that answers queries cannot be started: {error.strerror}; try again"
            raise QueryError(message) from error
        self._in, self._out, self._err = (
            pipe.fileno() for pipe in (self._process.stdin, self._process.stdout, self._process.stderr) if pipe
        )
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def open(self) -> None:
        """Wait until it has opened the lake; what it says that goes wrong is an error in the log."""
        self.ask(self._origin.as_dict(), wait_s=START_S, given_s=START_S)

    def ask(self, request: Mapping[str, Any], *, wait_s: float, given_s: float) -> tuple[dict[str, Any], memoryview]:
        """Send one request and return its reply; after any error the worker has to be ended.

        Raises:
            QueryError: there was no reply within `wait_s`; the message names `given_s`.
            WorkerGoneError: it ended instead.
        """
        self.taken = False
        outgoing, incoming = memoryview(packed(request)), Incoming()
        deadline_s = time.monotonic() + wait_s
        with selectors.PollSelector() as selector:
            selector.register(self._in, selectors.EVENT_WRITE)
            selector.register(self._out, selectors.EVENT_READ)
            selector.register(self._err, selectors.EVENT_READ)
            while incoming.missing():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise QueryError(too_long(given_s))
                for key, _ in selector.select(left_s):
                    if key.fd == self._in:
                        outgoing = self._send(outgoing)
                        if not outgoing:
                            selector.unregister(self._in)
                    elif key.fd == self._out:
                        self._receive(incoming, given_s)
                    elif not self._listen():
                        selector.unregister(self._err)
        self._report()
        return incoming.take()

    def _send(self, outgoing: memoryview) -> memoryview:
        try:
            return outgoing[os.write(self._in, outgoing[:_PIECE]) :]
        except BlockingIOError:
            return outgoing
        except BrokenPipeError:
            return outgoing[:0]  # it is gone, which the other pipe says too

    def _receive(self, incoming: Incoming, given_s: float) -> None:
        try:
            piece = os.read(self._out, _PIECE)
        except BlockingIOError:
            return
        if not piece:
            raise WorkerGoneError(self._how_it_ended(given_s))
        incoming.feed(piece if self.taken else piece[len(TAKEN) :])
        self.taken = True

    def _listen(self) -> bool:
        """Keep the last of what it says on its stderr; False once it cannot say more."""
        try:
            piece = os.read(self._err, _PIECE)
        except BlockingIOError:
            return True
        self._said = (self._said + piece)[-_SAID:]
        return bool(piece)

    def _report(self) -> None:
        if self._said:
            _log.warning("the process that answers queries says: %s", self._said.decode(errors="replace").strip())
            self._said.clear()

    def _how_it_ended(self, given_s: float) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.returncode
        if code is None or code >= 0:
            how = "did not end" if code is None else f"ended with code {code}"
            return f"the process that answered the query {how} before it was done; the log says why; try again"
        if -code == signal.SIGALRM:
            return too_long(given_s)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if -code in (signal.SIGKILL, signal.SIGABRT):
            # The one comes from a system without memory, the other from a library without memory.
            return f"{TOO_LARGE} (its process was ended by {name})"
        return f"the process that answered the query was ended by {name}; write the query otherwise, or try again"

    def kill(self) -> None:
        """Kill the process; whoever waits for its reply learns that it is gone."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process, wait until it is gone, and close the pipes; for whoever uses it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._listen()
        self._report()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def _roots() -> list[str]:
    """Where this process found the packages that a worker needs."""
    found = (importlib.util.find_spec(name) for name in _PACKAGES)
    return list(dict.fromkeys(str(Path(spec.origin).parent.parent) for spec in found if spec and spec.origin))
