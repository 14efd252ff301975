"""The filter bar of the events page: words, time, facets, saved views and exports, kept in the page's address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from ui import icons, palette
from ui.joined import joined

_HERE = Path(__file__).parent
KEYS = (
    "text", "range", "since", "until", "family", "type", "agent", "source", "provider", "task", "trace", "by",
)  # fmt: skip
CHUNK = 1 << 20

# What an export is called -> (the file's name, its media type).
FILES = {
    "csv": ("events.csv", "text/csv"),
    "jsonl": ("events.jsonl", "application/x-ndjson"),
    "parquet": ("events.parquet", "application/vnd.apache.parquet"),
    "notebook": ("events_view.py", "text/x-python"),
}


class Asking(anywidget.AnyWidget):
    """Holds the query as it stands in the address; `query` changes when the reader asks for something else.

    Args:
        query: what the address asks for at first.
        views: the saved views, kept and deleted by the two calls below.
        save: keeps a view under a name.
        delete: deletes the view of a name.
        export: yields the bytes of a file in a format, for a query; the last of them with the words to say.
    """

    _esm = joined("dom.js", "brushing.js", "asking.js")
    _css = _HERE / "asking.css"

    query = traitlets.Dict().tag(sync=True)
    facets = traitlets.Dict().tag(sync=True)
    views = traitlets.List().tag(sync=True)
    families = traitlets.Dict().tag(sync=True)
    brush = traitlets.Dict(default_value=None, allow_none=True).tag(sync=True)
    again = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        *,
        query: Mapping[str, str],
        views: Callable[[], Iterable[Any]],
        save: Callable[[str, Mapping[str, str]], Any],
        delete: Callable[[str], Any],
        export: Callable[[str, Mapping[str, str]], Iterable[tuple[bytes, str]]],
    ) -> None:
        super().__init__(query=dict(query), families=looks())
        self._views, self._save, self._delete, self._export = views, save, delete, export
        self._show_views()
        self.on_msg(self._asked)

    def _show_views(self) -> None:
        self.views = [{"name": view.name, "query": dict(view.query)} for view in self._views()]

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        kind = content.get("kind")
        try:
            if kind == "save-view":
                self._save(str(content["name"]), content["query"])
                self._show_views()
                self.send({"kind": "said", "words": ""})
            elif kind == "delete-view":
                self._delete(str(content["name"]))
                self._show_views()
            elif kind == "export" and content.get("format") in FILES:
                # On a thread of its own, so that the page goes on meanwhile. What it needs is handed over: when the
                # session closes, the cell's globals go first.
                arguments = (self.send, self._export, content["format"], content["query"])
                mo.Thread(target=send_file, args=arguments, daemon=True).start()
        except TimmyError as error:
            self.send({"kind": "said", "words": str(error)})


def send_file(
    send: Callable[..., Any],
    export: Callable[[str, Mapping[str, str]], Iterable[tuple[bytes, str]]],
    format_: str,
    query: Mapping[str, str],
) -> None:
    """Send a file to the browser piece by piece, and what to say about it."""
    name, media_type = FILES[format_]
    words = ""
    try:
        for piece, words in export(format_, query):
            for start in range(0, len(piece), CHUNK):
                send({"kind": "chunk", "words": words}, [piece[start : start + CHUNK]])
    except TimmyError as error:
        send({"kind": "said", "words": str(error)})
        return
    send({"kind": "file", "name": name, "type": media_type, "words": words})


def from_address(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page's address asks for; of a key that stands there twice, the last."""
    found: dict[str, str] = {}
    for key in KEYS:
        value = address.get(key) or ""
        text = value if isinstance(value, str) else value[-1]
        if text.strip():
            found[key] = text.strip()
    return found


def looks() -> dict[str, dict[str, str]]:
    """Return the colour and the icon of every event family, as the widgets take them."""
    return {name: {"color": color, "path": icons.PATHS.get(name, "")} for name, color in palette.FAMILIES.items()}
