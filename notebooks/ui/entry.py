"""One invoice or payment in full: what it is, its invoice decoded, its lines in the book, and what happened around it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from json import dumps
from typing import TYPE_CHECKING

from timmy_core import TimmyError
from timmy_core.ledger import bolt11
from timmy_core.ledger.model import Attempt, Entry, Invoice, Payment, Transfer
from ui import parts, sats, traces
from ui.icons import family_icon
from ui.markup import act

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.ledger.bolt11 import Invoice11

_STATES: dict[str, parts.State] = {"pending": "wait", "settled": "good", "failed": "bad", "expired": "off"}
_MEANING: dict[str, str] = {
    "open": "nobody has paid it yet",
    "accepted": "the payment is here, and not taken yet",
    "canceled": "it was called off, and can no longer be paid",
    "expired": "nobody paid it in time",
    "initiated": "it is written down; the node was not asked yet",
    "in_flight": "the node tries to pay it; the money is set aside",
    "failed": "it was not paid, and nothing was taken",
    "settled": "it is paid",
}


def amount(one: Entry) -> int:
    """Return what arrived or was paid where that is known, else what was asked for; without the fee."""
    if isinstance(one, Invoice) and one.received_msat is not None:
        return one.received_msat
    return one.amount_msat


def title(one: Entry) -> str:
    """Return what an entry is about: its memo, or the end of its hash."""
    return " ".join(one.memo.split()) or f"…{one.payment_hash[-8:]}"


def pill(one: Entry) -> str:
    """Return an entry's state in the four words of everybody, with the exact one on hover. HTML."""
    word, meaning = one.shown, _MEANING.get(one.status, one.status)
    more = ""
    if isinstance(one, Invoice) and one.late:
        more = ", after it had expired"
    if isinstance(one, Payment) and one.compensated:
        more = ", though it had been booked as failed"
    return parts.pill(_STATES[word], word, title=f"{one.status.replace('_', ' ')}: {meaning}{more}")


def detail(timmy: Timmy, key: str) -> str:
    """Return everything about one entry; what is wrong becomes words."""
    try:
        one = timmy.ledger.get(key)
        postings = timmy.ledger.postings(key)
        attempts = timmy.ledger.attempts(key) if isinstance(one, Payment) else []
        spans = timmy.questions.trace(one.trace_id) if one.trace_id else []
    except TimmyError as error:
        return f"{_head(None)}{parts.empty(parts.sentence(str(error)))}"
    return (
        f"{_head(one)}{_sums(one)}{_actions(one)}{parts.facts(_facts(one))}{_tried(attempts)}{_lines(postings)}"
        f"{_decoded(one)}{_happened(spans, one)}"
    )


def _head(one: Entry | None) -> str:
    shut = '<a class="tw-step-to" href="#" data-seek=\'{"entry": ""}\' data-add="true" title="close" aria-label="close">&times;</a>'
    if one is None:
        return f'<h3 class="tw-entry-title"><span>Not found</span>{shut}</h3>'
    icon = family_icon("invoice" if isinstance(one, Invoice) else "payment", size=16)
    return f'<h3 class="tw-entry-title">{icon}<span>{escape(title(one))}</span>{shut}</h3>'


def _sums(one: Entry) -> str:
    word = {"in": {"settled": "came in", "pending": "asked for"}, "out": {"settled": "paid", "pending": "to be paid"}}
    what = word[one.direction].get(one.shown, "asked for" if one.direction == "in" else "not paid")
    number = sats.big(amount(one)) if amount(one) else "any amount"
    more = []
    if isinstance(one, Payment):
        if one.fee_msat is not None:
            more.append(f"and {sats.words(one.fee_msat)} of fees")
        elif one.shown == "pending":
            more.append(f"{sats.words(one.hold_msat)} set aside, with fees of at most {sats.plain(one.fee_limit_msat)}")
    elif one.received_msat not in (None, one.amount_msat) and one.amount_msat:
        more.append(f"{sats.words(one.amount_msat)} were asked for")
    words = f'<span class="tw-muted">{what}{" · " if more else ""}{" · ".join(more)}</span>'
    return f'<div class="tw-entry-sum"><span class="tw-card-number">{number}</span>{pill(one)}{words}</div>'


def _actions(one: Entry) -> str:
    acts = []
    if isinstance(one, Invoice) and one.shown == "pending":
        acts.append(act("Show the QR code", {"action": "show", "id": one.id}, style="safe", carries="book"))
    if one.shown == "pending":
        acts.append(act("Ask the node", {"action": "check", "id": one.id}, carries="book"))
    if isinstance(one, Invoice) and one.shown in ("expired", "failed"):
        order = {"action": "invoice", "amount": sats.typed(one.amount_msat)}
        acts.append(act("A new one like it", order, carries="book"))
    return f'<div class="tw-acts">{"".join(acts)}</div>' if acts else ""


def _facts(one: Entry) -> list[tuple[str, str]]:
    found = [("state", escape(f"{one.status.replace('_', ' ')}: {_MEANING.get(one.status, '')}"))]
    if isinstance(one, Payment) and one.failure:
        found.append(("reason", escape(parts.sentence(one.failure))))
    found.append(("begun", f"{parts.moment(one.created_at)} · {parts.ago(one.created_at)}"))
    if one.settled_at:
        found.append(("settled", f"{parts.moment(one.settled_at)} · {parts.ago(one.settled_at)}"))
    if one.expires_at and one.shown != "settled":
        found.append(("valid until", parts.minute(one.expires_at)))
    found += [
        (name, _filter(name, value))
        for name, value in (
            ("node", one.node),
            ("agent", one.agent_id),
            ("task", one.task_id),
            ("source", one.source if isinstance(one, Invoice) else None),
        )
        if value
    ]
    found.append(("payment hash", parts.ident(one.payment_hash, chars=16)))
    if one.preimage:
        found.append(("preimage", parts.ident(one.preimage, chars=16)))
    if one.proof:
        found.append(("proof", escape(one.proof)))
    found.append(("invoice", parts.ident(one.bolt11, chars=16)))
    found.append(("id", parts.ident(one.id)))
    return found


def _filter(name: str, value: str) -> str:
    order = escape(dumps({name: value, "entry": ""}), quote=True)
    return f'<a href="#" data-seek="{order}" data-add="true" title="show all of {name} {escape(value, quote=True)}">{escape(value)}</a>'


def _tried(attempts: Sequence[Attempt]) -> str:
    if len(attempts) < len(("one", "two")) and not any(one.notes for one in attempts):
        return ""
    rows = "".join(
        f"<li><span>attempt {one.number}</span> <span class='tw-muted'>{escape(one.failure or one.status.replace('_', ' '))}"
        f"{''.join(f' · {escape(note)}' for note in one.notes[:4])}</span>{parts.ago(one.started_at)}</li>"
        for one in attempts
    )
    return f'<h4>Attempts</h4><ul class="tw-lines-of">{rows}</ul>'


def _lines(postings: Sequence[Transfer]) -> str:
    """The transfers as a bookkeeper reads them: debit, credit, amount; what is only set aside looks so."""
    if not postings:
        return '<h4>In the book</h4><p class="tw-muted">Nothing yet: an invoice is booked when it is paid.</p>'
    rows = "".join(
        f'<tr class="tw-posting-{one.kind}"><td title="{one.kind} · #{one.seq}">{_KIND[one.kind]}</td>'
        f"<td>{_account(one.debit)}</td><td>{_account(one.credit)}</td><td class='tw-num'>{sats.plain(one.amount_msat)}</td></tr>"
        for one in postings
    )
    return (
        "<h4>In the book</h4><table class='tw-postings'><thead><tr><th></th><th>debit</th><th>credit</th>"
        f"<th class='tw-num'>sat</th></tr></thead><tbody>{rows}</tbody></table>"
    )


_KIND = {"single": "booked", "pending": "set aside", "post": "booked", "void": "given back"}


def _account(code: str) -> str:
    """An account's name may be broken behind each colon."""
    return escape(code).replace(":", ":<wbr>")


def _decoded(one: Entry) -> str:
    try:
        invoice = bolt11.decode(one.bolt11)
    except TimmyError as error:
        return f"<h4>Its invoice</h4><p class='tw-muted'>{escape(parts.sentence(str(error)))}</p>"
    return f"<details data-part='invoice' class='tw-more-of'><summary>Its invoice, decoded</summary>{parts.facts(invoice_facts(invoice))}</details>"


def invoice_facts(invoice: Invoice11) -> list[tuple[str, str]]:
    """Return what an invoice says, name by name."""
    described = invoice.description if invoice.description is not None else "only the hash of a text"
    hops = sum(len(route) for route in invoice.routes)
    found = [
        ("network", escape(invoice.network)),
        ("amount", sats.words(invoice.amount_msat) if invoice.amount_msat else "left to the payer"),
        ("for", escape(described) or '<span class="tw-muted">it does not say</span>'),
        ("payee", parts.ident(invoice.payee.hex(), chars=16)),
        ("made", f"{parts.minute(invoice.timestamp)} · {parts.ago(invoice.timestamp)}"),
        ("valid until", parts.minute(invoice.expires_at)),
        ("payment hash", parts.ident(invoice.payment_hash.hex(), chars=16)),
        ("last hop waits", parts.plural(invoice.min_final_cltv, "block")),
    ]
    if invoice.routes:
        found.append(("route hints", f"{parts.plural(len(invoice.routes), 'route')}, {parts.plural(hops, 'hop')}"))
    return found


def _happened(spans: Sequence[traces.Span], one: Entry) -> str:
    if not one.trace_id:
        return ""
    took = parts.latency(traces.took_ms(spans))
    number = parts.plural(len(spans), "event")
    return f"<h4>Its trace, {number} in {took}</h4>{traces.waterfall(spans)}"
