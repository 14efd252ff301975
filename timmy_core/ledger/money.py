"""Money inside the house: whole millisatoshis, and sats only at its edges, with a rounding that somebody chose."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final, Literal, Self

from timmy_core.errors import MoneyError

MSAT_PER_SAT: Final = 1_000
MAX_MSAT: Final = 21_000_000 * 100_000_000 * MSAT_PER_SAT  # all the bitcoin that there will ever be

Rounding = Literal["floor", "ceil", "half_even"]
_ROUNDINGS: Final[dict[str, str]] = {"floor": ROUND_FLOOR, "ceil": ROUND_CEILING, "half_even": ROUND_HALF_EVEN}
_SATS: Final = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,18})?")


class Msat(int):
    """An amount of money: a whole number of msat, from 0 to all the bitcoin that there will ever be.

    Sums and differences are plain integers, since a difference may be below zero.

    Raises:
        MoneyError: it is none.
    """

    __slots__ = ()

    def __new__(cls, amount_msat: int) -> Self:
        """Check the amount."""
        return super().__new__(cls, check_msat("the amount", amount_msat))

    @classmethod
    def from_sats(cls, sats: int | Decimal | str) -> Self:
        """Return an amount given in sats; up to three places after the point, since a sat has 1,000 msat.

        Raises:
            MoneyError: it is no such number, or finer than a msat.
        """
        exact = _exact(sats) * MSAT_PER_SAT
        whole = int(exact)
        if whole != exact:
            message = f"{sats} sat is finer than a millisatoshi; give at most three places after the point"
            raise MoneyError(message)
        return cls(whole)

    @property
    def sats(self) -> Decimal:
        """The amount in sats, exactly."""
        return Decimal(int(self)).scaleb(-3)

    def sats_rounded(self, rounding: Rounding = "floor") -> int:
        """Return whole sats, rounded in the way that is named.

        Raises:
            MoneyError: there is no such way.
        """
        if rounding not in _ROUNDINGS:
            message = f"there is no rounding {rounding!r}; expected one of {', '.join(_ROUNDINGS)}"
            raise MoneyError(message)
        return int(self.sats.quantize(Decimal(1), rounding=_ROUNDINGS[rounding]))


def _exact(sats: int | Decimal | str) -> Decimal:
    if isinstance(sats, str) and _SATS.fullmatch(sats.strip()):
        return Decimal(sats.strip())
    if isinstance(sats, Decimal) and sats.is_finite():
        return sats
    if isinstance(sats, int) and not isinstance(sats, bool):
        return Decimal(sats)
    message = f"{sats!r:.40} is no amount in sats; give a whole number, or text or a Decimal such as '21.5'"
    raise MoneyError(message)


def check_msat(name: str, amount: int, least: int = 0) -> int:
    """Return an amount as a plain integer.

    Raises:
        MoneyError: it is no whole number, below `least`, or more than there will ever be.
    """
    if not isinstance(amount, int) or isinstance(amount, bool):
        message = f"{name} has to be a whole number of msat, not {type(amount).__name__} {amount!r:.40}"
        raise MoneyError(message)
    if amount < least:
        message = f"{name} is {int(amount):,} msat; expected at least {least:,}"
        raise MoneyError(message)
    if amount > MAX_MSAT:
        message = f"{name} is {int(amount):,} msat, more than the {MAX_MSAT:,} that there will ever be"
        raise MoneyError(message)
    return int(amount)


def words(amount_msat: int) -> str:
    """Return an amount as people read it, exactly: `21 sat`, `1,234.567 sat`, `-3 sat`."""
    whole, rest = divmod(abs(amount_msat), MSAT_PER_SAT)
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{'-' if amount_msat < 0 else ''}{whole:,}{fraction} sat"
