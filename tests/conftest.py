"""What every test shares: a home of its own, and the parts opened on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything asks how wide a terminal is: what is printed into a pipe or a test must not be folded.
os.environ["COLUMNS"] = "240"
# A shell that runs the tests behind its back lets them, and all that they start, ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy, open_timmy

# How long an example takes says how busy the machine is; what has to be quick is measured in tests/bench.
settings.register_profile("timmy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timmy")


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are processors: who waits for a server or a browser leaves its own to another."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own settings and keys out of every test."""
    for name in list(os.environ):
        if name.startswith(("TIMMY_", "OPENAI_", "ANTHROPIC_", "OLLAMA_")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home without any provider."""
    path = tmp_path / "home"
    path.mkdir()
    (path / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store" / "timmy.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(store: Store, clock: FakeClock) -> EventLog:
    return EventLog(store, clock)


@pytest.fixture
def timmy(home: Path) -> Iterator[Timmy]:
    with open_timmy(home) as opened:
        yield opened
