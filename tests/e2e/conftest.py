"""The browser, its windows, and a served workbench; a failed test leaves a picture of what it saw."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.once import alone
from timmy_core.testing.sample.open import StandIn, open_copy

from .browser import NoBrowserError, find_browser
from .browser import chromium as start
from .served import Served, serving
from .window import Window

Serve = Callable[..., Served]
WINDOW = pytest.StashKey[Window]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def chromium() -> str:
    try:
        with alone():
            return find_browser()
    except NoBrowserError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless browser; one a module, because its event loop would be in the way of later asynchronous tests."""
    with start(chromium) as opened:
        yield opened


@pytest.fixture
def window(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Window]:
    opened = Window(browser, tmp_path)
    request.node.stash[WINDOW] = opened
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The workbench on a copy of the sample, as `timmy demo` serves it."""
    folder = tmp_path_factory.mktemp("sample")
    with StandIn() as models:
        open_copy(folder / "home", url=models.url, now=datetime.now(UTC))
        with serving(folder / "home", folder / "server") as started:
            yield started


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what starts a workbench on a home; each is stopped, cleanly, at the end."""
    started: list[Served] = []

    def begin(home: Path, **options: Any) -> Served:
        served = Served(home, tmp_path / "server", **options)
        started.append(served)
        served.start()
        return served

    yield begin
    for served in started:
        served.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    window = item.stash.get(WINDOW, None)
    # A page that never came up fails in the set-up of its fixture.
    if report.when in ("setup", "call") and report.failed and window is not None:
        taken = window.screenshots()
        report.sections.append(("what the browser showed", "\n".join(map(str, taken)) or "no picture could be taken"))
        report.sections.append(("what its pages complained of", "\n".join(window.complaints) or "nothing"))
    return report
