"""Take pictures of the ledger page in its states: `python -m tests.e2e.ledger_pictures FOLDER`.

The workbench is the real one, served by its own process, with a play node; what came in and went out is made up.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.album import LOOKS, Album
from tests.e2e.browser import chromium
from tests.e2e.served import serving
from timmy_core.errors import LedgerError
from timmy_core.settings import load_settings
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy

AGENTS = ("echo", "forge", "seer")
ASKED = (
    ("A summary of the council's minutes", "shop", "echo"),
    ("Tip for the garden calendar", "tips", None),
    ("Translation, two pages", "shop", "seer"),
    ("Three questions answered", "shop", "echo"),
    ("A map of the footpaths", "shop", "forge"),
    ("Thank you for the recipe", "tips", None),
)
PAID = (
    ("Weather for a week, by the hour", "echo", "plan-the-garden"),
    ("Map tiles, zoom 14", "forge", "map-of-footpaths"),
    ("200 pages of search results", "seer", "council-minutes"),
    ("Ten minutes of a large model", "echo", "council-minutes"),
    ("A relay, one month", None, None),
)


def fill(home: Path, *, days: int = 34) -> None:
    """Receive and pay for a made-up month; every sat goes through the play node and the real book."""
    chance = random.Random(11)  # noqa: S311 - a seed, not a secret
    now = datetime.now(UTC)
    clock = FakeClock(now - timedelta(days=days))
    timmy = Timmy(load_settings(home), clock=clock)
    try:
        timmy.ledger.set_budget("echo", "day", 400_000, by="ann")
        timmy.ledger.set_budget("forge", "week", 5_000_000, by="ann")
        timmy.ledger.set_budget("seer", "month", 3_000_000, by="ann")
        for day in range(days + 1):
            busy = 0.25 if (now - timedelta(days=days - day)).weekday() >= 5 else 1.0
            for _ in range(round(busy * chance.randrange(0, 6))):
                move(timmy, chance)
                left_s = int((now - clock.now()).total_seconds()) - 7_200
                clock.advance(min(chance.randrange(60, 5_400), max(0, left_s)))
            target = min(now - timedelta(days=days - day - 1), now - timedelta(minutes=50))
            clock.advance(max(0.0, (target - clock.now()).total_seconds()))
            timmy.ledger.expire_due()
        unsettled(timmy, clock, now)
    finally:
        timmy.shutdown()


def move(timmy: Timmy, chance: random.Random) -> None:
    """Receive something, or pay for something."""
    payments = timmy.payments
    if chance.random() < 0.55:
        memo, source, agent = chance.choice(ASKED)
        amount = 1000 * chance.choice((210, 500, 1_000, 1_500, 2_100, 4_200))
        made = payments.create_invoice(amount_msat=amount, memo=memo, source=source, agent_id=agent)
        if chance.random() < 0.86:
            payments.playing.pay(made.payment_hash)
            payments.check(made)
        return
    memo, agent, task = chance.choice(PAID)
    amount = 1000 * chance.choice((40, 90, 150, 260, 480, 900)) + chance.choice((0, 0, 500))
    bolt11 = payments.playing.invoice(amount_msat=amount, memo=memo)
    try:
        payments.pay(bolt11, agent_id=agent, task_id=task, fee_limit_msat=chance.choice((None, None, None, 10)))
    except LedgerError as error:
        print("refused, as it should be:", error)


def unsettled(timmy: Timmy, clock: FakeClock, now: datetime) -> None:
    """Leave some of it open: two invoices, and a payment that the node knows and the book does not."""
    payments = timmy.payments
    for amount, memo, agent in ((2_100_000, "A map of the footpaths", "forge"), (750_000, "Two more pages", "seer")):
        payments.create_invoice(amount_msat=amount, memo=memo, source="shop", agent_id=agent, expiry_s=86_400)
    clock.advance(max(0.0, (now - timedelta(minutes=4) - clock.now()).total_seconds()))
    # Somebody pays from the node itself, past the book: a comparison has to find it.
    past = payments.playing.invoice(amount_msat=330_000, memo="Paid from another wallet of the node")
    node = timmy._lightning.nodes.get("play")
    timmy._loop.run(node.pay(past, amount_msat=None, fee_limit_msat=5_000, timeout_s=5))


def pay(page: Page) -> None:
    """Decode an invoice of the neighbour."""
    page.get_by_role("button", name="Pay", exact=True).click()
    page.get_by_role("button", name="Ask the play node's neighbour").click()
    expect(page.get_by_label("invoice to pay")).to_have_value(re.compile("^lnbcrt"))
    page.get_by_role("button", name="Decode it").click()
    page.locator("dialog[open] .tw-facts").wait_for()


def receive(page: Page) -> None:
    """Make an invoice."""
    page.get_by_role("button", name="Receive").click()
    page.get_by_label("amount in sat").fill("2100")
    page.get_by_label("what for").fill("A map of the footpaths")
    page.get_by_role("button", name="Create the invoice").click()
    page.locator("dialog[open] .tw-qr").wait_for()


def compare(page: Page) -> None:
    """Compare the books with the node."""
    page.get_by_role("button", name="Compare with the node").click()
    page.locator("dialog[open] .tw-facts").wait_for()


def choose(page: Page) -> None:
    """Show the newest payment in full."""
    page.locator(".tw-entry-out[data-tone=settled]").first.click()
    page.locator(".tw-entry-sum").wait_for()


def main() -> None:
    """Serve each state and take its pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    looks = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 else tuple(LOOKS)
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        album = Album(browser, folder, "ledger", "/lightning/ledger/", looks)
        for name in ("full", "empty"):
            home = Path(place) / name
            home.mkdir()
            # Nothing is reconciled by itself here, so that what only the node knows waits to be found.
            (home / "timmy.toml").write_text("[ledger]\nreconcile_minutes = 0\n", encoding="utf-8")
            if name == "full":
                fill(home)
            with serving(home, Path(place) / f"logs-{name}") as served:
                album.take(name, served)
                if name == "full":
                    album.take("chosen", served, then=choose)
                    album.take("past", served, query="?at=2026-11-10T12:00:00Z", whole=False)
                    album.take("pay", served, then=pay, whole=False)
                    album.take("compare", served, then=compare, whole=False)
                    album.take("receive", served, then=receive, whole=False)


if __name__ == "__main__":
    main()
