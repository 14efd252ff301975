"""The hand of the policy lab: it proposes the policy that was tried, once somebody said so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core.lab import Lab
    from timmy_core.router.replay import Plan

_HERE = Path(__file__).parent


class PlanHands(anywidget.AnyWidget):
    """Listens to the page's button; `done` rises with each proposal that was made.

    Args:
        lab: who proposes.
        by: who sits before the page.
    """

    _esm = joined("dom.js", "hands.js", "steering.js")
    _css = _HERE / "hands.css"

    done = traitlets.Int(0).tag(sync=True)

    def __init__(self, lab: Lab, *, by: str) -> None:
        super().__init__()
        self._lab, self._by = lab, by
        self._plan: Plan | None = None
        self._why = ""
        self.on_msg(self._asked)

    def hold(self, plan: Plan | None, why: str) -> None:
        """Take what would be proposed, and what the proposal says of itself."""
        self._plan, self._why = plan, why

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("action") == "propose" and self._plan is not None:
            # On a thread of its own: git may take a moment.
            arguments = (self.send, self._lab, self._plan, self._by, self._why)
            mo.Thread(target=propose, args=arguments, daemon=True).start()


def propose(send: Callable[[Any], None], lab: Lab, plan: Plan, by: str, why: str) -> None:
    """Propose a policy, and send what came of it."""
    try:
        proposal = lab.propose(plan, by=by, why=why)
    except TimmyError as error:
        send({"kind": "said", "state": "bad", "words": f"That did not work: {error}", "undo": None})
        return
    words = f"Proposed as …{proposal.id[-6:]}. It waits under Upgrades for people to decide."
    send({"kind": "said", "state": "good", "words": words, "undo": None})
