"""The demonstration in a browser: every page says what it is, goes by the sample's time, and shows something."""

from __future__ import annotations

from playwright.sync_api import expect

from timmy_core.server.pages import PAGES

from .served import Served
from .window import PATIENCE_MS, Window


def test_every_page_says_that_it_is_a_demonstration_and_goes_by_its_time(sample: Served, window: Window) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    tab = window.tab()
    for page in PAGES:
        tab.goto(f"{sample.url}{page.path}")
        expect(tab.locator(".tw-demo")).to_contain_text("Demonstration")
        expect(tab.locator("header h1")).to_be_visible()
    tab.goto(f"{sample.url}/")
    # What the serving process did at its start has just happened, although the machine's calendar says otherwise.
    newest = tab.locator('[data-cell-name="glance"] time[data-style="ago"]').first
    expect(newest).to_contain_text(" s ago")
    assert window.foreign_requests(sample.netloc) == []
    assert window.errors() == []
