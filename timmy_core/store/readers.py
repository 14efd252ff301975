"""Readers: read-only connections to the store's file, each used by one thread at a time and kept for the next."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from timmy_core.store.faults import translate

Connection = sqlite3.Connection

MAX_IDLE: Final = 8
_PRAGMAS: Final = (
    "PRAGMA query_only=ON",
    "PRAGMA mmap_size=0",
    "PRAGMA cache_size=-16000",
    "PRAGMA trusted_schema=OFF",
)


class Readable(Protocol):
    """What short reads need: the store itself, or readers of its file in a process that never writes."""

    path: Path

    def read(self) -> AbstractContextManager[Connection]:
        """Yield a read-only connection for a short read."""


class Readers:
    """Read-only connections to one file; nothing is created, locked for writing or migrated.

    Args:
        path: the store's file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a read-only connection for a short read; an open one would let the write-ahead log grow.

        Raises:
            StoreError: the file could not be read.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._open()
        try:
            yield connection
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self.path) from error
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close every connection that nobody uses; the others close as they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _open(self) -> Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=10,
            )
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        return connection
