"""One thing done on a thread of its own, while whoever asked for it goes on: for work that leaves the interpreter."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Aside:
    """A thread that is started when it is first needed; of several callers, one is served after the other.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = len(os.sched_getaffinity(0)) < 2  # noqa: PLR2004 - one core gains nothing by it

    def start(self, work: Callable[[], T]) -> Callable[[], T]:
        """Begin with the work, and return what waits for its result; without a thread the waiting does the work."""
        with self._lock:
            if self._closed:
                return work
            if self._threads is None:
                self._threads = ThreadPoolExecutor(1, self._name)
            return self._threads.submit(work).result

    def close(self) -> None:
        """Take no more work; what is under way ends by itself. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            if self._threads is not None:
                self._threads.shutdown(wait=False)
                self._threads = None
