"""Observing: the node's word, brought into the ledger; all that a node tells comes through here, however late."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from timmy_core.clock import Clock
from timmy_core.errors import AlreadyPaidError, EntryStateError, LedgerError
from timmy_core.ledger.checks import MAX_MEMO_BYTES
from timmy_core.ledger.judge import Verdict, judge_invoice, judge_payment, proves
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Attempt, Invoice, Payment
from timmy_core.ledger.node import NodeInvoice, NodePayment

Apply = Literal["nothing", "routine", "all"]

ADOPTED: Final = "node"  # the source of an invoice that Timmy did not make
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Observed:
    """What came of a look: the entry as it stands now, what follows from the look, and whether it was done."""

    entry: Invoice | Payment | None
    verdict: Verdict
    done: bool = False
    before: str = ""  # the state that it was in


class Observer:
    """Compares entries with what a node says of them, and takes its word where it is proof. Safe from any thread.

    Args:
        ledger: the book.
        clock: the time.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def invoice(
        self,
        node: str,
        payment_hash: str,
        seen: NodeInvoice | None,
        *,
        proof: str,
        apply: Apply = "routine",
        intent_id: str | None = None,
    ) -> Observed:
        """Compare an invoice with what the node says of it, and do what follows.

        Args:
            node: the name of the node.
            payment_hash: of the invoice.
            seen: the node's word; None where it surely knows none of that hash.
            proof: how it was learnt.
            apply: what may be done: nothing, what is routine, or all.
            intent_id: whose invoice it is, where it has to be recorded first.
        """
        for _ in range(_TRIES):
            entry = self._ledger.find_invoice(node, payment_hash)
            verdict = judge_invoice(entry, seen, self._clock.now(), wanted=intent_id is not None)
            if not _may(verdict, apply):
                return Observed(entry, verdict, before=_state(entry))
            try:
                after = self._invoice_step(node, payment_hash, seen, verdict, proof, intent_id)
            except EntryStateError:
                continue  # somebody else was first; what follows now may be something else
            return Observed(after, verdict, done=True, before=_state(entry))
        return Observed(self._ledger.find_invoice(node, payment_hash), verdict)

    def payment(
        self, node: str, payment_hash: str, seen: NodePayment | None, *, proof: str, apply: Apply = "routine"
    ) -> Observed:
        """Compare a payment with what the node says of it, and do what follows; arguments as for `invoice`."""
        for _ in range(_TRIES):
            entry = self._ledger.find_payment(node, payment_hash)
            verdict = judge_payment(entry, seen, self._clock.now(), self._latest(entry))
            if not _may(verdict, apply):
                return Observed(entry, verdict, before=_state(entry))
            try:
                after = self._payment_step(node, payment_hash, seen, verdict, proof)
            except (EntryStateError, AlreadyPaidError):
                continue
            return Observed(after, verdict, done=True, before=_state(entry))
        return Observed(self._ledger.find_payment(node, payment_hash), verdict)

    def told(self, node: str, seen: NodePayment, *, proof: str) -> Observed:
        """Take the answer to a call of our own; unlike something looked up it tells of the attempt at hand."""
        if seen.state != "failed":
            return self.payment(node, seen.payment_hash, seen, proof=proof)
        reason = seen.failure or "the node says that it failed"
        with contextlib.suppress(EntryStateError):  # somebody else was first, and has the later word
            self._ledger.fail_payment(node, seen.payment_hash, reason=reason, sure=True)
        return self.payment(node, seen.payment_hash, seen, proof=proof)

    def _latest(self, entry: Payment | None) -> Attempt | None:
        attempts = [] if entry is None else self._ledger.attempts(entry.id)
        return attempts[-1] if attempts else None

    def _invoice_step(
        self, node: str, payment_hash: str, seen: NodeInvoice | None, verdict: Verdict, proof: str,
        intent_id: str | None,
    ) -> Invoice:  # fmt: skip
        ledger = self._ledger
        if verdict.step == "cancel":
            return ledger.cancel_invoice(node, payment_hash, reason=verdict.reason)
        if verdict.step == "expire":
            return ledger.expire_invoice(node, payment_hash)
        if seen is None:
            message = f"the invoice {payment_hash} cannot {verdict.step}: the node did not tell of it; this is a bug"
            raise LedgerError(message)
        if verdict.step == "adopt":
            recorded = ledger.record_invoice(
                node=node, payment_hash=payment_hash, bolt11=seen.bolt11, amount_msat=seen.amount_msat,
                memo=_fitting(seen.memo), expires_at=seen.expires_at, created_at=seen.created_at, source=ADOPTED,
                intent_id=intent_id,
            )  # fmt: skip
            if seen.state not in {"accepted", "settled"}:
                return self._unpaid(recorded, seen)
        if seen.state == "accepted":
            return ledger.accept_invoice(node, payment_hash)
        return ledger.settle_invoice(
            node, payment_hash, received_msat=seen.amount_msat if seen.received_msat is None else seen.received_msat,
            settled_at=self._at(seen.settled_at), proof=proof,
            # The node's word books what came in; a preimage that proves nothing is not kept.
            preimage=seen.preimage if proves(seen.preimage, payment_hash) else None,
        )  # fmt: skip

    def _unpaid(self, recorded: Invoice, seen: NodeInvoice) -> Invoice:
        """Follow what became of an invoice that was recorded only now, and that nobody paid."""
        if seen.state == "canceled":
            return self._ledger.cancel_invoice(recorded.node, recorded.payment_hash, reason="the node canceled it")
        if seen.state == "expired":
            return self._ledger.expire_invoice(recorded.node, recorded.payment_hash)
        return recorded

    def _payment_step(
        self, node: str, payment_hash: str, seen: NodePayment | None, verdict: Verdict, proof: str
    ) -> Payment:
        ledger = self._ledger
        if verdict.step == "fail":
            return ledger.fail_payment(node, payment_hash, reason=verdict.reason, sure=True)
        entry = ledger.find_payment(node, payment_hash)
        if verdict.step == "in_flight" and entry is not None:
            return ledger.mark_in_flight(entry.id)
        if seen is None or seen.preimage is None:
            message = f"the payment {payment_hash} cannot {verdict.step} without a preimage; this is a bug"
            raise LedgerError(message)
        amount, fee, preimage = seen.amount_msat, seen.fee_msat or 0, seen.preimage
        at = self._at(seen.settled_at)
        if verdict.step == "adopt":
            return ledger.adopt_payment(
                node=node, payment_hash=payment_hash, bolt11="", amount_msat=amount, fee_msat=fee, preimage=preimage,
                proof=proof, settled_at=at, created_at=seen.created_at,
            )  # fmt: skip
        if verdict.step == "compensate":
            return ledger.settle_failed(
                node, payment_hash, amount_msat=amount, fee_msat=fee, preimage=preimage, proof=proof, settled_at=at
            )
        return ledger.settle_payment(
            node, payment_hash, amount_msat=amount, fee_msat=fee, preimage=preimage, proof=proof, settled_at=at,
            beyond_hold=verdict.step == "settle_beyond",
        )  # fmt: skip

    def _at(self, moment: datetime | None) -> datetime:
        return self._clock.now() if moment is None else moment


def _fitting(memo: str) -> str:
    """Return as much of a memo as an invoice of ours could carry."""
    return memo.encode(errors="replace")[:MAX_MEMO_BYTES].decode(errors="ignore")


def _state(entry: Invoice | Payment | None) -> str:
    return "" if entry is None else entry.status


def _may(verdict: Verdict, apply: Apply) -> bool:
    return verdict.step != "none" and (apply == "all" or (apply == "routine" and verdict.routine))
