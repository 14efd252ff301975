"""The words between this process and the one that answers users' SQL: each message is its lengths, JSON and bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from timmy_core import errors
from timmy_core.errors import StoreError
from timmy_core.store.frames import FrameSpec
from timmy_core.store.hot import Promotion

LENGTHS: Final = struct.Struct("!IQ")  # of the JSON, and of the bytes after it
TAKEN: Final = b"\x06"  # comes before each reply, as soon as the request was taken


@dataclass(frozen=True, slots=True)
class Origin:
    """What a process needs to open the same lake."""

    database: Path
    folder: Path
    specs: tuple[FrameSpec, ...]
    promotion: Promotion

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "database": str(self.database),
            "folder": str(self.folder),
            "specs": [asdict(spec) for spec in self.specs],
            "promotion": {name: [kind, list(names)] for name, (kind, names) in self.promotion.columns.items()},
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read one back."""
        specs = tuple(
            FrameSpec(**{**spec, "columns": {name: tuple(pair) for name, pair in spec["columns"].items()}})
            for spec in values["specs"]
        )
        promotion = Promotion({name: (kind, names) for name, (kind, names) in values["promotion"].items()})
        return cls(Path(values["database"]), Path(values["folder"]), specs, promotion)


def packed(words: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Return a message as it travels."""
    text = json.dumps(words).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


class Incoming:
    """One message that arrives piece by piece."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        self._held += piece

    def missing(self) -> int:
        """Return how many bytes are known to be missing; 0 once the message is whole."""
        if len(self._held) < LENGTHS.size:
            return LENGTHS.size - len(self._held)
        words, body = LENGTHS.unpack_from(self._held)
        return LENGTHS.size + int(words) + int(body) - len(self._held)

    def take(self) -> tuple[dict[str, Any], memoryview]:
        """Return the words and the bytes of a whole message."""
        length, _ = LENGTHS.unpack_from(self._held)
        end = LENGTHS.size + length
        view = memoryview(self._held)
        words: dict[str, Any] = json.loads(bytes(view[LENGTHS.size : end]))
        return words, view[end:]


def error_of(words: Mapping[str, Any]) -> StoreError | None:
    """Return the error that a reply carries, of the class it had there; None if it carries none."""
    name = words.get("error")
    if name is None:
        return None
    kind = getattr(errors, str(name), StoreError)
    return (kind if isinstance(kind, type) and issubclass(kind, StoreError) else StoreError)(str(words["message"]))
