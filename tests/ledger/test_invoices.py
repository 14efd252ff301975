"""Invoices: recorded once, settled once on the node's word, also late; nothing that comes again changes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from timmy_core.errors import (
    EntryStateError,
    EntryUnknownError,
    IdempotencyConflictError,
    LedgerError,
    MoneyError,
    PreimageError,
)  # fmt: skip
from timmy_core.events.log import EventLog
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .house import NODE, START, check_whole, payment_hash, preimage, record, settle_in


def test_an_invoice_counts_only_once_it_is_settled(ledger: Ledger) -> None:
    record(ledger, 1, agent_id="echo", task_id="t", trace_id="tr")
    assert (ledger.balance().pending_incoming_msat, ledger.balance().incoming_total_msat) == (21_000, 0)
    invoice = settle_in(ledger, 1)
    assert (invoice.status, invoice.shown, invoice.received_msat, invoice.preimage) == (
        "settled",
        "settled",
        21_000,
        preimage(1),
    )
    balance = ledger.balance()
    assert (balance.pending_incoming_msat, balance.incoming_total_msat, balance.available_msat) == (0, 21_000, 21_000)
    assert [account.code for account in ledger.accounts()] == ["Assets:LN:home", "Income:LN:cli"]
    check_whole(ledger)


def test_the_events_tell_all_but_the_preimage(ledger: Ledger, log: EventLog) -> None:
    record(ledger, 1, agent_id="echo", task_id="t", trace_id="tr")
    settle_in(ledger, 1)
    events = log.list(trace_id="tr", order="asc")
    assert [(event.type, event.agent_id, event.task_id) for event in events] == [
        ("invoice.created", "echo", "t"), ("invoice.settled", "echo", "t"),
    ]  # fmt: skip
    assert all(preimage(1) not in str(event.data) and "lnbcrt" not in str(event.data) for event in events)
    assert events[1].data is not None
    assert (events[1].data["proof"], events[1].data["received_msat"]) == ("lookup", 21_000)


def test_recorded_again_it_is_the_same(ledger: Ledger) -> None:
    first = record(ledger, 1)
    again = record(ledger, 1)
    assert again.replayed
    assert again.id == first.id
    with pytest.raises(IdempotencyConflictError, match="another text or"):
        record(ledger, 1, amount_msat=5)
    assert len(ledger.transfers()) == 1


def test_settled_again_nothing_changes(ledger: Ledger) -> None:
    record(ledger, 1)
    first = ledger.settle_invoice(NODE, payment_hash(1), received_msat=21_000, settled_at=START, proof="socket")
    assert first.preimage is None
    again = settle_in(ledger, 1, 99_000)
    assert again.replayed
    assert (again.received_msat, again.proof, again.preimage) == (21_000, "socket", preimage(1))
    third = ledger.settle_invoice(NODE, payment_hash(1), received_msat=1, settled_at=START, proof="x")
    assert third.preimage == preimage(1)
    assert ledger.balance().incoming_total_msat == 21_000
    check_whole(ledger)


def test_a_preimage_of_another_hash_settles_nothing(ledger: Ledger) -> None:
    record(ledger, 1)
    with pytest.raises(PreimageError) as caught:
        ledger.settle_invoice(NODE, payment_hash(1), received_msat=1, settled_at=START, preimage=preimage(2), proof="x")
    assert preimage(2) not in str(caught.value)
    assert ledger.find_invoice(NODE, payment_hash(1)).status == "open"  # type: ignore[union-attr]


def test_a_late_payer_settles_an_expired_invoice(ledger: Ledger, clock: FakeClock) -> None:
    record(ledger, 1)
    record(ledger, 2, expires_at=START + timedelta(days=9))
    clock.advance(3600)
    assert [invoice.status for invoice in ledger.expire_due()] == ["expired"]
    assert ledger.expire_due() == []
    assert ledger.balance().pending_incoming_msat == 21_000
    late = settle_in(ledger, 1)
    assert (late.late, late.status, ledger.balance().incoming_total_msat) == (True, "settled", 21_000)
    check_whole(ledger)


@pytest.mark.parametrize("received", [1, 20_999, 21_000, 42_000])
def test_what_the_node_received_is_booked_not_what_was_asked(ledger: Ledger, received: int) -> None:
    record(ledger, 1)
    assert settle_in(ledger, 1, received).received_msat == received
    assert ledger.balance().available_msat == received
    check_whole(ledger)


def test_an_invoice_without_an_amount_takes_what_comes(ledger: Ledger) -> None:
    record(ledger, 1, 0)
    assert ledger.transfers() == []
    settle_in(ledger, 1, 7)
    assert ledger.balance().incoming_total_msat == 7
    check_whole(ledger)


def test_a_canceled_invoice_is_not_settled(ledger: Ledger) -> None:
    record(ledger, 1)
    assert ledger.cancel_invoice(NODE, payment_hash(1), reason="withdrawn").shown == "failed"
    with pytest.raises(EntryStateError, match="reconcile"):
        settle_in(ledger, 1)
    assert ledger.balance().pending_incoming_msat == 0
    check_whole(ledger)


ORDERS = sorted(set(itertools.permutations(["accept", "settle", "expire", "settle", "accept"])))


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_what_a_node_says_gives_the_same_balance(ledger: Ledger, order: tuple[str, ...]) -> None:
    record(ledger, 1)
    said: dict[str, Callable[[], Any]] = {
        "accept": lambda: ledger.accept_invoice(NODE, payment_hash(1)),
        "expire": lambda: ledger.expire_invoice(NODE, payment_hash(1)),
        "settle": lambda: settle_in(ledger, 1),
    }
    for word in order:
        said[word]()
    assert (ledger.balance().incoming_total_msat, ledger.balance().pending_incoming_msat) == (21_000, 0)
    check_whole(ledger)


def test_an_intent_becomes_one_invoice(ledger: Ledger) -> None:
    intent = ledger.intend_invoice(
        node=NODE, amount_msat=21_000, expiry_s=60, memo="tea", source="cli", agent_id="echo", idempotency_key="k"
    )
    assert ledger.open_intents(NODE) == [intent]
    again = ledger.intend_invoice(
        node=NODE, amount_msat=21_000, expiry_s=60, memo="tea", source="cli", agent_id="echo", idempotency_key="k",
        trace_id="another",
    )  # fmt: skip
    assert (again.id, again.replayed) == (intent.id, True)
    invoice = record(ledger, 1, source="", intent_id=intent.id)
    assert (invoice.source, invoice.agent_id, invoice.idempotency_key) == ("cli", "echo", "k")
    assert ledger.open_intents() == []
    assert ledger.intent(intent.id).payment_hash == payment_hash(1)
    assert record(ledger, 1, source="", intent_id=intent.id).replayed
    with pytest.raises(EntryStateError, match="cannot become"):
        record(ledger, 2, intent_id=intent.id)
    with pytest.raises(EntryStateError, match="cannot be abandoned"):
        ledger.abandon_intent(intent.id, "no")


def test_another_body_under_the_same_key_is_a_conflict(ledger: Ledger) -> None:
    ledger.intend_invoice(node=NODE, amount_msat=1, expiry_s=60, source="cli", idempotency_key="k")
    with pytest.raises(IdempotencyConflictError, match="needs a new key"):
        ledger.intend_invoice(node=NODE, amount_msat=2, expiry_s=60, source="cli", idempotency_key="k")
    record(ledger, 1, idempotency_key="other")
    with pytest.raises(IdempotencyConflictError):
        record(ledger, 2, idempotency_key="other")


def test_an_intent_given_up_too_early_is_taken_up_by_its_invoice(ledger: Ledger) -> None:
    intent = ledger.intend_invoice(node=NODE, amount_msat=21_000, expiry_s=60, source="cli")
    assert ledger.abandon_intent(intent.id, "the node refused").status == "abandoned"
    record(ledger, 1, intent_id=intent.id)
    assert ledger.intent(intent.id).status == "done"
    other = ledger.intend_invoice(node=NODE, amount_msat=5, expiry_s=60, source="cli")
    with pytest.raises(EntryStateError, match="record it without"):
        record(ledger, 2, intent_id=other.id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": ""}, {"payment_hash": "ab"}, {"amount_msat": -1}, {"amount_msat": 1.5}, {"memo": "x" * 640},
        {"agent_id": "a\nb"}, {"source": "s" * 201}, {"expires_at": START.replace(tzinfo=None)}, {"memo": "\ud800"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_not_recorded(ledger: Ledger, wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        record(ledger, 1, **wrong)
    assert ledger.list().entries == ()


def test_nothing_and_less_is_never_received(ledger: Ledger) -> None:
    record(ledger, 1)
    for wrong in (0, -5, 1.0, True):
        with pytest.raises(MoneyError):
            settle_in(ledger, 1, wrong)  # type: ignore[arg-type]
    with pytest.raises(EntryUnknownError, match="the ledger has no invoice"):
        settle_in(ledger, 2)


def test_one_can_pay_oneself(funded: Ledger, store: Store) -> None:
    from .house import begin, settle_out

    record(funded, 1, 10_000)
    begin(funded, 1)
    settle_out(funded, 1, fee_msat=0)
    settle_in(funded, 1, 10_000)
    assert [entry.direction for entry in funded.get_by_hash(payment_hash(1))] == ["in", "out"]
    assert funded.balance().available_msat == 1_000_000
    check_whole(funded)
