"""Runs one job behind a wall: watches what it takes, ends it in time, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import SandboxError
from timmy_core.upgrades.model import Level
from timmy_core.upgrades.sandbox import sweep
from timmy_core.upgrades.sandbox.job import Bounds, Ended, Outcome
from timmy_core.upgrades.sandbox.walls import Room

LOOK_S: Final = 0.05  # how often a run is looked at
_SWEEP_S: Final = 12.0  # how long the launcher may take to end what it started
_GONE_S: Final = 5.0
_PIECE: Final = 1 << 16
_WORDS: Final = 1 << 16  # the launcher's own words, before the report
_MAX_FILES: Final = 200_000
_BARE: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


class Watched:
    """One run, from its start until nothing of it is left.

    Args:
        program: the wall's program; see `walls.program`.
        bounds: how much it may take.
        room: where it takes place; `pipe` is the end that the launcher writes to, and is closed here.
        heard: the end that the report is read from; it is closed here too.
        measured: the disk is measured in the room's scratch folder, for levels whose wall does not bound it.
    """

    def __init__(self, program: Sequence[str], bounds: Bounds, room: Room, heard: int, *, measured: bool) -> None:
        self._bounds = bounds
        self._room = room
        self._heard = heard
        self._measured = measured
        self._tail = bytearray()
        self._written = 0
        self._report = bytearray()
        self._seen: dict[tuple[int, int], sweep.Seen] = {}
        self._began_s = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours; the command inside has no shell
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd="/",
                env=_BARE,
                pass_fds=(room.pipe,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(heard)
            message = f"tests cannot be started: {error.strerror}; see `timmy doctor`"
            raise SandboxError(message) from error
        finally:
            os.close(room.pipe)

    def wait(self, level: Level, stopped: Callable[[], bool]) -> Outcome:
        """Watch the run until it ended, or end it; afterwards none of its processes is left.

        Raises:
            SandboxError: the wall could not be built, or the command not be started.
        """
        try:
            ended = self._watch(stopped)
        finally:
            self._end()
        took_s = time.monotonic() - self._began_s
        words, report = self._words()
        if words.get("problem"):
            message = f"tests cannot be run at the level {level}: {words['problem']}"
            raise SandboxError(message)
        if not words and ended == "exited":
            ended = "lost"
        if words.get("clean") is False:
            ended = "processes"
        code = words.get("exit") if ended == "exited" else None
        output = self._tail.decode(errors="replace")
        if ended == "lost" and self._process.returncode not in (0, None) and not self._seen:
            message = f"tests cannot be run at the level {level}: {output.strip()[-500:] or 'it ended at once'}"
            raise SandboxError(message)
        return Outcome(ended, code, output, report, took_s, level, tuple(words.get("held", ())))

    # Watching ------------------------------------------------------------------------------------------------

    def _watch(self, stopped: Callable[[], bool]) -> Ended:
        out = self._process.stdout
        open_ = {self._heard, out.fileno() if out else self._heard}
        looked_s = 0.0
        with selectors.PollSelector() as selector:
            for fd in open_:
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            while self._process.poll() is None:
                for key, _ in selector.select(LOOK_S) if open_ else self._doze():
                    if not self._take(key.fd):
                        selector.unregister(key.fd)
                        open_.discard(key.fd)
                over = self._over(stopped)
                if not over and time.monotonic() - looked_s >= LOOK_S:
                    over = self._look()
                    looked_s = time.monotonic()
                if over:
                    return over
        return "exited"

    def _over(self, stopped: Callable[[], bool]) -> Ended | None:
        """Return what is over by the clock or by somebody's wish."""
        if time.monotonic() - self._began_s >= self._bounds.time_s:
            return "time"
        if self._written > self._bounds.output_bytes:
            return "output"
        return "cancelled" if stopped() else None

    def _doze(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait where there is nothing to be read any more."""
        time.sleep(LOOK_S)
        return []

    def _drain(self, fds: Sequence[int]) -> None:
        for fd in fds:
            while self._take(fd, whole=True):
                pass

    def _take(self, fd: int, *, whole: bool = False) -> bool:
        """Read what is there; False once there is no more to come, or with `whole` nothing more there."""
        try:
            piece = os.read(fd, _PIECE)
        except BlockingIOError:
            return not whole
        if fd != self._heard:
            self._written += len(piece)
            self._tail = (self._tail + piece)[-self._bounds.tail_bytes :]
        elif len(self._report) <= self._bounds.report_bytes + _WORDS:
            self._report += piece
        return bool(piece)

    def _look(self) -> Ended | None:
        """Return what the run takes too much of; the launcher's own processes count as well."""
        processes = sweep.below(self._process.pid)
        for seen in processes:
            self._seen[seen.pid, seen.started] = seen
        if sum(seen.threads for seen in processes if not seen.zombie) > self._bounds.processes + 8:
            return "processes"
        most = self._bounds.memory_bytes
        if sweep.memory_bytes(processes) > most and sweep.shared_memory_bytes(processes) > most:
            return "memory"
        if self._measured and self._disk_bytes() > self._bounds.disk_bytes:
            return "disk"
        return None

    def _disk_bytes(self) -> int:
        total = count = 0
        for folder, _, names in os.walk(self._room.scratch):
            count += 1 + len(names)
            if count > _MAX_FILES:
                return self._bounds.disk_bytes + 1
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(folder, name).lstat().st_blocks * 512
        return total

    # Ending --------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Close the lifeline, which has the launcher end everything; then make sure of it from out here."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._settle(_SWEEP_S)
        left = sweep.below(self._process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # What is not below the wall's program any more was seen below it earlier.
        for seen in [*left, *self._seen.values()]:
            sweep.send(seen, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GONE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        os.close(self._heard)

    def _settle(self, within_s: float) -> None:
        """Wait for the wall's program to end, and read on meanwhile, for the launcher waits until it was heard."""
        deadline = time.monotonic() + within_s
        out = self._process.stdout.fileno() if self._process.stdout else -1
        while self._process.poll() is None and time.monotonic() < deadline:
            self._drain([self._heard, out])
            time.sleep(0.01)
        self._drain([self._heard, out])

    def _words(self) -> tuple[Mapping[str, Any], bytes]:
        """Return what the launcher said, and the report; nothing where it was ended before it could."""
        head, _, report = bytes(self._report).partition(b"\n")
        try:
            words = json.loads(head)
        except ValueError:
            return {}, b""
        return words, report if len(report) == words.get("report", 0) else b""
