"""Auctions: who may bid, who wins, and what becomes of a task that nobody wants."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timmy_core.errors import AgentUnknownError, BidError, SwarmError, TaskNotFoundError, TaskStateError
from timmy_core.swarm.coordinator import Swarm
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy


@pytest.fixture
def swarm(home_of_swarm: Timmy) -> Swarm:
    for name in ("ann", "bob", "cid"):
        home_of_swarm.swarm.register(name, kind="local", capabilities=["text"], wallet="home")
    return home_of_swarm.swarm


def ended(clock: FakeClock, swarm: Swarm) -> None:
    clock.advance(10)
    swarm.tend(pay=False)


def test_the_lowest_bid_within_the_budget_wins(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    for name, sats in (("ann", 12), ("bob", 7), ("cid", 9.5)):
        swarm.bid(task.id, name, amount_sats=sats)
    ended(clock, swarm)
    given = swarm.task(task.id)
    assert (given.state, given.agent, given.bid_msat, given.attempts) == ("assigned", "bob", 7000, 1)
    assert [bid.agent for bid in given.bids if bid.won] == ["bob"]


def test_of_equal_bids_the_earlier_wins_and_a_bid_made_anew_is_later(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    swarm.bid(task.id, "ann", amount_sats=5)
    swarm.bid(task.id, "bob", amount_sats=5)
    swarm.bid(task.id, "ann", amount_sats=6)
    swarm.bid(task.id, "ann", amount_sats=5)
    ended(clock, swarm)
    assert swarm.task(task.id).agent == "bob"


def test_the_same_bid_again_changes_nothing(swarm: Swarm, home_of_swarm: Timmy) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    assert swarm.bid(task.id, "ann", amount_sats=5) == swarm.bid(task.id, "ann", amount_sats=5)
    assert len(home_of_swarm.events.list(type="bid.submitted")) == 1


def test_a_bid_over_the_budget_is_refused(swarm: Swarm) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    with pytest.raises(BidError, match="0 to 20,000 msat"):
        swarm.bid(task.id, "ann", amount_sats=20.001)


def test_who_lacks_what_a_task_needs_may_not_bid(swarm: Swarm) -> None:
    task = swarm.post_task("Write a program.", budget_sats=20, needs=["code"])
    with pytest.raises(BidError, match="ann lacks code"):
        swarm.bid(task.id, "ann", amount_sats=5)


def test_nothing_that_may_not_leave_this_machine_goes_to_a_remote_agent(swarm: Swarm) -> None:
    swarm.register("far", capabilities=["text"])
    task = swarm.post_task("Say hello.", budget_sats=20, local_only=True)
    with pytest.raises(BidError, match="may not bid"):
        swarm.bid(task.id, "far", amount_sats=5)


def test_a_bid_after_the_end_is_refused_although_nobody_closed_the_auction(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20, bidding_s=5)
    clock.advance(5)
    with pytest.raises(BidError, match="is over"):
        swarm.bid(task.id, "ann", amount_sats=5)


def test_an_auction_is_not_closed_before_its_time(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20, bidding_s=5)
    swarm.bid(task.id, "ann", amount_sats=5)
    clock.advance(4.999)
    assert swarm.tend(pay=False) == 0
    assert swarm.task(task.id).state == "bidding"


def test_a_task_that_nobody_wants_is_offered_again_and_at_last_fails(
    swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock
) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    ended(clock, swarm)
    assert (swarm.task(task.id).state, swarm.task(task.id).auction) == ("bidding", 2)
    ended(clock, swarm)
    ended(clock, swarm)
    assert (swarm.task(task.id).state, swarm.task(task.id).problem) == ("failed", "nobody bid for it in 3 auctions")
    kinds = [event.type for event in home_of_swarm.events.for_task(task.id)]
    assert kinds == ["task.created", *["task.bidding", "auction.closed"] * 3, "task.failed"]


def test_who_left_does_not_win(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    swarm.bid(task.id, "ann", amount_sats=1)
    swarm.bid(task.id, "bob", amount_sats=9)
    swarm.leave("ann")
    ended(clock, swarm)
    assert swarm.task(task.id).agent == "bob"


def test_everything_of_a_task_shares_its_trace(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20, trace_id="t1")
    swarm.bid(task.id, "ann", amount_sats=1)
    ended(clock, swarm)
    kinds = [event.type for event in swarm.history(task.id)]
    assert kinds == ["task.created", "task.bidding", "bid.submitted", "auction.closed", "task.assigned"]
    assert {event.trace_id for event in home_of_swarm.events.for_task(task.id)} == {"t1"}


def test_the_same_id_posts_once(swarm: Swarm) -> None:
    first = swarm.post_task("Say hello.", budget_sats=20, id="mine")
    assert swarm.post_task("Say hello.", budget_sats=20, id="mine") == first
    with pytest.raises(SwarmError, match="another task"):
        swarm.post_task("Say good-bye.", budget_sats=20, id="mine")


def test_a_task_has_words_a_budget_and_a_name_that_can_be(swarm: Swarm) -> None:
    for wrong in ({"description": "  "}, {"description": "x" * 20_001}, {"description": "x", "budget_sats": -1}):
        with pytest.raises(SwarmError):
            swarm.post_task(**wrong)  # type: ignore[arg-type]
    for wrong in ({"id": "a/b"}, {"bidding_s": 0}, {"deadline_s": -1}, {"needs": ["Code"]}, {"posted_by": "a\nb"}):
        with pytest.raises(SwarmError):
            swarm.post_task("x", **wrong)  # type: ignore[arg-type]
    assert swarm.post_task("  A line\twith  gaps\nand more", budget_sats=0.001).title == "A line with gaps"


def test_only_so_many_tasks_are_open_at_once(home_of_swarm: Timmy, swarm: Swarm) -> None:
    most = home_of_swarm.settings.swarm.max_open
    auctions = swarm._auctions
    object.__setattr__(auctions, "_settings", home_of_swarm.settings.swarm.model_copy(update={"max_open": 1}))
    swarm.post_task("one")
    with pytest.raises(SwarmError, match="1 tasks are open"):
        swarm.post_task("two")
    assert most == 1000


def test_what_is_not_there_is_said_to_be_so(swarm: Swarm) -> None:
    with pytest.raises(TaskNotFoundError):
        swarm.task("nothing")
    with pytest.raises(AgentUnknownError):
        swarm.agent("nobody")


def test_pages_of_tasks_follow_each_other(swarm: Swarm) -> None:
    ids = [swarm.post_task(f"task {number}").id for number in range(5)]
    first = swarm.tasks(limit=3)
    rest = swarm.tasks(limit=3, cursor=first.cursor)
    assert [task.id for task in (*first, *rest)] == ids[::-1]
    assert rest.cursor is None


def test_a_deadline_that_passes_fails_a_task_wherever_it_stands(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20, deadline_s=30)
    swarm.bid(task.id, "ann", amount_sats=1)
    ended(clock, swarm)
    lease = swarm.start(task.id, "ann", lease=swarm.task(task.id).lease or "").lease or ""
    clock.advance(20)
    swarm.tend(pay=False)
    assert swarm.task(task.id).problem == "its deadline passed before it was done"
    with pytest.raises(TaskStateError, match="leave it alone"):
        swarm.complete(task.id, "ann", lease=lease, result="late")


def test_a_canceled_task_is_over_and_not_paid(swarm: Swarm, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    swarm.bid(task.id, "ann", amount_sats=1)
    ended(clock, swarm)
    lease = swarm.task(task.id).lease or ""
    swarm.start(task.id, "ann", lease=lease)
    over = swarm.cancel(task.id, by="me", reason="changed my mind")
    assert (over.state, over.pay_state, swarm.agent("ann").status) == ("canceled", "none", "idle")
    assert swarm.cancel(task.id, by="me") == over
    with pytest.raises(TaskStateError):
        swarm.complete(task.id, "ann", lease=lease, result="too late")
    assert swarm.count("canceled") == 1


def test_the_frames_hold_tasks_bids_and_agents(swarm: Swarm, home_of_swarm: Timmy, clock: FakeClock) -> None:
    task = swarm.post_task("Say hello.", budget_sats=20)
    swarm.bid(task.id, "ann", amount_sats=1)
    ended(clock, swarm)
    joined = home_of_swarm.sql("select t.title, b.agent, b.won, a.kind from tasks t join bids b on b.task_id = t.id "
                               "join agents a on a.name = b.agent")  # fmt: skip
    assert joined.rows() == [("Say hello.", "ann", True, "local")]
    since = clock.now() - timedelta(minutes=1)
    assert home_of_swarm.frame("tasks", since=since, state="assigned")["agent"].to_list() == ["ann"]
