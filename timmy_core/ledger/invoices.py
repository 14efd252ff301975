"""Invoices: somebody pays us. The node's word settles one, once; whatever comes again changes nothing."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock, iso, new_id, to_us
from timmy_core.errors import EntryStateError, IdempotencyConflictError, LedgerError
from timmy_core.ledger import accounts
from timmy_core.ledger.book import Book, Posting
from timmy_core.ledger.checks import (
    check_hash,
    check_memo,
    check_name,
    check_preimage,
    check_reason,
    check_time,
    fingerprint,
    keep_key,
    known_key,
)
from timmy_core.ledger.intents import fetch_intent, finish_intent
from timmy_core.ledger.model import INVOICE_MOVES, Intent, Invoice, InvoiceStatus
from timmy_core.ledger.money import check_msat
from timmy_core.ledger.rows import invoice_row, need_invoice, to_invoice
from timmy_core.store.engine import Connection, Store

MAX_DUE: Final = 10_000  # in one transaction

_INSERT: Final = """
INSERT INTO ledger_invoices (id, node, payment_hash, bolt11, amount_msat, memo, status, source, task_id, agent_id,
    trace_id, created_at, expires_at, idempotency_key, hold_seq)
VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?)"""
_SETTLE: Final = """
UPDATE ledger_invoices SET status = 'settled', received_msat = ?, settled_at = ?, preimage = ?, late = ?, proof = ?
WHERE id = ?"""
_DUE: Final = "SELECT node, payment_hash FROM ledger_invoices WHERE status = 'open' AND expires_at <= ?"


@dataclasses.dataclass(frozen=True, slots=True)
class NewInvoice:
    """An invoice that a node made."""

    node: str
    payment_hash: str
    bolt11: str
    amount_msat: int
    memo: str
    expires_at: datetime
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    idempotency_key: str | None
    intent_id: str | None
    created_at: datetime | None

    def checked(self) -> NewInvoice:
        """Return it with every field checked.

        Raises:
            LedgerError: one cannot be.
        """
        check_name("node", self.node, needed=True)
        for field in ("source", "task_id", "agent_id", "trace_id", "idempotency_key"):
            check_name(field, getattr(self, field))
        check_msat("amount_msat", self.amount_msat)
        check_memo(self.memo)
        check_time("expires_at", self.expires_at)
        if self.created_at is not None:
            check_time("created_at", self.created_at)
        return dataclasses.replace(self, payment_hash=check_hash(self.payment_hash), amount_msat=int(self.amount_msat))

    def of(self, intent: Intent) -> NewInvoice:
        """Return it with who wanted it and why, as the intent says."""
        return dataclasses.replace(
            self,
            source=intent.source,
            task_id=intent.task_id,
            agent_id=intent.agent_id,
            trace_id=intent.trace_id,
            idempotency_key=intent.idempotency_key,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What a node says of a payment that came in."""

    received_msat: int
    settled_at: datetime
    preimage: str | None
    proof: str


class Invoices:
    """Writes invoices and what becomes of them."""

    def __init__(self, store: Store, book: Book, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._clock = clock

    # Recording -----------------------------------------------------------------------------------------------

    def record(self, new: NewInvoice) -> Invoice:
        """Record an invoice that a node made; recorded before, it is returned as it is now."""
        checked = new.checked()
        return self._store.write(lambda connection: self._record(connection, checked))

    def _record(self, connection: Connection, new: NewInvoice) -> Invoice:
        intent = None if new.intent_id is None else fetch_intent(connection, new.intent_id)
        if intent is not None:
            _check_intent(intent, new)
            finish_intent(connection, intent, new.payment_hash)
            new = new.of(intent)
        known = invoice_row(connection, new.node, new.payment_hash)
        if known is not None:
            return _same(to_invoice(known), new)
        if intent is None:
            print_ = fingerprint(["invoice", new.node, new.payment_hash, new.amount_msat, new.memo])
            known_key(connection, new.idempotency_key, "invoice", print_)  # of another invoice, it is a conflict
            keep_key(connection, new.idempotency_key, "invoice", print_, new.payment_hash, to_us(self._clock.now()))
        return self._add(connection, new)

    def _add(self, connection: Connection, new: NewInvoice) -> Invoice:
        id_, created = new_id(), new.created_at or self._clock.now()
        posting = self._book.begin(connection, entry_id=id_, payment_hash=new.payment_hash)
        hold = None
        if new.amount_msat:
            sides = (accounts.asset(new.node), accounts.income(new.source, new.node))
            hold = posting.pending(f"{id_}:hold", *sides, new.amount_msat, new.memo)
        values = (
            id_, new.node, new.payment_hash, new.bolt11, new.amount_msat, new.memo, new.source, new.task_id,
            new.agent_id, new.trace_id, to_us(created), to_us(new.expires_at), new.idempotency_key, hold,
        )  # fmt: skip
        connection.execute(_INSERT, values)
        data = {
            "node": new.node, "amount_msat": new.amount_msat, "memo": new.memo, "source": new.source,
            "expires_at": iso(new.expires_at),
        }  # fmt: skip
        invoice = _fetch(connection, new.node, new.payment_hash)
        _tell(posting, "invoice.created", invoice, data)
        return invoice

    # What becomes of it --------------------------------------------------------------------------------------

    def settle(self, node: str, payment_hash: str, received: Received) -> Invoice:
        """Book what came in, on the node's word; once, whatever is said again.

        Raises:
            EntryUnknownError: the ledger has no such invoice.
            EntryStateError: it was canceled.
            PreimageError: the preimage is not that of the payment hash.
        """
        payment_hash = check_hash(payment_hash)
        amount = check_msat("received_msat", received.received_msat, least=1)
        check_name("proof", received.proof, needed=True)
        settled_us = check_time("settled_at", received.settled_at)
        preimage = None if received.preimage is None else check_preimage(received.preimage, payment_hash)
        sure = (amount, settled_us, preimage, received.proof)
        return self._store.write(lambda connection: self._settle(connection, node, payment_hash, sure))

    def _settle(
        self, connection: Connection, node: str, payment_hash: str, sure: tuple[int, int, str | None, str]
    ) -> Invoice:
        row = need_invoice(connection, node, payment_hash)
        invoice, hold = to_invoice(row), row[-1]
        amount, settled_us, preimage, proof = sure
        if invoice.status == "settled":
            return self._again(connection, invoice, preimage)
        if "settled" not in INVOICE_MOVES[invoice.status]:
            message = (
                f"invoice {payment_hash} was {invoice.status} and the node says that it was paid; "
                "reconcile shows both sides"
            )
            raise EntryStateError(message)
        posting = self._book.begin(connection, entry_id=invoice.id, payment_hash=payment_hash)
        late = invoice.status == "expired"
        left = amount
        if hold is not None and not late:
            asked = min(amount, invoice.amount_msat)
            posting.post(f"{invoice.id}:post", hold, asked)
            left -= asked
        if left:
            sides = (accounts.asset(node), accounts.income(invoice.source, node))
            memo = "paid after it had expired" if late else "more than was asked for" if hold else ""
            posting.single(f"{invoice.id}:more", *sides, left, memo)
        connection.execute(_SETTLE, (amount, settled_us, preimage, late, proof, invoice.id))
        settled = _fetch(connection, node, payment_hash)
        data = {
            "node": node, "amount_msat": invoice.amount_msat, "received_msat": amount, "late": late, "proof": proof,
            "source": invoice.source,
        }  # fmt: skip
        _tell(posting, "invoice.settled", settled, data)
        return settled

    @staticmethod
    def _again(connection: Connection, invoice: Invoice, preimage: str | None) -> Invoice:
        """Take a preimage that was missing; what is there is never written over, and no event is needed."""
        if invoice.preimage is None and preimage is not None:
            connection.execute("UPDATE ledger_invoices SET preimage = ? WHERE id = ?", (preimage, invoice.id))
            invoice = _fetch(connection, invoice.node, invoice.payment_hash)
        return dataclasses.replace(invoice, replayed=True)

    def accept(self, node: str, payment_hash: str) -> Invoice:
        """Note that a payer's money is held for it; said too late, it changes nothing."""
        return self._store.write(lambda connection: self._move(connection, node, payment_hash, "accepted", ""))

    def cancel(self, node: str, payment_hash: str, reason: str) -> Invoice:
        """Note that it was withdrawn; said of one that is final, it changes nothing."""
        said = check_reason(reason)
        return self._store.write(lambda connection: self._move(connection, node, payment_hash, "canceled", said))

    def expire(self, node: str, payment_hash: str) -> Invoice:
        """Note that it ran out unpaid; said of one that is final, it changes nothing."""
        return self._store.write(lambda connection: self._move(connection, node, payment_hash, "expired", ""))

    def expire_due(self, now: datetime | None, node: str | None, limit: int) -> list[Invoice]:
        """Let every open invoice run out whose time is over, up to a number of them."""
        until = to_us(self._clock.now()) if now is None else check_time("now", now)
        if not 1 <= limit <= MAX_DUE:
            message = f"limit {limit} is out of range; expected 1 to {MAX_DUE:,}"
            raise LedgerError(message)

        def run(connection: Connection) -> list[Invoice]:
            where, values = ("", [until]) if node is None else ("AND node = ?", [until, node])
            due = connection.execute(f"{_DUE} {where} ORDER BY expires_at LIMIT {limit:d}", values).fetchall()
            return [self._move(connection, at, payment_hash, "expired", "") for at, payment_hash in due]

        return self._store.write(run)

    def _move(
        self, connection: Connection, node: str, payment_hash: str, status: InvoiceStatus, reason: str
    ) -> Invoice:
        payment_hash = check_hash(payment_hash)
        row = need_invoice(connection, node, payment_hash)
        invoice, hold = to_invoice(row), row[-1]
        if status not in INVOICE_MOVES[invoice.status]:
            return dataclasses.replace(invoice, replayed=True)
        posting = self._book.begin(connection, entry_id=invoice.id, payment_hash=payment_hash)
        if hold is not None and status != "accepted":
            posting.void(f"{invoice.id}:void", hold, reason)
        connection.execute("UPDATE ledger_invoices SET status = ? WHERE id = ?", (status, invoice.id))
        moved = dataclasses.replace(invoice, status=status)
        data = {"node": node, "amount_msat": invoice.amount_msat, **({"reason": reason} if reason else {})}
        _tell(posting, f"invoice.{status}", moved, data)
        return moved


def _fetch(connection: Connection, node: str, payment_hash: str) -> Invoice:
    return to_invoice(need_invoice(connection, node, payment_hash))


def _tell(posting: Posting, type_: str, invoice: Invoice, data: dict[str, Any]) -> None:
    who = {"task_id": invoice.task_id, "agent_id": invoice.agent_id, "trace_id": invoice.trace_id}
    posting.tell(type_, data, **who)


def _check_intent(intent: Intent, new: NewInvoice) -> None:
    if (intent.node, intent.amount_msat) != (new.node, new.amount_msat):
        message = (
            f"intent {intent.id} wants {intent.amount_msat:,} msat at node {intent.node!r}, and the invoice asks for "
            f"{new.amount_msat:,} at {new.node!r}; record it without the intent"
        )
        raise EntryStateError(message)


def _same(known: Invoice, new: NewInvoice) -> Invoice:
    """Return what was recorded before, unless another invoice claims its payment hash."""
    if (known.bolt11, known.amount_msat) != (new.bolt11, new.amount_msat):
        message = (
            f"payment hash {known.payment_hash} at node {known.node!r} belongs to an invoice with another text or "
            "amount; ask the node which one it made"
        )
        raise IdempotencyConflictError(message)
    return dataclasses.replace(known, replayed=True)
