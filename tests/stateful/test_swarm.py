"""The swarm against a model: whatever order things come in, each task has one worker, one end and one payment."""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from timmy_core.errors import BidError, SwarmError, TaskStateError
from timmy_core.settings import Settings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.swarm.model import OPEN
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy

NAMES = ("ann", "bob", "cid")
names = st.sampled_from(NAMES)


class SwarmMachine(RuleBasedStateMachine):
    """Agents that come, go, bid, work, die and come back; time that passes; sats that are paid."""

    tasks = Bundle("tasks")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        swarm = SwarmSettings(bidding_s=5, lease_s=30, max_attempts=3)
        self.timmy = Timmy(
            Settings(home=Path(self.folder.name), providers=(), swarm=swarm), clock=self.clock, providers=[]
        )
        self.swarm = self.timmy.swarm
        self.there: set[str] = set()
        self.leases: dict[tuple[str, str], str] = {}  # what each agent believes to hold
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "timmy"):
            self.timmy.shutdown()
            self.folder.cleanup()

    @rule(name=names)
    def joins(self, name: str) -> None:
        self.swarm.register(name, wallet="home")
        self.there.add(name)

    @rule(name=names)
    def leaves(self, name: str) -> None:
        if name in self.there:
            self.swarm.leave(name)
            self.there.discard(name)

    @rule(target=tasks, budget=st.integers(0, 5), deadline=st.sampled_from([None, 20, 200]))
    def posts(self, budget: int, deadline: float | None) -> str:
        return self.swarm.post_task("do it", budget_sats=budget, deadline_s=deadline).id

    @rule(task=tasks, name=names, sats=st.integers(0, 6))
    def bids(self, task: str, name: str, sats: int) -> None:
        before = self.swarm.task(task)
        may = (
            name in self.there and before.state == "bidding" and sats * 1000 <= before.budget_msat
            and before.bidding_until > self.clock.now()
        )  # fmt: skip
        try:
            self.swarm.bid(task, name, amount_sats=sats)
        except (BidError, SwarmError):
            assert not may
        else:
            assert may

    @rule(seconds=st.sampled_from([1, 5, 29, 31, 300]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.swarm.tend(pay=False)
        for task in self.swarm.tasks(state=("assigned", "working"), limit=500):
            assert task.agent is not None
            self.leases.setdefault((task.id, task.agent), task.lease or "")

    @rule(task=tasks, name=names)
    def hears_of_its_task(self, task: str, name: str) -> None:
        now = self.swarm.task(task)
        if now.agent == name and now.state in ("assigned", "working"):
            self.leases[(task, name)] = now.lease or ""

    @rule(task=tasks, name=names)
    def starts(self, task: str, name: str) -> None:
        self._tries(task, name, lambda lease: self.swarm.start(task, name, lease=lease))

    @rule(task=tasks, name=names)
    def renews(self, task: str, name: str) -> None:
        self._tries(task, name, lambda lease: self.swarm.renew(task, name, lease=lease))

    @rule(task=tasks, name=names)
    def completes(self, task: str, name: str) -> None:
        self._tries(task, name, lambda lease: self.swarm.complete(task, name, lease=lease, result=f"by {name}"))

    @rule(task=tasks, name=names)
    def fails(self, task: str, name: str) -> None:
        self._tries(task, name, lambda lease: self.swarm.fail(task, name, lease=lease, problem="no"))

    def _tries(self, task: str, name: str, run: object) -> None:
        lease = self.leases.get((task, name))
        if lease is None:
            return
        before = self.swarm.task(task)
        try:
            run(lease)  # type: ignore[operator]
        except TaskStateError:
            holds = before.agent == name and before.lease == lease and before.state in ("assigned", "working")
            assert not (holds and before.state == "working")
        else:
            assert (before.agent, before.lease) == (name, lease)

    @rule(task=tasks)
    def is_canceled(self, task: str) -> None:
        before = self.swarm.task(task)
        try:
            self.swarm.cancel(task, by="me")
        except TaskStateError:
            assert before.state in ("completed", "failed")

    @precondition(lambda self: self.swarm.count("completed") > 0)
    @rule()
    def pays(self) -> None:
        self.swarm.pay_due()

    @invariant()
    def every_task_is_held_by_one_and_ends_once(self) -> None:
        if not hasattr(self, "timmy"):
            return
        ends = collections.Counter(
            event.task_id
            for event in self.timmy.events.list(type=["task.completed", "task.failed", "task.canceled"], limit=1000)
        )
        for task in self.swarm.tasks(limit=500):
            assert ends[task.id] == (0 if task.state in OPEN else 1)
            assert (task.agent is not None) or task.state not in ("assigned", "working", "completed")
            assert task.attempts <= 3
            if task.state == "completed":
                assert task.bid_msat is not None
                assert task.bid_msat <= task.budget_msat
                assert (task.pay_state == "none") == (task.bid_msat == 0)
            else:
                assert task.pay_state == "none"
            if task.id in self.ended:
                assert self.ended[task.id] == task.state
            elif not task.open:
                self.ended[task.id] = task.state

    @invariant()
    def what_was_paid_is_what_was_bid(self) -> None:
        if not hasattr(self, "timmy"):
            return
        paid = {task.id: task.bid_msat for task in self.swarm.tasks(limit=500) if task.pay_state == "paid"}
        booked = [one for one in self.timmy.ledger.list(direction="out", limit=500).entries if one.shown == "settled"]
        assert {one.task_id: one.amount_msat for one in booked} == paid
        assert len(booked) == len(paid)

    @invariant()
    def agents_work_where_they_hold_a_task_that_was_begun(self) -> None:
        if not hasattr(self, "timmy"):
            return
        working = {task.agent for task in self.swarm.tasks(state="working", limit=500)}
        for agent in self.swarm.agents():
            assert (agent.status == "working") == (agent.name in working) or agent.status == "lost"


SwarmMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
TestSwarm = SwarmMachine.TestCase
