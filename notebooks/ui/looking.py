"""What the ledger page looks at: a number of days, and the moment as of which it counts; kept in the page's address."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import anywidget
import traitlets

from ui import filters
from ui.joined import joined

RANGES: dict[str, tuple[str, int]] = {
    "7d": ("7 days", 7),
    "30d": ("30 days", 30),
    "90d": ("90 days", 90),
    "365d": ("year", 365),
}
USUAL = "30d"


class Looking(anywidget.AnyWidget):
    """Holds `query`: the `range`, and `at` or none, as they stand in the address."""

    _esm = joined("dom.js", "looking.js")
    _css = joined("choosing.css", "looking.css")

    query = traitlets.Dict().tag(sync=True)
    ranges: Any = traitlets.List().tag(sync=True)
    usual = traitlets.Unicode(USUAL).tag(sync=True)

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query=dict(query), ranges=[[key, words] for key, (words, _) in RANGES.items()])


def from_address(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page's address asks for; what it cannot mean is left out."""
    found = {"range": USUAL}
    for key in ("range", "at"):
        value = address.get(key) or ""
        text = (value if isinstance(value, str) else value[-1]).strip()
        if (key == "range" and text in RANGES) or (key == "at" and filters.moment(text)):
            found[key] = text
    return found


def days(query: Mapping[str, Any]) -> int:
    """Return over how many days a query looks."""
    return RANGES.get(str(query.get("range")), RANGES[USUAL])[1]


def as_of(query: Mapping[str, Any]) -> datetime | None:
    """Return the moment as of which a query counts; None is now."""
    return filters.moment(str(query.get("at") or ""))
