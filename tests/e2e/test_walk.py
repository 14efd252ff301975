"""The first walk in a browser: log in, ask, see it live, find it again, also after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.waiting import until
from timmy_core.testing import Turn

from .conftest import Serve
from .served import UNCHECKED, Loopback, Served, loopback, plain_environment, provider_table
from .window import OUTAGE, PATIENCE_MS, Window, ask, chat_text, heading, log_in, row_seqs

PASSWORD = "correct horse battery"
QUESTION = "Which way is north?"
PIECES = ("Look for ", "the pole star, ", "and walk ", "towards it.")
ANSWER = "".join(PIECES)
BYLINE = "scripted · tiny"
OPENED = 1  # the first event of a home says what its play node holds
KINDS = ["chat.asked", "memory.recalled", "llm.completed", "chat.answered", "memory.stored"]


@pytest.fixture
def provider() -> Iterator[Loopback]:
    # Slow enough that a reader sees the answer grow.
    with loopback(Turn(pieces=PIECES, pause_s=0.4)) as scripted:
        yield scripted


@pytest.fixture
def served(home: Path, serve: Serve, provider: Loopback) -> Served:
    (home / "timmy.toml").write_text(UNCHECKED + provider_table("scripted", provider.url), encoding="utf-8")
    return serve(home, environment=plain_environment(TIMMY_PASSWORD=PASSWORD))


def test_a_question_is_answered_seen_live_and_found_again_after_a_restart(served: Served, window: Window) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    home, live = window.tab(), window.tab()
    enter(home, served)
    live.goto(f"{served.url}/swarm/live")
    live.locator(".tw-feed[data-state=open]").wait_for()
    until(lambda: row_seqs(live) == [OPENED], "the live page showed that the play node's book was opened")

    assert streamed(home)
    seqs = recorded(served)
    called = seqs[2]
    shown = [*seqs[::-1], OPENED]
    until(lambda: row_seqs(live) == shown, f"the live page showed the events {seqs} by itself")
    completed = live.locator(f'.tw-feed-list [data-seq="{called}"]')
    expect(completed).to_contain_text("llm.completed")

    follow_the_trace(live, completed, count=len(seqs))
    live.goto(f"{served.url}/swarm/live")
    until(lambda: row_seqs(live) == shown, "the events were on the live page again after it was loaded anew")

    # The refused password is such an answer by design.
    assert window.errors(but=["status of 401"]) == []
    served.stop()
    served.start()
    assert recorded(served) == seqs
    for page in (home, live):
        page.reload()
        assert "/login" not in page.url, "the login did not survive the restart"
    heading(home, "Timmy").wait_for()
    for words in (QUESTION, ANSWER, BYLINE):
        until(lambda words=words: words in chat_text(home), f"the chat's history showed {words!r} after the restart")
    until(lambda: row_seqs(live) == shown, "the live page replayed the events after the restart")
    find_on_events(live, served, called)

    assert window.foreign_requests(served.netloc) == []
    assert window.errors(but=["status of 401", *OUTAGE]) == []


def enter(page: Page, served: Served) -> None:
    page.goto(served.url)
    assert page.url.startswith(f"{served.url}/login"), "the first page was shown without a login"
    log_in(page, "not the password")
    expect(page.get_by_role("alert")).to_have_text("That password is not right.")
    assert served.get("/api/v1/status").status_code == 401
    log_in(page, PASSWORD)
    heading(page, "Timmy").wait_for()
    assert page.url == f"{served.url}/"


def streamed(page: Page) -> bool:
    """Ask, and return whether the answer was seen to grow before it was whole."""
    ask(page, QUESTION)
    looks: list[str] = []

    def whole() -> bool:
        looks.append(chat_text(page))
        return ANSWER in looks[-1] and BYLINE in looks[-1]

    until(whole, f"the chat showed {ANSWER!r} with {BYLINE!r}")
    return any(PIECES[0].strip() in look and PIECES[-1] not in look for look in looks)


def recorded(served: Served) -> list[int]:
    """Return the seqs of the one question's events, oldest first."""
    opened, *found = events_of(served)
    assert (opened["seq"], opened["type"]) == (OPENED, "ledger.opened")
    assert [event["type"] for event in found] == KINDS
    assert len({event["trace_id"] for event in found}) == 1, "one question's events carry one trace id"
    assert found[2]["data"]["gen_ai.provider.name"] == "scripted"
    return [event["seq"] for event in found]


def events_of(served: Served) -> list[dict[str, Any]]:
    answer = served.get("/api/v1/events?order=asc", Authorization=f"Bearer {PASSWORD}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["events"])


def follow_the_trace(live: Page, row: Any, *, count: int) -> None:
    """Open a row's detail on the live page, and from there its whole trace on the events page."""
    row.click()
    detail = live.locator(".tw-feed-detail")
    expect(detail).to_contain_text("gen_ai.provider.name")
    detail.get_by_role("link", name="the whole trace on Events").click()
    heading(live, "Events").wait_for()
    rows = live.locator(".tw-found-row[data-seq]")
    expect(rows).to_have_count(count)
    for place, kind in enumerate(reversed(KINDS)):
        expect(rows.nth(place)).to_contain_text(kind)


def find_on_events(page: Page, served: Served, seq: int) -> None:
    page.goto(f"{served.url}/swarm/events?seq={seq}")
    heading(page, "Events").wait_for()
    expect(page.locator(".tw-found-row[data-seq]").get_by_text("llm.completed")).to_be_visible()
    record = page.locator(".tw-detail")
    expect(record).to_contain_text(f"#{seq}")
    expect(record).to_contain_text("llm.completed")
