"""Work: leases, results, and what becomes of a task whose worker died."""

from __future__ import annotations

import pytest

from timmy_core.errors import SwarmError, TaskStateError
from timmy_core.swarm.coordinator import Swarm
from timmy_core.swarm.model import Task
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy


@pytest.fixture
def swarm(home_of_swarm: Timmy) -> Swarm:
    for name in ("ann", "bob"):
        home_of_swarm.swarm.register(name, wallet="home")
    return home_of_swarm.swarm


def given(swarm: Swarm, clock: FakeClock, **bids: int) -> Task:
    task = swarm.post_task("Say hello.", budget_sats=20)
    for name, sats in bids.items():
        swarm.bid(task.id, name, amount_sats=sats)
    clock.advance(6)
    swarm.tend(pay=False)
    return swarm.task(task.id)


def begun(swarm: Swarm, clock: FakeClock, **bids: int) -> tuple[Task, str]:
    task = given(swarm, clock, **bids)
    lease = task.lease or ""
    return swarm.start(task.id, task.agent or "", lease=lease), lease


def test_a_task_is_begun_done_remembered_and_due(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    assert swarm.agent("ann").status == "working"
    done = swarm.complete(task.id, "ann", lease=lease, result="hello", provider="p", model="m")
    assert (done.state, done.result, done.pay_state, done.provider) == ("completed", "hello", "due", "p")
    assert (swarm.agent("ann").status, swarm.agent("ann").completed) == ("idle", 1)
    entry = home_of_swarm.memory.list(task_id=task.id).entries[0]
    assert (entry.text, entry.scope, entry.trace_id) == ("Task: Say hello.\n\nResult: hello", "shared", task.trace_id)


def test_the_result_again_after_a_lost_acknowledgement_changes_nothing(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task, lease = begun(swarm, clock, ann=3)
    first = swarm.complete(task.id, "ann", lease=lease, result="hello")
    assert swarm.complete(task.id, "ann", lease=lease, result="hello") == first
    assert len(home_of_swarm.events.list(type="task.completed")) == 1


def test_only_the_lease_that_was_given_counts(swarm: Swarm, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    for agent, wrong in (("bob", lease), ("ann", "another")):
        with pytest.raises(TaskStateError, match="does not hold"):
            swarm.complete(task.id, agent, lease=wrong, result="mine")


def test_a_task_is_begun_before_it_is_done(swarm: Swarm, clock: FakeClock) -> None:
    task = given(swarm, clock, ann=3)
    with pytest.raises(TaskStateError, match="start it"):
        swarm.complete(task.id, "ann", lease=task.lease or "", result="hello")


def test_a_result_has_words(swarm: Swarm, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    with pytest.raises(SwarmError, match="1 to 100,000"):
        swarm.complete(task.id, "ann", lease=lease, result=" ")


def test_a_failure_is_final_and_free(swarm: Swarm, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    failed = swarm.fail(task.id, "ann", lease=lease, problem="too hard")
    assert (failed.state, failed.problem, failed.pay_state) == ("failed", "too hard", "none")
    assert swarm.fail(task.id, "ann", lease=lease, problem="too hard").state == "failed"
    assert swarm.agent("ann").failed == 1


# Who dies --------------------------------------------------------------------------------------------------------


def test_the_next_bidder_takes_over_from_one_who_is_silent(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task, old = begun(swarm, clock, ann=3, bob=5)
    clock.advance(60)
    swarm.tend(pay=False)
    now = swarm.task(task.id)
    assert (now.state, now.agent, now.bid_msat, now.attempts) == ("assigned", "bob", 5000, 2)
    assert swarm.agent("ann").status == "lost"
    with pytest.raises(TaskStateError):
        swarm.complete(task.id, "ann", lease=old, result="back from the dead")
    told = home_of_swarm.events.list(type="task.assigned", limit=1)[0].data or {}
    assert (told["instead_of"], told["reason"]) == ("ann", "ann was silent for 60 s")


def test_renewing_keeps_a_task(swarm: Swarm, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    for _ in range(5):
        clock.advance(50)
        swarm.renew(task.id, "ann", lease=lease)
        swarm.tend(pay=False)
    assert swarm.complete(task.id, "ann", lease=lease, result="slow").attempts == 1


def test_without_another_bidder_there_is_another_auction(swarm: Swarm, clock: FakeClock) -> None:
    task, _ = begun(swarm, clock, ann=3)
    clock.advance(60)
    swarm.tend(pay=False)
    again = swarm.task(task.id)
    assert (again.state, again.auction, again.agent, again.lease) == ("bidding", 2, None, None)
    swarm.bid(task.id, "bob", amount_sats=4)
    clock.advance(6)
    swarm.tend(pay=False)
    assert (swarm.task(task.id).agent, swarm.task(task.id).attempts) == ("bob", 2)


def test_a_task_that_everybody_dies_of_fails_once(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task, _ = begun(swarm, clock, ann=3)
    for _ in range(4):
        clock.advance(60)
        swarm.tend(pay=False)
        if swarm.task(task.id).state == "bidding":
            swarm.bid(task.id, "ann", amount_sats=3)
            clock.advance(6)
            swarm.tend(pay=False)
    over = swarm.task(task.id)
    assert (over.state, over.attempts) == ("failed", 3)
    assert "given out 3 times" in (over.problem or "")
    assert len(home_of_swarm.events.list(type="task.failed")) == 1


def test_who_is_heard_of_again_is_not_lost(swarm: Swarm, clock: FakeClock) -> None:
    begun(swarm, clock, ann=3)
    clock.advance(60)
    swarm.tend(pay=False)
    swarm.register("ann", wallet="home")
    assert swarm.agent("ann").status == "idle"


def test_what_a_leaving_agent_holds_goes_to_the_next(swarm: Swarm, clock: FakeClock) -> None:
    task, _ = begun(swarm, clock, ann=3, bob=5)
    swarm.leave("ann", reason="tired")
    assert swarm.task(task.id).agent == "bob"
    assert [one.name for one in swarm.agents()] == ["bob"]


def test_a_next_run_takes_up_at_once_what_its_own_agents_held(home_of_swarm: Timmy, clock: FakeClock) -> None:
    swarm = home_of_swarm.swarm
    swarm.register("near", kind="local", wallet="home")
    task, _ = begun(swarm, clock, near=3)
    home_of_swarm.shutdown()
    again = Timmy(home_of_swarm.settings, clock=clock, providers=[])
    try:
        assert len(again._swarm._working.reclaim_own()) == 1
        assert again._swarm._working.reclaim_own() == []
        now = again.swarm.task(task.id)
        assert (now.state, now.auction) == ("bidding", 2)
        assert again.swarm.agent("near").status == "idle"
    finally:
        again.shutdown()


def test_what_is_forgotten_is_gone_from_the_task_too(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    swarm.complete(task.id, "ann", lease=lease, result="hello")
    home_of_swarm.memory.forget(home_of_swarm.memory.list(task_id=task.id).entries[0].id, by="me")
    left = swarm.task(task.id)
    assert (left.result, left.description, left.title) == ("[forgotten]",) * 3


def test_a_tool_of_an_agent_elsewhere_is_logged(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task, lease = begun(swarm, clock, ann=3)
    swarm.note_tool(task.id, "ann", lease=lease, step="called", tool="look", data={})
    event = home_of_swarm.events.list(type="tool.called")[0]
    assert (event.agent_id, event.task_id, event.trace_id) == ("ann", task.id, task.trace_id)
    with pytest.raises(SwarmError, match="step"):
        swarm.note_tool(task.id, "ann", lease=lease, step="done", tool="look", data={})
