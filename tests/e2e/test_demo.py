"""The demonstration in a browser: every page says what it is, goes by the sample's time, and shows something."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from timmy_core.server.pages import PAGES
from timmy_core.testing.sample.open import StandIn, open_copy

from .served import Served, serving
from .window import PATIENCE_MS, Window


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("demo")
    with StandIn() as models:
        open_copy(folder / "home", url=models.url, now=datetime.now(UTC))
        with serving(folder / "home", folder / "server") as started:
            yield started


def test_every_page_says_that_it_is_a_demonstration_and_goes_by_its_time(served: Served, window: Window) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    tab = window.tab()
    for page in PAGES:
        tab.goto(f"{served.url}{page.path}")
        expect(tab.locator(".tw-demo")).to_contain_text("Demonstration")
        expect(tab.locator("header h1")).to_be_visible()
    tab.goto(f"{served.url}/")
    # What the serving process did at its start has just happened, although the machine's calendar says otherwise.
    newest = tab.locator('[data-cell-name="glance"] time[data-style="ago"]').first
    expect(newest).to_contain_text(" s ago")
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []
