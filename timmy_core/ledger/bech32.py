"""Bech32 as invoices and addresses use it: words of five bits, their letters and their checksum (BIP-173, BIP-350)."""

from __future__ import annotations

import functools
from typing import Final

from timmy_core.errors import Bolt11Error

LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32: Final = 1
BECH32M: Final = 0x2BC830A3
CHECKSUM_WORDS: Final = 6

_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_NO_LETTER: Final = 255
_WORD_OF: Final = bytes(LETTERS.find(chr(code)) % 256 for code in range(256))
_LETTER_OF: Final = LETTERS.encode().ljust(256, b"!")
# Python reads digits of base 32 in C, so a field becomes a number through them.
_DIGIT_OF: Final = b"0123456789abcdefghijklmnopqrstuv".ljust(256, b"!")


def split(text: str) -> tuple[str, bytes]:
    """Return the part before the last `1` and the words behind it without the checksum, of a text in lower case."""
    prefix, one, letters = text.rpartition("1")
    if not one or not prefix:
        message = "the text has no 1 between its prefix and its data; copy it again, from its first letter to its last"
        raise Bolt11Error(message)
    words = words_of(letters)
    if len(words) < CHECKSUM_WORDS or polymod(prefix, words) != BECH32:
        message = "the checksum does not match: a letter was changed or lost; copy the text again, as a whole"
        raise Bolt11Error(message)
    return prefix, words[:-CHECKSUM_WORDS]


def join(prefix: str, words: bytes, constant: int = BECH32) -> str:
    """Return the text of these words, with its checksum."""
    rest = polymod(prefix, words + bytes(CHECKSUM_WORDS)) ^ constant
    checksum = bytes(rest >> 5 * place & 31 for place in reversed(range(CHECKSUM_WORDS)))
    return f"{prefix}1{letters_of(words + checksum)}"


def words_of(letters: str) -> bytes:
    """Return the words that these letters stand for."""
    words = letters.encode().translate(_WORD_OF)
    at = words.find(_NO_LETTER)
    if at >= 0:
        message = f"the data has a character that is none of its 32 letters ({LETTERS}); copy the text again"
        raise Bolt11Error(message)
    return words


def letters_of(words: bytes) -> str:
    """Return the letters of these words."""
    return words.translate(_LETTER_OF).decode()


def number_of(words: bytes) -> int:
    """Return the number that these words are, the highest first."""
    return int(words.translate(_DIGIT_OF), 32) if words else 0


def number_words(number: int, count: int = 0) -> bytes:
    """Return the words of a number: so many, or as few as hold it."""
    wanted = count or max(1, -(-number.bit_length() // 5))
    return bytes(number >> 5 * place & 31 for place in reversed(range(wanted)))


def bytes_of(words: bytes) -> bytes:
    """Return the whole bytes in these words; what is left over at the end is padding."""
    bits = len(words) * 5
    return (number_of(words) >> bits % 8).to_bytes(bits // 8, "big")


def padded_bytes_of(words: bytes) -> bytes:
    """Return these words as bytes with zeros behind them up to the last whole byte."""
    bits = len(words) * 5
    padding = -bits % 8
    return (number_of(words) << padding).to_bytes((bits + padding) // 8, "big")


def byte_words(data: bytes) -> bytes:
    """Return the words that hold these bytes, the last one filled up with zeros."""
    bits = len(data) * 8
    count = -(-bits // 5)
    return number_words(int.from_bytes(data, "big") << count * 5 - bits, count) if count else b""


def polymod(prefix: str, words: bytes) -> int:
    """Return the rest of the division that the checksum is made of, two words a step."""
    steps = _steps()
    codes = prefix.encode()
    spread = bytes(code >> 5 for code in codes) + b"\0" + bytes(code & 31 for code in codes) + words
    odd = len(spread) % 2
    # Zeros in front of the first word would change the rest, so an odd one goes in alone.
    rest = 32 | spread[0] if odd else 1
    for high, low in zip(spread[odd::2], spread[odd + 1 :: 2], strict=True):
        rest = (rest & 0xFFFFF) << 10 ^ (high << 5 | low) ^ steps[rest >> 20]
    return rest


@functools.cache
def _steps() -> tuple[int, ...]:
    """Return what each ten bits that leave on the left put back, for two words at once."""
    return tuple(_step(_step(top << 20)) for top in range(1024))


def _step(rest: int) -> int:
    leaving = rest >> 25
    rest = (rest & 0x1FFFFFF) << 5
    for place, generator in enumerate(_GENERATOR):
        if leaving >> place & 1:
            rest ^= generator
    return rest
