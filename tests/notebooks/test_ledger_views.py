"""The parts of the ledger page: what each says of books that are empty, in use, in the past, or do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import LedgerError
from timmy_core.ledger.findings import Finding
from timmy_core.ledger.model import Budget, Sum
from timmy_core.ledger.watch import WatchState
from timmy_core.settings import load_settings
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy
from ui import billing, book, booking, bookkeeping, chips, entries, entry, ledger_charts, qr, sats, taking

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def kept(home: Path, clock: FakeClock) -> Iterator[Timmy]:
    """Books with an invoice that was paid, one that waits, and a payment."""
    timmy = Timmy(load_settings(home), clock=clock)
    try:
        payments = timmy.payments
        made = payments.create_invoice(amount_msat=21_000, memo="<i>tea</i>", source="shop", agent_id="echo")
        payments.playing.pay(made.payment_hash)
        payments.check(made)
        clock.advance(60)
        payments.pay(payments.playing.invoice(amount_msat=9_500, memo="a map"), agent_id="echo", task_id="t1")
        clock.advance(60)
        payments.create_invoice(amount_msat=5_000, memo="waits")
        yield timmy
    finally:
        timmy.shutdown()


def do(timmy: Timmy, **order: Any) -> list[dict[str, Any]]:
    """Carry an order out, and return what is sent."""
    sent: list[dict[str, Any]] = []
    booking.carry_out(lambda message, _buffers=None: sent.append(message), timmy, order, "ann")
    return sent


# Words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("msat", "plain", "signed"),
    [(0, "0", "0"), (21_340_000, "21,340", "+21,340"), (1_021, "1.021", "+1.021"), (-500, "−0.5", "−0.5")],  # noqa: RUF001
)
def test_amounts_are_exact_and_short(msat: int, plain: str, signed: str) -> None:
    assert (sats.plain(msat), sats.signed(msat)) == (plain, signed)


def test_shares_have_a_digit_more_where_they_are_small() -> None:
    assert (sats.share(4, 1000), sats.share(250, 1000), sats.share(1, 0)) == ("0.4 %", "25 %", "–")


def test_the_first_line_says_what_can_be_spent_and_what_waits(kept: Timmy) -> None:
    line = book.first_line(book.look(kept, {"range": "30d"}))
    assert "<strong>100,010.491 play sat</strong>" in line
    assert "1 invoice</a> is pending" in line


def test_the_past_is_said_as_the_past(kept: Timmy) -> None:
    here = book.look(kept, {"range": "7d", "at": (NOW + timedelta(seconds=30)).isoformat()})
    assert "you could spend <strong>100,021 play sat" in book.first_line(here)
    assert 'data-past="true"' in book.cards(here)
    assert "as of" in bookkeeping.accounts(here)
    later = book.look(kept, {"at": (NOW + timedelta(days=900)).isoformat()})
    assert later.as_of is None


def test_books_that_cannot_be_read_say_so(kept: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        message = "the disk is gone"
        raise LedgerError(message)

    monkeypatch.setattr(kept.ledger, "balance", broken)
    here = book.look(kept, {})
    assert "cannot be read" in book.first_line(here)
    assert "The disk is gone." in book.first_line(here)
    assert book.notes(here) == ""


def test_a_node_that_does_not_answer_is_named_with_what_still_works(kept: Timmy) -> None:
    here = replace(book.look(kept, {}), watching=(WatchState("main", connected=False, since=NOW, problem="refused"),))
    notes = book.notes(here)
    assert "main</b>, since" in notes
    assert "The books are here all the same" in notes


def test_findings_are_a_badge_a_count_and_rows(kept: Timmy) -> None:
    one = Finding("residue", None, None, "1", "2", "the node holds 1 sat <more>", "look", mends=False, id="f1")
    here = replace(book.look(kept, {}), findings=(one,))
    assert "1 finding</a> waits for you" in book.first_line(here)
    text = bookkeeping.findings(here)
    assert "&lt;more&gt;" in text
    assert "It is settled" in text
    assert "nothing to look at" in bookkeeping.findings(book.look(kept, {}))


def test_a_budget_shows_what_is_spent_set_aside_and_left(kept: Timmy) -> None:
    budget = Budget("echo", "day", 1_000_000, 700_000, 200_000, NOW, NOW + timedelta(hours=6))
    text = bookkeeping.budgets(replace(book.look(kept, {}), budgets=(budget,)))
    assert "700 of 1,000 sat today" in text
    assert "100 left · 200 set aside" in text
    assert "tw-wait" in text
    spent = bookkeeping.budgets(replace(book.look(kept, {}), budgets=(replace(budget, spent_msat=900_000),)))
    assert "nothing left" in spent
    assert "No agent has a budget" in bookkeeping.budgets(book.look(kept, {}))


def test_sums_are_shown_by_agent_task_and_source(kept: Timmy) -> None:
    text = bookkeeping.shares(book.look(kept, {}))
    assert text.index("By agent") < text.index("echo") < text.index("By task") < text.index("t1") < text.index("shop")


def test_the_two_sides_of_the_accounts_are_the_same(kept: Timmy) -> None:
    text = bookkeeping.accounts(book.look(kept, {}))
    assert "the same on both sides" in text
    assert "Expenses:<wbr>LN:<wbr>RoutingFees:<wbr>echo" in text


# Charts and addresses ----------------------------------------------------------------------------------------


def days(*sums: tuple[int, int]) -> tuple[Sum, ...]:
    return tuple(Sum(f"2026-11-{20 + number}", in_, out, 5, 1, 1) for number, (in_, out) in enumerate(sums))


def test_income_stands_above_and_spending_below() -> None:
    chart = ledger_charts.flow(days((2_000, 0), (0, 3_000))).to_dict()
    bars = [bar for rows in chart["datasets"].values() for bar in rows if "kind" in bar]
    assert {(bar["kind"], bar["sats"]) for bar in bars} == {
        ("came in", 2.0), ("went out", -3.0), ("fees", -0.005)}  # fmt: skip


def test_a_stretch_is_rounded_outwards_to_whole_days() -> None:
    chosen = [datetime(2026, 11, 20, 13, tzinfo=UTC), datetime(2026, 11, 21, 1, tzinfo=UTC)]
    selections = {"stretch": {"utcyearmonthdate_day": [moment.timestamp() * 1000 for moment in chosen]}}
    found = ledger_charts.stretch(days((1, 1), (1, 1), (1, 1)), selections)
    assert found == (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
    assert ledger_charts.stretch(days((1, 1)), {}) is None


def test_the_running_balance_ends_at_what_is_there() -> None:
    assert ledger_charts.running(days((100, 0), (0, 30)), 500) == [535, 500]


def test_a_line_needs_something_to_compare() -> None:
    assert ledger_charts.sparkline([1], "#000", label="x") == ""
    assert ledger_charts.sparkline([0, 0], "#000", label="x") == ""
    assert "polyline" in ledger_charts.sparkline([1, 2, 2], "#000", label="x")


def test_addresses_keep_only_what_they_can_mean() -> None:
    asked = {"range": "90d", "at": "2026-11-01T00:00:00Z"}
    assert chips.from_address(asked, book.GROUPS) == asked
    assert chips.from_address({"range": "1h", "at": "2026-11-01"}, book.GROUPS) == {"range": "30d"}
    assert entries.from_address({"direction": "up", "since": "soon", "agent": ["a", "b"]}) == {"agent": "b"}


def test_a_code_is_drawn_inline_and_named() -> None:
    drawn = qr.svg("lnbcrt1" + "q" * 300, label='for "you"')
    assert drawn.count("<svg") == 1
    assert "&quot;you&quot;" in drawn
    assert "http" not in drawn


# Entries -----------------------------------------------------------------------------------------------------


def test_entries_are_listed_with_sums_where_all_are_at_hand(kept: Timmy) -> None:
    reply = entries.found(kept, {})
    assert reply["words"] == "3 entries: 21 sat came in, 10.509 sat went out"
    assert [one["amount"] for one in reply["rows"]] == ["+5", "−9.5", "+21"]  # noqa: RUF001
    assert entries.found(kept, {"text": "xylophone"})["words"] == "Nothing with these filters."


def test_one_entry_is_shown_in_full_and_escaped(kept: Timmy) -> None:
    text = entry.detail(kept, kept.ledger.list(agent_id="echo", direction="in").entries[0].id)
    assert "&lt;i&gt;tea&lt;/i&gt;" in text
    assert "<i>tea" not in text
    assert "Income:<wbr>LN:<wbr>shop" in text
    assert "Its trace" in text
    assert "No event" not in text
    assert "tw-empty" in entry.detail(kept, "nothing")


# Orders ------------------------------------------------------------------------------------------------------


def test_an_invoice_is_shown_until_it_is_paid(kept: Timmy) -> None:
    (made,) = do(kept, action="invoice", number=1, amount="1,000", memo="x", expiry_s=600, node="play", key="k")
    assert (made["kind"], made["open"], made["number"]) == ("shown", True, 1)
    assert do(kept, action="look", id=made["id"])[0]["kind"] == "still"
    assert do(kept, action="neighbour_pays", id=made["id"])[0]["words"] == "The neighbour paid 1,000 sat."
    (paid,) = do(kept, action="look", id=made["id"])
    assert (paid["open"], paid["title"]) == (False, "1,000 sat came in")
    assert "only an invoice of yours" in do(kept, action="show", id=payment(kept))[0]["words"].lower()


def payment(timmy: Timmy) -> str:
    return timmy.ledger.list(direction="out").entries[0].id


def test_an_amount_that_is_none_is_refused_in_words(kept: Timmy) -> None:
    (reply,) = do(kept, action="invoice", amount="1.2345", expiry_s=600, node="play", key="k")
    assert (reply["state"], "finer than a millisatoshi" in reply["words"]) == ("bad", True)


def test_an_invoice_without_an_amount_asks_for_one(kept: Timmy) -> None:
    text = kept.payments.playing.invoice(amount_msat=None, memo="as you like")
    (seen,) = do(kept, action="decode", bolt11=text, node="play")
    assert (seen["payable"], seen["amountless"], seen["button"]) == (True, True, "Pay it")
    (paid,) = do(kept, action="pay", bolt11=text, node="play", amount="33", fee_limit="", key="k", agent="", task="")
    assert paid["title"] == "33 sat paid, and 1.033 sat of fees"


def test_what_cannot_be_paid_offers_no_button(kept: Timmy, clock: FakeClock) -> None:
    text = kept.payments.playing.invoice(amount_msat=1_000, memo="old")
    clock.advance(4_000)
    (seen,) = do(kept, action="decode", bolt11=text, node="play")
    assert not seen["payable"]
    assert "expired" in seen["html"]


def test_a_payment_that_failed_or_is_under_way_says_where_the_money_is(kept: Timmy) -> None:
    one = kept.ledger.get(payment(kept))
    failed = billing.paid(replace(one, status="failed", failure="no route"))  # type: ignore[arg-type]
    assert "No route. Nothing was taken." in failed["html"]
    under_way = billing.paid(replace(one, status="in_flight"))  # type: ignore[arg-type]
    assert "stay set aside" in under_way["html"]


def test_a_comparison_is_shown_before_it_is_written(kept: Timmy) -> None:
    waits = kept.ledger.pending()[0]
    kept.payments.playing.pay(waits.payment_hash)
    (seen,) = do(kept, action="compare", node="play")
    assert (seen["title"], seen["order"]["action"]) == ("1 change would be written", "reconcile")
    assert kept.ledger.get(waits.id).shown == "pending"
    (done,) = do(kept, **seen["order"])
    assert (done["title"], done["order"]) == ("1 change written", None)
    assert kept.ledger.get(waits.id).shown == "settled"


def test_an_account_is_opened_newest_line_first(kept: Timmy) -> None:
    (reply,) = do(kept, action="statement", account="Assets:LN:play", days=30)
    assert reply["title"] == "Assets:LN:play"
    assert reply["html"].index("Expenses:<wbr>LN:<wbr>RoutingFees") < reply["html"].index("Equity:<wbr>Opening")
    assert "100,010.491 sat" in reply["html"]
    assert do(kept, action="statement", account="Nothing:here", days=30)[0]["state"] == "bad"


def test_a_budget_is_set_and_the_way_back_is_offered(kept: Timmy) -> None:
    do(kept, action="budget", agent="echo", period="day", limit="1,500")
    (changed,) = do(kept, action="budget", agent="echo", period="day", limit="")
    assert changed["words"] == "echo has no limit a day."
    assert changed["undo"]["limit"] == "1500"
    (wrong,) = do(kept, action="budget", agent="echo", period="year", limit="1")
    assert wrong["state"] == "bad"


def test_the_books_are_taken_out_piece_by_piece(kept: Timmy) -> None:
    *pieces, file = do(kept, action="export", format="hledger")
    assert (len(pieces), file["kind"], file["name"]) == (1, "file", "lightning-ledger.journal")
    assert do(kept, action="export", format="xls")[0]["state"] == "bad"
    assert {"csv", "beancount", "parquet"} <= {one["name"] for one in taking.formats()}


def test_the_book_is_checked_on_demand(kept: Timmy) -> None:
    assert "the chain of hashes holds" in do(kept, action="verify")[0]["words"]
