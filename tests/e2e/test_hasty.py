"""A reader quicker than the page: a click before its widget is there, the way back, a slow hand in a chart."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from .served import Served
from .window import PATIENCE_MS, Window, brush, heading


@pytest.fixture
def page(sample: Served, window: Window) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE_MS)
    yield window.tab()
    assert window.foreign_requests(sample.netloc) == []
    assert window.errors() == []


def test_a_click_that_comes_before_its_widget_is_taken_up_once_the_widget_is_there(page: Page, sample: Served) -> None:
    held: list[Route] = []
    slow = True
    page.route("**/@file/*.js", lambda route: held.append(route) if slow else route.continue_())
    page.goto(f"{sample.url}/lightning/ledger/")
    page.get_by_role("button", name="Compare with the node", exact=True).click()
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert held, "no widget's script was asked for"
    slow = False
    for route in held:
        route.continue_()
    expect(page.locator("dialog[open]")).to_contain_text("the node")


def test_a_click_that_was_heard_is_not_taken_up_again(page: Page, sample: Served) -> None:
    page.goto(f"{sample.url}/lightning/ledger/")
    page.locator(".tw-entries[data-busy=false]").wait_for()
    page.get_by_role("button", name="Compare with the node", exact=True).click()
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("window.twClicked") is None


def test_the_way_back_leads_to_what_the_ledger_showed_before(page: Page, sample: Served) -> None:
    page.goto(f"{sample.url}/lightning/ledger/")
    said = page.locator(".tw-entries[data-busy=false] .tw-seek-said")
    all_of_them = said.inner_text()
    direction = page.get_by_label("direction")
    direction.select_option("in")
    expect(said).not_to_have_text(all_of_them)
    page.go_back()
    expect(said).to_have_text(all_of_them)
    expect(direction).to_have_value("")
    page.go_forward()
    expect(direction).to_have_value("in")
    expect(said).not_to_have_text(all_of_them)


def test_the_way_back_leads_to_what_was_sought_in_memory_before(page: Page, sample: Served) -> None:
    page.goto(f"{sample.url}/memory/?text=lamps")
    page.locator(".tw-seek[data-busy=false]").wait_for()
    hits = page.locator(".tw-hit")
    first = hits.count()
    assert first
    kind = page.get_by_label("kind", exact=True)
    kind.select_option("fact")
    expect(page).to_have_url(re.compile("kind=fact"))
    expect(hits).not_to_have_count(first)
    page.go_back()
    expect(hits).to_have_count(first)
    expect(kind).to_have_value("")


def test_a_stretch_that_is_drawn_slowly_is_one_step_of_the_way_back(page: Page, sample: Served) -> None:
    page.goto(f"{sample.url}/swarm/events/?family=llm")
    heading(page, "Events").wait_for()
    page.locator(".tw-on").wait_for()
    before = page.evaluate("history.length")
    brush(page, 0.3, 0.7, pause_s=0.3)
    expect(page).to_have_url(re.compile("since="))
    page.locator(".tw-on", has_text="time").wait_for()
    page.wait_for_timeout(2_000)  # long enough for whatever else the chart may say of it
    assert page.evaluate("history.length") == before + 1
    page.go_back()
    expect(page).not_to_have_url(re.compile("since="))
    page.wait_for_timeout(2_000)
    assert "since=" not in page.evaluate("location.search")
