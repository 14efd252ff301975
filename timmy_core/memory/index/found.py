"""What the index hands back: an entry, with its best similarity of each kind of part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

WHOLE: Final = 0  # the number of the part that holds all of an entry; its sentences follow from 1 on
WINDOW: Final = -1  # the number of the part that holds the turn before and the entry itself


class Found(NamedTuple):
    """An entry that is near. A similarity is a cosine, from -1 to 1; None where the entry has no such part."""

    entry_seq: int
    whole: float | None = None
    sentence: float | None = None
    window: float | None = None

    @property
    def best(self) -> float:
        """The greatest of its similarities."""
        known = [value for value in (self.whole, self.sentence, self.window) if value is not None]
        return max(known, default=float("-inf"))


def nearest(found: Iterable[Found], limit: int) -> list[Found]:
    """Return the nearest entries, the nearest first; of two that are as near, the older."""
    return sorted(found, key=lambda one: (-one.best, one.entry_seq))[:limit]
