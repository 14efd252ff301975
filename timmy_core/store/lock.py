"""Locks among processes: the kernel's, which ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.01


def take(fd: int, patience_s: float = 0.0) -> bool:
    """Take the lock of an open file for this process alone; False if another holds it for `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


@contextlib.contextmanager
def flocked(path: Path, patience_s: float = 0.0) -> Iterator[int | None]:
    """Hold a file's lock; yields its descriptor, or None where the lock was not to be had within `patience_s` seconds.

    Raises:
        OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield fd if take(fd, patience_s) else None
    finally:
        os.close(fd)


def lock_is_stuck(path: Path, *, patience_s: float = 2.0) -> bool:
    """Whether a process holds a store's write lock for all of `patience_s` seconds; a healthy one does so for ms."""
    with flocked(path.with_name(f"{path.name}.lock"), patience_s) as fd:
        return fd is None
