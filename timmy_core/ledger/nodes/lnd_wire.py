"""LND's own words, and what they are in ours: int64 come as strings, bytes as base64, hashes of payments as hex."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from timmy_core.clock import from_us
from timmy_core.ledger.node import (
    Network,
    NodeError,
    NodeErrorKind,
    NodeInvoice,
    NodeInvoiceState,
    NodePayment,
    NodePaymentState,
)

Row = Mapping[str, Any]

NETWORKS: Final[Mapping[str, Network]] = {
    "mainnet": "bitcoin",
    "testnet": "testnet",
    "testnet4": "testnet",
    "signet": "signet",
    "regtest": "regtest",
    "simnet": "regtest",
}
_INVOICE_STATES: Final[Mapping[str, NodeInvoiceState]] = {
    "OPEN": "open",
    "ACCEPTED": "accepted",
    "SETTLED": "settled",
    "CANCELED": "canceled",
}
_PAYMENT_STATES: Final[Mapping[str, NodePaymentState]] = {
    "INITIATED": "in_flight",
    "IN_FLIGHT": "in_flight",
    "SUCCEEDED": "settled",
    "FAILED": "failed",
}
_FAILURES: Final[Mapping[str, str]] = {
    "FAILURE_REASON_TIMEOUT": "no way was found in time",
    "FAILURE_REASON_NO_ROUTE": "no way leads to the payee within the fee limit",
    "FAILURE_REASON_ERROR": "the payment broke",
    "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS": "the payee refuses it: the invoice is unknown, paid or of another sum",
    "FAILURE_REASON_INSUFFICIENT_BALANCE": "the node has too few sats to pay it",
    "FAILURE_REASON_CANCELED": "it was canceled at the node",
}

NOT_FOUND: Final = 5  # gRPC's numbers
_DENIED: Final = (7, 16)

# LND answers most refusals with "unknown", so its words tell what they are: kind, and what to do.
_REFUSALS: Final[tuple[tuple[str, NodeErrorKind, str], ...]] = (
    ("permission denied", "refused", "the macaroon lacks the right; bake one that has it"),
    ("macaroon", "refused", "give the file of a macaroon of this node in macaroon_path"),
    ("verification failed", "refused", "the macaroon is of another node; give this one's in macaroon_path"),
    ("wallet locked", "unreachable", "unlock it with lncli unlock"),
    ("wallet not created", "unreachable", "create its wallet with lncli create"),
    ("unknown service", "unreachable", "unlock it with lncli unlock, or wait until it has started"),
    ("in the process of starting", "unreachable", "wait until it has started"),
    ("not yet ready to accept calls", "unreachable", "wait until it has started"),
)


def invoice_of(row: Row, now: datetime) -> NodeInvoice:
    """Return an invoice; LND tells the preimage at once, and it is passed on only once the invoice is settled."""
    created_at = _seconds(row, "creation_date")
    expires_at = created_at + timedelta(seconds=number(row, "expiry"))
    state = _known(row, "state", _INVOICE_STATES)
    if state in ("open", "canceled") and expires_at <= now:
        state = "expired"  # LND cancels what runs out
    settled = state == "settled"
    return NodeInvoice(
        payment_hash=hex_of(row, "r_hash"),
        bolt11=text(row, "payment_request"),
        amount_msat=number(row, "value_msat"),
        state=state,
        memo=text(row, "memo"),
        created_at=created_at,
        expires_at=expires_at,
        settled_at=_seconds(row, "settle_date") if settled else None,
        received_msat=number(row, "amt_paid_msat") if state in ("settled", "accepted") else None,
        preimage=hex_of(row, "r_preimage") if settled else None,
    )


def payment_of(row: Row) -> NodePayment:
    """Return a payment."""
    state, name = _known(row, "status", _PAYMENT_STATES), text(row, "payment_hash").lower()
    settled = state == "settled"
    reason = text(row, "failure_reason")
    return NodePayment(
        payment_hash=name,
        state=state,
        amount_msat=number(row, "value_msat"),
        fee_msat=number(row, "fee_msat") if settled else None,
        preimage=_proof(text(row, "payment_preimage"), name) if settled else None,
        failure=_FAILURES.get(reason, reason or "LND does not say why") if state == "failed" else None,
        created_at=_nanoseconds(number(row, "creation_time_ns")),
        settled_at=_settled_at(row) if settled else None,
    )


def refusal(name: str, body: object, cleaned: Callable[[str], str]) -> tuple[NodeError, int]:
    """Return the error that LND answered with, and gRPC's number of it; without LND's own words it is not sure.

    Args:
        name: the node's.
        body: what came.
        cleaned: takes secrets out of a text.
    """
    inner = body.get("error", body) if isinstance(body, Mapping) else {}
    inner = inner if isinstance(inner, Mapping) else {"message": inner}
    code, said = inner.get("code", inner.get("grpc_code", 0)), inner.get("message")
    said = said if isinstance(said, str) else ""
    code = code if isinstance(code, int) else 0
    lower = said.lower()
    kind, mend = next(((kind, mend) for words, kind, mend in _REFUSALS if words in lower), (None, ""))
    if kind is None and code in _DENIED:
        kind, mend = "refused", "the macaroon lacks the right; bake one that has it"
    message = f"LND of the node {name} says: {cleaned(said) or 'an error without words'}" + (
        f"; {mend}" if mend else ""
    )
    return NodeError(kind=kind or "rejected", message=message, sure=bool(said)), code


def number(row: Row, key: str) -> int:
    """Return an int64, which JSON carries as a string; an absent one is 0."""
    value = row.get(key, 0)
    try:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    what = f"a {key} that is no whole number"
    raise strange(what)


def text(row: Row, key: str) -> str:
    """Return a text; an absent one is empty."""
    value = row.get(key, "")
    if not isinstance(value, str):
        what = f"a {key} that is no text"
        raise strange(what)
    return value


def hex_of(row: Row, key: str) -> str:
    """Return bytes, which JSON carries as base64, as hex digits."""
    try:
        return base64.b64decode(text(row, key), validate=True).hex()
    except (binascii.Error, ValueError) as error:
        what = f"a {key} that is no base64"
        raise strange(what) from error


def url_bytes(digits: str) -> str:
    """Return bytes as a path of LND's has them."""
    return base64.urlsafe_b64encode(bytes.fromhex(digits)).decode()


def inside(row: Row, key: str) -> Row:
    """Return an object inside another; an absent one is empty."""
    value = row.get(key) or {}
    if not isinstance(value, Mapping):
        what = f"a {key} that is no object"
        raise strange(what)
    return value


def rows(row: Row, key: str) -> list[Row]:
    """Return a list of objects; an absent one is empty."""
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        what = f"a {key} that is no list of objects"
        raise strange(what)
    return value


def strange(what: str) -> NodeError:
    """Return the error of an answer that makes no sense."""
    words = f"LND answered with {what}, which is not understood; look at its version, 0.15 or later is expected"
    return NodeError(kind="protocol", message=words, sure=False)


def _known(row: Row, key: str, words: Mapping[str, Any]) -> Any:
    value = text(row, key)
    if value not in words:
        what = f"the {key} {value!r}"
        raise strange(what)
    return words[value]


def _proof(preimage: str, payment_hash: str) -> str | None:
    try:
        data = bytes.fromhex(preimage)
    except ValueError:
        return None
    return data.hex() if hashlib.sha256(data).hexdigest() == payment_hash else None


def _seconds(row: Row, key: str) -> datetime:
    return datetime.fromtimestamp(number(row, key), UTC)


def _nanoseconds(ns: int) -> datetime:
    return from_us(ns // 1000)


def _settled_at(row: Row) -> datetime | None:
    """Return when the last part of a payment arrived."""
    arrived = [number(part, "resolve_time_ns") for part in rows(row, "htlcs") if text(part, "status") == "SUCCEEDED"]
    return _nanoseconds(max(arrived)) if any(arrived) else None
