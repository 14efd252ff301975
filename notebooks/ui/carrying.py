"""Files into memory and memory into a file: read in pieces from the browser, imported in batches with progress, exported."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from timmy_core.memory.exporting import export_lines
from timmy_core.memory.import_formats import FORMATS, SUFFIXES, File
from timmy_core.memory.importing import Importer, Progress
from ui import filters, parts, present
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy

_HERE = Path(__file__).parent
MAX_BYTES = 64 << 20
PIECE = 1 << 18
_LINES = 400


class Carrying(anywidget.AnyWidget):
    """A place to drop files on, and a button that saves all; `done` rises with each import.

    Args:
        timmy: whose memory it is.
    """

    _esm = joined("dom.js", "carrying.js")
    _css = _HERE / "carrying.css"

    done = traitlets.Int(0).tag(sync=True)
    formats: Any = traitlets.List().tag(sync=True)
    suffixes: Any = traitlets.List().tag(sync=True)
    max_bytes = traitlets.Int(MAX_BYTES).tag(sync=True)
    piece = traitlets.Int(PIECE).tag(sync=True)

    def __init__(self, timmy: Timmy) -> None:
        super().__init__(formats=list(FORMATS), suffixes=sorted(SUFFIXES))
        self._timmy = timmy
        self._name, self._data = "", bytearray()
        self._stop = threading.Event()
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        kind = content.get("kind")
        if kind == "begin":
            self._name, self._data, self._stop = str(content.get("name", "")), bytearray(), threading.Event()
        elif kind == "piece" and len(self._data) <= MAX_BYTES:
            self._data += base64.b64decode(str(content["data"]))
            self.send({"kind": "got", "bytes": len(self._data)})
        elif kind == "end":
            file = File(self._name, bytes(self._data), written_at(content.get("written")))
            self._data = bytearray()
            arguments: tuple[Any, ...] = (self.send, self._timmy, file, content.get("format") or None, self._stop)
            mo.Thread(target=take_in, args=arguments, daemon=True).start()
        elif kind == "stop":
            self._stop.set()
        elif kind == "export":
            arguments = (self.send, self._timmy, dict(content.get("query") or {}))
            mo.Thread(target=hand_out, args=arguments, daemon=True).start()

    def close(self) -> None:
        """End an import that is under way; what is in stays, and the same file can be imported again."""
        self._stop.set()
        super().close()


def written_at(ms: Any) -> datetime:
    """Return when a file was written, by the milliseconds that the browser says; now where it says nothing."""
    return datetime.fromtimestamp(ms / 1000, UTC) if isinstance(ms, int | float) and ms > 0 else present.now()


def take_in(send: Any, timmy: Timmy, file: File, format_: str | None, stop: threading.Event) -> None:
    """Import one file, and send how far it is."""
    last = Progress(file.name, 0, len(file.data))
    try:
        for last in Importer(timmy.memory, timmy.store, timmy.clock).run([file], format=format_):
            percent = 100 * last.done_bytes // max(1, last.total_bytes)
            send({"kind": "progress", "words": f"{counts(last)} of {file.name} …", "percent": percent})
            if stop.is_set():
                send({"kind": "taken", "state": "wait", **taken(last, f"Stopped: {counts(last)} so far.")})
                return
    except TimmyError as error:
        send({"kind": "taken", "state": "bad", **taken(last, parts.sentence(str(error)))})
        return
    state = "bad" if last.refused and not last.added and not last.known else "good"
    send({"kind": "taken", "state": state, **taken(last, f"{file.name}: {counts(last)}.")})


def counts(progress: Progress) -> str:
    """Return what an import brought, in words."""
    words = [f"{parts.count(progress.added)} new"]
    words += [f"{parts.count(progress.known)} known already"] if progress.known else []
    words += [f"{parts.count(progress.refused)} refused"] if progress.refused else []
    return ", ".join(words)


def taken(progress: Progress, words: str) -> dict[str, Any]:
    """Return what is said at the end of an import."""
    return {"words": words, "problems": list(progress.problems)}


def hand_out(send: Any, timmy: Timmy, query: Mapping[str, Any]) -> None:
    """Send memory as JSON lines, piece by piece."""
    number, held = 0, []
    try:
        for number, line in enumerate(export_lines(timmy.store, filters.wanted(query, timmy.clock.now())), 1):
            held.append(line)
            if len(held) == _LINES:
                send({"kind": "chunk", "words": f"{parts.count(number)} entries …"}, ["".join(held).encode()])
                held = []
    except TimmyError as error:
        send({"kind": "taken", "state": "bad", "words": parts.sentence(str(error)), "problems": []})
        return
    if held:
        send({"kind": "chunk", "words": ""}, ["".join(held).encode()])
    send({"kind": "file", "name": "memory.jsonl", "words": f"{parts.plural(number, 'entry', 'entries')} saved"})
