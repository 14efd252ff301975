"""Working: a task is held by a lease that its worker renews, and ends once, whoever else believes to hold it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from timmy_core.clock import to_us
from timmy_core.errors import SwarmError, TaskStateError
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.store.engine import Connection
from timmy_core.swarm.auction import DUE, Auctions
from timmy_core.swarm.model import HELD, OPEN, Done, PayState, Task, TaskState
from timmy_core.swarm.rows import Rows

MAX_RESULT: Final = 100_000
MAX_PROBLEM: Final = 1_000
_US: Final = 1_000_000


class Keeps(Protocol):
    """Remembers a task that was done, inside the transaction that ends it."""

    def keep_in(
        self, connection: Connection, *, task_id: str, agent_id: str, trace_id: str, task: str, result: str,
        local: bool,
    ) -> object:  # fmt: skip
        """Remember what was asked for and what came of it."""


class Working:
    """What workers say of their tasks; safe to use from any thread and process.

    Args:
        rows: the tables.
        auctions: gives a task to somebody else.
        settings: the section `[swarm]`.
        keeps: remembers what was done.
        run_id: this run of Timmy.
    """

    def __init__(self, rows: Rows, auctions: Auctions, settings: SwarmSettings, keeps: Keeps, run_id: str) -> None:
        self._rows = rows
        self._auctions = auctions
        self._settings = settings
        self._keeps = keeps
        self._run_id = run_id

    # What a worker says --------------------------------------------------------------------------------------

    def start(self, task_id: str, agent: str, lease: str) -> Task:
        """Begin a task that was given to one; beginning it again changes nothing.

        Raises:
            TaskStateError: it is not held by this lease any more.
        """

        def run(connection: Connection) -> Task:
            task = self._held(connection, task_id, agent, lease)
            if task.state == "working":
                return self._renew(connection, task)
            now = self._rows.now_us()
            begun = self._rows.set(connection, task, state="working", started_at=now, lease_until=self._until())
            self._rows.tell(connection, "task.started", {"attempt": task.attempts}, task=begun, agent_id=agent)
            self._rows.put_status(connection, agent, "working", f"it works on {task_id}", task.trace_id)
            return begun

        return self._rows.store.write(run)

    def renew(self, task_id: str, agent: str, lease: str) -> Task:
        """Say that one still works on it.

        Raises:
            TaskStateError: it is not held by this lease any more, so the work is for nothing.
        """
        return self._rows.store.write(
            lambda connection: self._renew(connection, self._held(connection, task_id, agent, lease))
        )

    def complete(self, task_id: str, agent: str, lease: str, done: Done, *, bolt11: str | None = None) -> Task:
        """End a task with its result: it is remembered, and its bid is due; the same again returns the task as it is.

        Raises:
            TaskStateError: it is not held by this lease any more.
            SwarmError: the result is empty or too long.
        """
        if not done.text.strip() or len(done.text) > MAX_RESULT:
            size = len(done.text)
            message = f"a result has 1 to {MAX_RESULT:,} characters, not {size:,}; shorten it, or fail the task"
            raise SwarmError(message)

        def run(connection: Connection) -> Task:
            known = self._again(connection, task_id, agent, lease, "completed")
            if known is not None:
                return known
            task = self._held(connection, task_id, agent, lease)
            if task.state != "working":
                message = f"the task {task_id} was not begun; start it before it is completed"
                raise TaskStateError(message)
            return self._complete(connection, task, agent, done, bolt11)

        return self._rows.store.write(run)

    def _complete(self, connection: Connection, task: Task, agent: str, done: Done, bolt11: str | None) -> Task:
        now = self._rows.now_us()
        home = self._rows.agent(connection, agent).wallet == "home"
        owed: PayState = "none"
        if task.bid_msat:
            owed = "due" if home or bolt11 is not None else "invoice"
        # The lease stays, so that a worker whose acknowledgement was lost can say it again.
        ended = self._rows.set(
            connection, task, state="completed", result=done.text, provider=done.provider, model=done.model,
            ended_at=now, lease_until=None, holder=None, pay_state=owed, pay_at=now if owed == "due" else None,
            bolt11=bolt11 if owed != "none" else None, problem=None,
        )  # fmt: skip
        took = None if task.started_at is None else (now - to_us(task.started_at)) / _US
        data: dict[str, Any] = {
            "characters": len(done.text), "provider": done.provider, "model": done.model, "attempt": task.attempts,
            "took_s": took, "amount_msat": task.bid_msat,
        }  # fmt: skip
        self._rows.tell(connection, "task.completed", data, task=ended, agent_id=agent)
        self._keeps.keep_in(
            connection, task_id=task.id, agent_id=agent, trace_id=task.trace_id, task=task.description,
            result=done.text, local=task.local_only,
        )  # fmt: skip
        self._rows.see(connection, agent)
        self._rows.settle(connection, agent, f"it completed {task.id}", task.trace_id)
        return ended

    def fail(self, task_id: str, agent: str, lease: str, problem: str, kind: str = "work") -> Task:
        """Give a task up for good; the same again returns the task as it is.

        Raises:
            TaskStateError: it is not held by this lease any more.
        """
        said = (problem.strip() or "its worker did not say why")[:MAX_PROBLEM]

        def run(connection: Connection) -> Task:
            known = self._again(connection, task_id, agent, lease, "failed")
            if known is not None:
                return known
            task = self._held(connection, task_id, agent, lease)
            failed = self._auctions.fail(connection, task, said, kind)
            connection.execute("UPDATE swarm_tasks SET lease = ? WHERE id = ?", (lease, task_id))
            self._rows.see(connection, agent)
            return failed

        return self._rows.store.write(run)

    def cancel(self, task_id: str, *, by: str, reason: str) -> Task:
        """Withdraw a task that is not over; who works on it is not paid. Canceling it again changes nothing.

        Raises:
            TaskStateError: it is over.
        """

        def run(connection: Connection) -> Task:
            task = self._rows.task(connection, task_id)
            if task.state == "canceled":
                return task
            if not task.open:
                message = f"the task {task_id} is {task.state} already, so it cannot be canceled"
                raise TaskStateError(message)
            now = self._rows.now_us()
            over = self._rows.set(
                connection, task, state="canceled", problem=reason[:MAX_PROBLEM] or None, ended_at=now, lease=None,
                lease_until=None, holder=None,
            )  # fmt: skip
            data = {"by": by, "reason": reason[:MAX_PROBLEM], "was": task.state}
            self._rows.tell(connection, "task.canceled", data, task=over, agent_id=task.agent)
            if task.agent is not None:
                self._rows.settle(connection, task.agent, f"{task_id} was canceled", task.trace_id)
            return over

        return self._rows.store.write(run)

    def _again(self, connection: Connection, task_id: str, agent: str, lease: str, state: TaskState) -> Task | None:
        task = self._rows.task(connection, task_id)
        return task if (task.state, task.agent, task.lease) == (state, agent, lease) else None

    def _held(self, connection: Connection, task_id: str, agent: str, lease: str) -> Task:
        task = self._rows.task(connection, task_id)
        if task.state not in HELD or task.agent != agent or task.lease != lease:
            now = f"{task.state}, held by {task.agent}" if task.state in HELD else task.state
            message = f"{agent} does not hold the task {task_id} by this lease any more: it is {now}; leave it alone"
            raise TaskStateError(message)
        return task

    def _renew(self, connection: Connection, task: Task) -> Task:
        if task.agent is not None:
            self._rows.see(connection, task.agent)
        return self._rows.set(connection, task, lease_until=self._until())

    def _until(self) -> int:
        return self._rows.now_us() + round(self._settings.lease_s * _US)

    # Who died ------------------------------------------------------------------------------------------------

    def reclaim(self) -> list[Task]:
        """Take every task from a worker that was silent for too long, and end those whose deadline is over."""
        late = "WHERE state IN ('assigned', 'working') AND lease_until <= ? ORDER BY seq LIMIT ?"
        over = "WHERE state IN ('bidding', 'assigned', 'working') AND deadline_at <= ? ORDER BY seq LIMIT ?"
        now = self._rows.now_us()
        return self._each(over, self._overdue, now) + self._each(late, self._silent, now)

    def reclaim_own(self) -> list[Task]:
        """Take every task from local agents of an earlier run; only whoever serves the home may say that it ended."""

        def run(connection: Connection, task_id: str) -> Task | None:
            task = self._rows.task(connection, task_id)
            if task.state not in HELD or task.holder is None or task.holder == self._run_id:
                return None
            return self._auctions.pass_on(connection, task, f"Timmy ended while {task.agent} worked on it")

        query = "WHERE state IN ('assigned', 'working') AND holder <> ? ORDER BY seq LIMIT ?"
        return self._each(query, run, self._run_id)

    def _each(self, query: str, run: Callable[[Connection, str], Task | None], value: int | str) -> list[Task]:
        with self._rows.store.read() as connection:
            ids = [task.id for task in self._rows.tasks(connection, query, (value, DUE))]
        done = [self._rows.store.write(partial(_flipped, run, task_id)) for task_id in ids]
        return [task for task in done if task is not None]

    def _silent(self, connection: Connection, task_id: str) -> Task | None:
        task = self._rows.task(connection, task_id)
        if task.state not in HELD or task.lease_until is None or to_us(task.lease_until) > self._rows.now_us():
            return None  # it was heard of meanwhile
        reason = f"{task.agent} was silent for {self._settings.lease_s:g} s"
        if task.agent is not None:
            self._rows.put_status(connection, task.agent, "lost", reason, task.trace_id)
        return self._auctions.pass_on(connection, task, reason)

    def _overdue(self, connection: Connection, task_id: str) -> Task | None:
        task = self._rows.task(connection, task_id)
        if task.state not in OPEN or task.deadline_at is None or to_us(task.deadline_at) > self._rows.now_us():
            return None
        return self._auctions.fail(connection, task, "its deadline passed before it was done", "deadline")


def _flipped(run: Callable[[Connection, str], Task | None], task_id: str, connection: Connection) -> Task | None:
    return run(connection, task_id)
