"""The parts of the ledger page below its cards: what is pending, budgets, who and what for, findings and accounts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from json import dumps
from typing import TYPE_CHECKING

from timmy_core.ledger.model import Account, Budget, Entry, Invoice, Payment, Sum
from ui import entry as whole
from ui import ledger_charts, parts, sats
from ui.icons import family_icon
from ui.markup import act

if TYPE_CHECKING:
    from timmy_core.ledger.findings import Finding
    from ui.book import Here

SHOWN = 6
_ID_CHARS = 8
_NEARLY = 0.8  # of a budget: from here on it is worth a look
_PERIODS = {"day": "today", "week": "this week", "month": "this month"}


# Pending -----------------------------------------------------------------------------------------------------


def pending(here: Here) -> str:
    """Return what is not decided yet, oldest first, with its age. HTML."""
    if not here.pending:
        return parts.section("Pending", parts.empty("Nothing is under way."))
    rows = "".join(_waits(one) for one in here.pending[:SHOWN])
    left = len(here.pending) - SHOWN
    more = f'<p class="tw-muted">{_seek({"status": "pending"}, f"and {left} more →")}</p>' if left > 0 else ""
    note = f"{parts.plural(len(here.pending), 'entry', 'entries')}, oldest first"
    return parts.section("Pending", f'<ul class="tw-list tw-waiting-of">{rows}</ul>{more}', note=note)


def _waits(one: Entry) -> str:
    incoming = isinstance(one, Invoice)
    amount = sats.signed(one.amount_msat if incoming else -one.amount_msat) if one.amount_msat else "any"
    then = (
        f"valid {_left(one)}"
        if incoming
        else f"{sats.words(one.hold_msat)} set aside"
        if isinstance(one, Payment)
        else ""
    )
    words = " · ".join(part for part in (f"since {_age(one)}", then, escape(one.agent_id or "")) if part)
    return (
        f'<li><div class="tw-name">{family_icon("invoice" if incoming else "payment")}'
        f'<span class="tw-ellipsis">{_seek({"entry": one.id}, whole.title(one))}</span></div><span class="tw-num">{amount}</span>'
        f'<div class="tw-more">{words}</div></li>'
    )


def _age(one: Entry) -> str:
    return parts.aged(one.created_at)


def _left(one: Entry) -> str:
    return parts.ends(one.expires_at) if one.expires_at else ""


def _seek(query: dict[str, str], words: str) -> str:
    return f'<a href="#" data-seek="{escape(dumps(query), quote=True)}">{escape(words)}</a>'


# Budgets -----------------------------------------------------------------------------------------------------


def budgets(here: Here) -> str:
    """Return every budget with a limit as a bar: spent, set aside, left. HTML."""
    button = act("Set a budget", {"action": "budget"}, carries="book")
    known = [one for one in here.budgets if one.limit_msat is not None]
    if not known:
        nothing = parts.empty("No agent has a budget: each may spend what there is.", then=button)
        return parts.section("Budgets", nothing)
    rows = "".join(_budget(one) for one in known)
    return parts.section("Budgets", f'<ul class="tw-meters">{rows}</ul><div class="tw-foot">{button}</div>')


def _budget(one: Budget) -> str:
    limit = one.limit_msat or 0
    used = one.spent_msat + one.held_msat
    tone = "bad" if used >= limit else "wait" if used >= _NEARLY * limit else "good"
    widths = [100 * amount / limit if limit else 100 * bool(amount) for amount in (one.spent_msat, one.held_msat)]
    order = {"action": "budget", "agent": one.agent_id, "period": one.period, "limit": sats.typed(limit)}
    held = f" · {sats.plain(one.held_msat)} set aside" if one.held_msat else ""
    left = "nothing left" if used >= limit else f"{sats.plain(limit - used)} left"
    words = f"{sats.plain(one.spent_msat)} of {sats.words(limit)} {_PERIODS[one.period]}"
    hint = escape(f"{words}{held}; begins anew {one.until:%d %b %H:%M} UTC", quote=True)
    return (
        f'<li title="{hint}"><span class="tw-name">{_seek({"agent": one.agent_id, "direction": "out"}, one.agent_id)}'
        f'<button type="button" class="tw-change" data-book="{escape(dumps(order), quote=True)}" '
        f'aria-label="change the budget of {escape(one.agent_id, quote=True)}">change</button></span>'
        f'<span class="tw-muted">{words}</span>'
        f'<span class="tw-meter"><i class="tw-{tone}" style="width:{min(100.0, widths[0]):.2f}%"></i>'
        f'<i class="tw-held" style="width:{min(100.0 - min(100.0, widths[0]), widths[1]):.2f}%"></i></span>'
        f'<span class="tw-under"><span class="tw-tone-{tone}">{left}{held}</span><span>anew {parts.anew(one.until)}</span></span></li>'
    )


# Who and what for --------------------------------------------------------------------------------------------


def shares(here: Here) -> str:
    """Return what settled by agent, by task and by source, the largest first. HTML."""
    stats, days = here.stats, len(here.stats.by_day)
    if not stats.total.invoices + stats.total.payments:
        nothing = f"Nothing settled in the last {parts.plural(days, 'day')}."
        return parts.section("By agent, task and source", parts.empty(nothing, then="Choose a longer time above."))
    columns = (
        ("By agent", "agent", stats.by_agent, "nobody"),
        ("By task", "task", stats.by_task, "no task"),
        ("By source", "source", [one for one in stats.by_source if one.invoices], "no source"),
    )
    return f'<div class="tw-shares">{"".join(_column(*column) for column in columns)}</div>'


def _column(title: str, key: str, sums: Sequence[Sum], nobody: str) -> str:
    largest = max((max(one.incoming_msat, one.outgoing_msat + one.fees_msat) for one in sums), default=0)
    rows = "".join(_share(key, one, largest, nobody) for one in sums[:SHOWN])
    left = len(sums) - SHOWN
    more = f'<li class="tw-muted">and {left} more</li>' if left > 0 else ""
    body = f'<ul class="tw-meters">{rows}{more}</ul>' if sums else parts.empty("Nothing settled.")
    return parts.section(title, body)


def _share(key: str, one: Sum, largest: int, nobody: str) -> str:
    went = one.outgoing_msat + one.fees_msat
    name = _seek({key: one.key}, _short(key, one.key)) if one.key else f'<span class="tw-muted">{nobody}</span>'
    words = " · ".join(sats.signed(amount) for amount in (one.incoming_msat, -went) if amount) or "0"
    bars = "".join(
        f'<span class="tw-meter"><i style="width:{100 * amount / (largest or 1):.2f}%;background:{ledger_charts.COLORS[what]}"></i></span>'
        for amount, what in ((one.incoming_msat, "came in"), (went, "went out"))
        if amount
    )
    hint = f"{parts.plural(one.invoices, 'invoice')}, {parts.plural(one.payments, 'payment')}, {sats.words(one.fees_msat)} of fees"
    return f'<li title="{hint}"><span class="tw-name tw-ellipsis">{name}</span><span class="tw-muted">{words}</span>{bars}</li>'


def _short(key: str, name: str) -> str:
    """Shorten a task's id as ids are shortened everywhere."""
    return "…" + name[-_ID_CHARS:] if key == "task" and len(name) > _ID_CHARS + 1 else name


# Findings and accounts ---------------------------------------------------------------------------------------


def findings(here: Here) -> str:
    """Return what the last comparisons found and nobody has settled yet, and what was settled lately. HTML."""
    number = len(here.findings)
    badge = parts.pill("bad" if number else "good", parts.plural(number, "finding") if number else "nothing to look at")
    rows = "".join(_finding(one) for one in here.findings)
    nothing = parts.empty(
        "Nothing waits for you: whatever the node said so far stands in the book.", then=_compared(here)
    )
    body = f'<ul class="tw-findings">{rows}</ul><p class="tw-muted">{_compared(here)}</p>' if number else nothing
    lately = "".join(_settled(one) for one in here.settled)
    past = (
        f'<h3 class="tw-lately">Settled lately</h3><ul class="tw-findings tw-settled">{lately}</ul>' if lately else ""
    )
    return _books("Findings", body + past, badge)


def _compared(here: Here) -> str:
    job = here.compared
    if job is None:
        return "The books are compared with the node when you press Compare above."
    last = f"Compared {parts.ago(job.last_at)}; the" if job.last_at else "The"
    trouble = f" It did not work: {escape(parts.sentence(job.problem))}" if job.problem else ""
    return f"{last} next time is {parts.anew(job.next_at)}.{trouble}"


def _settled(one: Finding) -> str:
    by = "written into the book" if one.mends else f"settled by {one.resolved_by}"
    when = parts.ago(one.resolved_at) if one.resolved_at else ""
    return (
        f"<li>{parts.pill('off', one.kind.replace('_', ' '))}<p>{escape(parts.sentence(one.words))} "
        f'<span class="tw-muted">{escape(by)}</span></p>{when}</li>'
    )


def _books(title: str, body: str, note: str) -> str:
    return f'<section class="tw-section" id="books"><h2>{title}<span>{note}</span></h2>{body}</section>'


def _finding(one: Finding) -> str:
    name = one.kind.replace("_", " ")
    entry = _seek({"text": one.payment_hash}, f"…{one.payment_hash[-8:]}") if one.payment_hash else ""
    done = act(
        "It is settled",
        {"action": "resolve", "id": one.id},
        carries="book",
        title="take this finding off the page; it stays on record",
    )
    todo = f'<br><span class="tw-muted">{escape(parts.sentence(one.action))}</span>' if one.action else ""
    return (
        f'<li>{parts.pill("wait", name)}<p>{escape(parts.sentence(one.words))} <span class="tw-muted">{entry}</span>{todo}</p>'
        f'<span class="tw-acts">{done}</span></li>'
    )


def accounts(here: Here) -> str:
    """Return every account with its balance, as a trial balance: the two sums are the same. HTML."""
    verify = act("Check every line", {"action": "verify"}, carries="book")
    known = [one for one in here.accounts if one.posted_debits_msat or one.posted_credits_msat or _waiting(one)]
    if not known:
        return parts.section("Accounts", parts.empty("No line is in the book yet.", then=verify))
    days = len(here.stats.by_day)
    rows = "".join(_account(one, days) for one in known)
    debits = sum(max(0, one.posted_debits_msat - one.posted_credits_msat) for one in known)
    credits_ = sum(max(0, one.posted_credits_msat - one.posted_debits_msat) for one in known)
    foot = (
        f"<tfoot><tr><th>{'the same on both sides' if debits == credits_ else 'NOT the same on both sides'}</th>"
        f"<td class='tw-num'>{sats.plain(debits)}</td><td class='tw-num'>{sats.plain(credits_)}</td></tr></tfoot>"
    )
    table = (
        "<table class='tw-accounts'><thead><tr><th>account</th><th class='tw-num'>debit</th><th class='tw-num'>credit</th></tr>"
        f"</thead><tbody>{rows}</tbody>{foot}</table>"
    )
    past = f"as of {parts.minute(here.as_of)}" if here.as_of else "in sat"
    return parts.section("Accounts", f'{table}<div class="tw-foot">{verify}</div>', note=past)


def _waiting(one: Account) -> int:
    return one.pending_debits_msat + one.pending_credits_msat


def _account(one: Account, days: int) -> str:
    difference = one.posted_debits_msat - one.posted_credits_msat
    sides = [sats.plain(amount) if amount > 0 else "" for amount in (difference, -difference)]
    waits = f' <span class="tw-muted">· {sats.plain(_waiting(one))} pending</span>' if _waiting(one) else ""
    order = escape(dumps({"action": "statement", "account": one.code, "days": days}), quote=True)
    name = escape(one.code).replace(":", ":<wbr>")
    name = f'<button type="button" class="tw-account" data-book="{order}" title="its lines of {parts.plural(days, "day")}">{name}</button>'
    return f"<tr><th>{name}{waits}</th><td class='tw-num'>{sides[0]}</td><td class='tw-num'>{sides[1]}</td></tr>"
