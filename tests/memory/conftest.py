"""What the tests of the memory's store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.memory.memory import Memory
from timmy_core.testing import FakeClock

from .house import House


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def home(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    opened = House(tmp_path / "timmy.db", clock)
    yield opened
    opened.close()


@pytest.fixture
def memory(home: House) -> Memory:
    return home.memory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the index of vectors puts its files."""
    return tmp_path / "index"
