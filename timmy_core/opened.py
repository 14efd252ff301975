"""What of this process is open: one object a home, shared by all who open it, and closed by the last of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from timmy_core.settings import default_home


class Shared(Protocol):
    """What is shared; ended when nobody uses it any more."""

    def shutdown(self) -> None:
        """Close now, whoever else still uses it."""
        ...


S = TypeVar("S", bound=Shared)


class Opened(Generic[S]):
    """The shared objects of this process, one a home, each with how many uses it has.

    Args:
        make: opens the one of a home.
    """

    def __init__(self, make: Callable[[Path], S]) -> None:
        self._make = make
        self._lock = threading.RLock()
        self._uses: dict[tuple[int, Path], tuple[S, int]] = {}

    def take(self, home: str | Path | None) -> S:
        """Return the one of this home, or of the default one, opening it where nobody uses it yet."""
        root = (Path(home).expanduser() if home is not None else default_home()).absolute()
        key = (os.getpid(), root.resolve())
        with self._lock:
            shared, uses = self._uses.get(key, (None, 0))
            if shared is None:
                # Who shares an open one shares the settings in force, even while the file is wrong.
                shared = self._make(root)
            self._uses[key] = (shared, uses + 1)
        return shared

    def release(self, shared: S) -> None:
        """Give one use back; the last one ends it."""
        with self._lock:
            key = self._key(shared)
            if key is not None:
                _, uses = self._uses[key]
                if uses > 1:
                    self._uses[key] = (shared, uses - 1)
                    return
        shared.shutdown()

    def forget(self, shared: S) -> None:
        """Do not hand it out again."""
        with self._lock:
            key = self._key(shared)
            if key is not None:
                del self._uses[key]

    def close_all(self) -> None:
        """Finish what is queued as the process ends; what a fork inherited is not ours to close."""
        for (pid, _), (shared, _) in list(self._uses.items()):
            if pid == os.getpid():
                shared.shutdown()

    def _key(self, shared: S) -> tuple[int, Path] | None:
        return next((key for key, (held, _) in self._uses.items() if held is shared), None)
