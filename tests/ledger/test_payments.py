"""The payment handler: every path records itself, whatever the node does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import auntil
from timmy_core.errors import (
    AlreadyPaidError,
    Bolt11Error,
    BudgetExceededError,
    EntryUnknownError,
    IdempotencyConflictError,
    InsufficientFundsError,
    MoneyError,
    NodeError,
)
from timmy_core.ledger.nodes.play import play_fee_msat
from timmy_core.testing import FakeClock

from .lightning import House


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    with House(tmp_path, clock) as opened:
        yield opened


# Invoices --------------------------------------------------------------------------------------------------------


def test_an_invoice_is_in_the_ledger_with_whom_it_is_for(house: House) -> None:
    made = house.made(21_000, memo="tea", source="shop", agent_id="echo", task_id="t1", trace_id="x1")
    assert house.ledger.get(made.id) == made
    assert (made.status, made.shown, made.amount_msat, made.memo) == ("open", "pending", 21_000, "tea")
    assert (made.source, made.agent_id, made.task_id, made.trace_id) == ("shop", "echo", "t1", "x1")


def test_the_book_of_a_node_begins_with_what_the_node_holds(house: House) -> None:
    house.made()
    assert house.ledger.balance().available_msat == 10_000_000
    house.agrees()


def test_a_refused_invoice_leaves_nothing_behind(house: House) -> None:
    house.node.misbehave("create_invoice", "refused")
    with pytest.raises(NodeError):
        house.made()
    assert house.ledger.open_intents() == []
    assert house.payments.list().entries == ()


def test_an_unreachable_node_makes_no_invoice_and_the_next_try_works(house: House) -> None:
    house.node.stop()
    with pytest.raises(NodeError):
        house.made()
    house.node.start()
    assert house.made().status == "open"


def test_an_invoice_whose_answer_was_lost_is_found_by_its_intent(house: House, clock: FakeClock) -> None:
    house.node.misbehave("create_invoice", "lost_answer")
    with pytest.raises(NodeError):
        house.made(5_000, memo="m", source="shop", agent_id="echo", trace_id="x")
    assert len(house.ledger.open_intents()) == 1
    clock.advance(300)
    house.payments.reconcile(dry_run=False)
    (entry,) = house.payments.list().entries
    assert (entry.status, entry.amount_msat, entry.agent_id, entry.trace_id) == ("open", 5_000, "echo", "x")
    assert house.ledger.open_intents() == []


def test_the_same_key_gives_the_same_invoice_and_asks_the_node_once(house: House) -> None:
    first = house.made(idempotency_key="k")
    again = house.made(idempotency_key="k")
    assert again.id == first.id
    assert house.node.calls.count("create_invoice") == 1
    with pytest.raises(IdempotencyConflictError):
        house.made(51_000, idempotency_key="k")


def test_the_same_key_finds_the_invoice_whose_answer_was_lost(house: House) -> None:
    house.node.misbehave("create_invoice", "lost_answer")
    with pytest.raises(NodeError):
        house.made(idempotency_key="k")
    made = house.made(idempotency_key="k")
    assert house.node.calls.count("create_invoice") == 1
    assert house.do(house.node.find_invoice(made.payment_hash)) is not None


def test_many_with_one_key_at_once_make_one_invoice(house: House) -> None:
    async def many() -> set[str]:
        works = [house.payments.acreate_invoice(amount_msat=1000, idempotency_key="k") for _ in range(8)]
        return {made.id for made in await asyncio.gather(*works)}

    assert len(asyncio.run(many())) == 1
    assert house.node.calls.count("create_invoice") == 1


@pytest.mark.parametrize("amount", [0, -1, 1.5, True])
def test_an_amount_that_cannot_be_is_refused_before_the_node_is_asked(house: House, amount: int) -> None:
    with pytest.raises(MoneyError):
        house.made(amount)
    assert "create_invoice" not in house.node.calls


def test_a_node_that_there_is_not_is_named(house: House) -> None:
    with pytest.raises(NodeError, match="no node is named 'home'; expected one of: fake"):
        house.made(node="home")


def test_waiting_for_an_invoice_ends_when_it_is_paid(house: House) -> None:
    made = house.made()
    threading.Timer(0.05, lambda: house.do(house.node.neighbour_pays(made.payment_hash))).start()
    settled = house.payments.wait_settled(made.payment_hash, timeout_s=5)
    assert (settled.status, settled.received_msat) == ("settled", 50_000)
    assert settled.preimage
    house.agrees()


def test_waiting_ends_in_time_and_tells_how_it_stands(house: House) -> None:
    assert house.payments.wait_settled(house.made(), timeout_s=0.05).status == "open"


def test_a_check_takes_the_nodes_word(house: House) -> None:
    made = house.made()
    house.do(house.node.accept(made.payment_hash))
    assert house.payments.check(made.id).status == "accepted"
    house.do(house.node.cancel(made.payment_hash))
    assert house.payments.check(made.id).status == "canceled"


def test_a_late_payer_settles_an_expired_invoice(house: House, clock: FakeClock) -> None:
    made = house.made(expiry_s=60)
    clock.advance(120)
    assert house.payments.check(made).status == "expired"
    house.do(house.node.neighbour_pays(made.payment_hash, late=True))
    settled = house.payments.check(made)
    assert settled.status == "settled"
    assert settled.late  # type: ignore[union-attr]
    house.agrees()


def test_an_entry_that_there_is_not_cannot_be_checked(house: House) -> None:
    with pytest.raises(EntryUnknownError):
        house.payments.check("0" * 64)


# Payments --------------------------------------------------------------------------------------------------------


def test_a_payment_settles_with_its_fee_and_gives_the_rest_back(house: House) -> None:
    paid = house.payments.pay(house.asked(100_000), agent_id="echo", task_id="t", trace_id="x")
    assert (paid.status, paid.fee_msat, paid.memo) == ("settled", play_fee_msat(100_000), "bread")
    assert (paid.agent_id, paid.task_id, paid.trace_id) == ("echo", "t", "x")
    balance = house.ledger.balance()
    assert balance.available_msat == balance.posted_msat == 10_000_000 - 100_000 - play_fee_msat(100_000)
    assert house.types("payment")[0] == "payment.initiated"
    house.agrees()


def test_an_invoice_without_an_amount_needs_one(house: House) -> None:
    asked = house.asked(None)
    with pytest.raises(Bolt11Error):
        house.payments.pay(asked)
    assert house.payments.pay(asked, amount_msat=7_000).amount_msat == 7_000
    house.agrees()


def test_an_expired_invoice_is_refused_before_anything_is_set_aside(house: House, clock: FakeClock) -> None:
    asked = house.asked(expiry_s=60)
    clock.advance(61)
    with pytest.raises(Bolt11Error, match="expired"):
        house.payments.pay(asked)
    assert house.payments.list().entries == ()
    assert "pay" not in house.node.calls


def test_a_fee_limit_that_is_too_low_fails_and_gives_all_back(house: House) -> None:
    paid = house.payments.pay(house.asked(), fee_limit_msat=1)
    assert (paid.status, paid.shown) == ("failed", "failed")
    assert "fee limit" in (paid.failure or "")
    assert house.ledger.balance().available_msat == 10_000_000
    house.agrees()


def test_a_failed_payment_may_be_tried_again(house: House) -> None:
    asked = house.asked()
    house.payments.pay(asked, fee_limit_msat=1)
    again = house.payments.pay(asked)
    assert (again.status, again.attempts) == ("settled", 2)
    house.agrees()


def test_what_is_paid_is_not_paid_again(house: House) -> None:
    asked = house.asked()
    house.payments.pay(asked)
    with pytest.raises(AlreadyPaidError):
        house.payments.pay(asked)
    house.agrees()


def test_more_than_there_is_is_refused_before_the_node_is_asked(house: House) -> None:
    with pytest.raises(InsufficientFundsError):
        house.payments.pay(house.asked(20_000_000))
    assert "pay" not in house.node.calls


def test_the_same_key_answers_as_the_first_time_even_after_the_invoice_expired(house: House, clock: FakeClock) -> None:
    asked = house.asked(expiry_s=60)
    first = house.payments.pay(asked, idempotency_key="k")
    clock.advance(3600)
    again = house.payments.pay(asked, idempotency_key="k")
    assert (again.id, again.status) == (first.id, "settled")
    assert house.node.calls.count("pay") == 1


@pytest.mark.parametrize("kind", ["lost_answer", "server_error"])
def test_a_payment_whose_answer_was_lost_settles_once_by_looking(house: House, kind: str) -> None:
    house.node.misbehave("pay", kind)  # type: ignore[arg-type]
    asked = house.asked()
    paid = house.payments.pay(asked, wait_s=5)
    assert paid.status == "settled"
    assert house.node.calls.count("pay") == 1
    assert "payment.settled" in house.types("payment")
    house.agrees()


def test_a_payment_that_may_be_under_way_stays_pending(house: House) -> None:
    paid = house.lost_payment(house.asked())
    assert (paid.status, paid.shown) == ("in_flight", "pending")
    assert house.ledger.balance().pending_outgoing_msat == paid.hold_msat


@pytest.mark.parametrize("kind", ["refused", "unreachable"])
def test_a_payment_that_was_surely_not_sent_fails(house: House, kind: str) -> None:
    house.made()  # begins the book, for which the node is asked too
    asked = house.asked()
    house.node.misbehave("pay", kind)  # type: ignore[arg-type]
    assert house.payments.pay(asked).status == "failed"
    assert house.ledger.balance().pending_outgoing_msat == 0


def test_a_payment_that_the_node_holds_stays_pending_until_it_ends(house: House) -> None:
    paid = house.held_payment(house.asked())
    assert paid.shown == "pending"
    house.do(house.node.release(paid.payment_hash))
    assert house.payments.wait_settled(paid, timeout_s=5).status == "settled"
    house.agrees()


def test_a_caller_who_gives_up_does_not_stop_a_payment_that_was_sent(house: House) -> None:
    house.node.misbehave("pay", "slow", delay_s=0.3)
    asked = house.asked()

    async def give_up() -> None:
        paying = asyncio.create_task(house.payments.apay(asked))
        await auntil(lambda: "pay" in house.node.calls)
        paying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await paying

    asyncio.run(give_up())
    assert house.payments.wait_settled(house.hash_of(asked), timeout_s=5).status == "settled"
    house.agrees()


def test_one_can_pay_oneself(house: House) -> None:
    made = house.made(30_000)
    paid = house.payments.pay(made.bolt11)
    assert paid.status == "settled"
    assert house.payments.check(made).status == "settled"
    assert {entry.direction for entry in house.ledger.get_by_hash(made.payment_hash)} == {"in", "out"}
    house.agrees()


def test_a_call_that_is_refused_because_it_was_made_before_tells_of_that_one(house: House) -> None:
    asked = house.asked()
    house.made()
    # Somebody else pays it from the same node while we are about to.
    house.do(house.node.pay(asked, amount_msat=None, fee_limit_msat=5_000, timeout_s=1))
    assert house.payments.pay(asked).status == "settled"
    house.agrees()


def test_decoding_says_what_speaks_against_paying(house: House, clock: FakeClock) -> None:
    asked = house.asked(100_000, expiry_s=60)
    read = house.payments.decode(asked)
    assert (read.payable, read.amount_msat, read.fee_limit_msat) == (True, 100_000, 6_000)
    house.payments.pay(asked)
    assert "paid already" in house.payments.decode(asked).problems[0]
    clock.advance(120)
    assert len(house.payments.decode(asked).problems) == 2
    assert "node" not in " ".join(house.node.calls)
    with pytest.raises(Bolt11Error):
        house.payments.decode("lnbc1nonsense")


def test_agents_racing_for_a_budget_never_pass_it(tmp_path: Path, clock: FakeClock) -> None:
    with House(tmp_path, clock, ledger={"budgets": {"echo": {"day_sats": 500}}}) as house:
        asked = [house.asked(100_000) for _ in range(12)]
        refused: list[Exception] = []

        def pay(bolt11: str) -> None:
            try:
                house.payments.pay(bolt11, agent_id="echo", fee_limit_msat=10_000)
            except BudgetExceededError as error:
                refused.append(error)

        house.made()
        threads = [threading.Thread(target=pay, args=(one,)) for one in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = 12 * 100_000 - sum(100_000 for _ in refused)
        (day,) = [one for one in house.ledger.budgets() if (one.agent_id, one.period) == ("echo", "day")]
        assert refused
        assert day.spent_msat == spent + (12 - len(refused)) * play_fee_msat(100_000)
        assert day.spent_msat + day.held_msat <= 500_000
        house.agrees()


# Looking ---------------------------------------------------------------------------------------------------------


def test_the_balance_stands_beside_what_the_node_says(house: House) -> None:
    house.payments.pay(house.asked())
    standing = house.payments.balance()
    assert (standing.node, standing.play, standing.difference_msat, standing.problem) == ("fake", True, 0, "")
    house.node.stop()
    gone = house.payments.balance()
    assert (gone.at_node, gone.difference_msat) == (None, None)
    assert "stopped" in gone.problem


def test_health_is_asked_of_every_node(house: House) -> None:
    assert house.payments.health()["fake"].ok
    house.node.stop()
    assert not house.payments.health()["fake"].ok


def test_nodes_are_told_without_asking_them(house: House) -> None:
    (info,) = house.payments.nodes()
    assert (info.name, info.kind, info.play, info.default) == ("fake", "play", True, True)
    assert house.node.calls == []


def test_no_preimage_is_in_any_event_before_its_invoice_is_settled(house: House) -> None:
    made = house.made()
    house.do(house.node.neighbour_pays(made.payment_hash))
    preimage = (house.do(house.node.find_invoice(made.payment_hash)) or pytest.fail("lost")).preimage or ""
    assert preimage
    texts = [str(event.data) for event in house.events.list(limit=100)]
    assert not any(preimage in text for text in texts)
