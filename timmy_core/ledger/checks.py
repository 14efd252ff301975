"""What may enter the ledger: names, hashes, preimages and texts, checked in one place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import to_us
from timmy_core.errors import IdempotencyConflictError, LedgerError, PreimageError
from timmy_core.events.model import MAX_FIELD_CHARS
from timmy_core.store.engine import Connection

MAX_MEMO_BYTES: Final = 639  # what a BOLT11 invoice can carry
MAX_REASON_CHARS: Final = 500
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def check_hash(payment_hash: str) -> str:
    """Return a payment hash in small letters.

    Raises:
        LedgerError: it is no 32 bytes in hex.
    """
    if not isinstance(payment_hash, str) or not _HASH.fullmatch(payment_hash.lower()):
        message = f"the payment hash {payment_hash!r:.80} is not 64 hex digits"
        raise LedgerError(message)
    return payment_hash.lower()


def check_preimage(preimage: str, payment_hash: str) -> str:
    """Return a preimage in small letters.

    Raises:
        PreimageError: its SHA-256 is not the payment hash. The preimage itself is never part of the message.
    """
    given = preimage.lower() if isinstance(preimage, str) else ""
    if not _HASH.fullmatch(given) or hashlib.sha256(bytes.fromhex(given)).hexdigest() != payment_hash:
        message = f"the preimage does not hash to {payment_hash}, so it proves nothing; ask the node again"
        raise PreimageError(message)
    return given


def check_name(field: str, value: str | None, *, needed: bool = False) -> str | None:
    """Return a name of a node, agent, task, source or trace.

    Raises:
        LedgerError: it is missing where it is needed, too long, or not printable.
    """
    if value is None and not needed:
        return None
    if not isinstance(value, str) or (needed and not value):
        message = f"{field} has to be named; got {value!r:.40}"
        raise LedgerError(message)
    if len(value) > MAX_FIELD_CHARS or not value.isprintable():
        message = f"{field} has to be at most {MAX_FIELD_CHARS} printable characters, not {value[:40]!r}…"
        raise LedgerError(message)
    return value


def check_memo(memo: str) -> str:
    """Return a memo that an invoice can carry.

    Raises:
        LedgerError: it is no text, or longer than 639 bytes.
    """
    if not isinstance(memo, str):
        message = f"memo has to be text, not {type(memo).__name__}"
        raise LedgerError(message)
    try:
        size = len(memo.encode())
    except UnicodeEncodeError as error:
        message = f"memo holds half a surrogate pair, which is not text: {error.object[error.start : error.end]!r}"
        raise LedgerError(message) from None
    if size > MAX_MEMO_BYTES:
        message = f"memo is {size:,} bytes; an invoice carries at most {MAX_MEMO_BYTES}"
        raise LedgerError(message)
    return memo


def check_reason(reason: str) -> str:
    """Return a reason in one bounded line."""
    return " ".join(str(reason).split())[:MAX_REASON_CHARS]


def check_time(name: str, moment: datetime) -> int:
    """Return a moment in microseconds since 1970.

    Raises:
        LedgerError: it has no zone, or lies before 1970.
    """
    if not isinstance(moment, datetime):
        message = f"{name} has to be a moment with a zone, not {moment!r:.40}"
        raise LedgerError(message)
    try:
        us = to_us(moment)
    except ValueError as error:
        message = f"{name}: {error}"
        raise LedgerError(message) from None
    if us < 0:
        message = f"{name} is {moment}, before 1970"
        raise LedgerError(message)
    return us


def fingerprint(values: Sequence[Any]) -> bytes:
    """Return what tells two requests apart."""
    return hashlib.blake2b(json.dumps(list(values), ensure_ascii=True).encode(), digest_size=16).digest()


def known_key(connection: Connection, key: str | None, kind: str, print_: bytes) -> str | None:
    """Return what an idempotency key was used for with this very content; None for a new key, or none.

    Raises:
        IdempotencyConflictError: it was used for something else.
    """
    if key is None:
        return None
    row = connection.execute("SELECT kind, fingerprint, target_id FROM ledger_keys WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    if (row[0], row[1]) != (kind, print_):
        message = f"the idempotency key {key!r} was used before for another {row[0]}; a new request needs a new key"
        raise IdempotencyConflictError(message)
    return str(row[2])


def keep_key(connection: Connection, key: str | None, kind: str, print_: bytes, target_id: str, at_us: int) -> None:
    """Remember what an idempotency key is used for."""
    if key is not None:
        values = (key, print_, kind, target_id, at_us)
        connection.execute(
            "INSERT INTO ledger_keys (key, fingerprint, kind, target_id, created_at) VALUES (?, ?, ?, ?, ?)", values
        )
