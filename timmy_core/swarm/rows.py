"""The swarm's tables: every move is one transaction with its events, and nobody else writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from timmy_core.clock import Clock, from_us, to_us
from timmy_core.errors import AgentUnknownError, TaskNotFoundError, TaskStateError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.swarm.model import TASK_MOVES, AgentInfo, AgentStatus, Bid, Task, TaskState

SOURCE: Final = "swarm"

_AGENT: Final = """
SELECT name, kind, capabilities, description, wallet, status, token_hash IS NOT NULL, joined_at, seen_at
FROM swarm_agents"""
_DID: Final = """
SELECT agent, sum(state = 'completed'), sum(state = 'failed'), sum(iif(pay_state = 'paid', bid_msat, 0))
FROM swarm_tasks WHERE agent IS NOT NULL GROUP BY agent"""
_TASK_FIELDS: Final = (
    "id", "title", "description", "needs", "budget_msat", "posted_by", "payer", "local_only", "state", "auction",
    "bidding_s", "bidding_until", "deadline_at", "attempts", "agent", "bid_msat", "lease", "lease_until", "holder",
    "created_at", "assigned_at", "started_at", "ended_at", "result", "problem", "provider", "model", "trace_id",
    "pay_state", "pay_tries", "bolt11", "fee_limit_msat", "payment_id", "pay_problem",
)  # fmt: skip
_TIMES: Final = frozenset(name for name in _TASK_FIELDS if name.endswith(("_at", "_until")))
TASK: Final = f"SELECT {', '.join(_TASK_FIELDS)} FROM swarm_tasks"  # noqa: S608 - constants
_BIDS: Final = """
SELECT seq, task_id, auction, agent, amount_msat, at, won FROM swarm_bids
WHERE task_id = ? ORDER BY auction, amount_msat, seq LIMIT 1000"""
_SETTABLE: Final = frozenset(_TASK_FIELDS[8:]) | {"changed_at", "pay_at"}


class Rows:
    """Reads and writes agents and tasks inside transactions.

    Args:
        store: where they are.
        events: told of every move, in the same transaction.
        clock: dates everything.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self.store = store
        self.events = events
        self.clock = clock

    def now_us(self) -> int:
        """Return the time as tables keep it."""
        return to_us(self.clock.now())

    # Agents --------------------------------------------------------------------------------------------------

    def agents(self, connection: Connection, where: str = "1", values: Sequence[Any] = ()) -> list[AgentInfo]:
        """Return agents by a condition of our own, in the order in which they first came; without what they did."""
        query = f"{_AGENT} WHERE {where} ORDER BY seq LIMIT 10000"
        return [_agent(row) for row in connection.execute(query, tuple(values))]

    @staticmethod
    def counted(connection: Connection, agents: Sequence[AgentInfo]) -> list[AgentInfo]:
        """Return agents with what each did and earned: one walk over all tasks, so not for the way of every bid."""
        did = {name: counts for name, *counts in connection.execute(_DID)}
        found = [(agent, did.get(agent.name, (0, 0, 0))) for agent in agents]
        return [
            replace(agent, completed=done, failed=failed, earned_msat=msat) for agent, (done, failed, msat) in found
        ]

    def agent(self, connection: Connection, name: str) -> AgentInfo:
        """Return an agent.

        Raises:
            AgentUnknownError: there is none of that name.
        """
        found = self.agents(connection, "name = ?", (name,))
        if not found:
            message = f"no agent is named {name[:64]!r}; `timmy agent list` shows those there are"
            raise AgentUnknownError(message)
        return found[0]

    def see(self, connection: Connection, name: str) -> None:
        """Note that an agent was heard of; one that was lost is back."""
        now = self.now_us()
        connection.execute("UPDATE swarm_agents SET seen_at = ? WHERE name = ?", (now, name))
        row = connection.execute("SELECT status FROM swarm_agents WHERE name = ?", (name,)).fetchone()
        if row is not None and row[0] == "lost":
            self.put_status(connection, name, "idle", "it was heard of again")
            self.settle(connection, name, "it was heard of again")

    def settle(self, connection: Connection, name: str, reason: str, trace_id: str | None = None) -> None:
        """Set an agent's state by what it has to do; one that is lost stays so until it is heard of."""
        held = "SELECT 1 FROM swarm_tasks WHERE agent = ? AND state = 'working' LIMIT 1"
        lost = "SELECT 1 FROM swarm_agents WHERE name = ? AND status = 'lost'"
        if connection.execute(lost, (name,)).fetchone() is not None:
            return
        working = connection.execute(held, (name,)).fetchone() is not None
        self.put_status(connection, name, "working" if working else "idle", reason, trace_id)

    def put_status(
        self, connection: Connection, name: str, status: AgentStatus, reason: str, trace_id: str | None = None
    ) -> None:
        """Change an agent's state, with its event; the same state again is no event, and who left stays so."""
        row = connection.execute("SELECT status FROM swarm_agents WHERE name = ?", (name,)).fetchone()
        if row is None or row[0] in (status, "left"):
            return
        query = "UPDATE swarm_agents SET status = ?, changed_at = ? WHERE name = ?"
        connection.execute(query, (status, self.now_us(), name))
        data = {"from": row[0], "to": status, "reason": reason}
        self.tell(connection, "agent.status_changed", data, agent_id=name, trace_id=trace_id)

    # Tasks ---------------------------------------------------------------------------------------------------

    def task(self, connection: Connection, task_id: str) -> Task:
        """Return a task with its bids.

        Raises:
            TaskNotFoundError: there is none of that id.
        """
        row = connection.execute(f"{TASK} WHERE id = ?", (task_id,)).fetchone()
        if row is None:
            message = f"there is no task {task_id[:64]!r}; `timmy swarm tasks --all` shows those there are"
            raise TaskNotFoundError(message)
        return self._task(connection, row)

    def tasks(self, connection: Connection, rest: str, values: Sequence[Any] = ()) -> list[Task]:
        """Return tasks by what stands behind the table's name."""
        rows = connection.execute(f"{TASK} {rest}", tuple(values)).fetchall()
        return [self._task(connection, row) for row in rows]

    @staticmethod
    def _task(connection: Connection, row: Sequence[Any]) -> Task:
        values = dict(zip(_TASK_FIELDS, row, strict=True))
        for name in _TIMES:
            values[name] = None if values[name] is None else from_us(values[name])
        values["needs"] = tuple(json.loads(values["needs"]))
        values["local_only"] = bool(values["local_only"])
        bids = tuple(
            Bid(seq, task_id, auction, agent, amount, from_us(at), bool(won))
            for seq, task_id, auction, agent, amount, at, won in connection.execute(_BIDS, (values["id"],))
        )
        return Task(**values, bids=bids)

    def set(self, connection: Connection, before: Task, **columns: Any) -> Task:
        """Set columns of a task that is still as it was read, and return it as it then is.

        Raises:
            TaskStateError: the move is not one, or somebody else was first.
        """
        unknown = set(columns) - _SETTABLE
        if unknown:
            message = f"swarm_tasks has no column {', '.join(sorted(unknown))} to set"
            raise KeyError(message)
        to = cast("TaskState", columns.get("state", before.state))
        if "state" in columns and to not in TASK_MOVES[before.state]:
            message = f"the task {before.id} is {before.state}, so it cannot become {to}"
            raise TaskStateError(message)
        columns["changed_at"] = self.now_us()
        assignments = ", ".join(f"{name} = ?" for name in columns)
        # The names were checked above; every value is bound.
        query = f"UPDATE swarm_tasks SET {assignments} WHERE id = ? AND state = ? AND lease IS ? AND pay_tries = ?"  # noqa: S608
        expected = (before.id, before.state, before.lease, before.pay_tries)
        if connection.execute(query, (*columns.values(), *expected)).rowcount != 1:
            message = f"the task {before.id} is not {before.state} as it was; look at it again"
            raise TaskStateError(message)
        return self.task(connection, before.id)

    # Events --------------------------------------------------------------------------------------------------

    def tell(
        self, connection: Connection, type_: str, data: Mapping[str, Any], *, task: Task | None = None,
        agent_id: str | None = None, trace_id: str | None = None,
    ) -> None:  # fmt: skip
        """Write an event; one of a task has the task's trace."""
        self.events.append_in(
            connection,
            NewEvent(
                type_,
                SOURCE,
                data,
                task_id=task.id if task else None,
                agent_id=agent_id,
                trace_id=trace_id or (task.trace_id if task else None),
                ts=self.clock.now(),
            ),
        )


def _agent(row: Sequence[Any]) -> AgentInfo:
    name, kind, capabilities, description, wallet, status, token, joined, seen = row
    able = tuple(json.loads(capabilities))
    return AgentInfo(name, kind, able, description, wallet, status, bool(token), from_us(joined), from_us(seen))
