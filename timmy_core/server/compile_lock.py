"""One `compile` at a time where CPython cannot do two: a guard for the threads that run pages.

CPython 3.11.0 to 3.11.7 counts the recursion depth of its syntax tree in one place for all threads
(python/cpython#106905). When the collector hands the interpreter to another thread in the middle of
`ast.parse`, the count is off and a page dies with "SystemError: AST constructor recursion depth
mismatch". Every page is a thread, so this was seen once in some hundreds of page loads.
3.11.8 counts per call; 3.12 no longer collects in the middle of a parse.
"""

from __future__ import annotations
import __future__

import builtins
import functools
import sys
import threading
from typing import Any

_FIRST, _FIXED_IN = (3, 11, 0), (3, 11, 8)
_FUTURE_FLAGS = functools.reduce(
    lambda flags, name: flags | getattr(__future__, name).compiler_flag, __future__.all_feature_names, 0
)


def needed(version: tuple[int, int, int]) -> bool:
    """Say whether this version of CPython has the fault."""
    return _FIRST <= version < _FIXED_IN


def install() -> bool:
    """Put the lock around `compile` where it is needed; True if it is in place."""
    if not needed((sys.version_info.major, sys.version_info.minor, sys.version_info.micro)):
        return False
    if not hasattr(builtins.compile, "timmy_lock"):
        builtins.compile = _one_at_a_time(builtins.compile)
    return True


def _one_at_a_time(unlocked: Any) -> Any:
    lock = threading.RLock()  # a warning raised while compiling may run Python code that compiles

    @functools.wraps(unlocked)
    def compile_alone(
        source: Any,
        filename: Any,
        mode: str,
        flags: int = 0,
        dont_inherit: Any = 0,
        optimize: int = -1,
        **rest: Any,
    ) -> Any:
        # The built-in takes over its caller's `from __future__` flags. Its caller is now this file,
        # so the true caller's flags are handed on by hand.
        if not dont_inherit:
            flags |= sys._getframe(1).f_code.co_flags & _FUTURE_FLAGS  # noqa: SLF001 - there is no public way
        with lock:
            return unlocked(source, filename, mode, flags, True, optimize, **rest)  # noqa: FBT003

    compile_alone.timmy_lock = lock  # type: ignore[attr-defined]
    return compile_alone
