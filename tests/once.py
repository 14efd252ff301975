"""What is fetched for the tests is fetched once, also where several processes run them."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time into the block; who comes later finds what the first has fetched."""
    with (Path(tempfile.gettempdir()) / f"timmy-tests-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
