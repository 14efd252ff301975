"""Invoices and payments as LND's REST interface has them: int64 as strings, bytes as base64, every field there."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import to_us
from timmy_core.ledger.node import NodeInvoice, NodePayment

_INVOICE_STATES: Final = {
    "open": "OPEN",
    "accepted": "ACCEPTED",
    "settled": "SETTLED",
    "canceled": "CANCELED",
    "expired": "CANCELED",
}
_PAYMENT_STATES: Final = {"in_flight": "IN_FLIGHT", "settled": "SUCCEEDED", "failed": "FAILED"}
_REASONS: Final = (
    ("fee limit", "FAILURE_REASON_NO_ROUTE"),
    ("no way", "FAILURE_REASON_NO_ROUTE"),
    ("too few sats", "FAILURE_REASON_INSUFFICIENT_BALANCE"),
    ("refuses", "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS"),
)


def invoice_json(invoice: NodeInvoice, preimage: str, add_index: int, settle_index: int) -> dict[str, Any]:
    """Return an invoice, with its preimage although nobody has paid it yet, as LND does."""
    received_msat = invoice.received_msat or 0
    created_s = _seconds(invoice.created_at)
    return {
        "memo": invoice.memo,
        "r_preimage": _base64(preimage),
        "r_hash": _base64(invoice.payment_hash),
        "value": str(invoice.amount_msat // 1000),
        "value_msat": str(invoice.amount_msat),
        "settled": invoice.state == "settled",
        "creation_date": str(created_s),
        "settle_date": str(_seconds(invoice.settled_at) if invoice.settled_at else 0),
        "payment_request": invoice.bolt11,
        "description_hash": "",
        "expiry": str(_seconds(invoice.expires_at) - created_s),
        "fallback_addr": "",
        "cltv_expiry": "80",
        "route_hints": [],
        "private": True,
        "add_index": str(add_index),
        "settle_index": str(settle_index),
        "amt_paid": str(received_msat),
        "amt_paid_sat": str(received_msat // 1000),
        "amt_paid_msat": str(received_msat),
        "state": _INVOICE_STATES[invoice.state],
        "htlcs": [],
        "features": {},
        "is_keysend": False,
        "payment_addr": "",
        "is_amp": False,
        "amp_invoice_state": {},
    }


def payment_json(payment: NodePayment, index: int) -> dict[str, Any]:
    """Return a payment; until it is settled its preimage is noughts, as LND has it."""
    fee_msat = payment.fee_msat or 0
    created_ns = to_us(payment.created_at) * 1000
    parts = []
    if payment.settled_at is not None:
        ns = str(to_us(payment.settled_at) * 1000)
        parts = [
            {"attempt_id": str(index), "status": "SUCCEEDED", "attempt_time_ns": str(created_ns), "resolve_time_ns": ns}
        ]
    return {
        "payment_hash": payment.payment_hash,
        "value": str(payment.amount_msat // 1000),
        "creation_date": str(created_ns // 1_000_000_000),
        "fee": str(fee_msat // 1000),
        "payment_preimage": payment.preimage or "0" * 64,
        "value_sat": str(payment.amount_msat // 1000),
        "value_msat": str(payment.amount_msat),
        "payment_request": "",
        "status": _PAYMENT_STATES[payment.state],
        "fee_sat": str(fee_msat // 1000),
        "fee_msat": str(fee_msat),
        "creation_time_ns": str(created_ns),
        "htlcs": parts,
        "payment_index": str(index),
        "failure_reason": _reason(payment.failure) if payment.state == "failed" else "FAILURE_REASON_NONE",
    }


def _reason(failure: str | None) -> str:
    return next((name for words, name in _REASONS if words in (failure or "")), "FAILURE_REASON_ERROR")


def _seconds(moment: datetime) -> int:
    return to_us(moment) // 1_000_000


def _base64(digits: str) -> str:
    return base64.b64encode(bytes.fromhex(digits)).decode()
