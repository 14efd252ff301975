"""What stands between the wall and a test command: it shuts the command in, ends all that it left, and reports.

It runs inside the wall, so it imports the standard library alone. Its stdin is a lifeline: once that ends, or the
command did, every process below is ended. What it reports goes through a pipe that the command never has.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from timmy_core.upgrades.sandbox import limits, mounts, sweep

_LOOK_MS: Final = 200
_SWEEP_S: Final = 10.0
_LIFELINE: Final = 0
_TOLD: Final = 4000


def main() -> NoReturn:
    """Run the plan that the first argument holds as JSON."""
    plan: dict[str, Any] = json.loads(sys.argv[1])
    pipe = int(plan["pipe"])
    os.set_inheritable(pipe, False)  # noqa: FBT003 - it takes no name
    try:
        limits.hide()
        if plan["view"] is not None:
            mounts.enter(plan["view"])
        child, held, problem = _start(plan)
    except OSError as error:
        _send(pipe, {"problem": str(error)})
        os._exit(1)
    ended = _wait(child)
    clean = sweep.end_below(os.getpid(), within_s=_SWEEP_S)
    report = b"" if problem or ended is None else _read(plan["report"], plan["report_bytes"])
    words = {"problem": problem, "exit": ended, "held": held, "clean": clean, "report": len(report)}
    _send(pipe, words, report)
    os._exit(0)


def _start(plan: Mapping[str, Any]) -> tuple[int, list[str], str]:
    """Start the command; returns its process, what held of its bounds, and what went wrong."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _become_command(plan, tell)
    os.close(tell)
    said = b""
    while piece := os.read(told, _TOLD):
        said += piece
    os.close(told)
    held, _, problem = said.decode(errors="replace").partition("\n")
    return child, held.split(), problem


def _become_command(plan: Mapping[str, Any], tell: int) -> NoReturn:
    """In the child: shut it in, and run the command; what goes wrong is told."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(int(plan["pipe"]))
        held = limits.standing(plan)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.write(tell, (" ".join(held) + "\n").encode())
        folder = plan["tree"]
        if plan["copy_to"]:
            folder = shutil.copytree(folder, plan["copy_to"], symlinks=True, copy_function=shutil.copyfile)
        os.chdir(folder)
        for made in plan["folders"]:
            Path(made).mkdir(parents=True, exist_ok=True)
        os.execvpe(plan["command"][0], plan["command"], plan["environment"])  # noqa: S606 - no shell, on purpose
    except (OSError, shutil.Error) as error:
        os.write(tell, f"\n{error}".encode()[:_TOLD])
    os._exit(127)


def _wait(child: int) -> int | None:
    """Wait for the command; None where whoever asked went away first."""
    handle = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    waiting.register(_LIFELINE, select.POLLIN | select.POLLHUP)
    while True:
        ready = {fd for fd, _ in waiting.poll(_LOOK_MS)}
        if handle in ready:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if _LIFELINE in ready:
            return None
        _reap_others(child)


def _reap_others(child: int) -> None:
    """Take the ends of adopted orphans, which count as processes until somebody does."""
    for seen in sweep.below(os.getpid()):
        if seen.zombie and seen.parent == os.getpid() and seen.pid != child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(seen.pid, os.WNOHANG)


def _read(path: str, most: int) -> bytes:
    """Return the report that the command left; nothing where it is no plain file or too large."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > most:
            return b""
        pieces = bytearray()
        while len(pieces) < most and (piece := os.read(fd, most - len(pieces))):
            pieces += piece
        return bytes(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _send(pipe: int, words: Mapping[str, Any], report: bytes = b"") -> None:
    left = memoryview(json.dumps(words).encode() + b"\n" + report)
    with contextlib.suppress(BrokenPipeError):
        while left:
            left = left[os.write(pipe, left) :]
