"""A home with a swarm whose time stands still, and short ways to say things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.settings import Settings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy


@pytest.fixture
def model() -> ScriptedProvider:
    return ScriptedProvider("local", "the result")


@pytest.fixture
def home_of_swarm(tmp_path: Path, model: ScriptedProvider, clock: FakeClock) -> Iterator[Timmy]:
    settings = Settings(home=tmp_path, providers=(), swarm=SwarmSettings(max_attempts=3, lease_s=60))
    timmy = Timmy(settings, clock=clock, providers=[model])
    yield timmy
    timmy.shutdown()
