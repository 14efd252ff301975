"""What holds on every page: the way to all others, also from a phone."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from ui.frame import PAGES

from .conftest import Serve
from .window import PATIENCE_MS, Window, heading

TITLES = {"Ledger": "Ledger", "Memory": "Memory", "Labs": "Latency lab"}
WIDTH, HEIGHT = 390, 844


def opened(window: Window, url: str) -> Page:
    expect.set_options(timeout=PATIENCE_MS)
    page = window.tab()
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(url)
    page.locator("h1").first.wait_for()
    expect(page.locator(".tw-connection")).to_have_attribute("data-state", "open")
    return page


def test_on_a_phone_five_pages_and_more_stand_at_the_foot_and_a_tap_opens_the_rest(
    home: Path, serve: Serve, window: Window
) -> None:
    page = opened(window, serve(home).url)
    bar = page.get_by_role("navigation", name="Pages")
    shown = [place.word for place in PAGES if place.bar]
    rest = [place.word for place in PAGES if not place.bar]
    assert len(shown) == 5
    expect(bar.locator("a.tw-nav:visible")).to_have_text(shown)
    more = bar.locator("summary")
    for word in rest:
        more.click()
        expect(bar.locator("a.tw-rest:visible")).to_have_text(rest)
        box = bar.get_by_role("link", name=word).bounding_box()
        assert box is not None
        assert box["height"] >= 44, "a finger needs as much"
        assert box["x"] + box["width"] <= WIDTH
        bar.get_by_role("link", name=word).click()
        heading(page, TITLES[word]).wait_for()
        expect(more).to_have_attribute("aria-label", f"More; this page is {word}")
        expect(bar.locator("a.tw-rest:visible")).to_have_count(0)
    more.click()
    page.mouse.click(200, 200)
    expect(bar.locator("a.tw-rest:visible")).to_have_count(0)


def test_the_menu_behind_more_is_walked_with_the_keyboard(home: Path, serve: Serve, window: Window) -> None:
    page = opened(window, serve(home).url + "/router/status")
    more = page.locator(".tw-rail summary")
    more.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tw-rest", has_text="Ledger")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tw-rest", has_text="Memory")).to_be_focused()
    page.keyboard.press("Escape")
    expect(more).to_be_focused()
    expect(page.locator("a.tw-rest:visible")).to_have_count(0)
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/labs/**")
