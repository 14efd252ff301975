"""Judging: what the ledger says beside what the node says, and what follows. Pure; nothing is read or written here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from timmy_core.ledger.findings import FindingKind
from timmy_core.ledger.model import Attempt, Invoice, Payment
from timmy_core.ledger.money import words as sats
from timmy_core.ledger.node import NodeInvoice, NodePayment

Step = Literal[
    "none", "adopt", "accept", "settle", "cancel", "expire", "in_flight", "fail", "settle_beyond", "compensate"
]

UNSENT_S: Final = 120.0  # a payment that was begun this long ago and never sent has lost whoever began it
YOUNG_S: Final = 120.0  # what is younger may still be recorded by whoever made it
UNKNOWN_S: Final = 600.0  # from then on it is worth a word that the node does not know it
VOID_AFTER: Final = timedelta(hours=24)  # after the expiry; what the node does not know then, it will never pay
_SKEW_S: Final = 5.0  # by how much the node's clock may differ

UNSENT: Final = "its process ended before the node was asked"
UNKNOWN: Final = "the node does not know it, a day after the invoice expired"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from comparing one entry with the node's word.

    Attributes:
        step: what brings the ledger to what the node proves.
        kind: what is not as it should be; None where nothing is.
        routine: the node simply knows by now how it ended.
        reason: why a payment fails, or an invoice is canceled.
        words: what it is, in a sentence.
        action: what the step does; or what a person is to do.
    """

    step: Step = "none"
    kind: FindingKind | None = None
    routine: bool = False
    reason: str = ""
    words: str = ""
    action: str = ""


AGREED: Final = Verdict()

_DONE: Final[dict[Step, str]] = {
    "accept": "note that it is being paid",
    "settle": "book it as settled",
    "cancel": "book it as canceled",
    "expire": "book it as expired",
    "in_flight": "note that it is under way",
    "fail": "book it as failed, and give back what was set aside",
}


def _routine(step: Step, words: str, reason: str = "") -> Verdict:
    return Verdict(step, "status", routine=True, reason=reason, words=words, action=_DONE[step])


def _odd(kind: FindingKind, words: str, action: str, step: Step = "none", reason: str = "") -> Verdict:
    return Verdict(step, kind, reason=reason, words=words, action=action)


# Invoices --------------------------------------------------------------------------------------------------------


def judge_invoice(entry: Invoice | None, seen: NodeInvoice | None, now: datetime, *, wanted: bool = False) -> Verdict:
    """Say what follows for an invoice.

    Args:
        entry: what the ledger has.
        seen: the node's word; None where it surely knows none of that hash.
        now: the time.
        wanted: an intent wanted this very invoice.
    """
    if entry is None:
        return AGREED if seen is None else _unknown_invoice(seen, now, wanted=wanted)
    if seen is None:
        return _lost_invoice(entry, now)
    if entry.status == "settled":
        return _settled_invoice(entry, seen)
    if entry.status == "canceled":
        if seen.state != "settled":
            return AGREED
        words = f"the ledger has it as canceled, and the node received {_received(seen)}"
        return _odd("status", words, "look at the node; the amount stands in Equity:Suspense once it is booked there")
    return _live_invoice(entry, seen)


def _live_invoice(entry: Invoice, seen: NodeInvoice) -> Verdict:
    late = entry.status == "expired"
    if seen.state == "settled":
        words = f"the node received {_received(seen)}" + (", after the invoice had expired" if late else "")
        return _routine("settle", words)
    if late:
        return AGREED
    if seen.state == "accepted" and entry.status == "open":
        return _routine("accept", "somebody is paying it")
    if seen.state == "canceled":
        return _routine("cancel", "the node canceled it", "the node canceled it")
    if seen.state == "expired":
        return _routine("expire", "it expired unpaid")
    return AGREED


def _unknown_invoice(seen: NodeInvoice, now: datetime, *, wanted: bool) -> Verdict:
    moved_nothing = seen.state in {"canceled", "expired"} and not wanted
    if moved_nothing or (now - seen.created_at).total_seconds() < YOUNG_S:
        return AGREED  # it need not be in the book, or whoever made it is about to record it
    words = f"the node has an invoice of {sats(seen.amount_msat)} that the ledger lacks; it is {seen.state}"
    return _odd("missing_in_ledger", words, "record it as the node tells it", "adopt")


def _lost_invoice(entry: Invoice, now: datetime) -> Verdict:
    if entry.status in {"canceled", "expired"}:
        return AGREED
    if entry.status == "settled":
        words = f"the ledger has {sats(entry.received_msat or 0)} as received, and the node knows nothing of it"
        return _odd("missing_on_node", words, "ask whoever runs the node; nothing is changed here")
    if now >= entry.expires_at + VOID_AFTER:
        words = f"the node does not know the open invoice of {sats(entry.amount_msat)}, a day after it expired"
        return _odd("missing_on_node", words, "book it as expired", "expire")
    if (now - entry.created_at).total_seconds() < UNKNOWN_S:
        return AGREED
    words = f"the node does not know the open invoice of {sats(entry.amount_msat)}; it may have been restored"
    return _odd("missing_on_node", words, f"nothing before {_day_after(entry.expires_at)}; then it counts as expired")


def _settled_invoice(entry: Invoice, seen: NodeInvoice) -> Verdict:
    if seen.state != "settled":
        words = f"the ledger has it as settled, and the node says {seen.state}"
        return _odd("status", words, "ask whoever runs the node; nothing is changed here")
    received = entry.amount_msat if entry.received_msat is None else entry.received_msat
    if seen.received_msat not in (None, received):
        words = f"the ledger booked {sats(received)} as received, and the node says {_received(seen)}"
        return _odd("amount", words, "look at both; the difference goes to Equity:Suspense")
    if entry.preimage and seen.preimage and entry.preimage != seen.preimage:
        return _odd("preimage", "ledger and node have different preimages of it", "ask whoever runs the node")
    return AGREED


def _received(seen: NodeInvoice) -> str:
    return sats(seen.amount_msat if seen.received_msat is None else seen.received_msat)


# Payments --------------------------------------------------------------------------------------------------------


def judge_payment(
    entry: Payment | None, seen: NodePayment | None, now: datetime, attempt: Attempt | None = None
) -> Verdict:
    """Say what follows for a payment; `attempt` is its latest one."""
    if entry is None:
        return AGREED if seen is None else _unknown_payment(seen, now)
    if seen is not None and seen.state == "failed" and _is_of_before(seen, attempt, now):
        seen = None  # it tells of an attempt that ended before this one began
    if entry.status == "settled":
        return _settled_payment(entry, seen)
    if entry.status == "failed":
        return _failed_payment(entry, seen)
    return _live_payment(entry, seen, now, attempt)


def _live_payment(entry: Payment, seen: NodePayment | None, now: datetime, attempt: Attempt | None) -> Verdict:
    if seen is not None and seen.state == "settled":
        return _paid(entry, seen)
    if entry.status == "initiated":
        return _unsent(entry, seen, now, attempt)
    if seen is None:
        return _lost_payment(entry, now, attempt)
    if seen.state == "failed":
        reason = seen.failure or "the node says that it failed"
        return _routine("fail", f"the node could not pay it: {reason}", reason)
    return AGREED


def _is_of_before(seen: NodePayment, attempt: Attempt | None, now: datetime) -> bool:
    """Whether a failure that the node tells may belong to an earlier call with the same invoice."""
    if attempt is None or (attempt.started_at - seen.created_at).total_seconds() <= _SKEW_S:
        return False
    return attempt.number > 1 or (now - attempt.started_at).total_seconds() < UNSENT_S


def _unknown_payment(seen: NodePayment, now: datetime) -> Verdict:
    if seen.state == "failed" or (now - seen.created_at).total_seconds() < YOUNG_S:
        return AGREED
    words = f"the node has a payment of {sats(seen.amount_msat)} that the ledger lacks; it is {seen.state}"
    if seen.state == "in_flight":
        return _odd("missing_in_ledger", words, "it is recorded once the node knows how it ended")
    if not proves(seen.preimage, seen.payment_hash):
        return _odd("preimage", f"{words}, without a proof", "ask whoever runs the node; the sum goes to Suspense")
    return _odd("missing_in_ledger", words, "record it as the node tells it", "adopt")


def _paid(entry: Payment, seen: NodePayment) -> Verdict:
    if not proves(seen.preimage, seen.payment_hash):
        words = "the node says that it was paid, and its preimage does not belong to the payment hash"
        return _odd("preimage", words, "ask whoever runs the node; what was set aside stays so")
    spent = seen.amount_msat + (seen.fee_msat or 0)
    if spent > entry.hold_msat:
        words = f"the node spent {sats(spent)} on it, more than the {sats(entry.hold_msat)} that were set aside"
        return _odd("fee", words, "book what was spent", "settle_beyond")
    if seen.amount_msat != entry.amount_msat:
        words = f"the node paid {sats(seen.amount_msat)}, and {sats(entry.amount_msat)} were to be paid"
        return _odd("amount", words, "book what was paid", "settle")
    return _routine("settle", f"the node paid {sats(seen.amount_msat)} and {sats(seen.fee_msat or 0)} of fees")


def _unsent(entry: Payment, seen: NodePayment | None, now: datetime, attempt: Attempt | None) -> Verdict:
    if seen is not None and seen.state == "in_flight":
        return _routine("in_flight", "the node is paying it")
    begun = entry.created_at if attempt is None else attempt.started_at
    if (now - begun).total_seconds() < UNSENT_S:
        return AGREED
    return _routine("fail", "it was begun, and the node was never asked to pay it", UNSENT)


def _lost_payment(entry: Payment, now: datetime, attempt: Attempt | None) -> Verdict:
    sent = entry.created_at if attempt is None else attempt.sent_at or attempt.started_at
    last = max(sent, entry.expires_at or sent)
    if now >= last + VOID_AFTER:
        words = f"the node does not know the payment of {sats(entry.amount_msat)}, a day after its invoice expired"
        return _odd("missing_on_node", words, _DONE["fail"], "fail", UNKNOWN)
    if (now - sent).total_seconds() < UNKNOWN_S:
        return AGREED
    words = f"the node does not know the payment of {sats(entry.amount_msat)} that it was asked for"
    return _odd("missing_on_node", words, f"nothing before {_day_after(last)}; then it counts as failed")


def _failed_payment(entry: Payment, seen: NodePayment | None) -> Verdict:
    if seen is None or seen.state == "failed":
        return AGREED
    if seen.state == "in_flight":
        words = f"the ledger has the payment of {sats(entry.amount_msat)} as failed, and the node is paying it"
        return _odd("status", words, "it is booked once the node knows how it ended")
    words = f"the ledger has the payment as failed, and the node paid {sats(seen.amount_msat)}"
    if not proves(seen.preimage, seen.payment_hash):
        return _odd("preimage", f"{words}, without a proof", "ask whoever runs the node; the sum goes to Suspense")
    return _odd("status", words, "book it as settled by a compensating transfer", "compensate")


def _settled_payment(entry: Payment, seen: NodePayment | None) -> Verdict:
    if seen is None:
        words = f"the ledger has {sats(entry.amount_msat)} as paid, and the node knows nothing of it"
        return _odd("missing_on_node", words, "ask whoever runs the node; nothing is changed here")
    if seen.state != "settled":
        words = f"the ledger has it as settled, and the node says {seen.state}"
        return _odd("status", words, "ask whoever runs the node; nothing is changed here")
    if seen.amount_msat != entry.amount_msat:
        words = f"the ledger booked {sats(entry.amount_msat)} as paid, and the node says {sats(seen.amount_msat)}"
        return _odd("amount", words, "look at both; the difference goes to Equity:Suspense")
    if seen.fee_msat not in (None, entry.fee_msat):
        words = f"the ledger booked {sats(entry.fee_msat or 0)} of fees, and the node says {sats(seen.fee_msat or 0)}"
        return _odd("fee", words, "look at both; the difference goes to Equity:Suspense")
    if entry.preimage and seen.preimage and entry.preimage != seen.preimage:
        return _odd("preimage", "ledger and node have different preimages of it", "ask whoever runs the node")
    return AGREED


def proves(preimage: str | None, payment_hash: str) -> bool:
    """Whether a preimage (hex) is that of a payment hash (hex)."""
    try:
        return preimage is not None and hashlib.sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash
    except ValueError:
        return False


def _day_after(moment: datetime) -> str:
    return f"{moment + VOID_AFTER:%Y-%m-%d %H:%M} UTC"
