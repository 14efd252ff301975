"""What the browser's benchmarks share: the end-to-end tests' Chromium, and programs that serve on a port."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from e2e.browser import chromium
from e2e.served import plain_environment, timmy_command

__all__ = ["chromium", "free_port", "plain_environment", "running", "timmy_command", "timmy_up"]

START_S = 60
STOP_S = 20
LOOK_S = 0.01


def free_port() -> int:
    """Return a port on loopback that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def timmy_up(home: Path, port: int) -> list[str]:
    """Return the command that serves a home."""
    return [*timmy_command(), "up", "--home", str(home), "--port", str(port), "--no-open"]


@contextmanager
def running(command: Sequence[str], folder: Path, ready_url: str) -> Iterator[float]:
    """Run a server, and yield the seconds from its start until it answers there."""
    log = (folder / "server.log").open("ab")
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=plain_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        while not _answers(ready_url):
            assert process.poll() is None, (folder / "server.log").read_text(encoding="utf-8")
            assert time.monotonic() < began + START_S, f"{ready_url} does not answer"
            time.sleep(LOOK_S)
        yield time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
