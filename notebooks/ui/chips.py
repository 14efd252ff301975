"""What a lab is about, as chips that stand in the page's address: each group holds one choice, or a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ui.joined import joined

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Choice:
    """One chip: what stands in the address, what is read, and the colour beside it."""

    value: str
    text: str
    color: str = ""


@dataclass(frozen=True)
class Group:
    """One line of chips of which one is chosen; without choices it is a moment to be typed."""

    key: str
    word: str
    choices: Sequence[Choice] = ()
    usual: str = ""

    @property
    def moment(self) -> bool:
        """Whether a moment is typed."""
        return not self.choices


class Chips(anywidget.AnyWidget):
    """Holds `query`: the chosen value of each group, as it stands in the address.

    Args:
        query: what is chosen at first.
        groups: what there is to choose.
    """

    _esm = joined("dom.js", "chips.js")
    _css = _HERE / "choosing.css"

    query = traitlets.Dict().tag(sync=True)
    groups: Any = traitlets.List().tag(sync=True)

    def __init__(self, query: Mapping[str, str], groups: Iterable[Group]) -> None:
        super().__init__(query=dict(query), groups=[{**asdict(group), "moment": group.moment} for group in groups])


def from_address(address: Mapping[str, Any], groups: Iterable[Group]) -> dict[str, str]:
    """Return what a page's address asks for, and what is usual where it asks for nothing that there is."""
    found: dict[str, str] = {}
    for group in groups:
        asked = str(address.get(group.key) or "")
        known = group.moment or any(choice.value == asked for choice in group.choices)
        value = asked if asked and known else group.usual
        if value:
            found[group.key] = value
    return found
