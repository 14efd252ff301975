"""The states in which the pages are tried: an empty home, one that has seen something, one whose providers fail."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.settings import load_settings
from timmy_core.testing import ScriptedProvider
from timmy_core.testing.sample.open import open_copy
from timmy_core.timmy import Timmy

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PAGES = ("home", "live", "events", "ledger", "memory", "router", "upgrades", "latency_lab", "policy_lab")


@pytest.fixture(scope="session")
def page() -> Callable[[str], ModuleType]:
    """Load a page's notebook as a module; its `app` is what marimo runs."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"page_{name}", NOTEBOOKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def empty(home: Path) -> Iterator[Timmy]:
    yield from _opened(home)


@pytest.fixture
def used(home: Path) -> Iterator[Timmy]:
    """One provider that answers, and one question asked."""
    for timmy in _opened(home, ScriptedProvider("well", "Here I am.")):
        timmy.ask_sync("Are you there?")
        timmy.events.append("task.created", source="cli", task_id="t1", data={"title": "Water the garden"})
        yield timmy


@pytest.fixture
def unasked(home: Path) -> Iterator[Timmy]:
    """One provider that nobody has asked anything."""
    yield from _opened(home, ScriptedProvider("well", "Here I am."))


@pytest.fixture
def failing(home: Path) -> Iterator[Timmy]:
    """One provider that fails until its circuit opens, and one that is not set up."""
    refused = ProviderError("connection_refused", "nothing listens there", advice="start it with `thing serve`")
    unset = ScriptedProvider("unset", priority=2, missing=("THE_KEY is not set", "`export THE_KEY=…`"))
    for timmy in _opened(home, ScriptedProvider("broken", refused), unset):
        for _ in range(6):
            timmy.ask_sync("Are you there?")
        yield timmy


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timmy]:
    """The sample, a month of a busy home, in which time stands still where it ends; nobody changes anything in it."""
    home = tmp_path_factory.mktemp("sample") / "home"
    open_copy(home, now=datetime.now(UTC), still=True)
    yield from _opened(home, *(ScriptedProvider(name) for name in ("ollama", "garage", "claude", "openai")))


@pytest.fixture(params=["empty", "unasked", "used", "failing", "demo"])
def state(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def _opened(home: Path, *providers: ScriptedProvider) -> Iterator[Timmy]:
    timmy = Timmy(load_settings(home), providers=providers)
    try:
        yield timmy
    finally:
        timmy.shutdown()
