"""The router's page in a browser: tried, steered, seen to follow, with a wrong configuration, and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.waiting import until
from timmy_core.testing import Turn

from .served import Loopback, Served, loopback, provider_table, serving
from .window import PATIENCE_MS, Window, heading

PROMPT = "Which plants does rust need?"


@dataclass
class Two:
    """A workbench with two providers, and its page."""

    served: Served
    first: Loopback
    second: Loopback
    page: Page

    def line(self) -> str:
        return " ".join(self.page.locator("header .tw-line").inner_text().split())

    def says(self, words: str) -> None:
        expect(self.page.locator("header .tw-line")).to_contain_text(words)

    def ask(self, *, through: str = "", local_only: bool = False) -> str:
        """Ask on the page, and return all that it shows of the answer."""
        self.page.get_by_label("through which provider").select_option(through)
        self.page.get_by_label("local only").set_checked(local_only)
        self.page.get_by_label("prompt").fill(PROMPT)
        self.page.get_by_role("button", name="Ask", exact=True).click()
        self.page.locator(".tw-try[data-busy=false] .tw-took").wait_for()
        return " ".join(self.page.locator(".tw-try").inner_text().split())

    def steer(self, name: str, word: str, *, sure: str = "") -> None:
        """Choose something in a provider's menu, and confirm it where that is asked for."""
        self.page.locator(f"summary[aria-label='steer {name}']").click()
        self.page.locator(f"[data-provider={name}] .tw-menu button", has_text=word).click()
        if sure:
            self.page.get_by_role("button", name=sure).click()

    def told(self, words: str) -> None:
        expect(self.page.locator(".tw-said:not([hidden])")).to_contain_text(words)

    def pill(self, name: str, word: str) -> None:
        expect(self.page.locator(f"[data-provider={name}] .tw-doing .tw-pill")).to_have_text(word)


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Loopback, Loopback]]:
    """One workbench for all of these tests; each finds its providers as `timmy.toml` says."""
    folder = tmp_path_factory.mktemp("router")
    home = folder / "home"
    home.mkdir()
    with loopback() as first, loopback() as second:
        tables = provider_table("first", first.url, priority=1) + provider_table("second", second.url, priority=2)
        (home / "timmy.toml").write_text(tables, encoding="utf-8")
        with serving(home, folder / "server") as served:
            yield served, first, second


@pytest.fixture
def two(workbench: tuple[Served, Loopback, Loopback], window: Window) -> Iterator[Two]:
    expect.set_options(timeout=PATIENCE_MS)
    served, first, second = workbench
    first.then(Turn(("The barberry", " and wheat."), usage=(7, 5)))
    second.then(Turn(("Wheat", " and the barberry."), usage=(7, 5)))
    for name in ("first", "second"):
        for action in ("enable", "close", "priority"):
            control(served, name, action)
    page = window.tab()
    page.goto(f"{served.url}/router/status")
    heading(page, "Router").wait_for()
    page.locator(".tw-steer").first.wait_for()
    page.locator("[data-cell-name=recent] .tw-section").wait_for()
    yield Two(served, first, second, page)
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def control(served: Served, name: str, action: str) -> None:
    token = served.get("/api/v1/token").json()["token"]
    httpx.post(
        f"{served.url}/api/v1/router/providers/{name}/control",
        json={"action": action, "by": "a test"},
        headers={"X-Timmy-Token": token},
        timeout=10,
        trust_env=False,
    ).raise_for_status()


def test_a_provider_is_isolated_on_the_page_its_fallback_answers_and_it_is_closed_again(two: Two) -> None:
    before = two.page.locator(".tw-attempts [data-outcome=completed]").count()
    answer = two.ask()
    assert "The barberry and wheat." in answer
    assert "first answered" in answer
    assert "7 in, 5 out" in answer
    two.says("first answers, with second behind it")

    two.steer("first", "Isolate", sure="Isolate first")
    two.told("first is isolated; second answers.")
    two.says("second answers, because first is isolated by owner")
    two.pill("first", "isolated")
    answer = two.ask()
    assert "Wheat and the barberry." in answer
    assert "not asked first tiny · isolated" in answer
    event = two.served.get("/api/v1/events?type=provider.isolated").json()["events"][0]
    assert (event["data"]["provider"], event["data"]["by"]) == ("first", "owner")
    expect(two.page.locator(".tw-lanes .tw-span-isolated")).not_to_have_count(0)

    # The way back is offered where the change was made.
    two.page.get_by_role("button", name="Undo").click()
    two.told("first is closed and may be asked again; first answers.")
    two.says("first answers")
    assert "first answered" in two.ask()

    # The table below shows every attempt, and narrows to one provider, which stands in the address.
    expect(two.page.locator(".tw-attempts [data-outcome=completed]")).to_have_count(before + 3)
    two.page.get_by_role("group", name="provider").get_by_role("button", name="second").click()
    expect(two.page.locator(".tw-attempts .tw-who", has_text="first")).to_have_count(0)
    expect(two.page.locator(".tw-attempts .tw-who", has_text="second")).not_to_have_count(0)
    assert "provider=second" in two.page.evaluate("location.search")
    two.page.get_by_role("group", name="time").get_by_role("button", name="1h").click()
    assert "range=1h" in two.page.evaluate("location.search")
    two.page.locator(".tw-trace-of a").first.click()
    heading(two.page, "Events").wait_for()
    expect(two.page.locator(".tw-trace")).to_contain_text("llm.completed")


def test_a_provider_is_switched_off_and_on_moved_and_checked_and_only_the_chosen_one_is_tried(two: Two) -> None:
    two.steer("first", "Switch off", sure="Leave it as it is")
    expect(two.page.locator("dialog[open]")).to_have_count(0)
    two.steer("first", "Switch off", sure="Switch off first")
    two.told("first is switched off; second answers.")
    two.pill("first", "switched off")
    assert "second answered" in two.ask(local_only=True)
    two.steer("first", "Switch on")
    two.told("first is switched on; first answers.")

    two.steer("second", "Ask earlier")
    two.told("Asked in this order now: second, first.")
    expect(two.page.locator("[data-provider] .tw-name b").first).to_have_text("second")
    assert "first answered" in two.ask(through="first")
    two.steer("first", "Check health")
    two.told("It said so after")


def test_the_page_says_why_somebody_else_had_to_answer_and_follows_without_being_asked(two: Two) -> None:
    two.first.then(Turn(status=503, message="the model is loading"))
    for _ in range(5):
        assert "second answered" in two.ask()
    two.says("second answers, because first is open since")
    two.pill("first", "open")
    failover = two.page.locator(".tw-failover")
    expect(failover).to_contain_text("first failed (overloaded")
    expect(failover).to_contain_text("so second answered instead")
    expect(failover.get_by_role("link", name="its trace")).to_be_visible()
    expect(two.page.locator(".tw-lanes .tw-span-open")).not_to_have_count(0)


def test_a_wrong_configuration_is_shown_and_the_one_before_it_goes_on(two: Two) -> None:
    file = two.served.home / "timmy.toml"
    good = file.read_text(encoding="utf-8")
    file.write_text(good.replace("priority = 2", 'priority = "soon"'), encoding="utf-8")
    two.says("The configuration file is wrong, and the one before it stays in force")
    expect(two.page.locator(".tw-alert")).to_contain_text("priority")
    assert "first answered" in two.ask()
    # Who opens the page meanwhile sees it too.
    two.page.reload()
    expect(two.page.locator(".tw-alert")).to_contain_text("priority")
    file.write_text(good, encoding="utf-8")
    expect(two.page.locator(".tw-alert")).to_have_count(0)


def test_on_a_phone_nothing_scrolls_sideways_and_the_keyboard_is_enough(two: Two) -> None:
    two.page.set_viewport_size({"width": 390, "height": 844})
    two.ask()
    expect(two.page.locator(".tw-attempts [data-outcome]")).not_to_have_count(0)
    until(
        lambda: two.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page fits a phone's width"
    )
    two.page.locator("summary[aria-label='steer first']").focus()
    two.page.keyboard.press("Enter")
    two.page.locator("[data-provider=first] .tw-menu button", has_text="Isolate").focus()
    two.page.keyboard.press("Enter")
    expect(two.page.get_by_role("button", name="Leave it as it is")).to_be_focused()
    two.page.keyboard.press("Escape")
    expect(two.page.locator("dialog[open]")).to_have_count(0)
    expect(two.page.locator("summary[aria-label='steer first']")).to_be_focused()
    two.page.keyboard.press("Enter")
    two.page.locator("[data-provider=first] .tw-menu button", has_text="Isolate").press("Enter")
    two.page.keyboard.press("Control+Enter")
    two.told("first is isolated; second answers.")
