"""A time that jumps: an event loop on which hours of waiting pass at once, in the order in which they would.

Everything that waits by asyncio (sleeps, timeouts, queues) does so in this loop's own time. Where nothing is left to
do, the time goes on to whatever is due next. So a day of requests takes as long as it takes to compute.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any, Final, TypeVar

from timmy_core.errors import ReplayError

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class JumpingClock:
    """The `Clock` of such a loop; its wall time and its monotonic time are one.

    Args:
        start: the wall time at which it stands first.
    """

    __slots__ = ("_elapsed_s", "_start")

    def __init__(self, start: datetime = _EPOCH) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._elapsed_s

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed_s += seconds


class _Jumps(selectors.SelectSelector):
    """Instead of waiting for a file, lets the time go on to where something is due."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return no file: nobody outside speaks to this loop."""
        if timeout is None:
            message = "everything waits for something that never comes; this is a fault of the replay, please report it"
            raise ReplayError(message)
        self._clock.jump(max(0.0, timeout))
        return []


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(_Jumps(clock))
        self._jumping = clock

    def time(self) -> float:
        """Return the time of the clock that jumps."""
        return self._jumping.monotonic()


def run_jumping(clock: JumpingClock, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in jumping time and return its result; blocks, on a thread of its own.

    The caller's thread may have a loop that runs, as a notebook's has, and no second one can run there.
    """
    ended: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: _JumpingLoop(clock)) as runner:
                ended.append(runner.run(main))
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            failed.append(error)

    thread = Thread(target=work, name="timmy-replay", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return ended[0]
