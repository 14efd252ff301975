"""Amounts as people read them: whole sats with thousands apart, a fraction only where there is one."""

from __future__ import annotations

_MSAT = 1000


def plain(msat: int) -> str:
    """Return `21,340`, or `0.5` and `1.021` where it is not a whole sat."""
    sats, rest = divmod(abs(msat), _MSAT)
    sign = "−" if msat < 0 else ""  # noqa: RUF001 - a minus, as wide as the digits
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{sign}{sats:,}{fraction}"


def typed(msat: int) -> str:
    """Return an amount as people type it into a field: `21340`."""
    return plain(msat).replace(",", "")


def words(msat: int) -> str:
    """Return `21,340 sat`."""
    return f"{plain(msat)} sat"


def signed(msat: int) -> str:
    """Return `+21` or `−21`; nothing is `0`."""  # noqa: RUF002
    return f"+{plain(msat)}" if msat > 0 else plain(msat)


def big(msat: int) -> str:
    """Return an amount as the number of a card: the unit smaller than the digits. HTML."""
    return f"{plain(msat)}<small> sat</small>"


def share(part: int, whole: int) -> str:
    """Return a part as a share: `0.4 %`, `12 %`; a dash where there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.1f} %" if 0 < percent < 10 else f"{percent:.0f} %"
