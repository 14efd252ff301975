"""The upgrades page in a browser: a diff is read, one proposal rejected, another approved, applied and rolled back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.waiting import until

from .scratch_repo import BETTER, DEARER, PIN, README, TARIFF, git, make_repo, settings
from .served import Served, serving
from .window import PATIENCE_MS, Window, heading

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
TESTS_S = 120
TESTS_MS = 1000 * TESTS_S


@pytest.fixture
def workbench(tmp_path: Path) -> Iterator[tuple[Served, Path]]:
    """A workbench over a scratch repository, in which nobody may decide yet."""
    repo = make_repo(tmp_path / "tariff")
    home = tmp_path / "home"
    home.mkdir()
    (home / "timmy.toml").write_text(settings(repo), encoding="utf-8")
    with serving(home, tmp_path / "server") as served:
        yield served, repo


def propose(served: Served, description: str, **files: str) -> str:
    """Propose over HTTP, as a program does; return the id."""
    token = served.get("/api/v1/token").json()["token"]
    body: dict[str, Any] = {"description": description, "files": files, "proposed_by": "timmy"}
    made = httpx.post(
        f"{served.url}/api/v1/upgrades", json=body, headers={"X-Timmy-Token": token}, timeout=20, trust_env=False
    )
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


def state(served: Served, id_: str) -> str:
    return str(served.get(f"/api/v1/upgrades/{id_}").json()["state"])


def once_tested(served: Served, id_: str) -> str:
    """Wait until the serving process has tested a proposal by itself."""
    until(lambda: state(served, id_) not in {"proposed", "testing"}, f"{id_} was tested", within_s=TESTS_S)
    return state(served, id_)


def opened(served: Served, window: Window, query: str = "") -> Page:
    expect.set_options(timeout=PATIENCE_MS)
    tab = window.tab()
    tab.goto(f"{served.url}/self-modify/queue/{query}")
    heading(tab, "Upgrades").wait_for()
    return tab


def choose(page: Page, title: str) -> Locator:
    page.locator(".tw-proposals a", has_text=title).click()
    whole = page.locator(".tw-proposal", has_text=title)
    whole.wait_for()
    return whole


def sign(page: Page, name: str = "ann", pin: str = PIN) -> None:
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("your name").fill(name)
    dialog.get_by_label("PIN", exact=True).fill(pin)


def said(page: Page, words: str) -> None:
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text(words, timeout=TESTS_MS)


def sets_a_pin(page: Page) -> None:
    """Nobody may decide before a PIN is set; the two have to be the same."""
    page.get_by_role("button", name="Set your PIN").first.click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("your name").fill("ann")
    dialog.get_by_label("new PIN", exact=True).fill(PIN)
    dialog.get_by_label("new PIN once more").fill("another-pin")
    dialog.get_by_role("button", name="Set the PIN").click()
    expect(dialog).to_contain_text("The two PINs are not the same.")
    dialog.get_by_label("new PIN once more").fill(PIN)
    dialog.get_by_role("button", name="Set the PIN").click()
    said(page, "ann may decide now.")


def reads_the_diff(page: Page) -> None:
    """What changed is marked, and unchanged lines come on demand."""
    whole = choose(page, "Sum with sum")
    expect(whole).to_contain_text("The loop hid the builtin.")
    expect(whole.locator(".tw-run")).to_contain_text(["Its own tests", "The branch's tests"])
    diff = page.locator(".tw-diff")
    expect(diff.locator(".tw-diff-minus", has_text="sum += price(parcel)")).to_be_visible()
    expect(diff.locator(".tw-diff-plus", has_text="return sum(price(parcel) for parcel in parcels)")).to_be_visible()
    diff.get_by_role("button", name="unchanged lines").first.click()
    expect(diff.get_by_text("HEAVY_G = 5_000").first).to_be_visible()
    diff.get_by_role("button", name="One column").click()
    expect(diff.locator("table.tw-diff-one")).to_be_visible()
    expect(diff.get_by_text("HEAVY_G = 5_000").first).to_be_visible()


def sees_what_is_red(page: Page) -> None:
    """What is red cannot be approved, and says what failed."""
    whole = choose(page, "Break the label")
    expect(whole).to_contain_text("test_the_label")
    expect(whole.get_by_role("button", name="Approve")).to_have_count(0)


def rejects(page: Page, repo: Path) -> None:
    """A reason is asked for, and no branch is touched."""
    branches = git(repo, "for-each-ref", "refs/heads")
    choose(page, "Raise far prices").get_by_role("button", name="Reject").click()
    sign(page)
    page.locator("dialog[open]").get_by_role("button", name="Reject").click()
    expect(page.locator("dialog[open]")).to_contain_text("Fill in the reason")
    page.get_by_label("the reason").fill("Prices hold for a year.")
    sign(page)
    page.keyboard.press("Control+Enter")
    said(page, "no branch was touched")
    assert git(repo, "for-each-ref", "refs/heads") == branches
    expect(page.locator(".tw-proposal", has_text="Raise far prices")).to_contain_text("Prices hold for a year.")


def approves_and_applies(page: Page, repo: Path) -> None:
    """One PIN does both; a wrong one is refused first."""
    choose(page, "Sum with sum").get_by_role("button", name="Approve").click()
    sign(page, pin="not-the-pin")
    page.locator("dialog[open]").get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("dialog[open]")).to_contain_text("wrong")
    sign(page)
    page.get_by_label("Apply it to main at once").check()
    page.locator("dialog[open]").get_by_role("button", name="Approve", exact=True).click()
    said(page, "Applied to main as")
    assert (repo / "tariff.py").read_text(encoding="utf-8") == BETTER
    assert git(repo, "status", "--porcelain") == ""


def rolls_back(page: Page, repo: Path) -> None:
    """The undo is offered where it was done."""
    page.get_by_role("button", name="Roll back …").first.click()
    sign(page)
    page.locator("dialog[open]").get_by_role("button", name="Roll back", exact=True).click()
    said(page, "Taken back by")
    assert (repo / "tariff.py").read_text(encoding="utf-8") == TARIFF


def test_one_is_rejected_another_approved_applied_and_rolled_back(
    workbench: tuple[Served, Path], window: Window
) -> None:
    served, repo = workbench
    better = propose(served, "Sum with sum\n\nThe loop hid the builtin.", **{"tariff.py": BETTER})
    dearer = propose(served, "Raise far prices", **{"README.md": README + "Far parcels cost more soon.\n"})
    red = propose(served, "Break the label", **{"tariff.py": DEARER})
    page = opened(served, window)
    assert [once_tested(served, one) for one in (better, dearer, red)] == ["awaiting_approval"] * 2 + ["test_failed"]
    expect(page.locator("header .tw-line")).to_contain_text("2 proposals wait for you.", timeout=TESTS_MS)
    expect(page.locator(".tw-badge")).to_have_text("3", timeout=40_000)

    sets_a_pin(page)
    reads_the_diff(page)
    sees_what_is_red(page)
    rejects(page, repo)
    approves_and_applies(page, repo)
    assert state(served, better) == "applied"
    rolls_back(page, repo)
    trail = page.locator(".tw-trail li")
    expect(trail).to_contain_text(["proposed", "tests started", "tests passed", "approved", "queued", "applying"])
    expect(trail.last).to_contain_text("rolled back")
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def test_of_two_browsers_that_decide_at_once_one_wins_and_the_other_is_told(
    workbench: tuple[Served, Path], window: Window
) -> None:
    served, _ = workbench
    one = propose(served, "Sum with sum", **{"tariff.py": BETTER})
    once_tested(served, one)
    first, second = opened(served, window, f"?id={one}"), opened(served, window, f"?id={one}")
    first.get_by_role("button", name="Set your PIN").first.click()
    dialog = first.locator("dialog[open]")
    dialog.get_by_label("your name").fill("ann")
    for label in ("new PIN", "new PIN once more"):
        dialog.get_by_label(label, exact=True).fill(PIN)
    dialog.get_by_role("button", name="Set the PIN").click()
    said(first, "may decide")
    expect(second.locator(".tw-alert", has_text="Nobody may decide yet")).to_have_count(0)

    second.get_by_role("button", name="Approve").click()
    sign(second)
    first.get_by_role("button", name="Reject").click()
    first.get_by_label("the reason").fill("Not now.")
    sign(first)
    first.locator("dialog[open]").get_by_role("button", name="Reject").click()
    said(first, "Rejected")
    second.locator("dialog[open]").get_by_role("button", name="Approve", exact=True).click()
    expect(second.locator("dialog[open]")).to_contain_text("ann rejected it")
    expect(second.locator("dialog[open]")).to_contain_text("Not now.")
    second.keyboard.press("Escape")
    expect(second.locator(".tw-proposal")).to_contain_text("rejected")
    assert state(served, one) == "rejected"


def test_on_a_phone_nothing_scrolls_sideways(workbench: tuple[Served, Path], window: Window) -> None:
    served, _ = workbench
    long = BETTER + f'\nWORDS = "{"a rather long line " * 20}"\n'
    one = propose(served, "Sum with sum", **{"tariff.py": long, "docs/a/very/deep/folder/of/notes.md": "# Notes\n"})
    once_tested(served, one)
    page = opened(served, window)
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".tw-diff-file").first).to_be_visible()
    until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page fits a phone's width")
    expect(page.locator("table.tw-diff-two")).to_have_count(0)
