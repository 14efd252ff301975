"""Where an id is in the archive: beside each segment, the sorted 64-bit hashes of its ids, read through a map.

Eight bytes an event keep the promise that the same id is written once only, without reading the segments at each
append. The file is derived: where it is lost, it is made again from the segment.
"""

from __future__ import annotations

import hashlib
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from timmy_core.events.files import write_whole

SUFFIX: Final = ".ids"
_BYTES: Final = 8


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Write the side file of these ids."""
    hashes = array("Q", sorted(_hash(id_) for id_ in ids))
    write_whole(path, hashes.tobytes())


class Ids:
    """A side file, mapped: what is asked often stays in memory, as much as the machine has room for."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._hashes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")

    def may_hold(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids that it may know; by chance alone it knows one in 2^64 / events."""
        return {id_ for id_ in ids if self._is_in(_hash(id_))}

    def _is_in(self, wanted: int) -> bool:
        at = bisect_left(self._hashes, wanted)
        return at < len(self._hashes) and self._hashes[at] == wanted


def is_whole(path: Path, events: int) -> bool:
    """Whether a side file of so many ids is there."""
    return path.exists() and path.stat().st_size == events * _BYTES


def _hash(id_: str) -> int:
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=_BYTES).digest(), "little")
