"""The live page in a browser: the past behind the feed, filters in the address, traces, and tasks from post to pay."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.waiting import until
from timmy_core import NewEvent, open_timmy
from timmy_core.testing import Turn

from .served import UNCHECKED, Loopback, Served, loopback, provider_table, serving
from .window import OUTAGE, PATIENCE_MS, Window, row_seqs

MANY = 1_200
ANSWER = ("Beans beside the tomatoes, ", "onions along the path.")


@pytest.fixture(scope="module")
def provider() -> Iterator[Loopback]:
    with loopback(*(Turn(ANSWER, pause_s=0.01) for _ in range(20))) as served:
        yield served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, provider: Loopback) -> Iterator[Served]:
    """One workbench for all of these tests, with a past of some 1,200 events."""
    folder = tmp_path_factory.mktemp("live")
    home = folder / "home"
    home.mkdir()
    (home / "timmy.toml").write_text(UNCHECKED + provider_table("box", provider.url), encoding="utf-8")
    kinds = ("system.info", "tool.called", "x.note.made")
    with open_timmy(home) as timmy:
        timmy.events.append_many(
            [
                NewEvent(kinds[n % 3], "test", {"message": f"word{n}"}, trace_id=f"trace-{n // 3}", agent_id="mole")
                for n in range(MANY)
            ]
        )
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
    page.goto(f"{served.url}/swarm/live/{query}")
    page.locator(".tw-feed[data-state=open]").wait_for()
    # An empty home's first event is its play node's book; more come with every test.
    page.locator(".tw-tasks-head").wait_for()


def asked(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.evaluate("location.href")).query).items()}


def append(served: Served, type_: str, message: str) -> int:
    with open_timmy(served.home) as timmy:
        return timmy.events.append(type_, source="test", data={"message": message}).seq


def scroll_to_the_end(page: Page) -> None:
    page.locator(".tw-feed-list").evaluate("list => { list.scrollTop = list.scrollHeight; }")


def test_who_scrolls_back_comes_from_what_is_live_to_the_first_event_without_a_hole(page: Page) -> None:
    def at_the_end() -> bool:
        scroll_to_the_end(page)
        return "nothing came before" in page.locator(".tw-feed-foot").inner_text() and row_seqs(page)[-1:] == [1]

    until(at_the_end, "the first event of all was shown", within_s=40)
    seqs = row_seqs(page)
    assert seqs == list(range(seqs[0], 0, -1))


def test_filters_stand_in_the_address_and_reach_into_the_past(page: Page, served: Served) -> None:
    page.locator(".tw-chip[data-family=x]").click()
    until(lambda: asked(page) == {"family": "x"}, "the family stands in the address")
    page.get_by_label("filter by words").fill("word5")
    until(lambda: asked(page) == {"family": "x", "text": "word5"}, "the words stand in the address")
    # Long before what the page began with; a search by words finds whole words, or beginnings with a star.
    row = page.locator(".tw-row")
    expect(row.first).to_contain_text("word5")
    page.reload()
    expect(page.get_by_label("filter by words")).to_have_value("word5")
    expect(page.locator(".tw-chip[data-family=x]")).to_have_attribute("aria-pressed", "true")
    append(served, "system.info", "word5 of another family")
    seq = append(served, "x.note.made", "word5 again")
    until(lambda: row_seqs(page)[:1] == [seq], "what matches comes, what does not match does not")


def test_a_stretch_of_the_past_stays_as_it_was_while_the_log_goes_on(page: Page, served: Served) -> None:
    with open_timmy(served.home) as timmy:
        until_ = timmy.events.get(600).ts.isoformat().replace("+00:00", "Z")
    show(page, served, f"?until={until_}")
    expect(page.locator(".tw-feed-state")).to_contain_text("the past")
    until(lambda: bool(row_seqs(page)), "the past was shown")
    before = row_seqs(page)[0]
    assert before < 600
    append(served, "x.note.made", "long after it")
    expect(page.locator(".tw-feed-state")).to_contain_text("the log is at")
    assert row_seqs(page)[0] == before
    page.locator(".tw-on", has_text="time").click()
    until(lambda: row_seqs(page)[0] > MANY, "without the stretch it is live again")
    assert asked(page) == {}
    page.go_back()
    until(lambda: row_seqs(page)[:1] == [before], "the browser's way back leads into the past again")


def test_while_it_is_paused_nothing_moves_and_what_came_is_counted(page: Page, served: Served) -> None:
    until(lambda: bool(row_seqs(page)), "rows were shown")
    page.get_by_role("button", name="Pause").click()
    before = row_seqs(page)
    append(served, "system.info", "behind the pause")
    resume = page.get_by_role("button", name="Resume · 1 new")
    resume.wait_for()
    assert row_seqs(page) == before
    resume.click()
    until(lambda: row_seqs(page)[0] == before[0] + 1, "what came meanwhile was shown")


def test_a_link_to_an_event_of_long_ago_opens_it_with_the_ways_to_its_things(page: Page, served: Served) -> None:
    show(page, served, "?seq=7")
    detail = page.locator(".tw-feed-detail")
    expect(detail).to_contain_text("word")
    expect(detail.get_by_role("link", name="its record, with its proof")).to_be_visible()
    expect(detail.get_by_role("link", name="the whole trace on Events")).to_be_visible()
    detail.get_by_role("button", name="Show the whole trace").click()
    page.locator(".tw-feed-trace .tw-trace-bar").first.wait_for()
    assert page.locator(".tw-feed-trace [data-goto]").count() == 3
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    assert "seq" not in asked(page)


def test_one_click_on_a_trace_shows_all_of_it_and_it_can_be_sent_to_somebody(page: Page, served: Served) -> None:
    trace = page.locator(".tw-row-trace[data-trace]").first
    name = trace.get_attribute("data-trace") or ""
    trace.click()
    page.locator(".tw-feed-trace .tw-trace-bar").first.wait_for()
    assert asked(page) == {"trace": name}
    page.locator(".tw-feed-trace [data-goto]").first.click()
    expect(page.locator(".tw-feed-detail")).to_contain_text(name)
    page.get_by_label("close the trace").click()
    expect(page.locator(".tw-feed-list")).to_be_visible()
    page.go_back()
    page.locator(".tw-feed-trace .tw-trace-bar").first.wait_for()


def test_a_task_is_posted_bid_for_done_and_paid_before_one_s_eyes(page: Page) -> None:
    page.get_by_role("button", name="Post a task").click()
    form = page.locator("dialog[open]")
    form.get_by_label("what is to be done").fill("Plan the garden for spring")
    form.get_by_label("budget in sat").fill("much")
    form.get_by_role("button", name="Post the task").click()
    expect(form.get_by_role("alert")).to_contain_text("is no amount")
    form.get_by_label("budget in sat").fill("250")
    form.locator("summary").click()
    form.get_by_label("bids are taken for").select_option("2 s")
    form.get_by_role("button", name="Post the task").click()

    task = page.locator(".tw-task", has_text="Plan the garden")
    detail = page.locator(".tw-tasks-detail")
    expect(detail.locator(".tw-bids li")).not_to_have_count(0)
    expect(task.locator(".tw-pill")).to_contain_text("done")
    expect(detail).to_contain_text("onions along the path")
    expect(detail).to_contain_text("won")
    expect(detail.get_by_role("link", name="in the ledger")).to_be_visible()
    assert set(asked(page)) == {"task"}

    detail.get_by_role("link", name="the whole trace").click()
    story = page.locator(".tw-story")
    for words in ("1 task", "bid", "attempt", "done", "sat moved", "remembered"):
        expect(story).to_contain_text(words)
    page.reload()
    expect(detail).to_contain_text("onions along the path")
    detail.get_by_role("link", name="in the ledger").click()
    page.locator(".tw-entry-detail", has_text="swarm task").wait_for()


def test_a_task_that_is_open_can_be_canceled_after_a_question(page: Page, served: Served) -> None:
    with open_timmy(served.home) as timmy:
        posted = timmy.swarm.post_task("Wait for it", needs=["patience"], bidding_s=600)
    task = page.locator(".tw-task", has_text="Wait for it")
    expect(task).to_contain_text("open for bids")
    task.click()
    page.get_by_role("button", name="Cancel this task").click()
    page.get_by_role("button", name="Cancel the task", exact=True).click()
    expect(task.locator(".tw-pill")).to_contain_text("canceled")
    with open_timmy(served.home) as timmy:
        assert timmy.swarm.task(posted.id).state == "canceled"


def test_what_is_redacted_is_gone_from_an_open_page_too(page: Page, served: Served) -> None:
    seq = append(served, "system.info", "my-neighbours-name")
    row = page.locator(f'.tw-row[data-seq="{seq}"]')
    expect(row).to_contain_text("my-neighbours-name")
    row.click()
    with open_timmy(served.home) as timmy:
        timmy.events.redact(seq=seq, reason="a name", by="ann")
    expect(row).to_contain_text("redacted")
    expect(page.locator(".tw-feed-detail")).to_contain_text("What this event said was redacted.")
    assert "my-neighbours-name" not in page.locator(".tw-feed").inner_text()


def test_after_the_server_was_killed_an_open_page_posts_and_goes_back_as_before(served: Served, window: Window) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    page = window.tab()
    show(page, served)
    served.kill()
    page.locator(".tw-feed[data-state=lost]").wait_for()
    served.start()
    page.locator(".tw-feed[data-state=open]").wait_for()
    with open_timmy(served.home) as timmy:
        posted = timmy.swarm.post_task("Asked after the restart", needs=["patience"], bidding_s=600)
        timmy.swarm.cancel(posted.id, by="ann", reason="it was seen")
    task = page.locator(".tw-task", has_text="Asked after the restart")
    task.wait_for()
    task.click()
    expect(page.locator(".tw-tasks-detail")).to_contain_text("It was seen.")

    def further_back() -> bool:
        scroll_to_the_end(page)
        return row_seqs(page)[-1] < MANY - 300

    until(further_back, "the past came from the new server")
    assert window.errors(but=OUTAGE) == []
