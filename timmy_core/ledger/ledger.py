"""The ledger: what came in and went out, in double entry; durable, and without any network."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.ledger.book import Book
from timmy_core.ledger.budgets import Budgets, Limits
from timmy_core.ledger.corrections import Corrections
from timmy_core.ledger.endings import Adopted, Endings, Paid
from timmy_core.ledger.intents import Intents, NewIntent
from timmy_core.ledger.invoices import Invoices, NewInvoice, Received
from timmy_core.ledger.model import (
    Budget,
    Intent,
    Invoice,
    Payment,
    Period,
    Transfer,
)
from timmy_core.ledger.outgoing import Decoded, Outgoing, check_payment
from timmy_core.ledger.reading import Reading
from timmy_core.store.engine import Store

__all__ = ["Decoded", "Ledger", "Limits"]

# Named, because inside the class `list` is the method.
IntentList: TypeAlias = list[Intent]
InvoiceList: TypeAlias = list[Invoice]
BudgetList: TypeAlias = list[Budget]


class Ledger(Reading):
    """The book of a home; safe to use from any thread. What it returns is durable.

    It talks to no node: `PaymentHandler` does, and tells it what the node said.

    Args:
        store: where the book is.
        events: gets the event of every change, in the same transaction.
        clock: the time.
        limits: the budgets of the configuration, by agent and period, in msat.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock, limits: Limits | None = None) -> None:
        book = Book(events, clock)
        super().__init__(store, events, clock)
        self._budgets = Budgets(store, events, clock, limits or {})
        self._intents = Intents(store, clock)
        self._invoices = Invoices(store, book, clock)
        self._outgoing = Outgoing(store, book, self._budgets, clock)
        self._endings = Endings(store, book, self._budgets, clock)
        self._corrections = Corrections(store, book)

    def configure(self, limits: Limits) -> None:
        """Take other budgets from the configuration; one that a person set wins over them."""
        self._budgets.configure(limits)

    # Invoices ------------------------------------------------------------------------------------------------

    def intend_invoice(
        self,
        *,
        node: str,
        amount_msat: int,
        expiry_s: int,
        memo: str = "",
        source: str,
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Intent:
        """Note, before the node is asked, that an invoice will be.

        With a key that was used before for the same, the intent of then comes back, `replayed`: the node may have
        been asked, so look before asking again.

        Raises:
            IdempotencyConflictError: the key was used for something else.
            LedgerError: a field cannot be.
        """
        new = NewIntent(node, amount_msat, memo, expiry_s, source, task_id, agent_id, trace_id, idempotency_key)
        return self._intents.intend(new)

    def intent(self, intent_id: str) -> Intent:
        """Return one intent."""
        return self._intents.get(intent_id)

    def open_intents(self, node: str | None = None) -> IntentList:
        """Return the intents of which nobody knows yet what became, oldest first."""
        return self._intents.open(node)

    def abandon_intent(self, intent_id: str, reason: str) -> Intent:
        """Note that the node certainly made no invoice for it."""
        return self._intents.abandon(intent_id, reason)

    def record_invoice(
        self,
        *,
        node: str,
        payment_hash: str,
        bolt11: str,
        amount_msat: int,
        expires_at: datetime,
        memo: str = "",
        source: str = "",
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        idempotency_key: str | None = None,
        intent_id: str | None = None,
        created_at: datetime | None = None,
    ) -> Invoice:
        """Record an invoice that a node made; recorded before, it comes back as it is now, `replayed`.

        With an intent, source, task, agent, trace and key are those of the intent.

        Raises:
            IdempotencyConflictError: payment hash or key belong to another invoice.
            EntryStateError: the intent wants, or became, another invoice.
            LedgerError: a field cannot be.
        """
        new = NewInvoice(
            node, payment_hash, bolt11, amount_msat, memo, expires_at, source, task_id, agent_id, trace_id,
            idempotency_key, intent_id, created_at,
        )  # fmt: skip
        return self._invoices.record(new)

    def accept_invoice(self, node: str, payment_hash: str) -> Invoice:
        """Note that a payer's money is held for it; said too late, it changes nothing."""
        return self._invoices.accept(node, payment_hash)

    def settle_invoice(
        self,
        node: str,
        payment_hash: str,
        *,
        received_msat: int,
        settled_at: datetime,
        preimage: str | None = None,
        proof: str,
    ) -> Invoice:
        """Book what came in, on the node's word; said again, nothing changes. A late payer settles an expired one.

        Raises:
            EntryUnknownError: the ledger has no such invoice.
            EntryStateError: it was canceled.
            PreimageError: the preimage is not that of the payment hash.
        """
        return self._invoices.settle(node, payment_hash, Received(received_msat, settled_at, preimage, proof))

    def cancel_invoice(self, node: str, payment_hash: str, *, reason: str = "") -> Invoice:
        """Note that it was withdrawn; said of one that is final, it changes nothing."""
        return self._invoices.cancel(node, payment_hash, reason)

    def expire_invoice(self, node: str, payment_hash: str) -> Invoice:
        """Note that it ran out unpaid; said of one that is final, it changes nothing."""
        return self._invoices.expire(node, payment_hash)

    def expire_due(self, now: datetime | None = None, *, node: str | None = None, limit: int = 1000) -> InvoiceList:
        """Let up to `limit` open invoices run out whose time is over, and return them."""
        return self._invoices.expire_due(now, node, limit)

    # Payments ------------------------------------------------------------------------------------------------

    def begin_payment(
        self,
        node: str,
        decoded: Decoded,
        amount_msat: int | None,
        fee_limit_msat: int,
        *,
        agent_id: str | None = None,
        task_id: str | None = None,
        trace_id: str | None = None,
        memo: str = "",
        idempotency_key: str | None = None,
    ) -> Payment:
        """Set amount and fee limit aside, at the node and in the agent's budgets, before the node is asked to pay.

        With a key that was used before for the same, the payment of then comes back, `replayed`: look it up, and do
        not ask the node to pay again. After a sure failure the same invoice may be tried anew.

        Raises:
            AlreadyPaidError: this invoice was paid, or a payment of it is under way, at whichever node.
            InsufficientFundsError: the node has too little available.
            BudgetExceededError: an agent's budget has no room.
            IdempotencyConflictError: the key was used for something else.
            LedgerError: a field cannot be, or the amount is not the invoice's.
        """
        who = {
            "task_id": task_id, "agent_id": agent_id, "trace_id": trace_id, "idempotency_key": idempotency_key
        }  # fmt: skip
        return self._outgoing.begin(check_payment(node, decoded, amount_msat, fee_limit_msat, memo, who))

    def note_attempt(self, payment_id: str, note: str) -> Payment:
        """Keep what the node said of the latest attempt; never a secret."""
        return self._endings.note(payment_id, note)

    def mark_in_flight(self, payment_id: str) -> Payment:
        """Note that the node has it; said of one that has ended, it changes nothing."""
        return self._endings.in_flight(payment_id)

    def settle_payment(
        self,
        node: str,
        payment_hash: str,
        *,
        amount_msat: int,
        fee_msat: int,
        preimage: str,
        proof: str,
        settled_at: datetime | None = None,
        beyond_hold: bool = False,
    ) -> Payment:
        """Book what left the node, on the proof of the preimage; said again, nothing changes.

        Args:
            node: which node paid.
            payment_hash: which invoice.
            amount_msat: what the payee got.
            fee_msat: what routing cost.
            preimage: its SHA-256 is the payment hash.
            proof: who said so, such as `pay`, `lookup` or `reconcile`.
            settled_at: when the node says that it was; now if None.
            beyond_hold: for reconciliation: book also what the node surely spent beyond what was set aside.

        Raises:
            EntryUnknownError: the ledger has no such payment.
            EntryStateError: it is booked as failed; `settle_failed` is for that.
            PreimageError: the preimage is not that of the payment hash.
            HoldExceededError: amount and fee are more than was set aside.
        """
        paid = Paid(amount_msat, fee_msat, preimage, proof, settled_at)
        return self._endings.settle(node, payment_hash, paid, beyond_hold=beyond_hold)

    def fail_payment(self, node: str, payment_hash: str, *, reason: str, sure: bool) -> Payment:
        """Give back what was set aside where the node surely did not pay; otherwise only note what it said.

        Said of one that has ended, it changes nothing.
        """
        return self._endings.fail(node, payment_hash, reason=reason, sure=sure)

    def settle_failed(
        self,
        node: str,
        payment_hash: str,
        *,
        amount_msat: int,
        fee_msat: int,
        preimage: str,
        proof: str,
        settled_at: datetime | None = None,
    ) -> Payment:
        """Book a payment that was taken for failed and was paid after all, with an alert; for reconciliation only."""
        return self._endings.settle_failed(node, payment_hash, Paid(amount_msat, fee_msat, preimage, proof, settled_at))

    def adopt_payment(
        self,
        *,
        node: str,
        payment_hash: str,
        bolt11: str,
        amount_msat: int,
        fee_msat: int,
        preimage: str,
        proof: str,
        memo: str = "",
        settled_at: datetime | None = None,
        created_at: datetime | None = None,
    ) -> Payment:
        """Book a payment that the node made and the ledger knew nothing of; for reconciliation only."""
        paid = Paid(amount_msat, fee_msat, preimage, proof, settled_at)
        return self._endings.adopt(Adopted(node, payment_hash, bolt11, memo, created_at), paid)

    # The book ------------------------------------------------------------------------------------------------

    def opening(self, node: str, amount_msat: int, *, by: str = "ledger") -> Transfer | None:
        """Book what a node held when its book began, once; None where that was nothing.

        Raises:
            EntryStateError: it was booked before, with another amount.
        """
        return self._corrections.opening(node, amount_msat, by)

    def suspense(
        self,
        node: str,
        difference_msat: int,
        reason: str,
        *,
        by: str = "reconcile",
        idempotency_key: str | None = None,
    ) -> Transfer:
        """Book a difference under its name: above zero where the node holds more than the book says.

        Raises:
            InsufficientFundsError: the book has less available than it is to lose.
            LedgerError: it has no name, or is nothing.
        """
        return self._corrections.suspense(node, difference_msat, reason, by, idempotency_key)

    def set_budget(self, agent_id: str, period: Period, limit_msat: int | None, *, by: str) -> Budget:
        """Set what an agent may spend in a day, week or month; None takes the limit away."""
        return self._budgets.set(agent_id, period, limit_msat, by)

    def budgets(self, at: datetime | None = None) -> BudgetList:
        """Return every budget that has a limit, as it stands in its present window, by agent and period."""
        return self._budgets.all(at)
