"""The live feed: an anywidget with its own WebSocket, or, where there is no server, fed from the kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import anywidget
import marimo as mo
import traitlets

from ui import icons, palette, parts

_HERE = Path(__file__).parent
BATCH = 500


class Event(Protocol):
    """The two things that the feed needs of an event."""

    @property
    def seq(self) -> int:
        """The event's place in the log."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON-able data."""
        ...


Tail = Callable[[int, threading.Event], Iterator[Sequence[Event]]]


class LiveFeed(anywidget.AnyWidget):
    """Shows events as they come, newest first; `since` is the cursor that it starts from.

    The browser follows `path` on the page's own host. Where nothing answers there (`marimo run` and `marimo edit`
    without the server), it asks the kernel, and a thread sends what `tail` yields.
    """

    _esm = _HERE / "live.js"
    _css = _HERE / "live.css"

    since = traitlets.Int(0).tag(sync=True)
    path = traitlets.Unicode("/ws/events").tag(sync=True)
    families = traitlets.Dict().tag(sync=True)
    summary_keys = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows_kept = traitlets.Int(5000).tag(sync=True)

    def __init__(self, tail: Tail, *, since: int, **traits: Any) -> None:
        look = {name: {"color": color, "path": icons.PATHS.get(name, "")} for name, color in palette.FAMILIES.items()}
        super().__init__(since=since, families=look, summary_keys=list(parts.SUMMARY_KEYS), **traits)
        self._tail = tail
        self._stop: threading.Event | None = None
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        """Follow from the cursor that the browser names; a later wish replaces an earlier one."""
        if content.get("kind") != "follow":
            return
        if self._stop is not None:
            self._stop.set()
        self._stop = threading.Event()
        # Everything is handed over as an argument: when the session closes, the cell's globals go first.
        mo.Thread(
            target=_follow, args=(self._tail, int(content.get("since", 0)), self._stop, self.send, BATCH), daemon=True
        ).start()

    def close(self) -> None:
        """End the following thread, then the widget."""
        if self._stop is not None:
            self._stop.set()
        super().close()


def _follow(tail: Tail, since: int, stop: threading.Event, send: Callable[[Any], None], batch: int) -> None:
    for events in tail(since, stop):
        if stop.is_set():
            return
        for start in range(0, len(events), batch):
            send({"kind": "events", "events": [event.as_dict() for event in events[start : start + batch]]})
