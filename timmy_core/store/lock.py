"""Looking at the write lock from outside: a healthy process holds it for milliseconds."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def lock_is_stuck(path: Path, *, patience_s: float = 2.0) -> bool:
    """Whether a process holds a store's write lock for all of `patience_s` seconds; a healthy one does so for ms."""
    deadline = time.monotonic() + patience_s
    fd = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return True
                time.sleep(0.01)
            else:
                return False
    finally:
        os.close(fd)
