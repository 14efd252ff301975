"""The personas: local agents with a character, a price and tools of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timmy_core.settings_swarm import Persona
from timmy_core.swarm.model import Task

CHARS_A_SAT: Final = 200  # of a task's text; longer ones cost more
LEAST: Final = 0.5  # of its price, for which an agent still works

_CODE: Final = r"code|program|script|function|class|bug|test|implement|build|draft|design|template|regex|sql"
_LOOK: Final = (
    r"why|how many|how much|count|compare|trend|analy[sz]e|explain|find|forecast|when|calculate|\d+\s*[-+*/]\s*\d+"
)


@dataclass(frozen=True, slots=True)
class Character:
    """Who a persona is.

    Attributes:
        base_sats: what it wants for a short task.
        at_home: words in a task that it is quick at, and takes a third less for.
    """

    name: Persona
    description: str
    prompt: str
    capabilities: tuple[str, ...]
    base_sats: int
    at_home: str
    tools: tuple[str, ...] = ()
    proposes: bool = False

    def price_msat(self, task: Task, *, busy: bool) -> int | None:
        """Return what it bids for a task: by its length, its words, and whether it has work already; None: nothing."""
        if not task.budget_msat:
            return 0  # a task without a budget is done as a favour
        sats = self.base_sats + len(task.description) / CHARS_A_SAT
        if re.search(rf"\b(?:{self.at_home})\b", task.description, re.IGNORECASE):
            sats *= 2 / 3
        if busy:
            sats *= 1.5
        wanted = max(1, round(sats)) * 1000
        if wanted <= task.budget_msat:
            return wanted
        return task.budget_msat if task.budget_msat >= LEAST * wanted else None


CHARACTERS: Final[Mapping[Persona, Character]] = {
    "echo": Character(
        "echo",
        "Quick and plain: answers, sums up and rewrites.",
        "You are Echo, an agent that does one task at a time, quickly and plainly. Do exactly what the task asks for, "
        "in as few words as it takes. Hand in the result alone, without a greeting or a comment on it.",
        ("text", "summary"),
        4,
        r"summar\w*|sum up|shorten|rewrite|rephrase|translate|list|name|say|repeat",
    ),
    "forge": Character(
        "forge",
        "Makes things: code, drafts, plans; may propose a change of Timmy's own code.",
        "You are Forge, an agent that makes things: code, drafts and plans. Hand in something that can be used as it "
        "is, complete and checked. Say in one line at its end what you were not sure of, if anything.",
        ("text", "code", "draft"),
        9,
        _CODE,
        ("calculate",),
        proposes=True,
    ),
    "seer": Character(
        "seer",
        "Looks into things: calculates, compares, asks the log and memory.",
        "You are Seer, an agent that looks into things. Find out before you answer, with the tools that you have. "
        "Give the answer first, then the figures it stands on. Say so when you do not know.",
        ("text", "analysis", "sql"),
        7,
        _LOOK,
        ("calculate", "search_memory", "query_tables"),
    ),
}
