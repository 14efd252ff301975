"""What a page's address asks for: choices, moments and stretches of time; what it cannot mean is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# What stands in the address -> what is read, and how long it is.
RANGES: Final[dict[str, tuple[str, timedelta]]] = {
    "15m": ("the last 15 minutes", timedelta(minutes=15)),
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(hours=24)),
    "7d": ("the last 7 days", timedelta(days=7)),
    "30d": ("the last 30 days", timedelta(days=30)),
    "90d": ("the last 90 days", timedelta(days=90)),
    "365d": ("the last year", timedelta(days=365)),
}
_MOMENTS: Final = ("since", "until")


def text(address: Mapping[str, Any], key: str) -> str:
    """Return what the address says last for a key, without white space around it; empty where it says nothing."""
    value = address.get(key) or ""
    return (value if isinstance(value, str) else str(value[-1])).strip()


def asked(address: Mapping[str, Any], keys: Iterable[str], choices: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return what the address says for these keys.

    Args:
        address: as it was opened.
        keys: which; `since` and `until` have to be moments.
        choices: what a key can be, for those that cannot be anything.
    """
    found: dict[str, str] = {}
    for key in keys:
        said = text(address, key)
        known = choices.get(key)
        if said and (known is None or said in known) and (key not in _MOMENTS or moment(said)):
            found[key] = said
    return found


def moment(said: str) -> datetime | None:
    """Return a moment of an address, in UTC; None where it is none, or says no zone."""
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def span(query: Mapping[str, str], now: datetime, usual: str) -> tuple[datetime, datetime]:
    """Return the two ends of the stretch of time that a query asks for; it ends now."""
    return now - RANGES.get(query.get("range", usual), RANGES[usual])[1], now


def words(query: Mapping[str, str], usual: str) -> str:
    """Return the stretch of time that a query asks for, in words."""
    return RANGES.get(query.get("range", usual), RANGES[usual])[0]
