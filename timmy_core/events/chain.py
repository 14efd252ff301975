"""The hash chain: each event's hash covers the one before, so that nothing can be altered, cut out or reordered unseen.

The bytes that are hashed are part of the log's format and never change for a version `v`:

    data_hash = BLAKE2b-256(key = salt, data)                       data: the JSON text in UTF-8
    hash      = BLAKE2b-256(previous hash, seq, ts, v,              8-, 8- and 4-byte big-endian integers
                            id, type, source, task, agent, trace,   each its length in 4 bytes, then UTF-8;
                            data_hash)                              ff ff ff ff where it is absent

The previous hash of the first event is 32 zero bytes. The salt is 16 random bytes, kept beside the data: redaction
removes both, and the chain, which covers only `data_hash`, still verifies while the data cannot be guessed from it.
BLAKE2b: RFC 7693.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

GENESIS: Final = bytes(32)
SALT_BYTES: Final = 16
ERASED: Final = bytes(SALT_BYTES)  # the salt of a redacted event

_NUMBERS: Final = struct.Struct(">QQI")
_LENGTH: Final = struct.Struct(">I")
_ABSENT: Final = b"\xff\xff\xff\xff"


def hash_data(salt: bytes, data_json: str) -> bytes:
    """Return the 32-byte hash of an event's data, keyed with its salt."""
    return hashlib.blake2b(data_json.encode(), digest_size=32, key=salt).digest()


def hash_event(previous: bytes, seq: int, ts_us: int, v: int, texts: Sequence[str | None], data_hash: bytes) -> bytes:
    """Return the 32-byte hash of an event; `texts` are id, type, source, task, agent and trace, in this order."""
    parts = (previous, _NUMBERS.pack(seq, ts_us, v), packed(texts), data_hash)
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def packed(texts: Sequence[str | None]) -> bytes:
    """Return texts as a chain covers them: each its length in 4 bytes, then UTF-8; ff ff ff ff where it is absent."""
    parts: list[bytes] = []
    for text in texts:
        if text is None:
            parts.append(_ABSENT)
        else:
            raw = text.encode()
            parts += (_LENGTH.pack(len(raw)), raw)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a row does not hold: kind is `cut`, `data` or `link`."""

    kind: str
    message: str


def broken(row: Sequence[Any], last_seq: int, previous: bytes) -> Broken | None:
    """Say why a row does not follow the event `last_seq` with the hash `previous`, or return None.

    A row is (seq, id, type, source, task, agent, trace, data, ts, v, hash, salt, data_hash).
    """
    seq = row[0]
    if seq != last_seq + 1:
        return Broken("cut", f"seq {last_seq + 1} is missing; the next event is {seq}")
    if not _holds(row):
        return Broken("data", f"the data of event {seq} was altered")
    if link(row, previous, seq) != row[10]:
        return Broken("link", f"event {seq} does not follow from the one before: it, or one before it, was altered")
    return None


def link(row: Sequence[Any], previous: bytes, seq: int) -> bytes | None:
    """Return the hash that a row has to have as the event `seq` after `previous`; None where it can have none."""
    # What was forced into a row may be of a kind that cannot even be hashed.
    try:
        return hash_event(previous, seq, row[8], row[9], row[1:7], row[12])
    except (ValueError, TypeError, AttributeError, struct.error):
        return None


def _holds(row: Sequence[Any]) -> bool:
    data, salt = row[7], row[11]
    if data is None:
        return bool(salt == ERASED)
    try:
        return bool(hash_data(salt, data) == row[12])
    except (ValueError, TypeError, AttributeError):
        return False
