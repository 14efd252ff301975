"""Waiting until something is so, for a bounded time; a busy machine gets the same verdict later, not another one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_S = 0.01


def until(check: Callable[[], T], what: str = "it came true", *, within_s: float = 20) -> T:
    """Return the first true value of a check that is repeated for a bounded time."""
    ends = time.monotonic() + within_s
    while not (value := check()):
        assert time.monotonic() < ends, _late(what, within_s, value)
        time.sleep(_LOOK_S)
    return value


async def auntil(check: Callable[[], T], what: str = "it came true", *, within_s: float = 20) -> T:
    """Do as `until`, and let the loop go on meanwhile."""
    ends = time.monotonic() + within_s
    while not (value := check()):
        assert time.monotonic() < ends, _late(what, within_s, value)
        await asyncio.sleep(_LOOK_S)
    return value


def _late(what: str, within_s: float, value: object) -> str:
    return f"within {within_s:g} s it did not happen that {what}; the last look gave {value!r}"
