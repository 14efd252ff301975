"""The tasks of the swarm as they are shown: how each stands, who bids and wins, and what came of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ui import parts, sats

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.swarm.model import Bid, Task

_STATES: dict[str, tuple[parts.State, str]] = {
    "bidding": ("info", "open for bids"),
    "assigned": ("wait", "given out"),
    "working": ("wait", "in work"),
    "completed": ("good", "done"),
    "failed": ("bad", "failed"),
    "canceled": ("off", "canceled"),
}
_PAID: dict[str, str] = {
    "none": "nothing is owed",
    "invoice": "waits for the agent's invoice",
    "due": "due",
    "paying": "under way",
    "paid": "paid",
    "failed": "could not be paid",
}


def first_line(timmy: Timmy) -> str:
    """Answer what the swarm is doing right now. HTML."""
    open_ = timmy.swarm.count("bidding", "assigned", "working")
    latest = timmy.events.list(limit=1)
    tasks = f"<strong>{parts.plural(open_, 'task')}</strong> {'is' if open_ == 1 else 'are'} open"
    last = f"; the last event came {parts.ago(latest[0].ts)}" if latest else ""
    return f"{tasks if open_ else 'No task is open'}, {_here(timmy)}{last}."


def _here(timmy: Timmy) -> str:
    """Say who can work: those that are here, or those of the home's own that come as soon as there is something."""
    here = [one for one in timmy.swarm.agents() if one.status != "lost"]
    if here:
        return f"{parts.plural(len(here), 'agent')} {'is' if len(here) == 1 else 'are'} here"
    own = timmy.swarm.settings.personas
    return f"{escape(', '.join(own))} come when there is something to do" if own else "no agent is here"


def row(task: Task) -> dict[str, Any]:
    """Return a task as one line of the list."""
    state, word = _STATES[task.state]
    return {
        "id": task.id,
        "title": task.title,
        "pill": parts.pill(state, word),
        "words": standing(task),
        "at": task.created_at.isoformat(),
        "open": task.open,
    }


def standing(task: Task) -> str:
    """Return in words how a task stands: who has it for how much, or who bids."""
    bids = [bid for bid in task.bids if bid.auction == task.auction]
    if task.state == "bidding":
        if not bids:
            return f"no bid yet, up to {sats.words(task.budget_msat)}"
        lowest = min(bids, key=lambda bid: (bid.amount_msat, bid.seq))
        return f"{parts.plural(len(bids), 'bid')}, the lowest {sats.words(lowest.amount_msat)} by {lowest.agent}"
    if task.state == "failed" and task.problem:
        return task.problem
    if task.agent is None:
        return task.problem or f"up to {sats.words(task.budget_msat)}"
    return f"{task.agent} for {sats.words(task.bid_msat or 0)}"


def detail(task: Task) -> str:
    """Return a task in full: what is wanted, who bid, what came of it and what it cost. HTML."""
    state, word = _STATES[task.state]
    stop = ""
    if task.open:
        stop = f'<button type="button" class="tw-act tw-act-danger" data-cancel="{_quoted(task.id)}">Cancel this task …</button>'
    trace = (
        f'<a class="tw-task-trace" href="/swarm/events?trace={_quoted(task.trace_id)}" '
        f'data-whole-trace="{_quoted(task.trace_id)}">the whole trace</a>'
    )
    return (
        f"<header><strong>{escape(task.title)}</strong>{parts.pill(state, word)}</header>"
        f"{_wanted(task)}{_came(task)}{_bids(task)}{parts.facts(_facts(task))}"
        f'<p class="tw-acts">{trace}{stop}</p>'
    )


def _wanted(task: Task) -> str:
    return "" if task.description == task.title else f'<p class="tw-task-text">{escape(task.description)}</p>'


def _came(task: Task) -> str:
    if task.result is not None:
        by = " · ".join(one for one in (task.agent, task.provider, task.model) if one)
        return f'<h4>What came of it</h4><p class="tw-task-result">{escape(task.result)}</p><p class="tw-muted">{escape(by)}</p>'
    if task.problem:
        return f'<p class="tw-task-problem">{escape(parts.sentence(task.problem))}</p>'
    return ""


def _bids(task: Task) -> str:
    if not task.bids:
        words = "Nobody has bid yet." if task.state == "bidding" else "Nobody bid for it."
        return f'<h4>Bids</h4><p class="tw-muted">{words}</p>'
    several = len({bid.auction for bid in task.bids}) > 1
    rows = "".join(_bid(bid, several=several) for bid in sorted(task.bids, key=_order))
    return f'<h4>Bids</h4><ol class="tw-bids">{rows}</ol>'


def _order(bid: Bid) -> tuple[int, int, int]:
    return -bid.auction, bid.amount_msat, bid.seq


def _bid(bid: Bid, *, several: bool) -> str:
    auction = f'<span class="tw-muted">auction {bid.auction}</span>' if several else ""
    won = parts.pill("good", "won") if bid.won else ""
    return (
        f"<li><b>{escape(bid.agent)}</b>{auction}{won}<span class='tw-num'>{sats.words(bid.amount_msat)}</span>"
        f"<span class='tw-muted'>{parts.ago(bid.at)}</span></li>"
    )


def _facts(task: Task) -> list[tuple[str, str]]:
    facts = [
        ("budget", sats.words(task.budget_msat)),
        ("posted", f"by {escape(task.posted_by)}, {parts.ago(task.created_at)}"),
    ]
    if task.needs:
        facts.append(("needs", escape(", ".join(task.needs))))
    if task.local_only:
        facts.append(("stays", "on this machine"))
    if task.state == "bidding":
        facts.append(("auction ends", parts.anew(task.bidding_until)))
    if task.deadline_at is not None and task.open:
        facts.append(("has to be done", parts.anew(task.deadline_at)))
    if task.attempts > 1:
        facts.append(("given out", parts.plural(task.attempts, "time")))
    if task.ended_at is not None:
        since = task.started_at or task.assigned_at or task.created_at
        facts.append(("took", parts.latency((task.ended_at - since).total_seconds() * 1000)))
    return [*facts, *_payment(task), ("id", parts.ident(task.id))]


def _payment(task: Task) -> list[tuple[str, str]]:
    if task.state != "completed":
        return []
    words = _PAID[task.pay_state]
    problem = f" · {escape(task.pay_problem)}" if task.pay_problem else ""
    link = ""
    if task.payment_id:
        link = f' · <a href="/lightning/ledger?entry={_quoted(task.payment_id)}">in the ledger</a>'
    return [("its pay", f"{sats.words(task.bid_msat or 0)} · {words}{problem}{link}")]


def offers(timmy: Timmy) -> dict[str, Any]:
    """Return what the form for a new task says: who may bid, what they can, and how long they bid."""
    here = [one for one in timmy.swarm.agents() if one.status != "lost"]
    able = sorted({capability for one in here for capability in one.capabilities})
    # The home's own agents join with the first task.
    names = dict.fromkeys([*(one.name for one in here), *timmy.swarm.settings.personas])
    return {"agents": list(names), "able": able, "bidding_s": timmy.swarm.settings.bidding_s}


def _quoted(text: str) -> str:
    return escape(text, quote=True)
