"""Alerts in a browser: they come up on whatever page is open, lead to what explains them, and go when it is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from timmy_core.timmy import open_timmy

from .served import Served
from .window import Window

Serve = Callable[..., Served]
QUICK = "providers = []\n[alerts]\nevery_s = 1\nverify_h = 0\n[ledger.budgets.echo]\nday_sats = 12\n"


def say(home: Path, problem: str) -> None:
    """Check the chain, as `timmy events verify` does, and find this."""
    data = {"ok": not problem, "checked": 1, "redacted": 0, "problem": problem}
    with open_timmy(home) as timmy:
        timmy.events.append("log.verified", source="cli", data=data)


def test_an_alert_comes_up_leads_to_its_page_and_goes_when_it_is_over(home: Path, serve: Serve, window: Window) -> None:
    (home / "timmy.toml").write_text(QUICK, encoding="utf-8")
    served = serve(home)
    page = window.tab()
    page.goto(served.url + "/memory/")
    expect(page.locator(".tw-connection[data-state=open]")).to_be_visible()
    expect(page.locator(".tw-alerts")).to_have_count(0)

    say(home, "event 7 was altered")
    shown = page.locator(".tw-alerts")
    expect(shown.get_by_text("1 alert")).to_be_visible()
    with open_timmy(home) as timmy:
        timmy.payments.pay(timmy.payments.playing.invoice(amount_msat=9_000), agent_id="echo", fee_limit_msat=2_000)
    expect(shown.get_by_text("2 alerts")).to_be_visible()

    shown.locator("summary").click()
    expect(shown.get_by_text("event 7 was altered")).to_be_visible()
    page.keyboard.press("Escape")
    expect(shown.get_by_text("event 7 was altered")).not_to_be_visible()
    shown.locator("summary").press("Enter")
    shown.get_by_role("link", name="echo spent").click()
    page.wait_for_url("**/lightning/ledger/**")
    expect(page.locator(".tw-alerts").get_by_text("2 alerts")).to_be_visible()

    say(home, "")
    expect(page.locator(".tw-alerts").get_by_text("1 alert")).to_be_visible()
    assert window.complaints == []
