"""The labs in a browser: what is chosen stands in the address, a policy is tried, and proposed where people decide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page, expect

from .lab_house import home_with_a_past
from .served import Served, loopback, serving
from .window import PATIENCE_MS, Window, heading


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("labs")
    with loopback() as provider, serving(home_with_a_past(folder / "repo", provider.url), folder / "server") as served:
        yield served


@dataclass
class Lab:
    """One lab in a tab."""

    served: Served
    page: Page

    def open(self, path: str, title: str) -> None:
        self.page.goto(f"{self.served.url}/labs/{path}")
        heading(self.page, title).wait_for()
        self.page.locator(".tw-lines").first.wait_for()

    def chip(self, word: str) -> None:
        self.page.locator(".tw-chips button", has_text=re.compile(f"^{word}$")).click()

    @property
    def line(self) -> Locator:
        return self.page.locator("header .tw-line")


@pytest.fixture
def lab(served: Served, window: Window) -> Iterator[Lab]:
    expect.set_options(timeout=PATIENCE_MS)
    yield Lab(served, window.tab())
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def test_what_is_chosen_in_the_latency_lab_stands_in_the_address_and_survives_a_reload(lab: Lab) -> None:
    lab.open("latency", "Latency lab")
    lab.chip("hour")
    expect(lab.page.locator(".tw-lines th").first).to_have_text("hour of day (UTC)")
    lab.chip("cloud")
    expect(lab.line).not_to_contain_text("llama")
    assert "by=hour" in lab.page.url
    assert "provider=cloud" in lab.page.url
    lab.page.reload()
    expect(lab.page.locator(".tw-lines th").first).to_have_text("hour of day (UTC)")
    expect(lab.page.locator(".tw-chips button[aria-pressed=true]", has_text="cloud")).to_be_visible()
    lab.page.locator(".tw-sql summary").first.click()
    expect(lab.page.locator(".tw-sql pre").first).to_contain_text("provider = 'cloud'")


def test_a_box_drawn_in_the_chart_leads_to_single_attempts_and_their_trace(lab: Lab) -> None:
    lab.open("latency", "Latency lab")
    chart = lab.page.locator("[data-cell-name=points] :is(canvas, svg.marks)").first
    chart.wait_for()
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    lab.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.75, steps=8)
    lab.page.mouse.up()
    attempts = lab.page.locator("[data-cell-name=drilled]")
    expect(attempts).to_contain_text("in the box above")
    attempts.locator(".tw-trace-of a").first.click()
    heading(lab.page, "Events").wait_for()
    assert "trace=" in lab.page.url


def test_a_policy_is_turned_replayed_found_again_in_its_address_and_proposed(lab: Lab) -> None:
    lab.open("policy", "Policy lab")
    expect(lab.line).to_contain_text("today's policy answers")
    replay = lab.page.get_by_role("button", name="Replay this policy")
    expect(replay).to_be_disabled()
    lab.page.get_by_role("button", name="cloud sooner").click()
    lab.page.get_by_role("checkbox", name="ask spare").uncheck()
    slider = lab.page.get_by_role("slider", name="left alone for")
    slider.focus()
    slider.press("Home")
    replay.click()
    expect(lab.line).to_contain_text("instead of")
    assert "order=cloud%2Cllama" in lab.page.url
    assert "reset_timeout_s=1" in lab.page.url
    lab.page.reload()
    expect(lab.line).to_contain_text("instead of")
    expect(lab.page.locator(".tw-order li b")).to_have_text(["cloud", "llama", "spare"])
    patch = lab.page.locator(".tw-patch")
    expect(patch).to_contain_text("+reset_timeout_s = 1")
    expect(patch).to_contain_text("+enabled = false")
    lab.page.get_by_role("button", name="Propose this policy").click()
    lab.page.get_by_role("button", name="Propose it").click()
    expect(lab.page.locator(".tw-said:not([hidden])")).to_contain_text("waits under Upgrades")
    waiting = lab.served.get("/api/v1/upgrades").json()
    assert "Another policy for the cascade" in str(waiting)


def test_one_leads_to_the_other_and_both_stand_under_labs(lab: Lab) -> None:
    lab.page.goto(lab.served.url)
    lab.page.locator(".tw-rail a", has_text="Labs").click()
    heading(lab.page, "Latency lab").wait_for()
    lab.page.locator(".tw-tabs a", has_text="Policy").click()
    heading(lab.page, "Policy lab").wait_for()
    expect(lab.page.locator(".tw-rail a[aria-current=page]")).to_have_text("Labs")
