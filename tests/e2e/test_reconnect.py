"""What open pages do when the server is killed and comes back on the same address."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.waiting import until
from timmy_core import open_timmy
from timmy_core.events.model import NewEvent

from .conftest import Serve
from .served import UNCHECKED, Served
from .window import OUTAGE, PATIENCE_MS, Window, heading, row_seqs


@pytest.fixture
def served(home: Path, serve: Serve) -> Served:
    with (home / "timmy.toml").open("a", encoding="utf-8") as settings:
        settings.write(UNCHECKED)
    return serve(home)


def append(home: Path, texts: list[str]) -> list[int]:
    """Append events from this process, which is not the server's, and return their seqs."""
    with open_timmy(home) as timmy:
        events = [NewEvent("system.info", "test", {"message": text}) for text in texts]
        return [event.seq for event in timmy.events.append_many(events)]


def open_live(window: Window, served: Served) -> Page:
    page = window.tab()
    page.goto(f"{served.url}/swarm/live")
    page.locator(".tw-feed[data-state=open]").wait_for(timeout=PATIENCE_MS)
    return page


def test_two_live_tabs_reconnect_by_themselves_and_show_each_event_once_in_order(
    served: Served, window: Window
) -> None:
    tabs = [open_live(window, served), open_live(window, served)]
    until(lambda: row_seqs(tabs[0]) == [1], "the first event of a home, what its play node holds, was shown")
    seqs = [1, *append(served.home, ["before", "the", "cut"])]
    for tab in tabs:
        until(lambda tab=tab: row_seqs(tab) == seqs[::-1], "a tab showed what another process appended")
    assert window.errors() == []

    served.kill()
    for tab in tabs:
        tab.locator(".tw-feed[data-state=lost]").wait_for()
        expect(tab.locator(".tw-feed-state")).to_contain_text("connection lost")
    seqs += append(served.home, [f"while it was away {number}" for number in range(5)])
    served.start()
    seqs += append(served.home, ["after", "the", "cut"])

    for tab in tabs:
        tab.locator(".tw-feed[data-state=open]").wait_for()
        until(lambda tab=tab: row_seqs(tab) == seqs[::-1], "a tab showed what it had missed, each event once, in order")
    assert seqs == list(range(1, len(seqs) + 1))
    assert window.errors(but=OUTAGE) == []
    assert window.foreign_requests(served.netloc) == []


def test_an_open_first_page_finds_its_way_back_without_a_complaint(served: Served, window: Window) -> None:
    page = window.tab()
    page.goto(served.url)
    heading(page, "Timmy").wait_for()
    append(served.home, ["before"])
    expect(page.locator(".tw-events")).to_contain_text("before", timeout=PATIENCE_MS)

    served.kill()
    page.locator(".tw-connection[data-state=lost]").wait_for()
    append(served.home, ["missed"])
    served.start()
    expect(page.locator(".tw-events")).to_contain_text("missed", timeout=PATIENCE_MS)
    page.locator(".tw-connection[data-state=open]").wait_for()
    append(served.home, ["afterwards"])
    expect(page.locator(".tw-events")).to_contain_text("afterwards", timeout=PATIENCE_MS)
    assert window.errors(but=OUTAGE) == []
