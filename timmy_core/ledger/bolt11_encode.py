"""Writing and signing an invoice, which a node does: here for the play node, and to test the reading."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from timmy_core.errors import Bolt11Error
from timmy_core.ledger import bech32
from timmy_core.ledger.addresses import Network, parse_address
from timmy_core.ledger.bolt11_fields import (
    CURRENCY_OF,
    DEFAULT_EXPIRY_S,
    DEFAULT_FEATURES,
    DEFAULT_MIN_FINAL_CLTV,
    MAX_LETTERS,
    PICO_OF,
    PICO_PER_MSAT,
    TIMESTAMP_WORDS,
    Hop,
)
from timmy_core.ledger.money import MAX_MSAT

_HASH_BYTES: Final = 32
_KEY_BYTES: Final = 33
_MAX_FIELD_WORDS: Final = 1023
_MAX_TIMESTAMP: Final = 1 << 5 * TIMESTAMP_WORDS


def encode(
    *,
    private_key: bytes,
    payment_hash: bytes,
    payment_secret: bytes,
    timestamp: datetime,
    network: Network = "bitcoin",
    amount_msat: int | None = None,
    description: str | None = None,
    description_hash: bytes | None = None,
    expiry_s: int = DEFAULT_EXPIRY_S,
    min_final_cltv: int = DEFAULT_MIN_FINAL_CLTV,
    features: Collection[int] = DEFAULT_FEATURES,
    routes: Sequence[Sequence[Hop]] = (),
    fallbacks: Sequence[str] = (),
    metadata: bytes | None = None,
    name_payee: bool = False,
) -> str:
    """Return a signed invoice; with `name_payee` it names its node, else the signature tells."""
    from coincurve import PrivateKey

    if (description is None) == (description_hash is None):
        message = "an invoice has either a description or the hash of one; give exactly one of them"
        raise Bolt11Error(message)
    key = PrivateKey(private_key)
    draft = _Draft(
        payment_hash=_exactly(payment_hash, _HASH_BYTES, "payment_hash"),
        payment_secret=_exactly(payment_secret, _HASH_BYTES, "payment_secret"),
        description=description,
        description_hash=description_hash and _exactly(description_hash, _HASH_BYTES, "description_hash"),
        expiry_s=expiry_s,
        min_final_cltv=min_final_cltv,
        features=features,
        routes=routes,
        fallbacks=[parse_address(network, address) for address in fallbacks],
        metadata=metadata,
        payee=key.public_key.format() if name_payee else None,
    )
    prefix = f"ln{CURRENCY_OF[network]}{_amount(amount_msat)}"
    words = _timestamp(timestamp) + b"".join(_field(tag, data) for tag, data in draft.fields())
    digest = hashlib.sha256(prefix.encode() + bech32.padded_bytes_of(words)).digest()
    text = bech32.join(prefix, words + bech32.byte_words(key.sign_recoverable(digest, None)))
    if len(text) > MAX_LETTERS:
        message = f"the invoice would have {len(text)} characters, more than {MAX_LETTERS}; give fewer routes"
        raise Bolt11Error(message)
    return text


@dataclass(frozen=True, slots=True)
class _Draft:
    """An invoice before it is signed."""

    payment_hash: bytes
    payment_secret: bytes
    description: str | None
    description_hash: bytes | None
    expiry_s: int
    min_final_cltv: int
    features: Collection[int]
    routes: Sequence[Sequence[Hop]]
    fallbacks: Sequence[tuple[int, bytes]]
    metadata: bytes | None
    payee: bytes | None

    def fields(self) -> Iterator[tuple[str, bytes]]:
        """Yield tag and words of every field that is not as the specification assumes."""
        yield "s", bech32.byte_words(self.payment_secret)
        yield "p", bech32.byte_words(self.payment_hash)
        if self.description is not None:
            yield "d", bech32.byte_words(self.description.encode())
        if self.description_hash is not None:
            yield "h", bech32.byte_words(self.description_hash)
        if self.metadata is not None:
            yield "m", bech32.byte_words(self.metadata)
        if self.payee is not None:
            yield "n", bech32.byte_words(self.payee)
        if self.expiry_s != DEFAULT_EXPIRY_S:
            yield "x", bech32.number_words(_whole(self.expiry_s, "expiry_s"))
        if self.min_final_cltv != DEFAULT_MIN_FINAL_CLTV:
            yield "c", bech32.number_words(_whole(self.min_final_cltv, "min_final_cltv"))
        for version, program in self.fallbacks:
            yield "f", bytes((version,)) + bech32.byte_words(program)
        for route in self.routes:
            yield "r", bech32.byte_words(b"".join(map(_hop, route)))
        if self.features:
            yield "9", bech32.number_words(sum(1 << bit for bit in set(self.features)))


def _amount(amount_msat: int | None) -> str:
    """Return the amount as the prefix has it: in the largest unit that divides it."""
    if amount_msat is None:
        return ""
    if not 0 < amount_msat <= MAX_MSAT:
        message = (
            f"an invoice is for 1 to {MAX_MSAT} msat, not {amount_msat}; leave the amount out to let the payer choose"
        )
        raise Bolt11Error(message)
    pico = amount_msat * PICO_PER_MSAT
    unit = next(unit for unit, size in PICO_OF.items() if pico % size == 0)
    return f"{pico // PICO_OF[unit]}{unit}"


def _timestamp(at: datetime) -> bytes:
    seconds = int(at.timestamp())
    if not 0 <= seconds < _MAX_TIMESTAMP:
        message = f"the time {at} does not fit an invoice, which counts seconds from 1970 to 3058; give the present"
        raise Bolt11Error(message)
    return bech32.number_words(seconds, TIMESTAMP_WORDS)


def _field(tag: str, words: bytes) -> bytes:
    if len(words) > _MAX_FIELD_WORDS:
        message = (
            f"the field {tag} takes {len(words)} words of 5 bits, and {_MAX_FIELD_WORDS} is the most; make it shorter"
        )
        raise Bolt11Error(message)
    return bytes((bech32.LETTERS.index(tag),)) + bech32.number_words(len(words), 2) + words


def _hop(hop: Hop) -> bytes:
    numbers = ((hop.short_channel_id, 8), (hop.fee_base_msat, 4), (hop.fee_millionths, 4), (hop.cltv_delta, 2))
    return _exactly(hop.node, _KEY_BYTES, "node") + b"".join(number.to_bytes(size, "big") for number, size in numbers)


def _exactly(data: bytes, size: int, name: str) -> bytes:
    if len(data) != size:
        message = f"{name} has {len(data)} bytes; give {size}"
        raise Bolt11Error(message)
    return data


def _whole(number: int, name: str) -> int:
    if not 0 <= number < 1 << 64:
        message = f"{name} is {number}; give a whole number from 0 to 2^64 - 1"
        raise Bolt11Error(message)
    return number
