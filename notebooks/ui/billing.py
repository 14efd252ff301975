"""What the dialogs of the ledger page show: an invoice with its QR code, one that is to be paid, a comparison. HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from timmy_core.ledger.model import Entry, Invoice, Line, Payment, Statement
from ui import entry as whole
from ui import parts, qr, sats
from ui.icons import icon
from ui.markup import act

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.ledger.findings import Finding
    from timmy_core.ledger.payments import Decoded
    from timmy_core.ledger.reconcile import Report

Reply = dict[str, Any]
_MARKS = {"good": "ok", "wait": "wait", "bad": "bad", "off": "off"}


# Asking for sats ---------------------------------------------------------------------------------------------


def bill(timmy: Timmy, one: Entry) -> Reply:
    """Return an invoice to be shown: its code while it can be paid, then what became of it."""
    play = any(node.play for node in timmy.payments.nodes() if node.name == one.node)
    if one.shown != "pending":
        return _ended(one)
    amount = sats.big(one.amount_msat) if one.amount_msat else "any amount"
    memo = f"<p>{escape(one.memo)}</p>" if one.memo else "<p></p>"
    valid = f"valid {parts.ends(one.expires_at)}" if one.expires_at else ""
    pays = act("Have the neighbour pay it", {"action": "neighbour_pays", "id": one.id}, carries="book")
    note = f'<div class="tw-play-note"><p class="tw-muted">{_PLAY}</p>{pays}</div>' if play else ""
    label = f"QR code of the invoice for {sats.words(one.amount_msat)}"
    html = (
        f'<div class="tw-bill-sum"><span class="tw-card-number">{amount}</span>{parts.pill("wait", "waits to be paid")}'
        f'<span class="tw-muted">{valid}</span></div>{memo}{qr.svg(one.bolt11, label=label)}'
        f'<button type="button" class="tw-bill-text" data-copy="{escape(one.bolt11, quote=True)}" '
        f'title="click copies the invoice">{escape(one.bolt11)}</button>{note}'
    )
    return {"kind": "shown", "title": "To be paid to you", "html": html, "open": True, "id": one.id}


_PLAY = "A play node made it: only its neighbour, with play sats, can pay it."


def _ended(one: Entry) -> Reply:
    if one.shown == "settled":
        amount = sats.words(whole.amount(one))
        more = (
            "It came after the invoice had expired, and counts all the same."
            if isinstance(one, Invoice) and one.late
            else ""
        )
        return _outcome("good", f"{amount} came in", escape(one.memo) or more, one)
    word = "It has expired; nobody paid it in time." if one.shown == "expired" else "It was called off."
    return _outcome("off", word, "Make a new one if it is still wanted.", one)


def _outcome(state: str, title: str, words: str, one: Entry) -> Reply:
    html = (
        f'<div class="tw-paid-mark tw-{state}">{icon(_MARKS[state], size=40)}</div>'
        f'<p class="tw-centre">{words or "&nbsp;"}</p>'
    )
    return {
        "kind": "shown", "title": title, "html": html, "open": False, "id": one.id, "final": True,
        "state": state if state in ("good", "bad") else "wait", "words": f"{title}.",
    }  # fmt: skip


# Paying ------------------------------------------------------------------------------------------------------


def to_pay(timmy: Timmy, found: Decoded) -> Reply:
    """Return an invoice that was decoded, with what paying it would do, or why it cannot be paid."""
    invoice = found.invoice
    balance = timmy.ledger.balance(found.node)
    told = "".join(f'<p class="tw-trouble">{escape(parts.sentence(words))}</p>' for words in found.problems)
    amount = sats.big(invoice.amount_msat) if invoice.amount_msat else "any amount"
    memo = invoice.description or ""
    limit = found.fee_limit_msat if invoice.amount_msat and found.fee_limit_msat is not None else None
    consequence = ""
    if found.payable and invoice.amount_msat and limit is not None:
        held = invoice.amount_msat + limit
        left = balance.available_msat - held
        consequence = (
            f'<p class="tw-muted">Up to {sats.words(held)} of {sats.words(balance.available_msat)} on {escape(found.node)} '
            f"are set aside; at least {sats.words(max(0, left))} stay. What the route does not cost comes back.</p>"
        )
    html = (
        f'<div class="tw-bill-sum"><span class="tw-card-number">{amount}</span></div><p>{escape(memo)}</p>{told}'
        f"{parts.facts(whole.invoice_facts(invoice))}{consequence}"
    )
    word = f"Pay {sats.words(invoice.amount_msat)}" if invoice.amount_msat else "Pay it"
    return {
        "kind": "decoded", "html": html, "payable": found.payable, "amountless": invoice.amount_msat is None,
        "fee_limit": "" if limit is None else sats.typed(limit), "node": found.node, "bolt11": invoice.text,
        "button": word,
    }  # fmt: skip


def paid(one: Payment) -> Reply:
    """Return what became of a payment."""
    if one.shown == "settled":
        fee = f"and {sats.words(one.fee_msat)} of fees" if one.fee_msat else "and no fee"
        return _outcome("good", f"{sats.words(one.amount_msat)} paid, {fee}", escape(one.memo), one)
    if one.shown == "failed":
        reason = parts.sentence(one.failure or "the node did not say why")
        return _outcome("bad", "It was not paid", f"{escape(reason)} Nothing was taken.", one)
    words = (
        f"{sats.words(one.hold_msat)} stay set aside until the node says how it ended. The page shows it under Pending."
    )
    return _outcome("wait", "It is under way", words, one)


# Comparing ---------------------------------------------------------------------------------------------------


def report(found: Report) -> Reply:
    """Return a comparison: both balances, what differs, and what would be, or was, written."""
    mends = [one for one in found.findings if one.mends]
    others = [one for one in found.findings if not one.mends]
    waits = [one for one in others if not one.routine]
    rows = "".join(_row(one, done=not found.dry_run) for one in (*mends, *others))
    body = (
        f'<ul class="tw-report-rows">{rows}</ul>'
        if rows
        else "<p>Every invoice and payment is the same on both sides.</p>"
    )
    reply: Reply = {"kind": "report", "html": _balances(found) + body, "button": "", "order": None}
    if not found.dry_run:
        return reply | {
            "title": f"{parts.plural(found.applied, 'change')} written" if found.applied else _agrees(waits)
        }
    if not mends:
        return reply | {"title": _agrees(waits)}
    changes = parts.plural(len(mends), "change")
    order = {"action": "reconcile", "node": found.node, "sure": True}
    return reply | {"title": f"{changes} would be written", "button": f"Write {changes} into the book", "order": order}


def _balances(found: Report) -> str:
    node, residue = found.balance_node_msat, found.residue_msat
    moved = "it moved while it was looked at" if node is None else sats.words(node)
    left = "not known" if residue is None else sats.words(residue) if residue else "none"
    after = "the book says, after these changes" if found.dry_run and found.findings else "the book says"
    pairs = [
        (f"the node {found.node} holds", moved),
        (after, sats.words(found.balance_ledger_msat)),
        ("difference", left),
    ]
    part = (
        ""
        if found.complete
        else '<p class="tw-muted">Not everything was looked at; comparing again goes on from there.</p>'
    )
    compared = f'<p class="tw-muted">{parts.plural(found.looked, "entry", "entries")} compared.</p>'
    return parts.facts(pairs) + compared + part


def _agrees(waits: list[Finding]) -> str:
    return f"{parts.plural(len(waits), 'finding')} to look at" if waits else "The books and the node agree"


def _row(one: Finding, *, done: bool) -> str:
    state: parts.State = "info" if one.mends and not done else "good" if one.mends else "wait"
    word = one.kind.replace("_", " ")
    return (
        f"<li>{parts.pill(state, word)}<span>{escape(parts.sentence(one.words))}</span>"
        f'<span class="tw-muted">{escape(parts.sentence(one.action))}</span></li>'
    )


# An account --------------------------------------------------------------------------------------------------


def statement(found: Statement) -> Reply:
    """Return the newest lines of an account with the balance after each, newest first."""
    rows = "".join(
        f"<tr><td>{parts.minute(line.transfer.at)}</td><td>{_other(line, found.account)}</td>"
        f"<td class='tw-num'>{_change(line)}</td><td class='tw-num'>{sats.plain(line.balance_msat)}</td></tr>"
        for line in reversed(found.lines)
    )
    table = (
        '<div class="tw-statement"><table class="tw-postings"><thead><tr><th>when</th><th>with</th>'
        f'<th class="tw-num">change</th><th class="tw-num">balance</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    pairs = [("closing", sats.words(found.closing_msat)), ("opening", sats.words(found.opening_msat))]
    body = table if found.lines else "<p>No line in this time.</p>"
    html = parts.facts(pairs[:1]) + body + parts.facts(pairs[1:])
    return {"kind": "report", "title": found.account, "html": html, "button": "", "order": None}


def _other(line: Line, account: str) -> str:
    one = line.transfer
    other = one.credit if one.debit == account else one.debit
    words = escape(other).replace(":", ":<wbr>")
    return f'{words} <span class="tw-muted">{escape(one.memo)}</span>' if one.memo else words


def _change(line: Line) -> str:
    if line.change_msat:
        return sats.signed(line.change_msat)
    return (
        f'<span class="tw-muted">({sats.signed(line.pending_change_msat)})</span>' if line.pending_change_msat else "0"
    )
