"""`timmy up` as a real process on a home of its own, and a provider for it that follows a script."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from tests.waiting import until
from timmy_core.loop import LoopThread
from timmy_core.testing import Turn, WireServer

START_S = 40
STOP_S = 20
RECALLS = {"TIMMY_MEMORY__RECALL_S": "30"}  # what is remembered must not hang on how busy the machine is

T = TypeVar("T")


def plain_environment(**more: str) -> dict[str, str]:
    """Return this machine's environment without its own settings and keys of ours, and with time enough to recall."""
    ours = ("TIMMY_", "OPENAI_", "ANTHROPIC_", "OLLAMA_", "COVERAGE_", "COV_CORE_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | RECALLS | more


def timmy_command() -> list[str]:
    """Return the command as it is installed beside this Python."""
    path = Path(sys.executable).parent / "timmy"
    assert path.is_file(), (
        f"{path} is not there; install the project first: {sys.executable} -m pip install -e '.[test]'"
    )
    return [str(path)]


class Served:
    """A workbench that is served by a process of its own, which can be stopped, killed and started again.

    Args:
        home: the home to be served.
        logs: a folder for what the process prints.
        environment: the whole environment of the process.
        command: how `timmy` is called.
    """

    def __init__(
        self, home: Path, logs: Path, environment: Mapping[str, str] | None = None, command: list[str] | None = None
    ) -> None:
        self.home, self._logs = home, logs
        self._environment = dict(environment or plain_environment())
        self._command = command or timmy_command()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def netloc(self) -> str:
        """The host and port that it listens on."""
        return urlsplit(self.url).netloc

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    def start(self) -> None:
        """Start on a free port, or on the same one as before, and wait until it is ready."""
        self._logs.mkdir(parents=True, exist_ok=True)
        port = str(urlsplit(self.url).port or 0)
        with (self._logs / "out.txt").open("ab") as out, (self._logs / "err.txt").open("ab") as err:
            self._process = subprocess.Popen(
                [*self._command, "up", "--home", str(self.home), "--port", port, "--no-open"],
                env=self._environment, cwd=self._logs, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        self.url = until(self._listens, "the server named its address", within_s=START_S)
        until(self._ready, f"{self.url}/readyz answered 200", within_s=START_S)

    def stop(self) -> None:
        """End it as a service manager does, and insist on a clean end."""
        assert self._process is not None, "it was never started"
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"the server did not end within {STOP_S} s of SIGTERM; it printed:\n{self.printed()}"
            raise AssertionError(message) from None
        assert status == 0, f"the server ended with status {status} after SIGTERM; it printed:\n{self.printed()}"
        assert "Traceback" not in self.printed(), f"the server printed a traceback:\n{self.printed()}"

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None, "it was never started"
        self._process.kill()
        self._process.wait(STOP_S)

    def close(self) -> None:
        """Stop it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask the server, without a browser."""
        return httpx.get(self.url + path, headers=headers, timeout=10, trust_env=False)

    def printed(self) -> str:
        """Return what it printed so far."""
        return "".join((self._logs / name).read_text(errors="replace") for name in ("out.txt", "err.txt"))

    def _listens(self) -> str:
        assert self._process is not None
        status = self._process.poll()
        assert status is None, (
            f"the server ended with status {status} before it listened; it printed:\n{self.printed()}"
        )
        try:
            held = json.loads((self.home / "serve.lock").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return str(held["url"]) if held["pid"] == self._process.pid else ""

    def _ready(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False


class Loopback:
    """A `WireServer` on a thread of its own, for tests without an event loop."""

    def __init__(self, *script: Turn) -> None:
        self._loop = LoopThread("scripted-provider")
        self.server = WireServer(*script)

    @property
    def url(self) -> str:
        """What goes into `base_url` of a provider of kind "openai"."""
        return f"{self.server.url}/v1"

    def then(self, *script: Turn) -> None:
        """Replace what is left of the script."""
        self.server.then(*script)


@contextmanager
def loopback(*script: Turn) -> Iterator[Loopback]:
    """Serve a script while the block runs."""
    provider = Loopback(*script)
    provider._loop.run(provider.server.start())
    try:
        yield provider
    finally:
        provider._loop.run(provider.server.stop())
        provider._loop.close()


def provider_table(name: str, base_url: str, *, kind: str = "openai", model: str = "tiny", priority: int = 1) -> str:
    """Return a `[[providers]]` table as it stands in `timmy.toml`."""
    return (
        f'[[providers]]\nname = "{name}"\nkind = "{kind}"\nbase_url = "{base_url}"\napi_key = "none"\n'
        f'models = {{ default = "{model}" }}\npriority = {priority}\n\n'
    )


# For `timmy.toml` where a test knows every event of the log: the chain is not checked while it runs, which is an event.
UNCHECKED = "[alerts]\nverify_h = 0\n\n"


@contextmanager
def refused_port() -> Iterator[int]:
    """Hold a port on loopback at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def serving(home: Path, logs: Path) -> Iterator[Served]:
    """Serve a home until the end of the block."""
    served = Served(home, logs)
    try:
        served.start()
        yield served
    finally:
        served.close()
