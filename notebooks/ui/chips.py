"""What a page is about, as chips that stand in its address: each group holds one choice, or a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import anywidget
import traitlets

from ui import addressed
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
    """Chips of which one is chosen.

    Args:
        key: what it is called in the address.
        word: what is read before it.
        choices: the chips; a group of fewer than two is not shown.
        usual: what is chosen where the address says nothing.
        moment: a moment may be typed instead.
        open: the address may ask for what is not among the choices, such as a provider that is gone.
    """

    key: str
    word: str
    choices: Sequence[Choice] = ()
    usual: str = ""
    moment: bool = False
    open: bool = False

    def asked(self, address: Mapping[str, Any]) -> str:
        """Return what the address asks for, or what is usual where it asks for nothing that there is."""
        said = addressed.text(address, self.key)
        known = any(choice.value == said for choice in self.choices)
        return said if said and (known or self.open or (self.moment and addressed.moment(said))) else self.usual


class Chips(anywidget.AnyWidget):
    """Holds `query`: the chosen value of each group, as it stands in the address.

    Args:
        query: what is chosen at first.
        groups: what there is to choose.
        layout: a row a group, or all in one line.
    """

    _esm = joined("dom.js", "chips.js")
    _css = _HERE / "chips.css"

    query = traitlets.Dict().tag(sync=True)
    groups: Any = traitlets.List().tag(sync=True)
    layout: Any = traitlets.Unicode("rows").tag(sync=True)

    def __init__(
        self, query: Mapping[str, str], groups: Iterable[Group], *, layout: Literal["rows", "line"] = "rows"
    ) -> None:
        super().__init__(query=dict(query), groups=[asdict(group) for group in groups], layout=layout)

    def offer(self, groups: Iterable[Group]) -> None:
        """Offer other choices; what is chosen stays."""
        self.groups = [asdict(group) for group in groups]


def from_address(address: Mapping[str, Any], groups: Iterable[Group]) -> dict[str, str]:
    """Return what a page's address asks for, and what is usual where it asks for nothing that there is."""
    found = {group.key: group.asked(address) for group in groups}
    return {key: value for key, value in found.items() if value}


def providers(colors: Mapping[str, str]) -> Group:
    """Return what chooses one of several providers.

    Args:
        colors: the colour of each, by its name, in the order in which they are asked.
    """
    each = [Choice(name, name, color) for name, color in colors.items()] if len(colors) > 1 else []
    return Group("provider", "provider", [Choice("", "all"), *each], open=True)
