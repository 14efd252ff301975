"""A list that is asked for as one types: the newest question is answered, and what it overtook is passed over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from ui import parts

Find = Callable[[Mapping[str, Any], Any], dict[str, Any]]
Open = Callable[[str], dict[str, Any]]


class Sought(anywidget.AnyWidget):
    """Holds `query` as it stands in the address, and sends what it finds.

    Args:
        find: returns the rows for a query, from a cursor on.
        open_: returns one of them in full, by its id.
        state: what else the browser is told at first.
    """

    query = traitlets.Dict().tag(sync=True)
    names = traitlets.Dict().tag(sync=True)
    brush = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    stamp = traitlets.Int(0).tag(sync=True)

    def __init__(self, find: Find, open_: Open, **state: Any) -> None:
        super().__init__(**state)
        self._answers = Answers(find, open_)
        self.on_msg(self._asked)

    def again(self, changed: int) -> None:
        """Have the browser ask once more where something changed since the last time.

        Args:
            changed: the seq of the last event of its kind.
        """
        self.stamp = changed

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("kind") in ("find", "more", "open"):
            # On a thread of its own, so that what is typed next need not wait; what it needs is handed over.
            mo.Thread(target=self._answers.answer, args=(self.send, dict(content)), daemon=True).start()


class Answers:
    """Lets one search run at a time, and passes over those that a later one made needless."""

    def __init__(self, find: Find, open_: Open) -> None:
        self._find, self._open = find, open_
        self._lock = threading.Lock()
        self._latest = 0

    def answer(self, send: Callable[[dict[str, Any]], object], content: Mapping[str, Any]) -> None:
        """Send what a question of the browser brings; nothing where a later one was asked meanwhile."""
        number, kind = int(content.get("number", 0)), content["kind"]
        if kind == "find":
            self._latest = max(self._latest, number)
        try:
            reply = self._open(str(content["id"])) if kind == "open" else self._found(content, number)
        except TimmyError as error:
            reply = {"problem": parts.sentence(str(error)), "rows": [], "cursor": None, "note": "", "words": ""}
        if reply is not None:
            send({"kind": kind, "number": number, **reply})

    def _found(self, content: Mapping[str, Any], number: int) -> dict[str, Any] | None:
        with self._lock:
            if number < self._latest:
                return None
            return self._find(content["query"], content.get("cursor"))
