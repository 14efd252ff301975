"""What holds on every page: the way to all others, also from a phone; what can be read; tables as files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Page, expect

from timmy_core.server.pages import PAGES as SERVED
from ui.frame import PAGES

from .album import settle
from .conftest import Serve
from .served import Served
from .window import PATIENCE_MS, Window, heading

TITLES = {"Ledger": "Ledger", "Memory": "Memory", "Labs": "Latency lab"}
WIDTH, HEIGHT = 390, 844
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8").partition("\n")[2]


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


def test_every_text_and_every_field_of_every_page_stands_out_from_what_lies_behind(
    sample: Served, window: Window
) -> None:
    page = window.tab()
    found = {}
    for place in SERVED:
        page.emulate_media(color_scheme="light")
        page.goto(f"{sample.url}{place.path}")
        page.locator("header h1").wait_for(timeout=PATIENCE_MS)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.locator(f"body.{scheme}").wait_for(timeout=PATIENCE_MS)
            settle(page)
            found[f"{place.path}, {scheme}"] = page.evaluate(CONTRAST)
    assert {where: words for where, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/router/status/?range=30d", "attempts"),
        ("/lightning/ledger/", "ledger"),
        ("/memory/", "memory"),
        ("/self-modify/queue/", "upgrades"),
        ("/labs/latency/?range=30d", "percentiles"),
        ("/labs/latency/?range=30d", "before_and_after"),
        ("/labs/latency/?range=30d", "attempts"),
        ("/labs/policy/?range=30d", "policies"),
    ],
)
def test_every_table_is_saved_as_csv_and_as_parquet(sample: Served, window: Window, path: str, table: str) -> None:
    page = window.tab()
    page.goto(sample.url + path)
    rows = []
    for format_, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        with page.expect_download(timeout=2 * PATIENCE_MS) as saved:
            page.locator(f'[data-save*=\'"{table}"\'][data-save*="{format_}"]:visible').click(timeout=2 * PATIENCE_MS)
        assert saved.value.suggested_filename == f"{table}.{format_}"
        rows.append(len(read(saved.value.path())))
    expect(page.locator(".tw-said:not([hidden])").filter(has_text=f"saved as {table}.parquet")).to_be_visible()
    assert rows[0] == rows[1] > 0
    assert window.errors() == []
