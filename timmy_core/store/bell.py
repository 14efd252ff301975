"""The doorbell: one byte written after a commit wakes readers, in this process and in others."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from asyncinotify import Inotify

POLL_S = 1.0  # how late a reader may be where the platform has no inotify


class Bell:
    """The ringing end; kept by the writer."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def ring(self) -> None:
        """Wake every watcher; costs one write of one byte."""
        os.pwrite(self._fd, b"x", 0)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)


class BellWatcher:
    """The hearing end; arm it first, then read until nothing is new, then wait."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600, exist_ok=True)
        self._inotify = _watch(path)

    def wait(self, timeout_s: float) -> bool:
        """Return True when the bell rang since the last call, False after `timeout_s` seconds without."""
        if self._inotify is None:
            time.sleep(min(timeout_s, POLL_S))
            return True
        self._inotify.sync_timeout = timeout_s
        rang = self._inotify.sync_get() is not None
        if rang:
            # Whatever rang meanwhile is answered by the same reading, so it is heard here at once.
            self._inotify.sync_timeout = 0
            while self._inotify.sync_get() is not None:
                pass
        return rang

    def close(self) -> None:
        """Give the watch back."""
        if self._inotify is not None:
            self._inotify.close()

    def __enter__(self) -> Self:
        """Return itself; the watch is armed already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the watch."""
        self.close()


def _watch(path: Path) -> Inotify | None:
    if not sys.platform.startswith("linux"):
        return None
    from asyncinotify import Inotify, Mask

    inotify = Inotify()
    inotify.add_watch(path, Mask.MODIFY)
    return inotify
