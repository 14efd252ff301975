"""A day's work in a browser: asked, posted, watched, paid, remembered, upgraded; and found again after a crash."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.waiting import until
from timmy_core.router.chat import ToolCall
from timmy_core.testing import Turn

from .scratch_repo import BETTER, PIN, git, make_repo, settings
from .served import Loopback, Served, loopback, plain_environment, provider_table, serving, timmy_command
from .window import OUTAGE, PATIENCE_MS, Window, ask, chat_text, heading, row_seqs

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

LONG_S = 120  # for what runs tests of its own, or has to notice that somebody died
LONG_MS = 1000 * LONG_S
QUESTION, ANSWER = "When is the last frost here?", ("Around ", "the tenth ", "of May.")
TASK, RESULT = (
    "List what to sow in April, and say why it cannot wait.",
    ("Broad beans and ", "parsnips: they sprout slowly."),
)
AGAIN, SOWN = "What did we say about sowing in April?", ("Broad beans ", "and parsnips.")
WISH = "Please simplify total() in your tariff.py"
CHANGE = {
    "title": "Sum with sum",
    "why": "The loop hid the builtin.",
    "edits": [{"path": "tariff.py", "content": BETTER}],
}
UNDONE, DONE = "Rewrite the note about mulch in one line.", ("Mulch late, ", "mulch thick.")
STORY = ("1 task", "2 bids", "1 attempt", "done", "sat moved", "remembered")


@dataclass
class Day:
    """One person's day: the workbench, who answers in it, and what was seen so far and has to be found again."""

    served: Served
    provider: Loopback
    window: Window
    repo: Path
    seen: dict[str, str] = field(default_factory=dict)

    def tab(self, path: str, title: str) -> Page:
        """Open a page in a tab of its own."""
        page = self.window.tab()
        self.go(page, path, title)
        return page

    def go(self, page: Page, path: str, title: str) -> None:
        """Go to a page by its address."""
        page.goto(self.served.url + path)
        heading(page, title).wait_for()

    def api(self, path: str) -> Any:
        """Ask the workbench without a browser."""
        reply = self.served.get(f"/api/v1/{path}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def events(self, query: str = "") -> list[dict[str, Any]]:
        """Return events as the log has them, oldest first."""
        found: list[dict[str, Any]] = self.api(f"events?order=asc&limit=1000{query}")["events"]
        return found


@pytest.fixture
def provider() -> Iterator[Loopback]:
    with loopback() as scripted:
        yield scripted


@pytest.fixture
def day(tmp_path: Path, provider: Loopback, window: Window) -> Iterator[Day]:
    """An empty home, but for who answers, which two agents may bid, and a repository of one's own."""
    expect.set_options(timeout=PATIENCE_MS)
    repo = make_repo(tmp_path / "tariff")
    home = tmp_path / "home"
    home.mkdir()
    agents = '[swarm]\npersonas = ["echo", "seer"]\n'
    (home / "timmy.toml").write_text(
        f"{settings(repo)}{agents}{provider_table('scripted', provider.url)}", encoding="utf-8"
    )
    with serving(home, tmp_path / "server") as served:
        yield Day(served, provider, window, repo)


def test_a_day_s_work_is_done_and_found_again_after_a_crash(day: Day) -> None:
    home, live = day.tab("/", "Timmy"), day.tab("/swarm/live", "Live")
    live.locator(".tw-feed[data-state=open]").wait_for()
    expect(live.locator(".tw-tasks")).to_contain_text("No task yet")
    book = day.tab("/lightning/ledger", "Ledger")
    expect(moved(book)).to_have_count(0)

    asks(day, home, live)
    posts_a_task(day, live)
    sees_it_live(day, live)
    finds_its_trace(day)
    sees_the_sats_move(day, live, book)
    asks_memory(day, home)
    gets_an_upgrade(day, home)
    assert day.window.errors() == []
    crashes_in_the_middle_of_a_task(day, live)

    finds_what_was_said(home)
    finds_the_task(day, live)
    finds_its_trace(day)
    finds_the_sats(day)
    finds_it_in_memory(day)
    finds_the_upgrade(day)
    finishes_what_was_begun(day, live)
    proves_the_log(day)
    assert day.window.foreign_requests(day.served.netloc) == []
    assert day.window.errors(but=OUTAGE) == []


# The day --------------------------------------------------------------------------------------------------------


def asks(day: Day, home: Page, live: Page) -> None:
    """A question is answered, and its events come to the live page by themselves."""
    day.provider.then(Turn(ANSWER, pause_s=0.05))
    ask(home, QUESTION)
    until(lambda: "".join(ANSWER) in chat_text(home), "the question was answered")
    answered = live.locator(".tw-row", has_text="chat.answered")
    expect(answered).to_have_count(1)


def posts_a_task(day: Day, live: Page) -> None:
    """A task is posted with a form, and two agents bid for it."""
    day.provider.then(Turn(RESULT, pause_s=0.05))
    post(live, TASK, budget="250")
    detail = live.locator(".tw-tasks-detail")
    expect(detail.locator(".tw-bids li")).to_have_count(2)
    expect(detail.locator(".tw-bids")).to_contain_text("echo")
    expect(detail.locator(".tw-bids")).to_contain_text("seer")
    day.seen["task"] = address(live)["task"]


def sees_it_live(day: Day, live: Page) -> None:
    """The lowest bid wins, and the same page shows how the work is done and paid, step by step."""
    finds_the_task(day, live)
    chip = live.locator(".tw-chip[data-family=task]")
    chip.click()
    for kind in ("task.created", "task.bidding", "task.assigned", "task.started", "task.completed"):
        expect(live.locator(".tw-row", has_text=kind)).to_have_count(1)
    chip.click()
    seqs = row_seqs(live)
    assert seqs == sorted(seqs, reverse=True)
    live.locator(".tw-tasks-detail").get_by_role("link", name="the whole trace").click()
    for words in STORY:
        expect(live.locator(".tw-story")).to_contain_text(words)
    day.seen["trace"] = address(live)["trace"]


def finds_its_trace(day: Day) -> None:
    """The events page tells the same story by the trace, each of its events once, and shows one in full."""
    page = day.tab(f"/swarm/events?trace={day.seen['trace']}", "Events")
    events = day.events(f"&trace_id={day.seen['trace']}")
    assert {event["task_id"] for event in events if event["type"].startswith(("task.", "bid.", "llm."))} == {
        day.seen["task"]
    }
    rows = page.locator(".tw-found-row[data-seq]")
    expect(rows).to_have_count(len(events))
    assert [int(row.get_attribute("data-seq") or 0) for row in rows.all()] == [event["seq"] for event in events[::-1]]
    for words in STORY:
        expect(page.locator(".tw-story").first).to_contain_text(words)
    page.locator(".tw-found-row[data-seq]", has_text="task.completed").click()
    expect(page.locator(".tw-detail")).to_contain_text("task.completed")
    page.close()


def sees_the_sats_move(day: Day, live: Page, book: Page) -> None:
    """An open ledger shows both ends of the payment by itself, and the task leads to it: who was paid, for what."""
    expect(moved(book)).to_have_count(2)
    expect(book.locator(".tw-card", has_text="Went out").first).to_contain_text(price(day))
    book.close()
    live.locator(".tw-tasks-detail").get_by_role("link", name="in the ledger").click()
    heading(live, "Ledger").wait_for()
    day.seen["entry"] = address(live)["entry"]
    shows_the_payment(day, live)
    live.go_back()
    live.locator(".tw-feed[data-state=open]").wait_for()


def asks_memory(day: Day, home: Page) -> None:
    """Memory has the task; and an answer that is asked for later stands on it."""
    finds_it_in_memory(day)
    day.provider.then(Turn(SOWN, pause_s=0.05))
    ask(home, AGAIN)
    until(lambda: "".join(SOWN) in chat_text(home), "the second question was answered")
    until(lambda: re.search(r"stood on [1-9]", chat_text(home)), "the chat says on how many memories it stood")
    told = json.dumps(day.provider.server.questions[-1].body)
    assert "they sprout slowly" in told, f"the model was not told of the task: {told}"


def gets_an_upgrade(day: Day, home: Page) -> None:
    """Timmy is asked to change its code: it proposes, its tests pass, and a person approves with a PIN."""
    day.provider.then(Turn((), tool_calls=(ToolCall("c1", "propose_change", json.dumps(CHANGE)),)))
    ask(home, WISH)
    until(lambda: "I have proposed this change: Sum with sum" in chat_text(home), "Timmy said that it proposed")
    (made,) = day.api("upgrades")["proposals"]
    day.seen["upgrade"] = made["id"]
    until(lambda: upgrade_state(day) == "awaiting_approval", "the proposal was tested", within_s=LONG_S)

    page = day.tab(f"/self-modify/queue/?id={made['id']}", "Upgrades")
    page.get_by_role("button", name="Set your PIN").first.click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("your name").fill("ann")
    for label in ("new PIN", "new PIN once more"):
        dialog.get_by_label(label, exact=True).fill(PIN)
    dialog.get_by_role("button", name="Set the PIN").click()
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text("ann may decide now.", timeout=LONG_MS)
    expect(page.locator(".tw-diff-plus", has_text="return sum(price(parcel)").first).to_be_visible()
    page.locator(".tw-proposal").get_by_role("button", name="Approve").click()
    dialog.get_by_label("your name").fill("ann")
    dialog.get_by_label("PIN", exact=True).fill(PIN)
    dialog.get_by_label("Apply it to main at once").check()
    dialog.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text("Applied to main as", timeout=LONG_MS)
    assert (day.repo / "tariff.py").read_text(encoding="utf-8") == BETTER
    page.close()
    finds_the_upgrade(day)


def crashes_in_the_middle_of_a_task(day: Day, live: Page) -> None:
    """The power goes while an agent works; then the workbench starts on the same home again."""
    day.provider.then(Turn(DONE, first_s=600))
    post(live, UNDONE, budget="100")
    task = live.locator(".tw-task", has_text=UNDONE)
    expect(task.locator(".tw-pill")).to_contain_text("in work")
    before = day.events()
    day.served.kill()
    live.locator(".tw-feed[data-state=lost]").wait_for()
    day.provider.then(Turn(DONE))
    day.served.start()
    after = day.events()
    assert after[: len(before)] == before
    live.locator(".tw-feed[data-state=open]").wait_for()


# And all of it again ------------------------------------------------------------------------------------------------


def finds_what_was_said(home: Page) -> None:
    """The conversation is there, each word of it once."""
    home.reload()
    heading(home, "Timmy").wait_for()
    for words in (QUESTION, "".join(ANSWER), AGAIN, "".join(SOWN), WISH, "I have proposed this change: Sum with sum"):
        until(lambda words=words: chat_text(home).count(words) == 1, f"the chat's history shows {words!r} once")


def finds_the_task(day: Day, live: Page) -> None:
    """The task is done and paid: who bid, who won, and what came of it."""
    show = f"/swarm/live/?task={day.seen['task']}"
    if address(live).get("task") != day.seen["task"]:
        day.go(live, show, "Live")
    detail = live.locator(".tw-tasks-detail")
    expect(detail).to_contain_text("".join(RESULT))
    expect(detail.locator(".tw-bids li")).to_have_count(2)
    expect(detail.locator(".tw-bids li", has_text="won")).to_contain_text("echo")
    expect(detail.get_by_role("link", name="in the ledger")).to_be_visible()
    expect(live.locator(".tw-task", has_text=TASK).locator(".tw-pill")).to_contain_text("done")


def finds_the_sats(day: Day) -> None:
    """The payment is in the book, and the book is right line by line."""
    page = day.tab(f"/lightning/ledger/?entry={day.seen['entry']}", "Ledger")
    shows_the_payment(day, page)
    page.get_by_role("button", name="Check every line").click()
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text("lines checked: debits are credits")
    page.get_by_role("button", name="Compare with the node", exact=True).click()
    expect(page.locator("dialog[open]")).to_contain_text("The books and the node agree")
    page.close()


def shows_the_payment(day: Day, page: Page) -> None:
    """What a payment for a task looks like on the ledger page."""
    detail = page.locator(".tw-entry-detail", has_text="swarm task")
    detail.wait_for()
    expect(detail).to_contain_text(price(day))
    expect(detail).to_contain_text("echo")
    expect(detail.locator(".tw-trace")).to_contain_text("payment.settled")
    expect(page.locator(".tw-shares", has_text="echo").first).to_be_visible()


def finds_it_in_memory(day: Day) -> None:
    """The memory page finds the task by words of its result."""
    page = day.tab("/memory", "Memory")
    page.locator(".tw-seek[data-busy=false]").wait_for()
    page.get_by_label("search what Timmy remembers").press_sequentially("parsnips", delay=15)
    hit = page.locator(".tw-hit", has_text="they sprout slowly").first
    expect(hit.locator("mark").first).to_have_text("parsnips")
    page.close()


def finds_the_upgrade(day: Day) -> None:
    """The change is applied, in the branch and on the page, and its trail says how it came to that."""
    assert upgrade_state(day) == "applied"
    assert git(day.repo, "show", "main:tariff.py") == BETTER
    assert git(day.repo, "status", "--porcelain") == ""
    page = day.tab(f"/self-modify/queue/?id={day.seen['upgrade']}", "Upgrades")
    expect(page.locator(".tw-proposal", has_text="Sum with sum")).to_contain_text("applied")
    expect(page.locator(".tw-trail li")).to_contain_text(["proposed", "tests passed", "approved", "applied"])
    page.close()


def finishes_what_was_begun(day: Day, live: Page) -> None:
    """What the dead worker had is given out again, done and paid, once."""
    task = live.locator(".tw-task", has_text=UNDONE)
    expect(task.locator(".tw-pill")).to_contain_text("done", timeout=LONG_MS)
    task.click()
    detail = live.locator(".tw-tasks-detail")
    expect(detail).to_contain_text("".join(DONE))
    expect(detail).to_contain_text("2 times")
    expect(detail.get_by_role("link", name="in the ledger")).to_be_visible()
    key = address(live)["task"]
    kinds = [event["type"] for event in day.events() if event["task_id"] == key]
    assert (kinds.count("task.completed"), kinds.count("task.assigned")) == (1, 2)
    paid = [one for one in day.api("ledger/entries?limit=100")["entries"] if one["task_id"] == key]
    assert sorted((one["direction"], one["shown"]) for one in paid) == [("in", "settled"), ("out", "settled")]


def proves_the_log(day: Day) -> None:
    """The chain of all events is whole, and no event was lost between two others."""
    seqs = [event["seq"] for event in day.events()]
    assert seqs == list(range(1, len(seqs) + 1))
    command = [*timmy_command(), "events", "verify", "--home", str(day.served.home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain_environment())
    assert done.returncode == 0, done.stdout + done.stderr


# What a person's hands do -----------------------------------------------------------------------------------------


def post(live: Page, text: str, *, budget: str) -> Locator:
    """Fill in the form for a task and send it."""
    live.get_by_role("button", name="Post a task").click()
    form = live.locator("dialog[open]")
    form.get_by_label("what is to be done").fill(text)
    form.get_by_label("budget in sat").fill(budget)
    form.get_by_role("button", name="Post the task").click()
    posted = live.locator(".tw-task", has_text=text)
    posted.wait_for()
    return posted


def moved(book: Page) -> Locator:
    """Return the rows of the ledger page that tell of sats for a task."""
    return book.locator(".tw-entry-list .tw-entry", has_text="swarm task")


def price(day: Day) -> str:
    """Return what the task cost, as pages write it."""
    (task,) = [one for one in day.api("swarm/tasks")["tasks"] if one["id"] == day.seen["task"]]
    return f"{task['bid_msat'] // 1000} sat"


def address(page: Page) -> dict[str, str]:
    """Return what stands behind the question mark of a page's address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.evaluate("location.href")).query).items()}


def upgrade_state(day: Day) -> str:
    """Return how the proposal stands."""
    return str(day.api(f"upgrades/{day.seen['upgrade']}")["state"])
