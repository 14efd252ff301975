"""One proposal: what it is, why it is a risk, what its tests said, what can be done with it, and what happened so far."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ui import parts, reviewing
from ui.markup import act

if TYPE_CHECKING:
    from timmy_core.events.model import Event
    from timmy_core.upgrades.model import Proposal, Run, TestResult
    from ui.reviewing import Here

LEVELS = {
    "bubblewrap": "shut in by bubblewrap: no network, no secrets, the repository read-only",
    "namespaces": "shut in by namespaces of the kernel, less well than by bubblewrap",
    "limits": "only held by limits of time, memory and processes; they could reach the network and what this user reads",
}
_TONES: dict[str, parts.State] = {
    "proposed": "info", "tests_started": "info", "tests_passed": "good", "tests_failed": "bad", "approved": "good",
    "bypassed": "bad", "rejected": "off", "expired": "off", "queued": "info", "applying": "info", "applied": "good",
    "confirmed": "good", "conflict": "bad", "stale": "wait", "blocked": "wait", "failed": "bad", "rolled_back": "off",
    "recovered": "wait", "noticed": "info", "notice_failed": "bad",
}  # fmt: skip
_OUTPUT_LINES = 24
_NAMED = 30


def whole(here: Here) -> str:
    """Return everything about the chosen proposal but its lines."""
    one = here.chosen
    if one is None:
        return f'<div class="tw-alert"><p>{escape(parts.sentence(here.missing))}</p></div>' if here.missing else ""
    title, _, more = one.description.partition("\n")
    text = f'<p class="tw-why-of">{escape(more.strip())}</p>' if more.strip() else ""
    return (
        f'<section class="tw-proposal" data-proposal="{one.id}"><div class="tw-proposal-head"><h2>{escape(title)}</h2>'
        f'<span class="tw-proposal-pills">{reviewing.pill(one)}{parts.pill(*reviewing.RISKS[one.risk])}</span></div>'
        f"{text}{_doing(here)}{_problem(one)}{_hands(one, here)}"
        f'<div class="tw-proposal-facts"><div>{_facts(one, here)}</div><div>{_tests(one)}</div></div></section>'
    )


def _doing(here: Here) -> str:
    """Return how far tests or the landing are; the page's hands keep it moving."""
    one, step = here.chosen, here.step
    if one is None or one.state not in {"testing", "queued", "applying"}:
        return ""
    words = step.what if step else "in another process" if one.state == "testing" else "its turn comes"
    done = "" if step is None or step.done is None else f' style="width: {100 * step.done:.0f}%"'
    return (
        f'<div class="tw-doing-of" data-step-of="{one.id}" role="status"><span>{escape(parts.sentence(words))}</span>'
        f'<span class="tw-progress"{"" if done else " data-unknown"}><i{done}></i></span></div>'
    )


def _problem(one: Proposal) -> str:
    if not one.problem or one.state in {"rejected", "expired"}:
        return ""
    edge = " tw-wait-edge" if one.state in {"stale", "blocked_dirty", "proposed"} else ""
    return f'<div class="tw-alert{edge}"><p>{escape(parts.sentence(one.problem))}</p></div>'


def _hands(one: Proposal, here: Here) -> str:
    """Return what can be done with it now, the safe things first."""
    title = one.description.split("\n", 1)[0]
    base = {"id": one.id, "title": title, "seen": one.seen, "branch": one.branch}
    test = act("Test it now" if one.tests is None else "Test it anew", {"action": "test", **base}, carries="upgrade")
    reject = act("Reject …", {"action": "reject", **base}, style="danger", carries="upgrade")
    given = len({each.by.casefold() for each in one.approvals if each.decision == "approve"})
    asked = {"quorum": here.quorum, "given": given, "consent": here.consent}
    approve = act("Approve …", {"action": "approve", **base, **asked}, style="safe", carries="upgrade")
    apply = act(f"Apply to {one.branch}", {"action": "apply", **base}, style="safe", carries="upgrade")
    back = act("Roll back …", {"action": "rollback", **base}, style="danger", carries="upgrade")
    offered = {
        "proposed": (test, reject), "testing": (reject,), "awaiting_approval": (approve, test, reject),
        "test_failed": (test, reject), "approved": (apply, reject), "queued": (reject,), "conflict": (test, reject),
        "stale": (test, reject), "blocked_dirty": (apply, reject), "failed": (test, reject), "applied": (back,),
        "confirmed": (back,),
    }  # fmt: skip
    buttons = "".join(offered.get(one.state, ()))
    note = ""
    if one.state == "awaiting_approval" and here.quorum > 1:
        note = f'<span class="tw-muted">{given} of {here.quorum} people have approved it; {one.risk} risk asks for as many.</span>'
    return f'<div class="tw-proposal-acts">{buttons}{note}</div>' if buttons else ""


def _facts(one: Proposal, here: Here) -> str:
    trace = f'<a href="/swarm/events?trace={escape(one.trace_id, quote=True)}">its trace</a>'
    approvers = ", ".join(
        f"{escape(each.by)}{' in a hurry' if each.urgent else ''}"
        for each in one.approvals
        if each.decision == "approve"
    )
    rejected = next((each for each in one.approvals if each.decision == "reject"), None)
    running = one.state in reviewing.WAITING and one.state not in {"queued", "applying"}
    pairs = [
        ("Proposed", f"{parts.ago(one.created_at)} by {escape(one.proposed_by)}, from {_KINDS[one.kind]}"),
        ("Changes", f"{parts.plural(len(one.files), 'file')} {reviewing.counts(one.added, one.removed)}"),
        ("Risk", f"{one.risk}: {escape('; '.join(one.risk_reasons))}"),
        *([("Runs out", parts.anew(one.expires_at))] if running else []),
        *([("Approved by", approvers)] if approvers else []),
        *([("Rejected by", f"{escape(rejected.by)}: {escape(rejected.reason)}")] if rejected else []),
        *([("Applied", f"{parts.ago(one.applied_at)} as {parts.ident(one.applied_sha)}")] if one.applied_at else []),
        *([("Taken back by", parts.ident(one.rolled_back_sha))] if one.rolled_back_sha else []),
        *([("Quarantined", "the same change was rolled back before")] if one.quarantined else []),
        ("Id", f"{parts.ident(one.id)} {trace}"),
    ]
    del here
    return parts.facts(pairs)


_KINDS = {"diff": "a diff", "files": "whole files", "branch": "a branch"}


# Tests -------------------------------------------------------------------------------------------------------


def _tests(one: Proposal) -> str:
    tests = one.tests
    if tests is None:
        return '<p class="tw-muted">Its tests have not ended yet; they run on the merge that would land, shut in.</p>'
    runs = _run("Its own tests", tests.own, open_=not tests.own.passed) + (
        _run("The branch's tests", tests.base, open_=tests.own.passed and not tests.base.passed)
        if tests.base
        else '<li><p class="tw-muted">The branch has no test of its own that passes.</p></li>'
    )
    return f'<ul class="tw-runs">{runs}</ul>{_level(tests)}'


def _level(tests: TestResult) -> str:
    state: parts.State = "good" if tests.level == "bubblewrap" else "wait"
    return (
        f'<p class="tw-level">{parts.pill(state, tests.level)} <span class="tw-muted">{escape(LEVELS[tests.level])}; '
        f"{tests.took_s:.1f} s, {parts.ago(tests.at)}</span></p>"
    )


def _run(name: str, run: Run, *, open_: bool) -> str:
    mark = parts.pill("good", "green") if run.passed else parts.pill("bad", "red")
    said = f"{parts.plural(run.collected, 'test')}, {run.took_s:.1f} s"
    bad = "".join(
        f"<li><b>{word}</b> <code>{escape(id_)}</code></li>"
        for word, ids in (("failed", run.failed), ("missing", run.missing))
        for id_ in ids[:_NAMED]
    )
    tail = "\n".join(run.output.splitlines()[-_OUTPUT_LINES:])
    output = (
        f'<details class="tw-output"{" open" if open_ else ""}><summary>what it wrote</summary>'
        f'<pre class="tw-json">{escape(tail)}</pre></details>'
        if tail
        else ""
    )
    red = f'<ul class="tw-red">{bad}</ul>' if bad else ""
    return (
        f'<li><div class="tw-run">{mark}<b>{escape(name)}</b><span class="tw-muted">{said}</span></div>'
        f"{red}{output}</li>"
    )


# The trail ---------------------------------------------------------------------------------------------------


def trail(here: Here) -> str:
    """Return what happened to the chosen proposal, oldest first; each leads to its record."""
    if here.chosen is None or not here.events:
        return ""
    return parts.section("What happened", f'<ol class="tw-trail">{"".join(_event(one) for one in here.events)}</ol>')


def _event(event: Event) -> str:
    kind = event.type.removeprefix("upgrade.")
    data = event.data or {}
    words = ", ".join(
        f"by {data[key]}" if key == "by" else str(data[key])
        for key in ("by", "level", "problem", "reason", "outcome")
        if data.get(key) not in (None, "")
    )
    return (
        f'<li><a href="/swarm/events?seq={event.seq}">{parts.pill(_TONES.get(kind, "info"), kind.replace("_", " "))}</a>'
        f'<span class="tw-muted">{escape(words)}</span>{parts.minute(event.ts)}</li>'
    )


# Who decides -------------------------------------------------------------------------------------------------


def people(here: Here, *, same_user: str) -> str:
    """Return who may decide, how well tests are shut in here, and what the PIN does and does not do."""
    if not here.configured or here.problem:
        return ""
    names = ", ".join(escape(name) for name in here.people) or "nobody yet"
    level = here.reached.level if here.reached else "found out with the first test"
    add = act(
        "Let somebody in …" if here.people else "Set your PIN",
        {"action": "pin"},
        carries="upgrade",
    )
    change = act("Change a PIN …", {"action": "change"}, carries="upgrade") if here.people else ""
    body = (
        parts.facts([("May decide", names), ("Tests are shut in by", escape(level))])
        + f'<div class="tw-foot">{add}{change}</div><details class="tw-output"><summary>what a PIN protects from</summary>'
        f'<p class="tw-muted">{escape(same_user)}</p></details>'
    )
    return parts.section("Who decides", body)
