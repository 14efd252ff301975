"""Invoices of BOLT #11: read, checked to the last bit of their signature, and written.

What is read here has a checksum that holds, an amount in whole msat, no feature that has to be understood and is not,
and a signature of the node that it names or that the signature itself tells. Whether it may be paid, `problems` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from timmy_core.errors import Bolt11Error
from timmy_core.ledger import bech32
from timmy_core.ledger.addresses import Network, address_of
from timmy_core.ledger.bolt11_encode import encode
from timmy_core.ledger.bolt11_fields import (
    DEFAULT_EXPIRY_S,
    DEFAULT_MIN_FINAL_CLTV,
    HASH_WORDS,
    KEY_WORDS,
    KNOWN_FEATURES,
    MAX_LETTERS,
    MAX_NUMBER_WORDS,
    NETWORK_OF,
    PICO_OF,
    PICO_PER_MSAT,
    SIGNATURE_WORDS,
    TIMESTAMP_WORDS,
    Hop,
    Invoice11,
    Problem,
)
from timmy_core.ledger.money import MAX_MSAT

__all__ = ["Hop", "Invoice11", "Network", "Problem", "decode", "encode", "problems"]

_SCHEME: Final = "lightning:"
_FIXED_WORDS: Final = {"p": HASH_WORDS, "s": HASH_WORDS, "h": HASH_WORDS, "n": KEY_WORDS}
_HOP_BYTES: Final = 51
_LAST_SECOND: Final = int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1
_MAX_AMOUNT_DIGITS: Final = 20


def decode(text: str, *, now: datetime | None = None) -> Invoice11:
    """Read an invoice and check it; with `now` refuse one that has expired."""
    plain = _plain(text)
    prefix, words = bech32.split(plain)
    network, amount_msat = _read_prefix(prefix)
    if len(words) < TIMESTAMP_WORDS + SIGNATURE_WORDS:
        message = "the invoice is too short to hold a time and a signature; copy it again, as a whole"
        raise Bolt11Error(message)
    signed, signature = words[:-SIGNATURE_WORDS], bech32.bytes_of(words[-SIGNATURE_WORDS:])
    fields = _Fields(signed[TIMESTAMP_WORDS:])
    timestamp_s = bech32.number_of(signed[:TIMESTAMP_WORDS])
    expiry_s = fields.number("x", DEFAULT_EXPIRY_S)
    named = fields.data("n")
    digest = hashlib.sha256(prefix.encode() + bech32.padded_bytes_of(signed)).digest()
    invoice = Invoice11(
        text=plain,
        network=network,
        amount_msat=amount_msat,
        timestamp=datetime.fromtimestamp(timestamp_s, UTC),
        expires_at=datetime.fromtimestamp(min(timestamp_s + expiry_s, _LAST_SECOND), UTC),
        payment_hash=fields.needed("p", "the hash of the payment"),
        payment_secret=fields.needed("s", "the secret of the payment"),
        description=fields.description(),
        description_hash=fields.data("h"),
        payee=_recovered(signature, digest) if named is None else _verified(named, signature, digest),
        named_payee=named is not None,
        expiry_s=expiry_s,
        min_final_cltv=fields.number("c", DEFAULT_MIN_FINAL_CLTV),
        features=fields.features(),
        routes=tuple(_read_route(data) for data in fields.all("r")),
        fallbacks=tuple(_read_fallbacks(network, fields.all("f"))),
        metadata=fields.data("m"),
        signature=signature,
    )
    if (invoice.description is None) == (invoice.description_hash is None):
        message = (
            "an invoice has either a description or the hash of one, and this one has both or none; ask for another"
        )
        raise Bolt11Error(message)
    if now is not None and invoice.is_expired(now):
        raise Bolt11Error(_expired(invoice, now))
    return invoice


def problems(
    invoice: Invoice11, *, network: Network, now: datetime, amount_msat: int | None = None
) -> tuple[Problem, ...]:
    """Return why this invoice may not be paid from a node of that network, with that amount, now; nothing if it may."""
    found = []
    if invoice.network != network:
        words = (
            f"the invoice is for the network {invoice.network}, and the node is on {network}; ask for one on {network}"
        )
        found.append(Problem("network", words))
    if invoice.is_expired(now):
        found.append(Problem("expired", _expired(invoice, now)))
    if amount_msat is None and invoice.amount_msat is None:
        found.append(Problem("amount", "the invoice leaves the amount to whoever pays, so say how much to pay"))
    if amount_msat is not None and invoice.amount_msat not in (None, amount_msat):
        words = f"the invoice asks for {invoice.amount_msat} msat, not for {amount_msat}; leave the amount out"
        found.append(Problem("amount", words))
    return tuple(found)


class _Fields:
    """The tagged fields of an invoice: the first of each kind, but every route and every fallback."""

    def __init__(self, words: bytes) -> None:
        self._found: dict[str, list[bytes]] = {}
        at = 0
        while at < len(words):
            end = at + 3 + (words[at + 1] << 5 | words[at + 2]) if at + 3 <= len(words) else len(words) + 1
            if end > len(words):
                message = "a field of the invoice says that it is longer than the invoice; ask for another"
                raise Bolt11Error(message)
            tag = bech32.LETTERS[words[at]]
            # The specification has fields of another length than theirs passed over, like unknown ones.
            if _FIXED_WORDS.get(tag, end - at - 3) == end - at - 3:
                self._found.setdefault(tag, []).append(words[at + 3 : end])
            at = end

    def all(self, tag: str) -> list[bytes]:
        """Return the words of every field with this tag."""
        return self._found.get(tag, [])

    def data(self, tag: str) -> bytes | None:
        """Return the bytes of the first field with this tag."""
        found = self.all(tag)
        return bech32.bytes_of(found[0]) if found else None

    def needed(self, tag: str, name: str) -> bytes:
        """Return the bytes of a field that has to be there."""
        data = self.data(tag)
        if data is None:
            message = f"the invoice lacks {name} (its field {tag}), and cannot be paid without it; ask for another"
            raise Bolt11Error(message)
        return data

    def number(self, tag: str, default: int) -> int:
        """Return the number in the first field with this tag."""
        found = self.all(tag)
        if not found:
            return default
        if len(found[0].lstrip(b"\0")) > MAX_NUMBER_WORDS:
            message = f"the number in the invoice's field {tag} is larger than 64 bits; ask for another invoice"
            raise Bolt11Error(message)
        return bech32.number_of(found[0])

    def description(self) -> str | None:
        """Return the description, if it has one."""
        data = self.data("d")
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError as error:
            message = "the invoice's description is not UTF-8, which the specification asks for; ask for another"
            raise Bolt11Error(message) from error

    def features(self) -> frozenset[int]:
        """Return the numbers of its features; one that is even has to be understood."""
        found = self.all("9")
        bits = bech32.number_of(found[0]) if found else 0
        features = frozenset(bit for bit in range(bits.bit_length()) if bits >> bit & 1)
        unknown = sorted(bit for bit in features - KNOWN_FEATURES if bit % 2 == 0)
        if unknown:
            listed = ", ".join(map(str, unknown[:10]))
            message = f"the invoice asks for features that are not known here: {listed}; ask for one without them"
            raise Bolt11Error(message)
        return features


def _plain(text: str) -> str:
    """Return the invoice in lower case, without space around it and without the scheme of a link."""
    plain = text.strip()
    if plain[: len(_SCHEME)].lower() == _SCHEME:
        plain = plain[len(_SCHEME) :]
    if len(plain) > MAX_LETTERS:
        message = (
            f"the text has {len(plain)} characters, and an invoice has {MAX_LETTERS} at most; copy the invoice alone"
        )
        raise Bolt11Error(message)
    lower = plain.lower()
    if plain not in (lower, plain.upper()) or not plain.isascii():
        message = "an invoice is written in small or in capital letters, not in both; copy it again"
        raise Bolt11Error(message)
    return lower


def _read_prefix(prefix: str) -> tuple[Network, int | None]:
    """Return the network and the amount."""
    for currency, network in NETWORK_OF:
        if prefix.startswith(f"ln{currency}"):
            return network, _read_amount(prefix[2 + len(currency) :])
    message = "an invoice begins with lnbc, lntb, lntbs or lnbcrt, and this text does not; copy the invoice itself"
    raise Bolt11Error(message)


def _read_amount(text: str) -> int | None:
    """Return the msat of an amount as it is written, or None where there is none."""
    if not text:
        return None
    unit = text[-1] if text[-1].isalpha() else ""
    digits = text.removesuffix(unit)
    if unit not in PICO_OF or not digits.isdecimal() or digits[0] == "0" or len(digits) > _MAX_AMOUNT_DIGITS:
        message = f"the amount {text[:30]!r} is not a whole number and one of the units m, u, n and p; ask for another"
        raise Bolt11Error(message)
    msat, rest = divmod(int(digits) * PICO_OF[unit], PICO_PER_MSAT)
    if rest:
        message = f"the amount {text} is not in whole msat, and nothing smaller can be paid; ask for another invoice"
        raise Bolt11Error(message)
    if msat > MAX_MSAT:
        message = f"the amount {text} is more bitcoin than there will be (21 million); ask for another invoice"
        raise Bolt11Error(message)
    return msat


def _read_route(words: bytes) -> tuple[Hop, ...]:
    """Return the hops of one private route."""
    data = bech32.bytes_of(words)
    if len(data) % _HOP_BYTES:
        message = "a route in the invoice is cut within a hop; ask for another invoice"
        raise Bolt11Error(message)
    hops = (data[at : at + _HOP_BYTES] for at in range(0, len(data), _HOP_BYTES))
    return tuple(
        Hop(
            node=hop[:33],
            short_channel_id=int.from_bytes(hop[33:41], "big"),
            fee_base_msat=int.from_bytes(hop[41:45], "big"),
            fee_millionths=int.from_bytes(hop[45:49], "big"),
            cltv_delta=int.from_bytes(hop[49:], "big"),
        )
        for hop in hops
    )


def _read_fallbacks(network: Network, found: list[bytes]) -> Iterator[str]:
    """Yield the addresses of a kind that is known; the specification has others passed over."""
    for words in found:
        address = address_of(network, words[0], bech32.bytes_of(words[1:])) if words else None
        if address is not None:
            yield address


def _recovered(signature: bytes, digest: bytes) -> bytes:
    """Return the public key that made the signature."""
    from coincurve import PublicKey

    try:
        return PublicKey.from_signature_and_message(signature, digest, None).format()
    except ValueError as error:
        message = "no public key belongs to the invoice's signature: it was changed or made up; ask for another"
        raise Bolt11Error(message) from error


def _verified(payee: bytes, signature: bytes, digest: bytes) -> bytes:
    """Return the public key that the invoice names, if the signature is its own and in the lower of its two forms."""
    from coincurve import PublicKey

    try:
        held = PublicKey(payee).verify(_der(signature), digest, None)
    except ValueError:  # no point of the curve
        held = False
    if not held:
        message = (
            "the signature is not that of the node that the invoice names: it was changed or made up; ask for another"
        )
        raise Bolt11Error(message)
    return payee


def _der(signature: bytes) -> bytes:
    """Return the two numbers of a signature in the form that libsecp256k1 verifies."""
    body = b"".join(_der_number(int.from_bytes(half, "big")) for half in (signature[:32], signature[32:64]))
    return bytes((0x30, len(body))) + body


def _der_number(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes((0x02, len(data))) + data


def _expired(invoice: Invoice11, now: datetime) -> str:
    ago = int((now - invoice.expires_at).total_seconds())
    return f"the invoice expired {ago} s ago, at {invoice.expires_at:%Y-%m-%d %H:%M:%S} UTC; ask for another"
