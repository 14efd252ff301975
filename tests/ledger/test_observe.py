"""What a node says, in any order and however often, ends in the same book; and what proves nothing changes nothing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.events.log import EventLog
from timmy_core.ledger.bolt11 import decode, encode
from timmy_core.ledger.judge import AGREED, judge_invoice, judge_payment, proves
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Invoice, Payment
from timmy_core.ledger.node import NodeInvoice, NodePayment
from timmy_core.ledger.observe import Observer
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

CLOCK = FakeClock()
NOW = CLOCK.now()
PREIMAGE = "11" * 32
HASH = hashlib.sha256(bytes.fromhex(PREIMAGE)).hexdigest()
BOLT11 = encode(
    private_key=b"\2" * 32, payment_hash=bytes.fromhex(HASH), payment_secret=b"\3" * 32, timestamp=NOW,
    network="regtest", amount_msat=50_000, description="b", expiry_s=3600,
)  # fmt: skip
OPEN = NodeInvoice(HASH, BOLT11, 50_000, "open", "b", NOW, NOW + timedelta(hours=1))
SETTLED = replace(OPEN, state="settled", received_msat=50_000, settled_at=NOW, preimage=PREIMAGE)
INVOICE_WORDS = (OPEN, replace(OPEN, state="accepted"), SETTLED, replace(SETTLED, preimage=None))
FLYING = NodePayment(HASH, "in_flight", 50_000, None, None, None, NOW)
PAID = NodePayment(HASH, "settled", 50_000, 700, PREIMAGE, None, NOW, NOW)
PAYMENT_WORDS = (None, FLYING, PAID)


@contextmanager
def book() -> Iterator[tuple[Ledger, Observer]]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "timmy.db")
        ledger = Ledger(store, EventLog(store, CLOCK), CLOCK)
        ledger.opening("n", 1_000_000)
        yield ledger, Observer(ledger, CLOCK)
        store.close()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(INVOICE_WORDS), max_size=6), st.permutations(INVOICE_WORDS[1:3]))
def test_what_is_said_of_an_invoice_in_any_order_settles_it_once(
    some: list[NodeInvoice], rest: list[NodeInvoice]
) -> None:
    with book() as (ledger, observer):
        ledger.record_invoice(
            node="n", payment_hash=HASH, bolt11=BOLT11, amount_msat=50_000, memo="b", expires_at=OPEN.expires_at,
            source="s",
        )  # fmt: skip
        for word in [*some, *rest]:
            observer.invoice("n", HASH, word, proof="test")
        entry = ledger.find_invoice("n", HASH)
        assert entry is not None
        assert (entry.status, entry.received_msat) == ("settled", 50_000)
        assert ledger.balance().posted_msat == 1_050_000
        assert ledger.verify().ok


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(PAYMENT_WORDS), max_size=6))
def test_what_is_said_of_a_payment_in_any_order_settles_it_once(some: list[NodePayment | None]) -> None:
    with book() as (ledger, observer):
        begun = ledger.begin_payment("n", decode(BOLT11), None, 1_000)
        ledger.mark_in_flight(begun.id)
        for word in [*some, PAID, *some]:
            observer.payment("n", HASH, word, proof="test")
        entry = ledger.find_payment("n", HASH)
        assert entry is not None
        assert (entry.status, entry.fee_msat) == ("settled", 700)
        assert ledger.balance().available_msat == 1_000_000 - 50_700
        assert ledger.verify().ok


def begun_payment(ledger: Ledger) -> Payment:
    begun = ledger.begin_payment("n", decode(BOLT11), None, 1_000)
    return ledger.mark_in_flight(begun.id)


def test_a_preimage_that_is_not_of_the_hash_pays_nothing() -> None:
    with book() as (ledger, observer):
        begun_payment(ledger)
        for wrong in ("22" * 32, None, "no hex"):
            seen = observer.payment("n", HASH, replace(PAID, preimage=wrong), proof="test", apply="all")
            assert (seen.verdict.kind, seen.done) == ("preimage", False)
        assert ledger.balance().pending_outgoing_msat == 51_000


def test_a_failure_of_an_earlier_call_does_not_end_the_attempt_at_hand() -> None:
    with book() as (ledger, observer):
        entry = begun_payment(ledger)
        failed = replace(FLYING, state="failed", failure="no route")
        early = replace(failed, created_at=NOW - timedelta(minutes=1))
        assert observer.payment("n", HASH, early, proof="test").done is False
        assert observer.payment("n", HASH, failed, proof="test").done is True
        again = ledger.begin_payment("n", decode(BOLT11), None, 1_000)
        assert (again.id, again.attempts) == (entry.id, 2)


def test_an_answer_of_our_own_call_counts_whatever_its_time() -> None:
    with book() as (ledger, observer):
        begun_payment(ledger)
        failed = replace(FLYING, state="failed", failure="no route", created_at=NOW - timedelta(days=1))
        observer.told("n", failed, proof="test")
        entry = ledger.find_payment("n", HASH)
        assert entry is not None
        assert (entry.status, entry.failure) == ("failed", "no route")


def test_more_than_was_set_aside_is_booked_by_reconciling_alone() -> None:
    with book() as (ledger, observer):
        begun_payment(ledger)
        dear = replace(PAID, fee_msat=5_000)
        assert observer.payment("n", HASH, dear, proof="test").done is False
        seen = observer.payment("n", HASH, dear, proof="test", apply="all")
        assert (seen.done, seen.verdict.kind) == (True, "fee")
        assert ledger.balance().posted_msat == 1_000_000 - 55_000


def test_what_neither_knows_agrees() -> None:
    assert judge_invoice(None, None, NOW) == judge_payment(None, None, NOW) == AGREED


def test_what_ended_is_compared_and_never_changed() -> None:
    with book() as (ledger, observer):
        begun_payment(ledger)
        observer.payment("n", HASH, PAID, proof="test")
        words = {
            "amount": replace(PAID, amount_msat=49_000), "fee": replace(PAID, fee_msat=1),
            "preimage": replace(PAID, preimage="22" * 32), "status": FLYING, "missing_on_node": None,
        }  # fmt: skip
        before = ledger.find_payment("n", HASH)
        for kind, word in words.items():
            seen = observer.payment("n", HASH, word, proof="test", apply="all")
            assert (seen.verdict.kind, seen.verdict.step, seen.done) == (kind, "none", False)
        assert ledger.find_payment("n", HASH) == before


def test_an_overpaid_invoice_is_booked_with_what_came_in_and_a_canceled_one_waits_for_a_person() -> None:
    with book() as (ledger, observer):
        for name, word in (("more", replace(SETTLED, received_msat=60_000)), ("canceled", SETTLED)):
            invoice_hash = hashlib.sha256(name.encode()).hexdigest()
            ledger.record_invoice(
                node="n", payment_hash=invoice_hash, bolt11=name, amount_msat=50_000, memo="", source="s",
                expires_at=OPEN.expires_at,
            )  # fmt: skip
            if name == "canceled":
                ledger.cancel_invoice("n", invoice_hash)
            seen = observer.invoice("n", invoice_hash, replace(word, payment_hash=invoice_hash), proof="test")
            assert isinstance(seen.entry, Invoice)
            assert seen.entry.received_msat == (60_000 if name == "more" else None)
            assert seen.entry.preimage is None, "a preimage of another hash is not kept"
            assert seen.verdict.kind == "status"
        assert ledger.balance().posted_msat == 1_060_000


def test_only_the_preimage_of_the_hash_proves() -> None:
    assert proves(PREIMAGE, HASH)
    assert not proves(None, HASH)
    assert not proves("11", HASH)
    assert not proves("zz", HASH)
