"""LNbits' own words, and what they are in ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from timmy_core.ledger.node import NodeError, NodeInvoice, NodeInvoiceState, NodePayment, NodePaymentState

Row = Mapping[str, Any]

_PAYMENT_STATES: Final[Mapping[str, NodePaymentState]] = {
    "pending": "in_flight",
    "success": "settled",
    "failed": "failed",
}


def is_income(row: Row) -> bool:
    """Return whether a row is an invoice of the wallet; what it earned as a server's fee has no invoice."""
    return _number(row, "amount") > 0 and not str(row.get("checking_id", "")).startswith("service_fee_")


def is_spending(row: Row) -> bool:
    """Return whether a row is a payment of the wallet."""
    return _number(row, "amount") < 0


def invoice_of(row: Row, now: datetime) -> NodeInvoice:
    """Return an invoice; the preimage, which LNbits tells before it is paid, only once it is."""
    expires_at = moment(row.get("expiry")) or moment(_text(row, "time"))
    state = _invoice_state(row, expires_at, now)
    settled = state == "settled"
    name, amount_msat = _text(row, "payment_hash"), _number(row, "amount")
    return NodeInvoice(
        payment_hash=name,
        bolt11=_text(row, "bolt11"),
        amount_msat=amount_msat,
        state=state,
        memo=row.get("memo") or "",
        created_at=_moment(row, "time"),
        expires_at=expires_at or now,
        settled_at=_moment(row, "updated_at", "time") if settled else None,
        received_msat=amount_msat - abs(_number(row, "fee")) if settled else None,
        preimage=_proof(row, name) if settled else None,
    )


def payment_of(row: Row) -> NodePayment:
    """Return a payment; while it is under way its fee is only what LNbits sets aside, so it is not known."""
    status = _text(row, "status")
    if status not in _PAYMENT_STATES:
        what = f"a payment with the status {status!r}"
        raise strange(what)
    state, name = _PAYMENT_STATES[status], _text(row, "payment_hash")
    settled = state == "settled"
    return NodePayment(
        payment_hash=name,
        state=state,
        amount_msat=-_number(row, "amount"),
        fee_msat=abs(_number(row, "fee")) if settled else None,
        preimage=_proof(row, name) if settled else None,
        failure="LNbits says that it failed" if state == "failed" else None,
        created_at=_moment(row, "time"),
        settled_at=_moment(row, "updated_at", "time") if settled else None,
    )


def held_msat(row: Row) -> int:
    """Return what LNbits sets aside for a payment under way."""
    return -_number(row, "amount") + abs(_number(row, "fee"))


def moment(value: Any) -> datetime | None:
    """Return a time of LNbits, which writes ISO 8601, without a zone in some versions, and numbers in old ones."""
    if value is None:
        return None
    try:
        read = datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError) as error:
        what = "a time that cannot be read"
        raise strange(what) from error
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def strange(what: str) -> NodeError:
    """Return the error of an answer that makes no sense."""
    text = f"LNbits answered with {what}, which is not understood; look at its version, 1.0 or later is expected"
    return NodeError(kind="protocol", message=text, sure=False)


def _invoice_state(row: Row, expires_at: datetime | None, now: datetime) -> NodeInvoiceState:
    status = _text(row, "status")
    gone = expires_at is not None and expires_at <= now
    if status == "success":
        return "settled"
    if status == "pending":
        return "expired" if gone else "open"
    if status == "failed":
        return "expired" if gone or "expired" in (row.get("labels") or ()) else "canceled"
    what = f"an invoice with the status {status!r}"
    raise strange(what)


def _proof(row: Row, payment_hash: str) -> str | None:
    """Return the preimage, where it is the one; some of LNbits' funding sources have none and tell zeros."""
    preimage = row.get("preimage")
    try:
        data = bytes.fromhex(preimage or "")
    except (TypeError, ValueError):
        return None
    return data.hex() if hashlib.sha256(data).hexdigest() == payment_hash else None


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        what = f"a row whose {key} is no text"
        raise strange(what)
    return value


def _number(row: Row, key: str) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        what = f"a row whose {key} is no whole number"
        raise strange(what)
    return value


def _moment(row: Row, *keys: str) -> datetime:
    for key in keys:
        found = moment(row.get(key))
        if found is not None:
            return found
    what = f"a row without {keys[0]}"
    raise strange(what)
