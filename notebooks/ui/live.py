"""The live feed: an anywidget with its own WebSocket, or, where there is no server, fed from the kernel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError, Wanted
from ui import parts, things, traces, wording
from ui.asking import looks
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy

BATCH = 500
PAGE = 200  # of the past, fetched at once


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
Send = Callable[[Any], None]


class LiveFeed(anywidget.AnyWidget):
    """Shows events as they come, newest first, and those before them as the reader goes back.

    The browser follows `path` on the page's own host. Where nothing answers there (`marimo run` and `marimo edit`
    without the server), it asks the kernel, and a thread sends what the log's tail yields. The past, single events
    and traces always come from the kernel.

    Args:
        timmy: whose log it is.
        since: the cursor that it starts from.
    """

    _esm = joined("dom.js", "wording.js", "following.js", "sifting.js", "live.js")
    _css = joined("live.css")

    since = traitlets.Int(0).tag(sync=True)
    path = traitlets.Unicode("/ws/events").tag(sync=True)
    families = traitlets.Dict().tag(sync=True)
    tables = traitlets.Dict().tag(sync=True)
    things: Any = traitlets.List().tag(sync=True)
    rows_kept = traitlets.Int(5000).tag(sync=True)

    def __init__(self, timmy: Timmy, *, since: int, **traits: Any) -> None:
        super().__init__(since=since, families=looks(), tables=wording.tables(), things=things.rules(), **traits)
        self._timmy = timmy
        self._stop: threading.Event | None = None
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        kind = content.get("kind")
        if kind == "follow":
            self._follow(int(content.get("since", 0)))
        elif kind in _ANSWERS:
            # On a thread of its own: a question of the past may take a while, and the page goes on meanwhile.
            mo.Thread(target=answer, args=(self.send, self._timmy, dict(content)), daemon=True).start()

    def _follow(self, since: int) -> None:
        """Follow from the cursor that the browser names; a later wish replaces an earlier one."""
        if self._stop is not None:
            self._stop.set()
        self._stop = threading.Event()
        log = self._timmy.events
        # Everything is handed over as an argument: when the session closes, the cell's globals go first.
        arguments = (lambda after, stop: log.tail(after, stop.is_set), since, self._stop, self.send, BATCH)
        mo.Thread(target=follow, args=arguments, daemon=True).start()

    def close(self) -> None:
        """End the following thread, then the widget."""
        if self._stop is not None:
            self._stop.set()
        super().close()


def follow(tail: Tail, since: int, stop: threading.Event, send: Send, batch: int) -> None:
    """Send what a log's tail yields, in batches of a bounded size, until told to stop."""
    for events in tail(since, stop):
        if stop.is_set():
            return
        for start in range(0, len(events), batch):
            send({"kind": "events", "events": [event.as_dict() for event in events[start : start + batch]]})


def answer(send: Send, timmy: Timmy, content: Mapping[str, Any]) -> None:
    """Send what the browser asked for, or what was wrong with the question."""
    kind = str(content["kind"])
    try:
        send({"kind": kind, **_ANSWERS[kind](timmy, content)})
    except TimmyError as error:
        send({"kind": kind, **_refused(kind, content, str(error))})


def before(timmy: Timmy, query: Mapping[str, Any], seq: int, limit: int = PAGE) -> list[Any]:
    """Return the newest events before a seq that match what the feed's filters ask for, newest first.

    Raises:
        TimmyError: a filter is wrong.
    """
    asked = {name: str(value) for name, value in query.items() if value}
    families = [name for name in asked.pop("family", "").split(",") if name] or [""]
    # Each family brings as many as are wanted in all, so the newest of them together are right.
    found = [
        event
        for family in families
        for event in timmy.explorer.newest(Wanted.of({**asked, "family": family}), before=seq, limit=limit)
    ]
    return sorted(found, key=lambda event: -event.seq)[:limit]


def _past(timmy: Timmy, content: Mapping[str, Any]) -> dict[str, Any]:
    events = before(timmy, content["query"], int(content["before"]))
    rows = [event.as_dict() for event in events]
    return {"number": content["number"], "events": rows, "more": len(rows) >= PAGE, "problem": ""}


def _event(timmy: Timmy, content: Mapping[str, Any]) -> dict[str, Any]:
    seq = int(content["seq"])
    return {"seq": seq, "event": timmy.events.get(seq).as_dict(), "problem": ""}


def _trace(timmy: Timmy, content: Mapping[str, Any]) -> dict[str, Any]:
    trace = str(content["trace"])
    return {"trace": trace, "html": traces.whole(timmy.questions.trace(trace), trace)}


def _refused(kind: str, content: Mapping[str, Any], problem: str) -> dict[str, Any]:
    words = parts.sentence(problem)
    if kind == "past":
        return {"number": content["number"], "events": [], "more": True, "problem": words.rstrip(".")}
    if kind == "event":
        return {"seq": int(content["seq"]), "event": None, "problem": words}
    return {"trace": str(content["trace"]), "html": parts.empty(words)}


_ANSWERS: dict[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = {
    "past": _past,
    "event": _event,
    "trace": _trace,
}
