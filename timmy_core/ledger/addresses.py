"""On-chain addresses of an invoice's fallback field: base58 with its check, and segregated witness."""

from __future__ import annotations

import hashlib
from typing import Final, Literal, NamedTuple

from timmy_core.errors import Bolt11Error
from timmy_core.ledger import bech32

Network = Literal["bitcoin", "testnet", "signet", "regtest"]

PUBLIC_KEY_HASH: Final = 17  # the versions that BOLT #11 gives to the two old kinds
SCRIPT_HASH: Final = 18
_LAST_WITNESS: Final = 16
_HASH_BYTES: Final = 20
_PROGRAM_BYTES: Final = range(2, 41)
_FIRST_PROGRAM_BYTES: Final = (20, 32)

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_BASE58: Final = 50
_WITNESS_PREFIX: Final[dict[Network, str]] = {"bitcoin": "bc", "testnet": "tb", "signet": "tb", "regtest": "bcrt"}


class _OldKind(NamedTuple):
    version: int
    leading: dict[bool, int]  # the first byte on the main network and elsewhere


_OLD: Final = (
    _OldKind(PUBLIC_KEY_HASH, {True: 0, False: 111}),
    _OldKind(SCRIPT_HASH, {True: 5, False: 196}),
)


def address_of(network: Network, version: int, program: bytes) -> str | None:
    """Return the address of what a fallback field holds, or None of a version or a length that nobody knows."""
    for old in _OLD:
        if version == old.version:
            leading = old.leading[network == "bitcoin"]
            return _to_base58(bytes((leading,)) + program) if len(program) == _HASH_BYTES else None
    if not _is_witness(version, program):
        return None
    constant = bech32.BECH32M if version else bech32.BECH32
    return bech32.join(_WITNESS_PREFIX[network], bytes((version,)) + bech32.byte_words(program), constant)


def parse_address(network: Network, address: str) -> tuple[int, bytes]:
    """Return the version and the program of an address of that network."""
    found = _witness(network, address.lower()) if address in (address.lower(), address.upper()) else None
    found = found or _old(network, address)
    if found is None:
        message = f"{address!r} is not an address of the network {network}; give one that the network's wallets show"
        raise Bolt11Error(message)
    return found


def _is_witness(version: int, program: bytes) -> bool:
    lengths = _PROGRAM_BYTES if version else _FIRST_PROGRAM_BYTES
    return version <= _LAST_WITNESS and len(program) in lengths


def _witness(network: Network, address: str) -> tuple[int, bytes] | None:
    prefix, _, letters = address.rpartition("1")
    if prefix != _WITNESS_PREFIX[network] or not set(letters) <= set(bech32.LETTERS):
        return None
    words = bech32.words_of(letters)
    if len(words) <= bech32.CHECKSUM_WORDS:
        return None
    version, program = words[0], bech32.bytes_of(words[1 : -bech32.CHECKSUM_WORDS])
    return (version, program) if address_of(network, version, program) == address else None


def _old(network: Network, address: str) -> tuple[int, bytes] | None:
    data = _from_base58(address)
    for old in _OLD:
        if data and data[0] == old.leading[network == "bitcoin"]:
            return old.version, data[1:]
    return None


def _to_base58(data: bytes) -> str:
    whole = data + _check(data)
    number = int.from_bytes(whole, "big")
    letters = ""
    while number:
        number, digit = divmod(number, 58)
        letters = _BASE58[digit] + letters
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + letters


def _from_base58(text: str) -> bytes | None:
    if len(text) > _MAX_BASE58 or not set(text) <= set(_BASE58):
        return None
    number = 0
    for letter in text:
        number = number * 58 + _BASE58.index(letter)
    if number.bit_length() > (_HASH_BYTES + 5) * 8:
        return None
    whole = number.to_bytes(_HASH_BYTES + 5, "big")
    data = whole[:-4]
    return data if _check(data) == whole[-4:] and _to_base58(data) == text else None


def _check(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
