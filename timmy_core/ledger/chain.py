"""The hash chain of the book: each transfer's hash covers the one before.

The bytes that are hashed are part of the book's format and never change:

    hash = BLAKE2b-256(previous hash,
                       seq, booked at, amount, pending seq (0 for none), event seq,   8-byte big-endian integers
                       id, kind, debited code, debited node, credited code, credited node, entry, payment hash, memo,
                                                                each its length in 4 bytes, then UTF-8;
                                                                ff ff ff ff where it is absent)

The previous hash of the first transfer is 32 zero bytes. Each event of the ledger that came with transfers carries the
hash of its last one, so the log, whose head is signed, holds the book's head too. BLAKE2b: RFC 7693.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final

from timmy_core.events.chain import packed

GENESIS: Final = bytes(32)

_NUMBERS: Final = struct.Struct(">QQQQQ")


def hash_transfer(previous: bytes, numbers: tuple[int, int, int, int, int], texts: Sequence[str | None]) -> bytes:
    """Return the 32-byte hash of a transfer; numbers and texts in the order above."""
    return hashlib.blake2b(previous + _NUMBERS.pack(*numbers) + packed(texts), digest_size=32).digest()


def head(seq: int, chained: bytes) -> str:
    """Return how an event names the last transfer; the letters keep it from being taken for a secret."""
    return f"t{seq}h{chained.hex()}"
