"""The knobs of the policy lab: the order of the providers and the numbers of `[router]`, kept in the page's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core.router.replay import Plan

_HERE = Path(__file__).parent
_SECONDS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 3600)


@dataclass(frozen=True)
class Knob:
    """One number: its key in `[router]`, its word, and the values that it can be turned to; a switch has none."""

    key: str
    word: str
    hint: str
    steps: Sequence[float] = ()
    unit: str = ""

    @property
    def switch(self) -> bool:
        """Whether it is only on or off."""
        return not self.steps


KNOBS = (
    Knob("deadline_s", "deadline", "How long a request may take in all.", _SECONDS[1:], " s"),
    Knob("first_token_s", "first token", "How long a stream's first token may take.", _SECONDS[:18], " s"),
    Knob("body_s", "whole answer", "How long an answer may take that is not streamed.", _SECONDS[1:20], " s"),
    Knob("failure_threshold", "failures in a row", "So many open a circuit.", tuple(range(1, 21))),
    Knob(
        "failure_rate", "failed share", "Of the last 20 calls: so many open a circuit.",
        tuple(round(number / 20, 2) for number in range(1, 21)),
    ),
    Knob("reset_timeout_s", "left alone for", "How long a circuit stays open the first time.", _SECONDS, " s"),
    Knob("max_reset_s", "at the most", "How long it stays open after many failed probes.", _SECONDS[5:], " s"),
    Knob("retry_percent", "retries", "How much traffic asking the same provider again may add.", tuple(range(0, 55, 5)), " %"),
    Knob("max_concurrency", "calls at once", "So many at one provider.", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    Knob("hedge", "ask another beside who is late", "When a first token is later than 19 of 20 before it."),
)  # fmt: skip


class Knobs(anywidget.AnyWidget):
    """Holds `plan`: the `order`, and those `numbers` that differ from today's; it changes when Replay is pressed.

    Args:
        today: the policy in force.
        plan: what the address asks for.
        colors: of all providers that there are.
    """

    _esm = joined("dom.js", "knobs.js")
    _css = _HERE / "knobs.css"

    today = traitlets.Dict().tag(sync=True)
    plan = traitlets.Dict().tag(sync=True)
    numbers: Any = traitlets.List().tag(sync=True)
    providers: Any = traitlets.List().tag(sync=True)

    def __init__(self, today: Plan, plan: Mapping[str, Any], colors: Mapping[str, str]) -> None:
        now = {knob.key: getattr(today.router, knob.key) for knob in KNOBS}
        super().__init__(
            today={"order": list(today.order), "numbers": now},
            plan=dict(plan),
            numbers=[{**asdict(knob), "switch": knob.switch} for knob in KNOBS],
            providers=[list(pair) for pair in colors.items()],
        )


def from_address(address: Mapping[str, Any], today: Plan, known: Sequence[str]) -> dict[str, Any]:
    """Return the order and the numbers that a page's address asks for; what it cannot mean is left out."""
    names = [name for name in str(address.get("order") or "").split(",") if name in known]
    numbers: dict[str, float | bool] = {}
    for knob in KNOBS:
        asked = address.get(knob.key)
        value = None if asked is None else _value(knob, str(asked))
        if value is not None and value != getattr(today.router, knob.key):
            numbers[knob.key] = value
    return {"order": list(dict.fromkeys(names)) or list(today.order), "numbers": numbers}


def _value(knob: Knob, text: str) -> float | bool | None:
    if knob.switch:
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return None
    if not knob.steps[0] <= number <= knob.steps[-1]:
        return None
    return int(number) if number.is_integer() else number
