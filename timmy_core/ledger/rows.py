"""Invoices, payments and transfers as rows: the columns, and how one becomes the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import from_us
from timmy_core.errors import EntryUnknownError
from timmy_core.ledger.model import Attempt, Intent, Invoice, Payment, Transfer
from timmy_core.store.engine import Connection

_INVOICE: Final = (
    "id", "node", "payment_hash", "bolt11", "amount_msat", "received_msat", "memo", "status", "source", "task_id",
    "agent_id", "trace_id", "created_at", "expires_at", "settled_at", "preimage", "late", "proof", "idempotency_key",
)  # fmt: skip
_PAYMENT: Final = (
    "id", "node", "payment_hash", "bolt11", "amount_msat", "fee_limit_msat", "fee_msat", "memo", "payee", "status",
    "failure", "preimage", "task_id", "agent_id", "trace_id", "created_at", "settled_at", "idempotency_key", "attempts",
    "compensated", "proof", "expires_at",
)  # fmt: skip
_INTENT: Final = (
    "id", "node", "amount_msat", "memo", "expiry_s", "status", "source", "task_id", "agent_id", "trace_id",
    "idempotency_key", "created_at", "payment_hash",
)  # fmt: skip
SELECT_INVOICE: Final = f"SELECT {', '.join(_INVOICE)}, hold_seq FROM ledger_invoices"  # noqa: S608 - our own names
SELECT_PAYMENT: Final = f"SELECT {', '.join(_PAYMENT)}, hold_seq, begun_at FROM ledger_payments"  # noqa: S608
SELECT_INTENT: Final = f"SELECT {', '.join(_INTENT)} FROM ledger_intents"  # noqa: S608
SELECT_ATTEMPT: Final = """
SELECT payment_id, number, status, amount_msat, fee_limit_msat, started_at, sent_at, ended_at, notes, failure
FROM ledger_attempts"""
SELECT_TRANSFER: Final = """
SELECT transfer.seq, transfer.id, transfer.kind, transfer.pending_seq, debited.code, credited.code,
    transfer.amount_msat, transfer.at, debited.node, transfer.entry_id, transfer.payment_hash, transfer.event_seq,
    transfer.memo, transfer.hash
FROM ledger_transfers AS transfer
JOIN ledger_accounts AS debited ON debited.id = transfer.debit
JOIN ledger_accounts AS credited ON credited.id = transfer.credit"""


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def to_invoice(row: Sequence[Any]) -> Invoice:
    """Return a row of `SELECT_INVOICE` as an invoice."""
    (
        id_, node, payment_hash, bolt11, amount, received, memo, status, source, task_id, agent_id, trace_id,
        created_at, expires_at, settled_at, preimage, late, proof, key, _,
    ) = row  # fmt: skip
    return Invoice(
        id_, node, payment_hash, bolt11, amount, received, memo, status, source, task_id, agent_id, trace_id,
        from_us(created_at), from_us(expires_at), _moment(settled_at), preimage, bool(late), proof, key,
    )  # fmt: skip


def to_payment(row: Sequence[Any]) -> Payment:
    """Return a row of `SELECT_PAYMENT` as a payment."""
    (
        id_, node, payment_hash, bolt11, amount, fee_limit, fee, memo, payee, status, failure, preimage, task_id,
        agent_id, trace_id, created_at, settled_at, key, attempts, compensated, proof, expires_at, _, _,
    ) = row  # fmt: skip
    return Payment(
        id_, node, payment_hash, bolt11, amount, fee_limit, fee, memo, payee, status, failure, preimage, task_id,
        agent_id, trace_id, from_us(created_at), _moment(settled_at), key, attempts, bool(compensated), proof,
        _moment(expires_at),
    )  # fmt: skip


def to_intent(row: Sequence[Any]) -> Intent:
    """Return a row of `SELECT_INTENT` as an intent."""
    (
        id_, node, amount, memo, expiry_s, status, source, task_id, agent_id, trace_id, key, created_at, payment_hash,
    ) = row  # fmt: skip
    return Intent(
        id_, node, amount, memo, expiry_s, status, source, task_id, agent_id, trace_id, key, from_us(created_at),
        payment_hash,
    )  # fmt: skip


def to_attempt(row: Sequence[Any]) -> Attempt:
    """Return a row of `SELECT_ATTEMPT` as an attempt."""
    payment_id, number, status, amount, fee_limit, started_at, sent_at, ended_at, notes, failure = row
    return Attempt(
        payment_id, number, status, amount, fee_limit, from_us(started_at), _moment(sent_at), _moment(ended_at),
        tuple(json.loads(notes)), failure,
    )  # fmt: skip


def to_transfer(row: Sequence[Any]) -> Transfer:
    """Return a row of `SELECT_TRANSFER` as a transfer."""
    seq, id_, kind, pending_seq, debit, credit, amount, at, node, entry_id, payment_hash, event_seq, memo, hash_ = row
    return Transfer(
        seq, id_, kind, pending_seq, debit, credit, amount, from_us(at), node, entry_id, payment_hash, event_seq, memo,
        hash_.hex(),
    )  # fmt: skip


def invoice_row(connection: Connection, node: str, payment_hash: str) -> Sequence[Any] | None:
    """Return the row of one invoice."""
    query = f"{SELECT_INVOICE} WHERE node = ? AND payment_hash = ?"
    row: Sequence[Any] | None = connection.execute(query, (node, payment_hash.lower())).fetchone()
    return row


def payment_row(connection: Connection, node: str, payment_hash: str) -> Sequence[Any] | None:
    """Return the row of one payment."""
    query = f"{SELECT_PAYMENT} WHERE node = ? AND payment_hash = ?"
    row: Sequence[Any] | None = connection.execute(query, (node, payment_hash.lower())).fetchone()
    return row


def need_invoice(connection: Connection, node: str, payment_hash: str) -> Sequence[Any]:
    """Do as `invoice_row`.

    Raises:
        EntryUnknownError: there is none.
    """
    row = invoice_row(connection, node, payment_hash)
    if row is None:
        message = f"the ledger has no invoice with the payment hash {payment_hash!r:.80} at node {node!r}"
        raise EntryUnknownError(message)
    return row


def need_payment(connection: Connection, node: str, payment_hash: str) -> Sequence[Any]:
    """Do as `payment_row`.

    Raises:
        EntryUnknownError: there is none.
    """
    row = payment_row(connection, node, payment_hash)
    if row is None:
        message = f"the ledger has no payment with the payment hash {payment_hash!r:.80} at node {node!r}"
        raise EntryUnknownError(message)
    return row
