"""What the measures of the router page are about: a stretch of time and a provider, kept in the page's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ui.joined import joined

_HERE = Path(__file__).parent
RANGES: dict[str, timedelta] = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
USUAL = "24h"
WORDS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days"}


class Choosing(anywidget.AnyWidget):
    """Holds `query`: the `range` and the `provider`, or none, as they stand in the address."""

    _esm = joined("dom.js", "choosing.js")
    _css = _HERE / "choosing.css"

    query = traitlets.Dict().tag(sync=True)
    providers: Any = traitlets.List().tag(sync=True)
    ranges: Any = traitlets.List().tag(sync=True)
    usual = traitlets.Unicode(USUAL).tag(sync=True)

    def __init__(self, query: Mapping[str, str]) -> None:
        super().__init__(query=dict(query), ranges=list(RANGES))

    def offer(self, colors: Sequence[tuple[str, str]]) -> None:
        """Offer these providers, (name, colour), in the order in which they are asked."""
        self.providers = [list(one) for one in colors]


def from_address(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page's address asks for; what it cannot mean is left out."""
    found = {"range": USUAL}
    for key in ("range", "provider"):
        value = address.get(key) or ""
        text = (value if isinstance(value, str) else value[-1]).strip()
        if text and (key != "range" or text in RANGES):
            found[key] = text
    return found
