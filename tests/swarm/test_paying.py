"""Sats: what was done is paid once, within the budget, whatever breaks in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.errors import SwarmError, TaskStateError
from timmy_core.settings import Settings
from timmy_core.swarm.coordinator import Swarm
from timmy_core.swarm.model import Task
from timmy_core.testing import NODE_FAULTS, FakeClock, FakeNode
from timmy_core.timmy import Timmy


@pytest.fixture
def swarm(home_of_swarm: Timmy) -> Swarm:
    home_of_swarm.swarm.register("near", kind="local", wallet="home")
    home_of_swarm.swarm.register("far", wallet="own")
    return home_of_swarm.swarm


def done(swarm: Swarm, clock: FakeClock, who: str, sats: float = 3, **more: object) -> Task:
    task = swarm.post_task("Say hello.", budget_sats=20, **more)  # type: ignore[arg-type]
    swarm.bid(task.id, who, amount_sats=sats)
    clock.advance(6)
    swarm.tend(pay=False)
    lease = swarm.task(task.id).lease or ""
    swarm.start(task.id, who, lease=lease)
    return swarm.complete(task.id, who, lease=lease, result="hello")


def test_sats_move_on_the_node_and_in_the_book(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task = done(swarm, clock, "near")
    assert swarm.pay_due() == 1
    paid = swarm.task(task.id)
    assert paid.pay_state == "paid"
    payment = home_of_swarm.ledger.get(paid.payment_id or "")
    assert (payment.shown, payment.amount_msat, payment.agent_id, payment.task_id) == (
        "settled", 3000, "timmy", task.id,
    )  # fmt: skip
    income = home_of_swarm.payments.check(home_of_swarm.ledger.list(direction="in", task_id=task.id).entries[0])
    assert (income.shown, income.agent_id, income.trace_id) == ("settled", "near", task.trace_id)
    assert swarm.agent("near").earned_msat == 3000


def test_nothing_is_paid_twice(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task = done(swarm, clock, "near")
    before = swarm.task(task.id)
    swarm.pay_due()
    # As after a crash between the node's answer and the task's own row.
    undo = "UPDATE swarm_tasks SET pay_state = 'due', pay_at = 0, payment_id = NULL, bolt11 = ?, fee_limit_msat = ?"
    values = (before.bolt11, before.fee_limit_msat)
    home_of_swarm.store.write(lambda connection: connection.execute(undo, values).rowcount)
    swarm.pay_due()
    assert swarm.task(task.id).pay_state == "paid"
    assert len(home_of_swarm.ledger.list(direction="out").entries) == 1
    assert len(home_of_swarm.ledger.list(direction="in").entries) == 1


def test_the_route_may_cost_what_the_budget_leaves_and_no_more(swarm: Swarm, clock: FakeClock) -> None:
    task = done(swarm, clock, "near", 20)
    swarm.pay_due()
    assert swarm.task(task.id).fee_limit_msat == 0


def test_a_favour_is_not_paid(swarm: Swarm, clock: FakeClock) -> None:
    assert done(swarm, clock, "near", 0).pay_state == "none"
    assert swarm.pay_due() == 0


def test_an_agent_with_a_wallet_of_its_own_is_paid_on_its_invoice(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task = done(swarm, clock, "far")
    assert task.pay_state == "invoice"
    assert swarm.pay_due() == 0
    invoice = home_of_swarm.payments.playing.invoice(amount_msat=3000, memo="for hello")
    swarm.take_invoice(task.id, "far", bolt11=invoice)
    assert swarm.take_invoice(task.id, "far", bolt11=invoice).pay_state == "due"
    swarm.pay_due()
    assert swarm.task(task.id).pay_state == "paid"
    with pytest.raises(SwarmError):
        swarm.take_invoice(task.id, "far", bolt11=home_of_swarm.payments.playing.invoice(amount_msat=3000))


def test_an_invoice_over_another_amount_or_of_somebody_else_is_refused(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task = done(swarm, clock, "far")
    neighbour = home_of_swarm.payments.playing
    with pytest.raises(SwarmError, match="the bid that won was 3000"):
        swarm.take_invoice(task.id, "far", bolt11=neighbour.invoice(amount_msat=4000))
    with pytest.raises(SwarmError, match="None msat"):
        swarm.take_invoice(task.id, "far", bolt11=neighbour.invoice(amount_msat=None))
    with pytest.raises(TaskStateError):
        swarm.take_invoice(task.id, "near", bolt11=neighbour.invoice(amount_msat=3000))


def test_an_empty_budget_lets_a_payment_wait_until_it_is_raised(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    home_of_swarm.ledger.set_budget("timmy", "day", 1000, by="me")
    task = done(swarm, clock, "near")
    swarm.pay_due()
    waits = swarm.task(task.id)
    assert waits.pay_state == "due"
    assert "budget of timmy" in (waits.pay_problem or "")
    home_of_swarm.ledger.set_budget("timmy", "day", None, by="me")
    clock.advance(61)
    swarm.pay_due()
    assert swarm.task(task.id).pay_state == "paid"


def test_an_agent_that_posts_pays_on_its_own_budget(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task = done(swarm, clock, "near", posted_by="far")
    swarm.pay_due()
    paid = swarm.task(task.id)
    assert paid.payer == "far"
    assert home_of_swarm.ledger.get(paid.payment_id or "").agent_id == "far"


def test_an_invoice_that_ran_out_is_made_anew_for_one_of_the_home(swarm: Swarm, clock: FakeClock) -> None:
    home = swarm._paying
    task = done(swarm, clock, "near")
    ready = home._ready(swarm.task(task.id))
    clock.advance(2 * 3600)
    swarm.pay_due()
    again = swarm.task(task.id)
    assert (again.pay_state, again.pay_tries, again.bolt11) == ("due", 1, None)
    assert "expired" in (again.pay_problem or "")
    clock.advance(10)
    swarm.pay_due()
    assert swarm.task(task.id).pay_state == "paid"
    assert swarm.task(task.id).bolt11 != ready.bolt11


def test_another_invoice_is_wanted_of_an_agent_whose_own_ran_out(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task = done(swarm, clock, "far")
    swarm.take_invoice(task.id, "far", bolt11=home_of_swarm.payments.playing.invoice(amount_msat=3000))
    clock.advance(7200)
    swarm.pay_due()
    now = swarm.task(task.id)
    assert (now.pay_state, now.bolt11) == ("invoice", None)
    assert "expired" in (now.pay_problem or "")


# A node that goes wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def sick(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Timmy, FakeNode]]:
    node = FakeNode(tmp_path / "node.json", clock)
    timmy = Timmy(Settings(home=tmp_path / "home", providers=()), clock=clock, providers=[], nodes=[node])
    timmy.swarm.register("near", kind="local", wallet="home")
    yield timmy, node
    timmy.shutdown()


@pytest.mark.parametrize("fault", sorted(NODE_FAULTS))
@pytest.mark.parametrize("call", ["create_invoice", "pay", "balance"])
def test_whatever_the_node_does_wrong_once_the_sats_move_once(
    sick: tuple[Timmy, FakeNode], clock: FakeClock, fault: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timmy, node = sick
    monkeypatch.setattr("timmy_core.swarm.paying.WAIT_S", 0.2)
    task = done(timmy.swarm, clock, "near")
    node.misbehave(call, fault, delay_s=0.01)  # type: ignore[arg-type]
    for _ in range(12):
        timmy.swarm.pay_due()
        if timmy.swarm.task(task.id).pay_state == "paid":
            break
        timmy.payments.reconcile(dry_run=False)
        clock.advance(6 * 3600)
    assert timmy.swarm.task(task.id).pay_state == "paid"
    settled = [one for one in timmy.ledger.list(direction="out", limit=50).entries if one.shown == "settled"]
    assert [one.amount_msat for one in settled] == [3000]


def test_a_payment_that_keeps_failing_is_said_to_a_person_and_tried_no_more(
    sick: tuple[Timmy, FakeNode], clock: FakeClock
) -> None:
    timmy, node = sick
    task = done(timmy.swarm, clock, "near")
    node.misbehave("pay", "refused", times=50)
    for _ in range(8):
        timmy.swarm.pay_due()
        clock.advance(3600 / 2)
    now = timmy.swarm.task(task.id)
    assert now.pay_state == "failed"
    (told,) = timmy.events.list(type="system.error")
    assert (told.task_id, told.trace_id) == (task.id, task.trace_id)
    assert (told.data or {})["link"] == f"/swarm/events?trace={task.trace_id}"
