"""The memory page in a browser: noted, found as one types, edited, resolved, forgotten after a preview, carried."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.waiting import until
from timmy_core import open_timmy
from timmy_core.memory.model_files import ModelFolder
from timmy_core.memory.model_install import install
from timmy_core.testing import Turn

from .served import Loopback, Served, loopback, provider_table, serving
from .window import PATIENCE_MS, Window, ask, chat_text, heading

MODEL = os.environ.get("TIMMY_TEST_MINILM")
NOTES = "# The boat\n\nIt lies at berth seven.\n\n## Engine\n\nThe impeller was replaced in **May**.\n"
MONTH = timedelta(days=31)


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Loopback]]:
    """One workbench for all of these tests; each looks for what it brought itself."""
    folder = tmp_path_factory.mktemp("memory")
    home = folder / "home"
    home.mkdir()
    with loopback() as provider:
        (home / "timmy.toml").write_text(provider_table("tiny", provider.url), encoding="utf-8")
        past(home)
        with serving(home, folder / "server") as served:
            yield served, provider


def past(home: Path) -> None:
    """Remember what the tests find."""
    now = datetime.now(UTC)
    with open_timmy(home) as timmy:
        remember = timmy.memory.remember
        for days, text in ((90, "The spare key is under the blue pot."), (30, "The spare key is under the red pot.")):
            at = now - timedelta(days=days)
            remember(text, kind="fact", created_at=at, valid_from=at)
        remember("Jo starts at the new school in September.", kind="fact", source="extraction", proposed=True)
        for number, (speaker, text) in enumerate(
            (
                ("user", "What did the electrician say?"),
                ("timmy", "The fuse box has to be replaced before winter."),
                ("user", "And the heating?"),
                ("timmy", "It needs a new valve."),
            )
        ):
            at = now - MONTH + timedelta(minutes=number)
            remember(text, agent_id="timmy", session="house", speaker=speaker, source="agent", created_at=at)
    if MODEL:
        install(ModelFolder(home / "models"), MODEL)


@pytest.fixture
def page(workbench: tuple[Served, Loopback], window: Window) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE_MS)
    served, _ = workbench
    tab = window.tab()
    tab.goto(f"{served.url}/memory")
    heading(tab, "Memory").wait_for()
    tab.locator(".tw-seek[data-busy=false]").wait_for()
    tab.locator("[data-cell-name=health] .tw-section").wait_for()
    yield tab
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def said(page: Page, words: str) -> None:
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text(words)


def seek(page: Page, words: str) -> Locator:
    """Type words, and return what is found."""
    page.get_by_label("search what Timmy remembers").fill("")
    page.get_by_label("search what Timmy remembers").press_sequentially(words, delay=15)
    return page.locator(".tw-hit")


def fact(page: Page, words: str) -> Locator:
    return page.locator(".tw-fact", has_text=words)


def test_a_fact_is_noted_found_as_one_types_edited_and_forgotten_after_a_preview(
    page: Page, workbench: tuple[Served, Loopback]
) -> None:
    expect(page.locator("header .tw-line")).to_contain_text("Timmy remembers")
    if not MODEL:
        expect(page.locator("header .tw-line")).to_contain_text("by words only: no embedding model is installed")
        expect(page.get_by_role("button", name="Install all-MiniLM-L6-v2")).to_be_visible()

    page.get_by_role("button", name="Remember a fact").click()
    page.get_by_label("what to remember").fill("My sister Ann lives in Graz.")
    page.get_by_label("about").last.fill("home of my sister")
    page.get_by_role("button", name="Remember", exact=True).click()
    said(page, "Remembered: “My sister Ann lives in Graz.”")
    expect(fact(page, "My sister Ann lives in Graz.")).to_be_visible()

    hits = seek(page, "sisters")
    expect(hits.first.locator("mark")).to_have_text("sister")
    expect(hits.first.locator(".tw-why")).to_contain_text("words")
    until(lambda: "text=sisters" in page.evaluate("location.search"), "the words stand in the address")

    # A newer fact about the same ends the older one, which stays on record.
    fact(page, "Ann lives in Graz").get_by_role("button", name="Edit").click()
    page.get_by_label("what to remember").fill("My sister Ann lives in Vienna.")
    page.keyboard.press("Control+Enter")
    said(page, "It says now: “My sister Ann lives in Vienna.”")
    expect(hits.first.locator(".tw-hit-text")).to_contain_text("Vienna")

    fact(page, "Ann lives in Vienna").get_by_role("button", name="Forget").click()
    expect(page.locator("dialog[open]")).to_contain_text("It cannot be undone")
    page.get_by_role("button", name="Leave it as it is").click()
    expect(fact(page, "Ann lives in Vienna")).to_be_visible()
    fact(page, "Ann lives in Vienna").get_by_role("button", name="Forget").click()
    page.get_by_role("button", name="Forget this fact").click()
    said(page, "Forgotten: 1 entry.")
    expect(fact(page, "Ann lives in Vienna")).to_have_count(0)
    expect(page.locator(".tw-seek")).not_to_contain_text("Vienna")
    kinds = [one["type"] for one in workbench[0].get("/api/v1/events?family=memory").json()["events"]]
    assert kinds[:3] == ["memory.forgotten", "memory.edited", "memory.stored"]


def test_a_contradiction_is_resolved_and_a_proposed_fact_confirmed(page: Page) -> None:
    pair = page.locator(".tw-pairs li", has_text="blue or red")
    pair.get_by_role("button", name="The newer holds").click()
    said(page, "It no longer holds, and stays on record")
    expect(page.locator(".tw-pairs li")).to_have_count(0)
    expect(fact(page, "blue pot")).to_have_count(0)
    # The way back is offered where the change was made, and both can be told apart for good.
    page.get_by_role("button", name="Undo").click()
    said(page, "It holds again")
    pair.get_by_role("button", name="Both hold").click()
    said(page, "not asked about again")
    expect(page.locator(".tw-pairs li")).to_have_count(0)

    waiting = page.locator(".tw-waiting", has_text="new school")
    expect(page.locator("header .tw-line")).to_contain_text("1 proposed fact waits for you")
    waiting.get_by_role("button", name="Confirm").click()
    said(page, "Timmy knows now")
    expect(page.locator(".tw-waiting")).to_have_count(0)
    expect(fact(page, "new school")).to_be_visible()


def test_a_file_is_brought_in_and_everything_is_taken_out(page: Page, tmp_path: Path) -> None:
    notes = tmp_path / "boat.md"
    notes.write_text(NOTES, encoding="utf-8")
    page.get_by_label("files to import").set_input_files(notes)
    expect(page.locator(".tw-carry-said")).to_contain_text("boat.md: 2 new.")
    hits = seek(page, "impeller")
    expect(hits.first.locator("mark")).to_have_text("impeller")
    hits.first.locator(".tw-hit-head").press("Enter")
    expect(hits.first.locator(".tw-talk")).to_contain_text("replaced in **May**")
    page.get_by_label("files to import").set_input_files(notes)
    expect(page.locator(".tw-carry-said")).to_contain_text("0 new, 2 known already")

    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    lines = [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]
    assert any("impeller" in line["text"] for line in lines)
    expect(page.locator(".tw-carry-said")).to_contain_text(f"{len(lines)} entries saved")


def test_filters_stand_in_the_address_and_what_they_match_is_forgotten_together(page: Page) -> None:
    page.get_by_label("session").select_option("house")
    expect(page.locator(".tw-seek-said")).to_contain_text("4 entries with these filters")
    assert "session=house" in page.evaluate("location.search")
    page.reload()
    expect(page.locator(".tw-seek-said")).to_contain_text("4 entries with these filters")
    page.locator("[data-cell-name=health] .tw-section").wait_for()
    hits = seek(page, "fuse box")
    expect(hits.first).to_contain_text("before winter")
    hits.first.locator(".tw-hit-head").click()
    expect(hits.first.locator(".tw-talk")).to_contain_text("What did the electrician say?")

    page.get_by_role("button", name="forget these").click()
    expect(page.locator("dialog[open]")).to_contain_text("Forget 4 entries?")
    expect(page.locator("dialog[open]")).to_contain_text("It needs a new valve.")
    page.get_by_role("button", name="Forget 4 entries").click()
    said(page, "Forgotten: 4 entries.")
    expect(page.locator(".tw-seek-said")).to_contain_text("Nothing fits “fuse box” with these filters")


def test_an_answer_says_on_which_memories_it_stood_and_memory_can_be_switched_off(
    page: Page, workbench: tuple[Served, Loopback]
) -> None:
    served, provider = workbench
    provider.then(*[Turn(("Seven, I think.",))] * 4)
    page.get_by_role("button", name="Remember a fact").click()
    page.get_by_label("what to remember").fill("The tide table hangs in the kitchen.")
    page.get_by_role("button", name="Remember", exact=True).click()
    said(page, "Remembered")
    page.goto(served.url)
    heading(page, "Timmy").wait_for()
    page.locator(".tw-memory-of").wait_for()
    ask(page, "Where does the tide table hang?")
    until(lambda: re.search(r"stood on [1-9]", chat_text(page)), "the chat says on how many memories the answer stood")

    page.locator(".tw-memory-of").get_by_role("button", name="Switch off").click()
    said(page, "Memory is off here")
    expect(page.locator(".tw-memory-of")).to_contain_text("off for this conversation")
    page.goto(f"{served.url}/memory")
    recall = page.locator(".tw-recalls li", has_text="Where does the tide table hang?").first
    expect(recall.locator("summary")).to_contain_text(re.compile(r"\d+ memor"))
    recall.locator("summary").click()
    expect(recall).to_contain_text("The tide table hangs in the kitchen.")
    expect(page.locator("header")).to_contain_text("In conversations memory is on, but for the session default")
    page.locator("[data-cell-name=health] .tw-section").wait_for()
    recall.get_by_role("link", name="trace").click()
    heading(page, "Events").wait_for()


def test_on_a_phone_nothing_scrolls_sideways_and_the_keyboard_is_enough(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    hits = seek(page, "spare key")
    expect(hits.first.locator("mark").first).to_be_visible()
    until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page fits a phone's width")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".tw-whole")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".tw-whole")).to_have_count(0)
    page.get_by_role("button", name="Remember a fact").press("Enter")
    expect(page.get_by_label("what to remember")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
