"""The process that holds an AirLLM model, as its door sees it: started, spoken with, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MAX_LINE: Final = 1 << 20
_TAIL: Final = 4096
_EXIT_S: Final = 5.0
_PROGRAM: Final = Path(__file__).with_name("airllm_child.py")


class ChildGoneError(Exception):
    """The process has ended, or says what nobody understands; its text says how."""


class Child:
    """A running process; one task at a time may speak with it."""

    def __init__(self, process: subprocess.Popen[bytes], replies: asyncio.StreamReader, words: _Tail) -> None:
        self._process = process
        self._replies = replies
        self._words = words
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(cls, python: str) -> Child:
        """Start the program with an interpreter.

        Raises:
            OSError: there is no such interpreter.
        """
        process, descriptor = await asyncio.to_thread(_spawn, python)
        loop = asyncio.get_running_loop()
        child = cls(process, asyncio.StreamReader(limit=MAX_LINE), _Tail())
        try:
            pipe = os.fdopen(descriptor, "rb", 0)
            protocol = asyncio.StreamReaderProtocol(child._replies)
            child._transports.append((await loop.connect_read_pipe(lambda: protocol, pipe))[0])
            child._transports.append((await loop.connect_read_pipe(lambda: child._words, process.stderr))[0])
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    async def send(self, order: Mapping[str, Any]) -> None:
        """Send one order.

        Raises:
            ChildGoneError: nobody reads it.
        """
        try:
            await asyncio.to_thread(self._write, json.dumps(order).encode() + b"\n")
        except (OSError, ValueError):
            raise ChildGoneError(await self._epitaph()) from None

    async def next(self) -> Mapping[str, Any]:
        """Wait for its next message.

        Raises:
            ChildGoneError: there will be none.
        """
        try:
            line = await self._replies.readline()
        except ValueError:
            text = f"it sent a line of more than {MAX_LINE:,} bytes"
            raise ChildGoneError(text) from None
        if not line.endswith(b"\n"):
            raise ChildGoneError(await self._epitaph())
        message: Any = None
        with contextlib.suppress(ValueError):
            message = json.loads(line)
        if not isinstance(message, dict) or not isinstance(message.get("is"), str):
            text = "it sent something that is no message"
            raise ChildGoneError(text)
        return message

    async def kill(self) -> None:
        """End it and whatever it started, at once, and leave nothing open."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(asyncio.to_thread(self._process.wait))
        for transport in self._transports:
            transport.close()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        await asyncio.sleep(0)  # transports close their files in the loop's next round

    def _write(self, data: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - it was started with one
        view = memoryview(data)
        while view:
            view = view[pipe.write(view) :]

    async def _epitaph(self) -> str:
        """How it ended, and the last that it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, _EXIT_S)
        code = self._process.returncode
        if code is None:
            return "its process closed its side, and runs on"
        if code == -signal.SIGKILL:
            return "its process was killed, as the system does when memory runs out"
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        last = self._words.last_line()
        return f"its process ended with {how}" + (f": {last}" if last else "")


class _Tail(asyncio.Protocol):
    """Keeps the end of what a process says on its standard error."""

    def __init__(self) -> None:
        self._kept = b""

    def data_received(self, data: bytes) -> None:
        """Take what came, and forget what is old."""
        self._kept = (self._kept + data)[-_TAIL:]

    def last_line(self) -> str:
        """Return the last line that says anything."""
        lines = self._kept.decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _spawn(python: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the program in a group of its own; returns it with the descriptor of its messages."""
    read, write = os.pipe()
    try:
        # -P: the program's folder holds modules that bear the names of libraries.
        process = subprocess.Popen(  # noqa: S603 - our own program
            [python, "-P", str(_PROGRAM), str(write)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
            start_new_session=True,
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return process, read
