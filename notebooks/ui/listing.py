"""The table of the events page: rows come as the reader scrolls, in the reader's own time zone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from timmy_core import TimmyError
from ui import wording
from ui.asking import looks
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Event

_HERE = Path(__file__).parent
PAGE = 100
_numbers = itertools.count(1)


class Listing(anywidget.AnyWidget):
    """Shows events, newest first; `chosen` is the seq of the one that the reader wants to see, or 0.

    Args:
        chosen: what is chosen at first.
    """

    _esm = joined("dom.js", "listing.js")
    _css = _HERE / "listing.css"

    page = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    families = traitlets.Dict().tag(sync=True)
    kept = traitlets.Int(5000).tag(sync=True)

    def __init__(self, *, chosen: int = 0) -> None:
        super().__init__(page={"query": 0, "rows": [], "more": False}, chosen=chosen, families=looks())
        self._fetch: Callable[[int], Sequence[Event]] = lambda _before: ()
        self.on_msg(self._asked)

    def show(self, events: Sequence[Event], fetch: Callable[[int], Sequence[Event]]) -> None:
        """Show other events; `fetch` returns those before a seq as the reader comes to the end of these."""
        self._fetch = fetch
        self.page = {"query": next(_numbers), "rows": rows(events), "more": len(events) >= PAGE}

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("kind") != "more" or content.get("query") != self.page["query"]:
            return
        try:
            events = self._fetch(int(content["before"]))
        except TimmyError:
            # What is shown stays; the page's other parts say what is wrong.
            events = ()
        self.send({"kind": "rows", "query": content["query"], "rows": rows(events), "more": len(events) >= PAGE})


def rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return events as the table takes them: in a few words, without their data."""
    return [
        {
            "seq": event.seq,
            "ts": event.ts.isoformat(),
            "type": event.type,
            "words": wording.said(event.type, event.data, agent_id=event.agent_id),
            "who": event.agent_id or event.task_id or "",
            "source": event.source,
        }
        for event in events
    ]
