"""What the tests of the upgrade queue share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from timmy_core.testing import FakeClock

from .queue_house import House, make_repo


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A scratch repository with a branch `main`."""
    return make_repo(tmp_path / "repo")


@pytest.fixture
def opened(tmp_path: Path, repo: Path, clock: FakeClock) -> Iterator[Callable[..., House]]:
    """Opens a queue on the repository; every one is closed at the end."""
    houses: list[House] = []

    def opening(**settings: Any) -> House:
        folder = tmp_path / "home"
        folder.mkdir(exist_ok=True)
        houses.append(House(folder, repo, clock=clock, **settings))
        return houses[-1]

    yield opening
    for house in houses:
        house.close()


@pytest.fixture
def house(opened: Callable[..., House]) -> House:
    """A queue on the repository, whose tests are always green."""
    return opened()
