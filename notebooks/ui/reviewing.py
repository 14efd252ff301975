"""What waits for a decision: what the page looks up once for all of its parts, its first line, and the lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from timmy_core import TimmyError
from ui import parts, saving
from ui.chips import Choice, Group
from ui.markup import act

if TYPE_CHECKING:
    import polars as pl

    from timmy_core import Timmy
    from timmy_core.events.model import Event
    from timmy_core.upgrades.following import Step
    from timmy_core.upgrades.model import Proposal, State
    from timmy_core.upgrades.sandbox.levels import Reached

WAITING: tuple[State, ...] = (
    "proposed", "testing", "awaiting_approval", "test_failed", "approved", "queued", "applying", "conflict", "stale",
    "blocked_dirty", "failed",
)  # fmt: skip
OVER: tuple[State, ...] = ("applied", "confirmed", "rejected", "expired", "rolled_back")
# How each exact state looks and reads; the word that people know stands first where it is another one.
PILLS: dict[str, tuple[parts.State, str]] = {
    "proposed": ("wait", "proposed, not tested yet"),
    "testing": ("info", "tests are running"),
    "awaiting_approval": ("wait", "waits for you"),
    "test_failed": ("bad", "tests are red"),
    "approved": ("info", "approved"),
    "queued": ("info", "approved, in the queue"),
    "applying": ("info", "is being applied"),
    "applied": ("good", "applied"),
    "confirmed": ("good", "applied and found well"),
    "rejected": ("off", "rejected"),
    "expired": ("off", "expired"),
    "conflict": ("bad", "conflicts with the branch"),
    "stale": ("wait", "proposed, to be tested anew"),
    "blocked_dirty": ("wait", "approved, something is in the way"),
    "failed": ("bad", "failed"),
    "rolled_back": ("off", "rolled back"),
}
RISKS: dict[str, tuple[parts.State, str]] = {
    "low": ("off", "low risk"), "normal": ("off", "normal risk"), "high": ("bad", "high risk"),
}  # fmt: skip
_LISTED = 50
_TIMES = {"7d": timedelta(days=7), "30d": timedelta(days=30)}
GROUPS = (
    Group("decided", "decided", [Choice("7d", "7 days"), Choice("30d", "30 days"), Choice("all", "all time")], "all"),
    Group("state", "outcome", [Choice("any", "any"), *(Choice(state, PILLS[state][1]) for state in OVER)], "any"),
)
_LISTED_WAITING = 200


@dataclass(frozen=True)
class Here:
    """How the queue stands at a moment; `problem` says why there is none."""

    at: datetime
    problem: str = ""
    configured: bool = False
    waiting: Sequence[Proposal] = ()
    cut: bool = False  # there are older ones than `waiting`
    over: Sequence[Proposal] = ()
    more: bool = False  # there are older ones than `over`
    sifted: bool = False  # only some of what is over was asked for
    chosen: Proposal | None = None
    missing: str = ""  # why the chosen one is not there
    events: Sequence[Event] = ()
    step: Step | None = None
    quorum: int = 1
    consent: str = ""
    people: Sequence[str] = ()
    reached: Reached | None = None
    branch: str = "main"
    repo: str = ""


def look(timmy: Timmy, chosen: str, query: Mapping[str, str] | None = None) -> Here:
    """Return how the queue stands; without a choice the first that waits is chosen; what is wrong becomes words."""
    at, room = timmy.clock.now(), timmy.upgrading
    people = room.approvals.people()
    try:
        queue = timmy.upgrades
        page = queue.list(state=WAITING, limit=_LISTED_WAITING)
        waiting = sorted(page.proposals, key=_urgency)
        states, since = wanted_states(query or {}), _wanted_since(query or {}, at)
        past = queue.list(state=states, limit=_LISTED)
        one, missing = None, ""
        try:
            one = queue.get(chosen) if chosen else (waiting[0] if waiting else None)
        except TimmyError as error:
            missing = str(error)
        return Here(
            at=at,
            configured=True,
            waiting=waiting,
            cut=page.cursor is not None,
            over=[one for one in past.proposals if since is None or _ended(one) >= since],
            sifted=since is not None or states != OVER,
            more=past.cursor is not None,
            chosen=one,
            missing=missing,
            events=queue.history(one.id) if one else (),
            step=room.following.of(one.id) if one else None,
            quorum=room.policy.quorum(one.risk) if one else 1,
            consent=room.policy.needs_consent(one) if one else "",
            people=people,
            reached=room.sandbox.known,
            branch=room.settings.branch,
            repo=str(room.settings.repo),
        )
    except TimmyError as error:
        return Here(at=at, problem=str(error), configured=room.configured, people=people)


def _urgency(one: Proposal) -> tuple[int, datetime]:
    """Put first what a person can decide now, and of those what runs out first."""
    order = {"awaiting_approval": 0, "approved": 1, "blocked_dirty": 1, "test_failed": 3, "conflict": 3, "failed": 4}
    return order.get(one.state, 2), one.expires_at


# The first line ----------------------------------------------------------------------------------------------


def first_line(here: Here) -> str:
    """Return the sentence that answers the page's question."""
    if here.problem:
        return (
            f"<strong>The queue cannot be used.</strong> {escape(parts.sentence(here.problem))}"
            if here.configured
            else "<strong>Nothing can be proposed yet.</strong> Name the repository that Timmy may propose changes to."
        )
    ready = sum(one.state == "awaiting_approval" for one in here.waiting)
    others = len(here.waiting) - ready
    if ready:
        word = "waits" if ready == 1 else "wait"
        line = f"<strong>{parts.plural(ready, 'proposal')} {word} for you.</strong>"
        return line + (
            f" {parts.plural(others, 'other')} {'is' if others == 1 else 'are'} on the way." if others else ""
        )
    if others:
        return f"<strong>Nothing waits for your decision.</strong> {parts.plural(others, 'proposal')} {'is' if others == 1 else 'are'} on the way."
    return "<strong>Nothing waits for you.</strong> What Timmy or a person proposes is tested first, and shown here."


def notes(here: Here) -> str:
    """Return what stands below the first line: what to do first, as HTML."""
    if not here.configured:
        return _setup()
    if here.problem:
        return ""
    told = f'<p class="tw-plain">Changes land on <code>{escape(here.branch)}</code> of <code>{escape(here.repo)}</code>.</p>'
    if here.people:
        return told
    button = act("Set your PIN", {"action": "pin"}, style="safe", carries="upgrade")
    return (
        f'{told}<div class="tw-alert tw-wait-edge"><p><b>Nobody may decide yet.</b> A PIN seals the key that signs what '
        f'you decide; without one nothing can be approved or rejected.</p><div class="tw-do">{button}</div></div>'
    )


def _setup() -> str:
    step = '<li><b>{}</b><span class="tw-do">{}</span><span class="tw-muted">{}</span></li>'
    steps = (
        (
            "Name a repository",
            parts.command('[upgrades]\nrepo = "/path/to/repository"'),
            "in timmy.toml, and start again",
        ),
        ("Set a PIN", parts.command("timmy upgrades pin"), "it signs what you decide"),
        (
            "Propose",
            parts.command('timmy upgrades propose "better words" --branch topic'),
            "or let Timmy do it in the chat",
        ),
    )
    return f'<ul class="tw-steps">{"".join(step.format(*one) for one in steps)}</ul>'


# The lists ---------------------------------------------------------------------------------------------------


def waiting(here: Here) -> str:
    """Return what is not over yet, what can be decided first."""
    if here.problem:
        return ""
    if not here.waiting:
        example = 'timmy upgrades propose "better words" --branch topic'
        then = f"Try it: {parts.command(example)}"
        return parts.empty("No proposal is on its way.", then=then)
    more = (
        f'<p class="tw-muted">These are the newest; {parts.command("timmy upgrades list")} has all.</p>'
        if here.cut
        else ""
    )
    return f'<ul class="tw-proposals">{"".join(_row(one, here) for one in here.waiting)}</ul>{more}'


def over(here: Here) -> str:
    """Return what was decided or ran out."""
    if here.problem or not (here.over or here.sifted):
        return ""
    if not here.over:
        return parts.section("Decided", parts.empty("Nothing was decided with these filters."))
    rows = "".join(_row(one, here) for one in here.over)
    note = " · the latest; `timmy upgrades list --all` has all" if here.more else ""
    body = f'<ul class="tw-proposals">{rows}</ul>'
    return parts.section("Decided", body, note=saving.links("upgrades") + escape(note))


def wanted_states(query: Mapping[str, str]) -> tuple[State, ...]:
    """Return the outcomes that the address asks for."""
    return tuple(state for state in OVER if query.get("state", "any") in ("any", state))


def _wanted_since(query: Mapping[str, str], now: datetime) -> datetime | None:
    span = _TIMES.get(query.get("decided", ""))
    return None if span is None else now - span


def decided(timmy: Timmy, choice: Any) -> pl.DataFrame:
    """Return what was decided or ran out, as far as it is chosen, newest first; for a file."""
    import polars as pl

    ended = pl.coalesce("applied_at", "decided_at", "created_at")
    since = _wanted_since(choice.query, timmy.clock.now())
    rows = timmy.frame("upgrades", limit=saving.MOST).reverse()
    rows = rows.filter(pl.col("state").is_in(wanted_states(choice.query)))
    return rows if since is None else rows.filter(ended >= since)


def _ended(one: Proposal) -> datetime:
    return one.applied_at or one.decided_at or one.created_at


def _row(one: Proposal, here: Here) -> str:
    title, *_ = one.description.split("\n", 1)
    current = ' aria-current="true"' if here.chosen is not None and one.id == here.chosen.id else ""
    ended = one.applied_at or one.decided_at
    when = (
        f"runs out {parts.anew(one.expires_at)}"
        if ended is None and one.state in WAITING
        else parts.ago(ended or one.created_at)
    )
    risk = parts.pill(*RISKS["high"]) if one.risk == "high" and one.state in WAITING else ""
    return (
        f'<li{current}><a href="?id={one.id}" data-upgrade="{choose(one.id)}"><span class="tw-what">{escape(title)}</span>'
        f'<span class="tw-by">{escape(one.proposed_by)}</span></a>'
        f"<span>{pill(one)}{risk}</span>"
        f'<span class="tw-size">{parts.plural(len(one.files), "file")} {counts(one.added, one.removed)}</span>'
        f'<span class="tw-when">{when}</span></li>'
    )


def choose(id_: str) -> str:
    """Return the order that shows a proposal, for an attribute."""
    return escape(f'{{"action": "choose", "id": "{id_}"}}', quote=True)


def pill(one: Proposal) -> str:
    """Return a proposal's state."""
    state, words = PILLS[one.state]
    return parts.pill(state, words)


def counts(added: int, removed: int) -> str:
    """Return lines that come and go."""
    return f'<span class="tw-counts"><ins>+{added}</ins> <del>&minus;{removed}</del></span>'
