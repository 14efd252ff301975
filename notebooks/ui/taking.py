"""The books as a file, piece by piece through the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timmy_core.ledger.export.formats import FORMATS, export_bytes, file_name, format_of
from ui import parts

if TYPE_CHECKING:
    from timmy_core import Timmy

Reply = Callable[..., None]


def formats() -> list[dict[str, str]]:
    """Return the formats with their words, for a list to choose from."""
    return [{"name": one.name, "words": f"{one.name} – {one.about}"} for one in FORMATS.values()]


def take_out(reply: Reply, timmy: Timmy, name: str) -> None:
    """Send the books in a format, and last what the file is called."""
    format_ = format_of(name)
    size = 0
    for piece in export_bytes(timmy.ledger, format_.name):
        size += len(piece)
        reply({"kind": "chunk"}, [piece])
    told: dict[str, Any] = {"kind": "file", "name": file_name(format_)}
    reply(told | {"words": f"Saved as {told['name']}, {parts.size(size)}."})
