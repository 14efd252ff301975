"""The swarm as the rest of the house sees it: who is in it, what is to be done, who bids, works and is paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.clock import new_id
from timmy_core.errors import SwarmError
from timmy_core.events.model import Event
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.swarm.agents import Roster, check_capabilities
from timmy_core.swarm.auction import Auctions, NewTask, check_sats, check_seconds, check_text, title_of
from timmy_core.swarm.model import TASK_STATES, AgentInfo, AgentKind, Agents, Bid, Done, Page, Task, TaskState, Wallet
from timmy_core.swarm.paying import Paying
from timmy_core.swarm.rows import Rows
from timmy_core.swarm.work import Working

MAX_PAGE: Final = 500
MAX_BY: Final = 100
MAX_ID: Final = 100
LONGEST_S: Final = 30 * 86_400.0
TOOL_STEPS: Final = ("called", "completed", "failed")


class Swarm:
    """Tasks, bids and agents of one home; safe to use from any thread and from several processes.

    Every method blocks, and what it did is durable, with its events, when it returns. What passes with time (auctions
    that end, workers that died, sats that are due) is done by the serving process, or by `tend`.

    Args:
        rows: the tables.
        roster: who is in it.
        auctions: gives tasks out.
        working: what workers say.
        paying: pays for what was done.
        settings: the section `[swarm]`.
        own_name: the home's own agent, who posts and pays where nobody else is named.
    """

    def __init__(
        self, rows: Rows, roster: Roster, auctions: Auctions, working: Working, paying: Paying,
        settings: SwarmSettings, own_name: str,
    ) -> None:  # fmt: skip
        self._rows = rows
        self._roster = roster
        self._auctions = auctions
        self._working = working
        self._paying = paying
        self._own_name = own_name
        self.settings = settings

    # Agents --------------------------------------------------------------------------------------------------

    def register(
        self, name: str, *, kind: AgentKind = "remote", capabilities: Sequence[str] = (), description: str = "",
        wallet: Wallet = "own",
    ) -> AgentInfo:  # fmt: skip
        """Let an agent join; the same again changes nothing, and one that left is back.

        Args:
            name: 1 to 40 of a-z, 0-9, `_` and `-`.
            kind: `remote` comes over the API with a token; `local` is run by a program that opened the home.
            capabilities: what it can do; tasks may need some.
            description: for people.
            wallet: `own` brings an invoice for what it earned, `home` has the home's node make it.

        Raises:
            SwarmError: the name is taken or cannot be one.
        """
        return self._roster.register(name, kind=kind, capabilities=capabilities, description=description, wallet=wallet)

    def leave(self, name: str, *, reason: str = "asked to") -> AgentInfo:
        """Let an agent go; what it works on is given to somebody else, and its token is void.

        Raises:
            AgentUnknownError: there is none of that name.
        """
        return self._roster.leave(name, reason=reason)

    def agents(self, *, left: bool = False) -> Agents:
        """Return the agents, with `left` also those that left."""
        return self._roster.all(left=left)

    def agent(self, name: str) -> AgentInfo:
        """Return an agent.

        Raises:
            AgentUnknownError: there is none of that name.
        """
        return self._roster.get(name)

    def make_token(self, name: str, *, by: str) -> str:
        """Return a new token for a remote agent, this once; the one before is void.

        Raises:
            SwarmError: it is no remote agent.
        """
        return self._roster.make_token(name, by=_checked_by(by))

    def revoke_token(self, name: str, *, by: str) -> AgentInfo:
        """Make an agent's token void.

        Raises:
            AgentUnknownError: there is none of that name.
        """
        return self._roster.revoke_token(name, by=_checked_by(by))

    def agent_of(self, token: str) -> str:
        """Return whose token it is.

        Raises:
            AgentTokenError: nobody's.
        """
        return self._roster.of_token(token)

    # Tasks ---------------------------------------------------------------------------------------------------

    def post_task(
        self, description: str, *, budget_sats: float = 0, title: str | None = None, needs: Sequence[str] = (),
        bidding_s: float | None = None, deadline_s: float | None = None, local_only: bool = False,
        posted_by: str | None = None, trace_id: str | None = None, id: str | None = None,  # noqa: A002
    ) -> Task:  # fmt: skip
        """Post a task; agents bid for it until its auction ends.

        Args:
            description: what is to be done.
            budget_sats: what it may cost at most, its route included; 0 asks for a favour.
            title: its name; the first line of the description if None.
            needs: capabilities that who bids has to have.
            bidding_s: how long the auction lasts; as `[swarm]` says if None.
            deadline_s: from now until when it has to be done; without end if None.
            local_only: nothing of it may leave this machine.
            posted_by: who wants it; an agent's name makes that agent's budget count, else the home's agent pays.
            trace_id: the request that it belongs to; a new one if None.
            id: made if None; the same id with the same words returns the task of the first time.

        Raises:
            SwarmError: something about it is wrong; nothing was posted.
        """
        text = check_text(description)
        by = _checked_by(posted_by or self._own_name)
        settings = self.settings
        bidding = check_seconds("bidding_s", settings.bidding_s if bidding_s is None else bidding_s, 86_400)
        if id is not None and (not id or len(id) > MAX_ID or not id.isprintable() or "/" in id):
            message = f"a task's id has 1 to {MAX_ID} printable characters without '/', not {id[:40]!r}"
            raise SwarmError(message)
        return self._auctions.post(
            NewTask(
                id=id or new_id(), text=text, title=title_of(title or text), needs=check_capabilities(needs, "needs"),
                budget_msat=check_sats("budget_sats", budget_sats), posted_by=by, payer=self._payer(by),
                local_only=local_only, bidding_s=bidding or settings.bidding_s,
                deadline_s=check_seconds("deadline_s", deadline_s, LONGEST_S), trace_id=trace_id or new_id(),
            )
        )  # fmt: skip

    def _payer(self, by: str) -> str:
        with self._rows.store.read() as connection:
            known = self._rows.agents(connection, "name = ? AND status <> 'left'", (by,))
        return known[0].name if known else self._own_name

    def task(self, task_id: str) -> Task:
        """Return a task with its bids.

        Raises:
            TaskNotFoundError: there is none of that id.
        """
        with self._rows.store.read() as connection:
            return self._rows.task(connection, task_id)

    def tasks(
        self, *, state: TaskState | Sequence[TaskState] | None = None, agent: str | None = None,
        limit: int = 50, cursor: str | None = None,
    ) -> Page:  # fmt: skip
        """Return tasks, newest first; `cursor` is the one that the page before ended with.

        Raises:
            SwarmError: a state is not known.
            TaskNotFoundError: the cursor is none.
        """
        states = () if state is None else (state,) if isinstance(state, str) else tuple(state)
        unknown = [name for name in states if name not in TASK_STATES]
        if unknown or not 1 <= limit <= MAX_PAGE:
            message = f"state {unknown[:1]} or limit {limit} is wrong; expected {TASK_STATES} and 1 to {MAX_PAGE}"
            raise SwarmError(message)
        where, values = ["1"], list[Any]()
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if agent is not None:
            where.append("agent = ?")
            values.append(agent)
        with self._rows.store.read() as connection:
            if cursor is not None:
                self._rows.task(connection, cursor)
                where.append("seq < (SELECT seq FROM swarm_tasks WHERE id = ?)")
                values.append(cursor)
            rest = f"WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
            found = self._rows.tasks(connection, rest, (*values, limit + 1))
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    def count(self, *states: TaskState) -> int:
        """Return how many tasks are in one of these states, or in all."""
        wanted = states or TASK_STATES
        query = f"SELECT count(*) FROM swarm_tasks WHERE state IN ({', '.join('?' * len(wanted))})"  # noqa: S608
        with self._rows.store.read() as connection:
            return int(connection.execute(query, wanted).fetchone()[0])

    def history(self, task_id: str) -> list[Event]:
        """Return everything that shares a task's trace, oldest first: bids, attempts, memory, sats.

        Raises:
            TaskNotFoundError: there is none of that id.
        """
        return self._rows.events.list(trace_id=self.task(task_id).trace_id, limit=1000, order="asc")

    def bid(self, task_id: str, agent: str, *, amount_sats: float) -> Bid:
        """Bid for a task; bidding anew replaces the bid, and takes a new place among equal ones.

        Raises:
            BidError: the auction is over, or the bid does not fit the task.
        """
        return self._auctions.bid(task_id, agent, check_sats("amount_sats", amount_sats))

    def cancel(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """Withdraw a task that is not over.

        Raises:
            TaskStateError: it is over.
        """
        return self._working.cancel(task_id, by=_checked_by(by), reason=reason)

    # Work ----------------------------------------------------------------------------------------------------

    def start(self, task_id: str, agent: str, *, lease: str) -> Task:
        """Begin a task that was given to an agent, which shows the lease that the task carries.

        Raises:
            TaskStateError: the task is not held by this lease any more.
        """
        return self._working.start(task_id, agent, lease)

    def renew(self, task_id: str, agent: str, *, lease: str) -> Task:
        """Say that one still works on it; without it for `lease_s` somebody else gets it.

        Raises:
            TaskStateError: the task is not held by this lease any more.
        """
        return self._working.renew(task_id, agent, lease)

    def complete(
        self, task_id: str, agent: str, *, lease: str, result: str, provider: str | None = None,
        model: str | None = None, bolt11: str | None = None,
    ) -> Task:  # fmt: skip
        """Hand in a result: it is remembered, and the bid becomes due; with a wallet of one's own comes an invoice.

        Raises:
            TaskStateError: the task is not held by this lease any more.
            SwarmError: the result or the invoice cannot be taken.
        """
        if bolt11 is not None:
            self._paying.check_invoice(self.task(task_id), bolt11)
        return self._working.complete(task_id, agent, lease, Done(result, provider, model), bolt11=bolt11)

    def fail(self, task_id: str, agent: str, *, lease: str, problem: str) -> Task:
        """Give a task up for good.

        Raises:
            TaskStateError: the task is not held by this lease any more.
        """
        return self._working.fail(task_id, agent, lease, problem)

    def take_invoice(self, task_id: str, agent: str, *, bolt11: str) -> Task:
        """Take an agent's invoice for a task that it completed.

        Raises:
            SwarmError: the invoice is not one over the bid, or nothing is owed.
        """
        return self._paying.take_invoice(task_id, agent, bolt11)

    def note_tool(self, task_id: str, agent: str, *, lease: str, step: str, tool: str, data: Mapping[str, Any]) -> None:
        """Write down a step of a tool that an agent in another process called: `called`, `completed` or `failed`.

        Raises:
            TaskStateError: the task is not held by this lease any more.
        """
        if step not in TOOL_STEPS or not tool or len(tool) > MAX_BY:
            message = f"step {step!r} of tool {tool[:40]!r} is wrong; expected one of {TOOL_STEPS} and a name"
            raise SwarmError(message)
        held = self._working.renew(task_id, agent, lease)
        told = {"tool": tool, **data}
        self._rows.store.write(
            lambda connection: self._rows.tell(connection, f"tool.{step}", told, task=held, agent_id=agent)
        )

    # Time ----------------------------------------------------------------------------------------------------

    def tend(self, *, pay: bool = True) -> int:
        """Do what is due now: end auctions, take tasks from the dead, pay; return how many tasks were touched."""
        touched = len(self._auctions.close_due()) + len(self._working.reclaim())
        return touched + (len(self._paying.pay_due()) if pay else 0)

    def pay_due(self) -> int:
        """Pay what is due; return for how many tasks that was tried."""
        return len(self._paying.pay_due())


def _checked_by(by: str) -> str:
    if not by or len(by) > MAX_BY or not by.isprintable():
        message = f"'by' has to say who it is, in 1 to {MAX_BY} printable characters"
        raise SwarmError(message)
    return by
