"""What the reader of the memory page asks for: words and filters, kept in the page's address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ui import addressed
from ui.addressed import RANGES, moment

KEYS = ("text", "kind", "agent", "session", "range", "since", "until", "entry")
OFFERED = ("24h", "7d", "30d", "365d")
KINDS = ("conversation", "fact", "document")


def from_address(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page's address asks for; what it cannot mean is left out."""
    return addressed.asked(address, KEYS, {"kind": KINDS, "range": OFFERED})


def wanted(query: Mapping[str, Any], now: datetime, *, until: str = "") -> dict[str, Any]:
    """Return the filters of a query as `Memory.list` and `Memory.search` take them; no words among them.

    Args:
        query: as it stands in the address.
        now: what a range of time ends with.
        until: a moment from which on nothing is meant, whatever the query says.
    """
    names = {"kind": "kind", "agent": "agent_id", "session": "session"}
    found: dict[str, Any] = {name: str(query[key]) for key, name in names.items() if query.get(key)}
    since, ends = moment(str(query.get("since") or "")), moment(str(query.get("until") or ""))
    if since is None and ends is None and query.get("range") in RANGES:
        since = now - RANGES[str(query["range"])][1]
    last = moment(until)
    ends = min((one for one in (ends, last) if one is not None), default=None)
    return found | {name: at for name, at in (("since", since), ("until", ends)) if at is not None}


def described(query: Mapping[str, Any]) -> str:
    """Return the filters in words: `kind fact, the last 7 days`."""
    words = [f"{key} {query[key]}" for key in ("kind", "agent", "session") if query.get(key)]
    since, until = moment(str(query.get("since") or "")), moment(str(query.get("until") or ""))
    if since or until:
        words += [f"{word} {at:%d %b %Y %H:%M} UTC" for word, at in (("from", since), ("until", until)) if at]
    elif query.get("range") in RANGES:
        words.append(RANGES[str(query["range"])][0])
    return ", ".join(words) or "no filter"
