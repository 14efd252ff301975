"""Payments: held before the node is asked, settled by the preimage alone, failed only for sure, once in every case."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from timmy_core.errors import (
    AlreadyPaidError,
    EntryStateError,
    EntryUnknownError,
    HoldExceededError,
    IdempotencyConflictError,
    InsufficientFundsError,
    LedgerError,
    MoneyError,
    PreimageError,
)
from timmy_core.events.log import EventLog
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .house import NODE, START, Bill, begin, check_whole, payment_hash, preimage, settle_out


def fail(ledger: Ledger, number: int, *, sure: bool = True) -> None:
    ledger.fail_payment(NODE, payment_hash(number), reason="no route", sure=sure)


def compensate(ledger: Ledger, number: int, fee_msat: int = 500) -> None:
    ledger.settle_failed(
        NODE, payment_hash(number), amount_msat=10_000, fee_msat=fee_msat, preimage=preimage(number), proof="reconcile"
    )


def test_a_hold_covers_amount_and_fee_limit_and_the_rest_is_given_back(funded: Ledger) -> None:
    payment = begin(funded, 1)
    assert (payment.status, payment.shown, payment.hold_msat, payment.attempts) == ("initiated", "pending", 11_000, 1)
    balance = funded.balance()
    assert (balance.available_msat, balance.pending_outgoing_msat, balance.posted_msat) == (989_000, 11_000, 1_000_000)
    assert funded.mark_in_flight(payment.id).status == "in_flight"
    settled = settle_out(funded, 1)
    assert (settled.shown, settled.fee_msat, settled.preimage, settled.proof) == ("settled", 500, preimage(1), "pay")
    balance = funded.balance()
    assert (balance.available_msat, balance.outgoing_total_msat, balance.fees_paid_msat) == (989_500, 10_000, 500)
    assert (balance.pending_outgoing_msat, balance.net_msat) == (0, -10_500)
    assert [one.code for one in funded.accounts()][2:] == [
        "Expenses:LN:Payments:echo", "Expenses:LN:RoutingFees:echo",
    ]  # fmt: skip
    check_whole(funded)


def test_its_events_name_no_secret(funded: Ledger, log: EventLog) -> None:
    payment = begin(funded, 1, trace_id="tr", task_id="t")
    funded.mark_in_flight(payment.id)
    settle_out(funded, 1)
    events = log.list(trace_id="tr", order="asc")
    assert [event.type for event in events] == ["payment.initiated", "payment.sent", "payment.settled"]
    assert all(event.agent_id == "echo" and event.task_id == "t" for event in events)
    assert all(preimage(1) not in str(event.data) and "lnbcrt" not in str(event.data) for event in events)
    assert [transfer.event_seq for transfer in funded.postings(payment.id)] == [
        events[0].seq, events[2].seq, events[2].seq,
    ]  # fmt: skip


def test_nobody_spends_what_is_set_aside(funded: Ledger) -> None:
    begin(funded, 1, 900_000, 10_000)
    with pytest.raises(InsufficientFundsError, match=r"90 sat available \(910 sat more is set aside"):
        begin(funded, 2, 90_000, 1)
    begin(funded, 3, 89_999, 1)
    assert funded.balance().available_msat == 0
    check_whole(funded)


def test_racing_payments_never_pass_what_there_is(funded: Ledger) -> None:
    def pay(number: int) -> bool:
        try:
            begin(funded, number, 100_000, 1_000)
        except InsufficientFundsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(pay, range(30))) == 9
    check_whole(funded)


def test_another_preimage_settles_nothing(funded: Ledger) -> None:
    begin(funded, 1)
    with pytest.raises(PreimageError):
        funded.settle_payment(NODE, payment_hash(1), amount_msat=10_000, fee_msat=0, preimage=preimage(2), proof="pay")
    assert funded.find_payment(NODE, payment_hash(1)).shown == "pending"  # type: ignore[union-attr]


def test_more_than_was_held_is_only_booked_by_reconciliation(funded: Ledger) -> None:
    begin(funded, 1)
    with pytest.raises(HoldExceededError, match="reconcile shows both sides"):
        settle_out(funded, 1, fee_msat=1_001)
    settled = settle_out(funded, 1, fee_msat=1_001, beyond_hold=True)
    assert (settled.fee_msat, funded.balance().available_msat) == (1_001, 988_999)
    check_whole(funded)


def test_what_a_node_spent_beyond_the_book_comes_from_suspense(ledger: Ledger) -> None:
    ledger.opening(NODE, 11_000)
    begin(ledger, 1)
    settle_out(ledger, 1, 12_000, 3_000, beyond_hold=True)
    assert ledger.balance().available_msat == 0
    assert ledger.statement("Equity:Suspense").closing_msat == 4_000
    check_whole(ledger)


def test_unsure_it_stays_pending_and_sure_it_gives_all_back(funded: Ledger) -> None:
    payment = begin(funded, 1)
    fail(funded, 1, sure=False)
    assert funded.balance().pending_outgoing_msat == 11_000
    assert funded.attempts(payment.id)[0].notes == ("no route",)
    fail(funded, 1)
    failed = funded.find_payment(NODE, payment_hash(1))
    assert failed is not None
    assert (failed.shown, failed.failure, funded.balance().available_msat) == ("failed", "no route", 1_000_000)
    fail(funded, 1)
    assert len(funded.postings(payment.id)) == 2
    check_whole(funded)


def test_after_a_sure_failure_the_same_invoice_is_tried_anew(funded: Ledger, clock: FakeClock) -> None:
    first = begin(funded, 1, idempotency_key="a")
    fail(funded, 1)
    clock.advance(5)
    again = begin(funded, 1, fee_limit_msat=2_000, idempotency_key="b")
    assert (again.id, again.attempts, again.status, again.failure) == (first.id, 2, "initiated", None)
    settle_out(funded, 1, fee_msat=1_500)
    assert [(one.number, one.status, one.fee_limit_msat) for one in funded.attempts(first.id)] == [
        (1, "failed", 1_000), (2, "settled", 2_000),
    ]  # fmt: skip
    with pytest.raises(AlreadyPaidError, match="paid already"):
        begin(funded, 1)
    check_whole(funded)


def test_an_invoice_is_paid_by_one_node_only(funded: Ledger) -> None:
    funded.opening("other", 1_000_000)
    begin(funded, 1)
    with pytest.raises(AlreadyPaidError, match="under way at node home"):
        begin(funded, 1, node="other")
    settle_out(funded, 1)
    with pytest.raises(AlreadyPaidError, match="paid already, by node home"):
        begin(funded, 1, node="other")


def test_the_same_key_and_body_replay_and_another_body_is_a_conflict(funded: Ledger) -> None:
    first = begin(funded, 1, idempotency_key="k", trace_id="one")
    again = begin(funded, 1, idempotency_key="k", trace_id="two")
    assert (again.id, again.replayed, first.replayed) == (first.id, True, False)
    assert funded.balance().pending_outgoing_msat == 11_000
    for number, fee in ((1, 2_000), (2, 1_000)):
        with pytest.raises(IdempotencyConflictError):
            begin(funded, number, fee_limit_msat=fee, idempotency_key="k")
    settle_out(funded, 1)
    assert begin(funded, 1, idempotency_key="k").status == "settled"


def test_settled_is_never_failed_and_settled_again_is_absorbed(funded: Ledger) -> None:
    begin(funded, 1)
    settle_out(funded, 1)
    before = funded.transfers()
    fail(funded, 1)
    assert settle_out(funded, 1, 9_000, 900).replayed
    assert funded.mark_in_flight(funded.get_by_hash(payment_hash(1))[0].id).status == "settled"
    assert funded.transfers() == before
    assert funded.get_by_hash(payment_hash(1))[0].status == "settled"


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(["sent", "settle", "unsure", "settle", "sent"]))))
def test_any_order_of_what_a_node_says_gives_the_same_balance(funded: Ledger, order: tuple[str, ...]) -> None:
    payment = begin(funded, 1)
    for word in order:
        if word == "sent":
            funded.mark_in_flight(payment.id)
        elif word == "unsure":
            fail(funded, 1, sure=False)
        else:
            settle_out(funded, 1)
    assert funded.balance().available_msat == 989_500
    check_whole(funded)


def test_a_failed_payment_is_settled_only_as_a_compensation_with_an_alert(funded: Ledger, log: EventLog) -> None:
    begin(funded, 1)
    fail(funded, 1)
    with pytest.raises(EntryStateError, match="compensating transfer"):
        settle_out(funded, 1)
    compensate(funded, 1)
    settled = funded.find_payment(NODE, payment_hash(1))
    assert settled is not None
    assert (settled.status, settled.compensated, settled.preimage) == ("settled", True, preimage(1))
    assert funded.balance().available_msat == 989_500
    (alert,) = log.list(type="ledger.finding")
    assert alert.data is not None
    assert alert.data["kind"] == "settled_after_failed"
    compensate(funded, 1)
    assert funded.balance().available_msat == 989_500
    check_whole(funded)


def test_a_compensation_beyond_the_book_comes_from_suspense(ledger: Ledger) -> None:
    ledger.opening(NODE, 11_000)
    begin(ledger, 1)
    fail(ledger, 1)
    begin(ledger, 2, 9_000, 0)
    compensate(ledger, 1)
    assert ledger.balance().available_msat == 0
    assert ledger.statement("Equity:Suspense").closing_msat == 8_500
    check_whole(ledger)


def test_a_payment_that_only_the_node_knows_is_adopted_once(funded: Ledger) -> None:
    for _ in range(2):
        adopted = funded.adopt_payment(
            node=NODE, payment_hash=payment_hash(9), bolt11="lnbcrt9", amount_msat=5_000, fee_msat=50,
            preimage=preimage(9), proof="reconcile",
        )  # fmt: skip
        assert (adopted.status, adopted.attempts, adopted.agent_id) == ("settled", 0, None)
    assert funded.balance().available_msat == 994_950
    assert funded.statement("Expenses:LN:Payments:unassigned").closing_msat == 5_000
    check_whole(funded)


def test_amounts_of_invoices_are_kept_to(funded: Ledger) -> None:
    with pytest.raises(LedgerError, match="names no amount"):
        begin(funded, 1, None)  # type: ignore[arg-type]
    with pytest.raises(LedgerError, match="asks for 10 sat, not 9 sat"):
        funded.begin_payment(NODE, Bill(1), 9_000, 0)
    free = funded.begin_payment(NODE, Bill(2, None), 7_000, 0)
    assert (free.amount_msat, free.memo) == (7_000, "a thing")
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(MoneyError):
            funded.begin_payment(NODE, Bill(3, None), wrong, 0)  # type: ignore[arg-type]
        if wrong != 0:
            with pytest.raises(MoneyError):
                funded.begin_payment(NODE, Bill(3), None, wrong)  # type: ignore[arg-type]


def test_what_is_not_there_is_said_so(funded: Ledger) -> None:
    with pytest.raises(EntryUnknownError, match="no payment with the payment hash"):
        settle_out(funded, 1)
    with pytest.raises(EntryUnknownError, match="no payment"):
        funded.mark_in_flight("nobody")
    with pytest.raises(EntryUnknownError, match="timmy ledger list"):
        funded.get("nobody")


def test_what_is_begun_is_there_after_a_new_start(
    funded: Ledger, store: Store, log: EventLog, clock: FakeClock
) -> None:
    payment = begin(funded, 1)
    reopened = Ledger(store, log, clock)
    assert [entry.id for entry in reopened.pending(NODE, "out")] == [payment.id]
    assert reopened.pending("other") == []
    assert payment.expires_at == START + timedelta(hours=1)
