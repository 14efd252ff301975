"""The ledger page in a browser: asked for, paid, decoded, brushed, compared, settled, budgeted, taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.waiting import until
from timmy_core.ledger import bolt11
from timmy_core.ledger.findings import Finding
from timmy_core.settings import load_settings
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy

from .served import Served, serving
from .window import PATIENCE_MS, Window, heading

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One workbench for all of these tests; each looks for what it brought itself."""
    folder = tmp_path_factory.mktemp("ledger")
    home = folder / "home"
    home.mkdir()
    (home / "timmy.toml").write_text("[ledger]\nreconcile_minutes = 0\n", encoding="utf-8")
    past(home)
    with serving(home, folder / "server") as served:
        yield served


def past(home: Path) -> None:
    """Two weeks in which the node was told to move sats; the last payment went past the book."""
    clock = FakeClock(NOW - timedelta(days=14))
    timmy = Timmy(load_settings(home), clock=clock)
    try:
        payments = timmy.payments
        for number in range(6):
            made = payments.create_invoice(
                amount_msat=1_000_000 + number,
                memo=f"translation {number}",
                source="shop",
                agent_id="seer",
                task_id="t-7",
            )
            payments.playing.pay(made.payment_hash)
            payments.check(made)
            asked = payments.playing.invoice(amount_msat=120_000, memo=f"map tiles {number}")
            payments.pay(asked, agent_id="forge", task_id="t-8")
            clock.advance(2 * 86_400)
        payments.create_invoice(amount_msat=55_000, memo="never paid", expiry_s=60)
        clock.advance(3_600)
        timmy.ledger.expire_due()
        unknown = payments.playing.invoice(amount_msat=77_000, memo="past the book")
        node = timmy._lightning.nodes.get("play")
        timmy._loop.run(node.pay(unknown, amount_msat=None, fee_limit_msat=5_000, timeout_s=5))
        words = "the node tells two proofs of one payment"
        one = Finding(
            "duplicate", "out", "ab" * 32, "one proof", "two proofs", words, "look at both sides", mends=False
        )
        timmy._lightning.findings.record("play", [one])
    finally:
        timmy.shutdown()


@pytest.fixture
def page(workbench: Served, window: Window, tmp_path: Path) -> Iterator[Page]:
    del tmp_path  # where the picture of a failure goes
    expect.set_options(timeout=PATIENCE_MS)
    tab = window.tab()
    shown(tab, workbench)
    yield tab
    assert window.foreign_requests(workbench.netloc) == []
    assert window.errors() == []


def shown(page: Page, served: Served, query: str = "") -> None:
    page.goto(f"{served.url}/lightning/ledger/{query}")
    heading(page, "Ledger").wait_for()
    page.locator(".tw-entries[data-busy=false]").wait_for(state="attached")
    page.locator("[data-cell-name=accounts] .tw-section").wait_for()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def dialog(page: Page) -> Locator:
    return page.locator("dialog[open]")


def rows(page: Page) -> Locator:
    return page.locator(".tw-entry-list .tw-entry")


def row(page: Page, words: str) -> Locator:
    return rows(page).filter(has_text=words)


def said(page: Page, words: str) -> None:
    expect(page.locator(".tw-said:not([hidden])")).to_contain_text(words)


def spendable(page: Page) -> float:
    """Return what the first card says can be spent, in sat."""
    text = page.locator(".tw-card-first .tw-card-number").inner_text()
    return float(text.replace("sat", "").replace(",", "").strip())


def test_the_first_line_and_the_cards_say_how_the_books_stand(page: Page) -> None:
    expect(page.locator("header .tw-line")).to_contain_text(re.compile(r"You can spend [\d,.]+ play sat"))
    expect(page.locator("header")).to_contain_text("The node play is a play node")
    for name in ("Can be spent", "Came in", "Went out", "Routing fees", "Net", "Pending, in sat"):
        expect(page.locator(".tw-card", has_text=name).first).to_be_visible()
    for name in ("By agent", "By task", "By source", "Budgets", "Findings", "Accounts"):
        expect(page.locator("h2", has_text=name).first).to_be_visible()
    expect(page.locator(".tw-accounts tfoot")).to_contain_text("the same on both sides")
    press(page, "Check every line")
    said(page, "lines checked: debits are credits")


def test_an_invoice_is_made_shown_with_its_code_and_seen_to_be_paid(page: Page) -> None:
    before = spendable(page)
    press(page, "Receive")
    expect(dialog(page).get_by_label("amount in sat")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(dialog(page).get_by_label("amount in sat")).to_be_focused()
    dialog(page).get_by_label("amount in sat").fill("12.3456")
    page.keyboard.press("Enter")
    expect(dialog(page).get_by_role("alert")).to_contain_text("finer than a millisatoshi")
    dialog(page).get_by_label("amount in sat").fill("2,100")
    dialog(page).get_by_label("what for").fill("a map of <b>footpaths</b>")
    press(page, "Create the invoice")
    expect(dialog(page).get_by_role("img", name="QR code of the invoice for 2,100 sat")).to_be_visible()
    text = dialog(page).locator(".tw-bill-text").inner_text().strip()
    invoice = bolt11.decode(text)
    assert (invoice.amount_msat, invoice.description) == (2_100_000, "a map of <b>footpaths</b>")
    expect(page.locator("header .tw-line")).to_contain_text("pending")

    press(page, "Have the neighbour pay it")
    expect(dialog(page)).to_contain_text("2,100 sat came in")
    press(page, "Close")
    expect(row(page, "a map of").first).to_contain_text("settled")
    until(lambda: spendable(page) == pytest.approx(before + 2100), "the balance grew by what came in")


def test_a_payment_is_decoded_first_then_confirmed_and_shown_in_full(page: Page) -> None:
    before = spendable(page)
    press(page, "Pay")
    dialog(page).get_by_label("invoice to pay").fill("lnbc1nonsense")
    press(page, "Decode it")
    expect(dialog(page).get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Ask the play node's neighbour").click()
    until(lambda: dialog(page).get_by_label("invoice to pay").input_value().startswith("lnbcrt"), "the neighbour asked")
    press(page, "Decode it")
    expect(dialog(page)).to_contain_text("an invoice of the neighbour, to try it")
    expect(dialog(page)).to_contain_text("regtest")
    expect(dialog(page)).to_contain_text("What the route does not cost comes back.")
    expect(dialog(page).get_by_role("button", name="Leave it as it is")).to_be_focused()
    dialog(page).get_by_label("agent").fill("echo")
    dialog(page).get_by_label("task").fill("t-9")
    page.keyboard.press("Control+Enter")
    expect(dialog(page)).to_contain_text("210 sat paid, and 1.21 sat of fees")
    press(page, "Close")
    until(lambda: spendable(page) == pytest.approx(before - 211.21), "amount and fee left")

    row(page, "an invoice of the neighbour").first.click()
    detail = page.locator(".tw-entry-detail")
    expect(detail).to_contain_text("paid · and 1.21 sat of fees")
    expect(detail.locator(".tw-postings")).to_contain_text("Expenses:LN:RoutingFees:echo")
    expect(detail).to_contain_text("Its trace")
    expect(detail.locator(".tw-trace")).to_contain_text("payment.settled")
    detail.get_by_text("Its invoice, decoded").click()
    expect(detail.locator("details[open]")).to_contain_text("an invoice of the neighbour, to try it")
    assert "entry=" in page.evaluate("location.search")
    detail.get_by_role("link", name="echo").click()
    expect(page.locator(".tw-seek-said")).to_contain_text("with these filters")
    assert "agent=echo" in page.evaluate("location.search")
    expect(rows(page)).to_have_count(1)


def test_an_invoice_that_is_paid_already_is_not_paid_again(page: Page) -> None:
    row(page, "map tiles 0").click()
    text = page.locator(".tw-entry-detail [data-copy^=lnbcrt]").first.get_attribute("data-copy") or ""
    press(page, "Pay")
    dialog(page).get_by_label("invoice to pay").fill(text)
    press(page, "Decode it")
    expect(dialog(page)).to_contain_text("paid already")
    expect(dialog(page).get_by_role("button", name=re.compile("^Pay "))).to_have_count(0)
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)


def test_filters_and_search_stand_in_the_address_and_come_back(page: Page, workbench: Served) -> None:
    page.get_by_label("status").select_option("expired")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("never paid")
    page.get_by_label("status").select_option("")
    page.get_by_label("search the ledger").press_sequentially("translation", delay=15)
    expect(rows(page)).to_have_count(6)
    expect(page.locator(".tw-seek-said")).to_contain_text("6 entries with these filters: 6,000.015 sat came in")
    page.reload()
    heading(page, "Ledger").wait_for()
    expect(rows(page)).to_have_count(6)
    page.get_by_role("button", name="show all").click()
    page.locator(".tw-shares").get_by_role("link", name="t-8").click()
    expect(rows(page)).to_have_count(6)
    expect(rows(page).first).to_contain_text("map tiles")
    assert "task=t-8" in page.evaluate("location.search")


def test_dragging_across_the_chart_lists_those_days(page: Page) -> None:
    chart = page.locator("[data-cell-name=flow] canvas, [data-cell-name=flow] svg.marks").first
    chart.wait_for()
    box = chart.bounding_box()
    assert box is not None
    everything = rows(page).count()
    page.mouse.move(box["x"] + 0.56 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.72 * box["width"], box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    expect(page.locator(".tw-seek-on")).to_contain_text("time")
    until(lambda: 0 < rows(page).count() < everything, "only entries of those days are listed")
    assert "since=" in page.evaluate("location.search")
    page.get_by_role("button", name="show all").click()
    until(lambda: rows(page).count() == everything, "all are listed again")


def test_a_finding_is_a_badge_until_somebody_says_that_it_is_settled(page: Page) -> None:
    expect(page.locator("header .tw-line")).to_contain_text("1 finding waits for you")
    expect(page.locator("#books .tw-pill").first).to_contain_text("1 finding")
    page.locator("header").get_by_role("link", name="1 finding").click()
    expect(page.locator("#books")).to_be_in_viewport()
    page.locator(".tw-findings li", has_text="two proofs").get_by_role("button", name="It is settled").click()
    said(page, "Taken note of")
    expect(page.locator("header .tw-line")).not_to_contain_text("finding")
    expect(page.locator(".tw-settled li", has_text="two proofs")).to_contain_text("settled by owner")


def test_an_account_is_opened_line_by_line(page: Page) -> None:
    page.locator(".tw-accounts").get_by_role("button", name="Expenses:LN:Payments:forge").click()
    expect(dialog(page)).to_contain_text("closing")
    expect(dialog(page).locator("tbody tr").first).to_contain_text("+120")
    press(page, "Close")


def test_what_only_the_node_knows_is_shown_before_it_is_written(page: Page) -> None:
    before = spendable(page)
    press(page, "Compare with the node")
    expect(dialog(page)).to_contain_text("1 change would be written")
    expect(dialog(page)).to_contain_text("payment of 77 sat that the ledger lacks")
    press(page, "Leave it as it is")
    assert spendable(page) == before
    press(page, "Compare with the node")
    press(page, "Write 1 change into the book")
    expect(dialog(page)).to_contain_text("1 change written")
    press(page, "Close")
    until(lambda: spendable(page) == pytest.approx(before - 78.077), "the payment and its fee are in the book")
    expect(page.locator(".tw-settled")).to_contain_text("missing in ledger")
    press(page, "Compare with the node")
    expect(dialog(page)).to_contain_text("The books and the node agree")


def test_a_budget_is_set_changed_and_the_change_undone(page: Page) -> None:
    press(page, "Set a budget")
    dialog(page).get_by_label("agent").fill("bee")
    dialog(page).get_by_label("limit in sat").fill("500")
    press(page, "Set it")
    said(page, "bee may spend 500 sat a day.")
    budget = page.locator("[data-cell-name=beside] .tw-meters li", has_text="bee")
    expect(budget).to_contain_text("0 of 500 sat today")
    budget.get_by_role("button").click()
    expect(dialog(page).get_by_label("limit in sat")).to_have_value("500")
    dialog(page).get_by_label("limit in sat").fill("900")
    press(page, "Set it")
    expect(budget).to_contain_text("0 of 900 sat today")
    page.get_by_role("button", name="Undo").click()
    expect(budget).to_contain_text("0 of 500 sat today")


def test_the_balance_as_of_a_moment_is_that_of_then(page: Page, workbench: Served) -> None:
    now = spendable(page)
    then = NOW - timedelta(days=13, hours=12)
    page.get_by_label("balance as of").locator("input").fill(f"{then.astimezone():%Y-%m-%dT%H:%M}")
    expect(page.locator("header .tw-line")).to_contain_text("you could spend")
    until(lambda: spendable(page) == pytest.approx(100_000 + 1_000 - 120 - 1.12), "the first day alone counts")
    assert "at=" in page.evaluate("location.search")
    page.reload()
    heading(page, "Ledger").wait_for()
    expect(page.locator("header .tw-line")).to_contain_text("you could spend")
    press(page, "now")
    until(lambda: spendable(page) == now, "the present counts again")


def test_the_books_are_taken_out_as_a_file(page: Page) -> None:
    press(page, "Export")
    dialog(page).get_by_label("format").select_option("beancount")
    with page.expect_download() as saving:
        press(page, "Save the file")
    text = saving.value.path().read_text(encoding="utf-8")
    assert saving.value.suggested_filename == "lightning-ledger.beancount"
    assert "Expenses:LN:Payments" in text
    said(page, "Saved as lightning-ledger.beancount")


def test_on_a_phone_nothing_scrolls_sideways_and_the_keyboard_is_enough(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page fits a phone's width")
    page.get_by_label("search the ledger").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tw-entry-sum")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator(".tw-entry-sum")).to_have_count(0)
    press(page, "Receive")
    dialog(page).get_by_label("amount in sat").fill("21")
    press(page, "Create the invoice")
    expect(dialog(page).locator(".tw-qr")).to_be_visible()
    until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the dialog fits, too")
