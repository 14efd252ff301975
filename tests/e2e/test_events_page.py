"""The events page in a browser, on a log of thousands of events, and of a million: found, drawn, proven, taken away."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.waiting import until
from timmy_core import open_timmy

from .conftest import Serve
from .served import Served, serving
from .window import PATIENCE_MS, Window, brush, chart, heading

BENCH = Path(__file__).resolve().parents[1] / "bench"
LARGE = "TIMMY_TEST_LARGE"
FEW, MANY = 20_000, 1_000_000
SOON_S = 20.0  # generous: it is measured by the benchmarks, and only an endless wait is refused here


@pytest.fixture(scope="module")
def make() -> Callable[[Path, int], float]:
    """Return what makes a home with a long log."""
    spec = importlib.util.spec_from_file_location("make_log", BENCH / "make_log.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # Up to now, so that what the server writes itself stands at the end and not months behind it.
    module.BEGIN_US = time.time_ns() // 1000 - module.DAYS * 86_400_000_000
    made: Callable[[Path, int], float] = module.make
    return made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path, int], float]) -> Iterator[Served]:
    """One workbench on a log of 20,000 events for all of these tests; none of them writes events."""
    folder = tmp_path_factory.mktemp("long")
    home = folder / "home"
    home.mkdir()
    make(home, FEW)
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    with serving(home, folder / "server") as started:
        yield started


@pytest.fixture
def page(served: Served, window: Window) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE_MS)
    opened = window.tab()
    show(opened, served)
    yield opened
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def show(page: Page, served: Served, query: str = "") -> None:
    page.goto(f"{served.url}/swarm/events{query}")
    heading(page, "Events").wait_for()
    counted(page)


def counted(page: Page) -> str:
    """Wait until the chart is drawn, and return the first line."""
    page.locator("marimo-vega canvas, marimo-vega svg").first.wait_for()
    return page.locator("header .tw-line").inner_text()


def asked(page: Page) -> dict[str, str]:
    # Asked of the page itself: what Playwright remembers of it may be older.
    address = page.evaluate("location.href")
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def line_says(page: Page, words: str) -> None:
    expect(page.locator(".tw-line", has_text=words).first).to_be_visible()


def rows(page: Page) -> list[int]:
    return [int(row.get_attribute("data-seq") or 0) for row in page.locator(".tw-found-row[data-seq]").all()]


def test_a_facet_a_stretch_and_words_narrow_the_page_and_stand_in_its_address(page: Page) -> None:
    line_says(page, "20,0")
    page.locator(".tw-facet-family button", has_text="llm").click()
    line_says(page, "match")
    assert asked(page) == {"family": "llm"}
    expect(page.locator(".tw-found-row[data-seq] .tw-found-type").first).to_contain_text("llm.")

    brush(page, 0.4, 0.6)
    until(lambda: {"since", "until"} <= asked(page).keys(), "the stretch stands in the address")
    assert asked(page)["family"] == "llm"
    page.locator(".tw-on", has_text="time").wait_for()

    page.reload()
    line_says(page, "match")
    assert {"family", "since", "until"} <= asked(page).keys()
    expect(page.locator(".tw-on")).to_have_count(2)

    page.go_back()
    until(lambda: asked(page) == {"family": "llm"}, "the browser's way back leaves the stretch")
    page.locator(".tw-clear, .tw-on").first.click()
    until(lambda: asked(page) == {}, "the filters are cleared")


def test_double_click_in_the_chart_goes_back_to_all_of_the_time(page: Page) -> None:
    brush(page, 0.2, 0.5)
    until(lambda: "since" in asked(page), "the chart was zoomed")
    counted(page)
    line_says(page, "match")
    left, top, width, _ = chart(page)
    page.mouse.dblclick(left + width / 2, top + 40)
    until(lambda: "since" not in asked(page), "the whole time is shown")


def test_words_find_events_and_what_nobody_wrote_says_so(page: Page) -> None:
    search = page.get_by_label("search words in events")
    search.fill("ledger")
    search.press("Enter")
    line_says(page, "match")
    assert asked(page) == {"text": "ledger"}
    search.fill("nobodywrotethis")
    search.press("Enter")
    expect(page.get_by_text("No event matches.")).to_be_visible()


def test_older_events_come_as_the_reader_scrolls_without_a_gap(page: Page) -> None:
    page.locator(".tw-found-row[data-seq]").nth(50).wait_for()

    def at_end() -> bool:
        page.locator(".tw-found-list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
        return page.locator(".tw-found-row[data-seq]").count() >= 350

    until(at_end, "350 events were shown")
    shown = rows(page)
    assert shown == list(range(shown[0], shown[0] - len(shown), -1))


def test_an_event_is_shown_beside_with_its_neighbours_its_trace_and_its_proof(
    page: Page, served: Served, tmp_path: Path
) -> None:
    page.locator(".tw-facet-type button", has_text="llm.completed").click()
    line_says(page, "match")
    expect(page.locator(".tw-found-row[data-seq] .tw-found-type").first).to_have_text("llm.completed")
    page.locator(".tw-found-row[data-seq]").nth(2).click()
    detail = page.locator(".tw-detail")
    expect(detail.locator("h2")).to_contain_text("llm.completed")
    seq = int(asked(page)["seq"])
    expect(detail.locator(".tw-trace [aria-current]")).to_have_count(1)

    page.get_by_role("button", name="Verify this event").click()
    expect(page.locator(".tw-proof")).to_contain_text("proven")
    with page.expect_download() as saved:
        page.get_by_text("Download proof").click()
    path = tmp_path / "proof.json"
    saved.value.save_as(path)
    assert json.loads(path.read_text())["event"]["seq"] == seq
    timmy = Path(sys.executable).with_name("timmy")
    checked = subprocess.run(
        [timmy, "events", "check", str(path), "--home", str(served.home)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr

    detail.get_by_label("the event before").click()
    until(lambda: asked(page)["seq"] == str(seq - 1), "the neighbour is shown")
    detail.get_by_label("close").click()
    expect(detail).to_have_count(0)
    assert "seq" not in asked(page)


def test_a_trace_is_drawn_as_a_waterfall(page: Page) -> None:
    page.locator(".tw-facet-type button", has_text="llm.completed").click()
    line_says(page, "match")
    page.locator(".tw-found-row[data-seq]").first.click()
    page.locator('.tw-detail a[title*="of trace"]').click()
    until(lambda: "trace" in asked(page), "the trace stands in the address")
    expect(page.get_by_role("heading", name="Everything of one trace")).to_be_visible()
    bars = page.locator(".tw-section .tw-trace a[data-goto]")
    assert bars.count() >= 2
    bars.first.click()
    until(lambda: asked(page)["seq"] == bars.first.get_attribute("data-goto"), "its event is shown")


def test_a_view_is_saved_opened_and_deleted(page: Page) -> None:
    page.locator(".tw-facet-source button").first.click()
    line_says(page, "match")
    query = asked(page)
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("name of this view").fill("What it wrote")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="What it wrote", exact=True).wait_for()
    page.get_by_text("Views", exact=True).click()
    page.locator(".tw-on").first.click()
    until(lambda: asked(page) == {}, "the filter is cleared")
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("button", name="What it wrote", exact=True).click()
    until(lambda: asked(page) == query, "the view's filter holds")
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("delete the view What it wrote").click()
    expect(page.get_by_text("No view is saved yet")).to_be_visible()


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("CSV", "events.csv"),
        ("JSON lines", "events.jsonl"),
        ("Parquet", "events.parquet"),
        ("Notebook", "events_view.py"),
    ],
)
def test_what_is_shown_is_saved_as(page: Page, tmp_path: Path, word: str, name: str) -> None:
    page.locator(".tw-facet-family button", has_text="llm").click()
    line_says(page, "match")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as saved:
        page.locator(".tw-ask-format", has_text=word).click()
    assert saved.value.suggested_filename == name
    path = tmp_path / name
    saved.value.save_as(path)
    if name == "events.jsonl":
        found = [json.loads(line) for line in path.read_text().splitlines()]
        assert {event["type"].split(".")[0] for event in found} == {"llm"}
    assert path.stat().st_size > 100


def test_a_wrong_filter_in_the_address_is_explained(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/swarm/events?type=llm.faild")
    expect(page.get_by_text("did you mean llm.failed")).to_be_visible()
    page.locator(".tw-on").click()
    line_says(page, "20,0")


def test_at_phone_width_the_filters_fold_and_a_tap_leads_to_the_event(page: Page, served: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, served)
    expect(page.locator(".tw-facet-family button").first).to_be_hidden()
    page.get_by_text("Filters", exact=True).click()
    expect(page.locator(".tw-facet-family button").first).to_be_visible()
    page.get_by_text("Filters", exact=True).click()
    page.locator(".tw-found-row[data-seq]").first.click()
    expect(page.locator(".tw-detail h2")).to_be_in_viewport()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


@pytest.mark.skipif(LARGE not in os.environ, reason=f"takes a minute or two; set {LARGE}=1")
def test_a_million_events_are_searched_drawn_and_walked_through(
    tmp_path: Path, make: Callable[[Path, int], float], serve: Serve, window: Window
) -> None:
    expect.set_options(timeout=60_000)
    home = tmp_path / "million"
    home.mkdir()
    make(home, MANY)
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    with open_timmy(home) as timmy:
        assert timmy.events.head()[0] >= MANY
    served, page = serve(home), window.tab()
    page.goto(f"{served.url}/swarm/events")
    page.locator(".tw-found-row[data-seq]").first.wait_for(timeout=60_000)
    line_says(page, "1,000,0")
    matched = page.locator(".tw-matching", has_text="match")
    for act, told in (
        (lambda: page.locator(".tw-facet-family button", has_text="llm").click(), 1),
        (lambda: brush(page, 0.4, 0.5), 1),
        (lambda: page.locator(".tw-clear").click(), 0),
    ):
        began = time.monotonic()
        counted(page)
        act()
        expect(matched).to_have_count(told)
        assert time.monotonic() - began < SOON_S

    def at_end() -> bool:
        page.locator(".tw-found-list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
        return page.locator(".tw-found-row[data-seq]").count() >= 1000

    until(at_end, "1,000 events were shown")
    page.locator(".tw-found-row[data-seq]").nth(3).click()
    expect(page.locator(".tw-detail h2")).to_be_visible()
    assert window.errors() == []
