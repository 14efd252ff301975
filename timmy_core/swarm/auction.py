"""Posting, bidding and giving tasks out: the lowest bid within the budget wins, the earlier one where two are equal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from timmy_core.clock import from_us, new_id, to_us
from timmy_core.errors import BidError, SwarmError
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.store.engine import Connection
from timmy_core.swarm.model import OPEN, AgentInfo, Bid, Task
from timmy_core.swarm.rows import Rows

MAX_TEXT: Final = 20_000
MAX_TITLE: Final = 120
MAX_MSAT: Final = 21_000_000 * 100_000_000 * 1000
MAX_BIDS: Final = 1000
DUE: Final = 100
_US: Final = 1_000_000
_OPEN: Final = ", ".join(f"'{state}'" for state in OPEN)
_INSERT: Final = """
INSERT INTO swarm_tasks (id, title, description, needs, budget_msat, posted_by, payer, local_only, state, auction,
    bidding_s, bidding_until, deadline_at, attempts, created_at, changed_at, trace_id, pay_state, pay_tries)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'bidding', 1, ?, ?, ?, 0, ?, ?, ?, 'none', 0)"""
_BID: Final = """
INSERT INTO swarm_bids (seq, task_id, auction, agent, amount_msat, at, won)
VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM swarm_bids), ?, ?, ?, ?, ?, 0)"""
# Who may still get it: bid within the budget, is there, and did not have it in this auction before.
_BEST: Final = """
SELECT bid.seq, bid.agent, bid.amount_msat FROM swarm_bids AS bid JOIN swarm_agents AS a ON a.name = bid.agent
WHERE bid.task_id = ? AND bid.auction = ? AND bid.amount_msat <= ? AND bid.won = 0 AND a.status IN ('idle', 'working')
ORDER BY bid.amount_msat, bid.seq LIMIT 1"""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be, checked."""

    id: str
    text: str
    title: str
    needs: tuple[str, ...]
    budget_msat: int
    posted_by: str
    payer: str
    local_only: bool
    bidding_s: float
    deadline_s: float | None
    trace_id: str


class Auctions:
    """Gives tasks out; safe to use from any thread and process.

    Args:
        rows: the tables.
        settings: the section `[swarm]`.
        run_id: this run of Timmy, by which local agents' work is known.
    """

    def __init__(self, rows: Rows, settings: SwarmSettings, run_id: str) -> None:
        self._rows = rows
        self._settings = settings
        self._run_id = run_id

    # Posting -------------------------------------------------------------------------------------------------

    def post(self, new: NewTask) -> Task:
        """Write a task, open for bids; the same id with the same words again returns the task of the first time.

        Raises:
            SwarmError: too many tasks are open, or the id belongs to another task.
        """

        def run(connection: Connection) -> Task:
            known = self._rows.tasks(connection, "WHERE id = ?", (new.id,))
            if known:
                if (known[0].description, known[0].budget_msat) == (new.text, new.budget_msat):
                    return known[0]
                message = f"the id {new.id[:64]!r} belongs to another task; leave it out, or give a new one"
                raise SwarmError(message)
            count = f"SELECT count(*) FROM swarm_tasks WHERE state IN ({_OPEN})"  # noqa: S608 - our own states
            if connection.execute(count).fetchone()[0] >= self._settings.max_open:
                most = self._settings.max_open
                message = f"{most:,} tasks are open already; wait, cancel some, or raise max_open in [swarm]"
                raise SwarmError(message)
            return self._insert(connection, new)

        return self._rows.store.write(run)

    def _insert(self, connection: Connection, new: NewTask) -> Task:
        now = self._rows.now_us()
        until = now + round(new.bidding_s * _US)
        deadline = None if new.deadline_s is None else now + round(new.deadline_s * _US)
        values = (
            new.id, new.title, new.text, json.dumps(new.needs), new.budget_msat, new.posted_by, new.payer,
            int(new.local_only), new.bidding_s, until, deadline, now, now, new.trace_id,
        )  # fmt: skip
        connection.execute(_INSERT, values)
        task = self._rows.task(connection, new.id)
        data: dict[str, Any] = {
            "title": new.title, "characters": len(new.text), "budget_msat": new.budget_msat, "by": new.posted_by,
            "needs": list(new.needs), "local_only": new.local_only,
        }  # fmt: skip
        self._rows.tell(connection, "task.created", data, task=task)
        self._tell_bidding(connection, task, "")
        return task

    def _tell_bidding(self, connection: Connection, task: Task, reason: str) -> None:
        data: dict[str, Any] = {"auction": task.auction, "until": task.bidding_until.isoformat()}
        self._rows.tell(connection, "task.bidding", {**data, **({"reason": reason} if reason else {})}, task=task)

    # Bidding -------------------------------------------------------------------------------------------------

    def bid(self, task_id: str, agent: str, amount_msat: int) -> Bid:
        """Bid, or bid anew, which takes a new place among equal bids; the same bid again changes nothing.

        Raises:
            BidError: the auction is over, or the bid does not fit the task.
        """

        def run(connection: Connection) -> Bid:
            task = self._rows.task(connection, task_id)
            who = self._rows.agent(connection, agent)
            self._check(task, who, amount_msat)
            mine = "WHERE task_id = ? AND auction = ? AND agent = ?"
            found = [each for each in task.bids if each.agent == agent and each.auction == task.auction]
            if found and found[0].amount_msat == amount_msat:
                return found[0]
            if len(task.bids) >= MAX_BIDS:
                message = f"the task {task_id} has {MAX_BIDS:,} bids already; no more are taken"
                raise BidError(message)
            connection.execute(f"DELETE FROM swarm_bids {mine}", (task_id, task.auction, agent))  # noqa: S608
            now = self._rows.now_us()
            connection.execute(_BID, (task_id, task.auction, agent, amount_msat, now))
            self._rows.see(connection, agent)
            data = {"amount_msat": amount_msat, "auction": task.auction, "again": bool(found)}
            self._rows.tell(connection, "bid.submitted", data, task=task, agent_id=agent)
            last = connection.execute("SELECT max(seq) FROM swarm_bids").fetchone()[0]
            return Bid(last, task_id, task.auction, agent, amount_msat, from_us(now), won=False)

        return self._rows.store.write(run)

    def _check(self, task: Task, who: AgentInfo, amount_msat: int) -> None:
        lacks = [need for need in task.needs if need not in who.capabilities]
        problem = ""
        if who.status == "left":
            problem = f"{who.name} left the swarm; register it again before it bids"
        elif task.state != "bidding" or to_us(task.bidding_until) <= self._rows.now_us():
            problem = f"bidding for the task {task.id} is over; `timmy swarm tasks` shows those that are open"
        elif who.name == task.posted_by:
            problem = f"{who.name} posted the task {task.id} itself, so it may not bid for it"
        elif lacks:
            problem = f"{who.name} lacks {', '.join(lacks)}, which the task {task.id} needs; leave it to others"
        elif task.local_only and who.kind == "remote":
            problem = f"nothing of the task {task.id} may leave this machine, so {who.name} may not bid for it"
        elif not 0 <= amount_msat <= task.budget_msat:
            problem = f"a bid for the task {task.id} is 0 to {task.budget_msat:,} msat, its budget, not {amount_msat:,}"
        if problem:
            raise BidError(problem)

    # Giving out ----------------------------------------------------------------------------------------------

    def close_due(self) -> list[Task]:
        """End every auction whose time is over, and return what became of their tasks."""
        query = "WHERE state = 'bidding' AND bidding_until <= ? ORDER BY seq LIMIT ?"
        with self._rows.store.read() as connection:
            due = [task.id for task in self._rows.tasks(connection, query, (self._rows.now_us(), DUE))]
        closed = [self._rows.store.write(partial(self._close, task_id=task_id)) for task_id in due]
        return [task for task in closed if task is not None]

    def _close(self, connection: Connection, task_id: str) -> Task | None:
        task = self._rows.task(connection, task_id)
        if task.state != "bidding" or to_us(task.bidding_until) > self._rows.now_us():
            return None  # somebody else was first
        best = self._best(connection, task)
        data: dict[str, Any] = {
            "auction": task.auction, "bids": sum(bid.auction == task.auction for bid in task.bids),
            "winner": best[1] if best else None, "amount_msat": best[2] if best else None,
        }  # fmt: skip
        self._rows.tell(connection, "auction.closed", data, task=task, agent_id=best[1] if best else None)
        if best is None:
            words = "nobody was there to do it" if data["bids"] else "nobody bid for it"
            if task.auction < self._settings.max_attempts:
                # Perhaps nobody was served meanwhile: another auction gives all of them the time to bid.
                return self._reopen(connection, task, words)
            return self.fail(connection, task, f"{words} in {task.auction} auctions", "unassigned")
        return self._give(connection, task, best, "")

    def _best(self, connection: Connection, task: Task) -> tuple[int, str, int] | None:
        row: tuple[int, str, int] | None = connection.execute(
            _BEST, (task.id, task.auction, task.budget_msat)
        ).fetchone()
        return row

    def _give(self, connection: Connection, task: Task, best: tuple[int, str, int], reason: str) -> Task:
        seq, agent, amount = best
        now = self._rows.now_us()
        connection.execute("UPDATE swarm_bids SET won = 1 WHERE seq = ?", (seq,))
        local = self._rows.agent(connection, agent).kind != "remote"
        given = self._rows.set(
            connection, task, state="assigned", agent=agent, bid_msat=amount, attempts=task.attempts + 1,
            lease=new_id(), lease_until=now + round(self._settings.lease_s * _US),
            holder=self._run_id if local else None, assigned_at=now, started_at=None,
        )  # fmt: skip
        data: dict[str, Any] = {"amount_msat": amount, "attempt": given.attempts, "auction": given.auction}
        if reason:
            data |= {"instead_of": task.agent, "reason": reason}
        self._rows.tell(connection, "task.assigned", data, task=given, agent_id=agent)
        return given

    def pass_on(self, connection: Connection, task: Task, reason: str) -> Task:
        """Take a task from who holds it: the next bidder gets it, or there is another auction, or it fails."""
        before = task.agent
        if task.attempts >= self._settings.max_attempts:
            words = f"{reason}; it was given out {task.attempts} times, which is all that [swarm] max_attempts allows"
            return self.fail(connection, task, words, "abandoned")
        best = self._best(connection, task)
        if best is not None:
            given = self._give(connection, task, best, reason)
        else:
            given = self._reopen(connection, task, reason)
        if before is not None:
            self._rows.settle(connection, before, f"it does not work on {task.id} any more", task.trace_id)
        return given

    def _reopen(self, connection: Connection, task: Task, reason: str) -> Task:
        """Hold another auction."""
        until = self._rows.now_us() + round(task.bidding_s * _US)
        opened = self._rows.set(
            connection, task, state="bidding", auction=task.auction + 1, bidding_until=until, agent=None,
            bid_msat=None, lease=None, lease_until=None, holder=None, assigned_at=None, started_at=None,
        )  # fmt: skip
        self._tell_bidding(connection, opened, reason)
        return opened

    def fail(self, connection: Connection, task: Task, problem: str, kind: str) -> Task:
        """End a task without a result."""
        failed = self._rows.set(
            connection, task, state="failed", problem=problem, ended_at=self._rows.now_us(), lease=None,
            lease_until=None, holder=None,
        )  # fmt: skip
        data = {"problem": problem, "kind": kind, "attempts": task.attempts}
        self._rows.tell(connection, "task.failed", data, task=failed, agent_id=task.agent)
        if task.agent is not None:
            self._rows.settle(connection, task.agent, f"{task.id} failed", task.trace_id)
        return failed


def check_text(text: str) -> str:
    """Return what is to be done.

    Raises:
        SwarmError: it is empty, too long, or no text.
    """
    problem = ""
    if not isinstance(text, str) or not text.strip():
        problem = "the task is empty; say what is to be done"
    elif len(text) > MAX_TEXT:
        problem = f"the task has {len(text):,} characters; at most {MAX_TEXT:,} are taken"
    elif any("\ud800" <= character <= "\udfff" for character in text):
        problem = "the task holds half a surrogate pair, which is not text; send it as UTF-8"
    if problem:
        raise SwarmError(problem)
    return text.strip()


def title_of(text: str) -> str:
    """Return the first line of a task, shortened, on one line."""
    line = " ".join(next(iter(text.strip().splitlines()), "").split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= MAX_TITLE else f"{line[: MAX_TITLE - 1].rstrip()}…"


def check_seconds(name: str, value: float | None, most: float) -> float | None:
    """Return a number of seconds.

    Raises:
        SwarmError: it is none.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        message = f"{name} is {value!r}; expected more than 0 and at most {most:,.0f} seconds"
        raise SwarmError(message)
    return float(value)


def check_sats(name: str, sats: float) -> int:
    """Return sats, which may have three decimals, as whole msat.

    Raises:
        SwarmError: it is no amount.
    """
    if isinstance(sats, bool) or not isinstance(sats, (int, float)) or not 0 <= sats * 1000 <= MAX_MSAT:
        message = f"{name} is {sats!r}; expected a number of sats from 0 on"
        raise SwarmError(message)
    msat = round(sats * 1000)
    if abs(msat - sats * 1000) > 1e-6:  # noqa: PLR2004 - what floating point loses
        message = f"{name} is {sats!r}, less than a thousandth of a sat apart from an amount that there is; round it"
        raise SwarmError(message)
    return msat
