"""Finds and ends every process below another one, however it tried to get away.

It runs on both sides of the wall, so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PPID, _THREADS, _STARTED = 1, 17, 19  # fields of /proc/<pid>/stat behind the name


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as it was seen; pids come again, so its start tells it from a later one."""

    pid: int
    parent: int
    threads: int
    started: int
    zombie: bool


def look(pid: int) -> Seen | None:
    """Return a process, or None where it is gone."""
    try:
        # The name may hold anything, blanks and brackets too.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return Seen(pid, int(fields[_PPID]), int(fields[_THREADS]), int(fields[_STARTED]), fields[0] in (b"Z", b"X"))


def below(root: int) -> list[Seen]:
    """Return every process below `root`, without itself, parents first."""
    names = [path.name for path in _PROC.iterdir() if path.name.isdigit()]
    children: dict[int, list[Seen]] = {}
    for name in names:
        seen = look(int(name))
        if seen is not None:
            children.setdefault(seen.parent, []).append(seen)
    found: list[Seen] = []
    waiting = [root]
    while waiting:
        for seen in children.pop(waiting.pop(), ()):
            found.append(seen)
            waiting.append(seen.pid)
    return found


def memory_bytes(processes: list[Seen]) -> int:
    """Return what processes hold of their own; pages shared by a fork count once for each that has them."""
    total = 0
    for seen in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (_PROC / str(seen.pid) / "statm").read_bytes().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
    return total


def shared_memory_bytes(processes: list[Seen]) -> int:
    """Return the same with shared pages counted once, which takes the kernel longer to say."""
    total = 0
    for seen in processes:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (_PROC / str(seen.pid) / "smaps_rollup").read_bytes().splitlines():
                if line.startswith(b"Pss_Anon:"):
                    total += int(line.split()[1]) << 10
    return total


def send(seen: Seen, number: int) -> None:
    """Signal a process if it is still the one that was seen."""
    now = look(seen.pid)
    if now is not None and now.started == seen.started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(seen.pid, number)


def end_below(root: int, *, within_s: float) -> bool:
    """End every process below `root`, and reap those that are our own; False where some are left in the end.

    All are stopped before the first is killed, so that none can start another meanwhile.
    """
    deadline = time.monotonic() + within_s
    while True:
        living = [seen for seen in below(root) if not seen.zombie]
        stopped: set[int] = set()
        while fresh := [seen for seen in living if seen.pid not in stopped]:
            for seen in fresh:
                send(seen, signal.SIGSTOP)
                stopped.add(seen.pid)
            living = [seen for seen in below(root) if not seen.zombie]
        for seen in living:
            send(seen, signal.SIGKILL)
        if root == os.getpid():
            reap()
        if not living:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def reap() -> None:
    """Take the ends of all children that ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
