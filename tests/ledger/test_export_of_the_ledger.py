"""Exports of a real book: whatever happened to invoices and payments, each file gives the ledger's own balances."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import pyarrow.parquet as pq
import pytest

from timmy_core.events.log import EventLog
from timmy_core.ledger.export.formats import FORMATS
from timmy_core.ledger.export.lines import Extract
from timmy_core.ledger.export.text import Names
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from . import read_back as read
from .house import NODE, begin, payment_hash, preimage, record, settle_in, settle_out


@pytest.fixture
def ledger(store: Store, log: EventLog, clock: FakeClock) -> Ledger:
    """A book in which everything happened once that moves money, and in which some is still under way."""
    ledger = Ledger(store, log, clock, {"echo": {"day": 90_000_000}})
    ledger.opening(NODE, 50_000_000)
    ledger.opening("second", 1_000)
    record(ledger, 1, memo='=HYPERLINK("x")', agent_id="echo", task_id="t-1")
    record(ledger, 2)
    settle_in(ledger, 1, 21_500)  # more than was asked for
    clock.advance(7200)
    ledger.expire_due()
    settle_in(ledger, 2)  # late
    clock.advance(86_400)
    begin(ledger, 10, 5_000_000, 90_000, task_id="t-2")
    settle_out(ledger, 10, 5_000_000, 321)
    begin(ledger, 11)
    ledger.fail_payment(NODE, payment_hash(11), reason="no route", sure=True)
    ledger.settle_failed(
        NODE, payment_hash(11), amount_msat=10_000, fee_msat=7, preimage=preimage(11), proof="reconcile"
    )
    begin(ledger, 12)  # under way
    record(ledger, 13)
    clock.advance(86_400)
    ledger.suspense(NODE, -2_222, "a channel was closed", by="ann")
    ledger.suspense("second", 5, "found", by="ann")
    return ledger


def booked(ledger: Ledger, as_of: datetime | None = None) -> dict[str, int]:
    """Return the balances that the ledger itself gives, debits positive."""
    accounts = ledger.accounts(as_of, budgets=False)
    found = {one.code: one.posted_debits_msat - one.posted_credits_msat for one in accounts}
    return {code: total for code, total in found.items() if total}


def test_every_format_gives_the_balances_of_the_ledger(ledger: Ledger) -> None:
    expected = booked(ledger)
    assert len(expected) >= 7
    assert read.from_csv(read.exported(ledger, "csv")) == expected
    assert read.from_parquet(read.exported(ledger, "parquet")) == expected
    assert read.from_qif(read.exported(ledger, "qif")) == expected
    assert read.from_beancount(read.exported(ledger, "beancount")) == expected
    held = sum(total for code, total in expected.items() if code.startswith("Assets:"))
    assert held == ledger.balance().posted_msat
    assert read.from_koinly(read.exported(ledger, "koinly")) == held
    assert read.from_cointracker(read.exported(ledger, "cointracker")) == held


def test_hledger_gives_the_balances_of_the_ledger(ledger: Ledger) -> None:
    names = Names(Extract(ledger).survey.accounts)
    assert read.from_hledger(read.exported(ledger, "hledger"), names) == booked(ledger)


def test_a_file_up_to_a_moment_gives_the_balances_of_that_moment(ledger: Ledger, clock: FakeClock) -> None:
    moment = clock.now() - timedelta(hours=30)
    found = read.from_csv(read.exported(ledger, "csv", until=moment))
    assert found == booked(ledger, moment)
    assert found != booked(ledger)


def test_a_payment_and_its_fee_are_one_transaction_with_whose_it_is(ledger: Ledger) -> None:
    text = read.exported(ledger, "beancount").decode()
    (paid,) = [part for part in text.split("\n\n") if 'task: "t-2"' in part]
    assert "Expenses:LN:Payments:Echo" in paid
    assert "Expenses:LN:RoutingFees:Echo" in paid
    assert "5000.321 SAT" in paid
    assert 'agent: "echo"' in paid


def test_parquet_has_the_words_untouched_and_the_table_has_no_formula(ledger: Ledger) -> None:
    rows = pq.read_table(io.BytesIO(read.exported(ledger, "parquet"))).to_pylist()
    assert '=HYPERLINK("x")' in [row["memo"] for row in rows]
    assert {row["direction"] for row in rows} == {"in", "out", None}
    assert '\'=HYPERLINK("x")' in [row["memo"] for row in read.table(read.exported(ledger, "csv"))]


def test_no_preimage_and_no_invoice_leaves_with_a_file(ledger: Ledger) -> None:
    for name in FORMATS:
        content = read.exported(ledger, name)
        assert preimage(1).encode() not in content
        assert b"lnbcrt" not in content
