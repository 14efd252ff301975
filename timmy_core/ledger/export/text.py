"""How amounts, times, names and words are written for other programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_APOSTROPHE: Final = "'"
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9-]")
_LEAST_PLACES: Final = Decimal("0.00000001")


def sats(amount_msat: int) -> str:
    """Return an amount in sats with its three places, exactly."""
    whole, rest = divmod(abs(amount_msat), 1000)
    return f"{'-' if amount_msat < 0 else ''}{whole}.{rest:03d}"


def bitcoin(amount_msat: int) -> str:
    """Return an amount in bitcoin, exactly: 8 places, or up to 11 where they are needed."""
    amount = Decimal(amount_msat).scaleb(-11)
    short = amount.quantize(_LEAST_PLACES)
    return format(short if short == amount else amount, "f")


def utc(at: datetime) -> str:
    """Return a time with its microseconds, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def one_line(text: str | None) -> str:
    """Return a text without ends of lines and other control characters."""
    return _CONTROLS.sub(" ", text or "").strip()


def cell(text: str | None) -> str:
    """Return a text as a cell of a spreadsheet that it never computes: what looks like a formula gets an apostrophe.

    What begins with an apostrophe gets another one, so that the text can be had back by taking one away.
    """
    plain = one_line(text)
    return f"{_APOSTROPHE}{plain}" if plain.startswith((*_FORMULAS, _APOSTROPHE)) else plain


class Names:
    """The accounts as beancount and hledger take them: each part begins with a capital or a digit, without signs.

    Two accounts never get the same name: whichever came later in the book gets a number behind its own.
    """

    def __init__(self, codes: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        taken: set[str] = set()
        for code in codes:
            name = ":".join(map(_part, code.split(":")))
            number, unique = 1, name
            while unique in taken:
                number += 1
                unique = f"{name}-{number}"
            taken.add(unique)
            self._names[code] = unique

    def of(self, code: str) -> str:
        """Return the name of an account."""
        return self._names[code]

    def items(self) -> Iterable[tuple[str, str]]:
        """Return every account with its name, in the order of the book."""
        return self._names.items()


def _part(text: str) -> str:
    plain = _NOT_IN_NAMES.sub("-", text).lstrip("-") or "Unnamed"
    return plain[0].upper() + plain[1:]
