"""The exact route: every vector of a scope, or of what is new in it, in one matrix that is read from end to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.found import Found
from timmy_core.memory.index.kernel import (
    Mask,
    Matrix,
    Numbers,
    Vector,
    by_entry,
    members,
    nearest_entries,
    similarities,
)
from timmy_core.memory.index.rows import Rows

GONE: Final = 0  # stands in place of an entry's number where a row is no longer of any
FEW: Final = 0.05  # up to this share of the rows, gathering them first is quicker than reading all


class Block:
    """A growing matrix of vectors; rows of an entry that changed or went are marked, and cut out when they are many."""

    def __init__(self, dimensions: int) -> None:
        self._count = 0
        self._gone = 0
        self._highest = 0
        self.drops = 0  # how often rows were marked
        self.cuts = 0  # how often rows were cut out, so that others stand in their places
        self._entries: Numbers = np.empty(0, np.int64)
        self._parts: NDArray[np.int32] = np.empty(0, np.int32)
        self._vectors: Matrix = np.empty((0, dimensions), np.float16)

    def __len__(self) -> int:
        return self._count - self._gone

    @property
    def rows(self) -> int:
        """How many rows it has, marked ones too."""
        return self._count

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return self._entries.nbytes + self._parts.nbytes + self._vectors.nbytes

    def put(self, rows: Rows) -> None:
        """Add rows; those of the same entries have to be taken out before."""
        if not len(rows):
            return
        end = self._count + len(rows)
        self._highest = max(self._highest, int(rows.entries.max()))
        if end > len(self._entries):
            # Exactly full at first, since most scopes are read once and grow little.
            self._resize(end if not self._count else max(end, self._count + self._count // 4 + 256))
        self._entries[self._count : end] = rows.entries
        self._parts[self._count : end] = rows.parts
        self._vectors[self._count : end] = rows.vectors
        self._count = end

    def _resize(self, size: int) -> None:
        for name in ("_entries", "_parts", "_vectors"):
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), old.dtype)
            new[: self._count] = old[: self._count]
            setattr(self, name, new)

    def drop(self, entries: Numbers) -> None:
        """Take the rows of some entries out."""
        if not len(entries) or entries.min() > self._highest:
            return  # new ones only, which is what most changes are
        hit = members(self._entries[: self._count], entries)
        count = int(hit.sum())
        if not count:
            return
        self._vectors[: self._count][hit] = 0
        self._entries[: self._count][hit] = GONE
        self._gone += count
        self.drops += 1
        if self._gone > max(256, self._count // 4):
            self._cut(self._entries[: self._count] != GONE)

    def _cut(self, kept: Mask) -> None:
        self._entries = self._entries[: self._count][kept]
        self._parts = self._parts[: self._count][kept]
        self._vectors = self._vectors[: self._count][kept]
        self._count, self._gone = len(self._entries), 0
        self.cuts += 1

    @property
    def columns(self) -> tuple[Numbers, NDArray[np.int32], Matrix]:
        """Its rows: whose each is, which part, and the vector."""
        return self._entries[: self._count], self._parts[: self._count], self._vectors[: self._count]

    def copy_vectors(self, rows: Numbers, into: Matrix) -> None:
        """Copy the vectors of some rows."""
        np.take(self._vectors, rows, axis=0, out=into, mode="clip")


def search_blocks(blocks: Iterable[Block], query: Vector, limit: int, allowed: Numbers | None = None) -> list[Found]:
    """Return the nearest entries of all the blocks, every part looked at."""
    columns = [block.columns for block in blocks if len(block)]
    if not columns:
        return []
    entries = np.concatenate([column[0] for column in columns])
    parts = np.concatenate([column[1] for column in columns])
    open_ = entries != GONE if allowed is None else members(entries, allowed)
    if allowed is not None and open_.sum() <= FEW * len(entries):
        near = similarities(_gathered(columns, open_), query)
        entries, parts = entries[open_], parts[open_]
    else:
        near = np.concatenate([similarities(vectors, query) for _, _, vectors in columns])
        near[~open_] = -np.inf
    chosen = members(entries, nearest_entries(entries, near, limit))
    return by_entry(entries[chosen], parts[chosen], near[chosen])


def scored_in(block: Block, query: Vector, wanted: Numbers) -> list[Found]:
    """Return the similarities of those of the wanted entries that are in a block."""
    entries, parts, vectors = block.columns
    rows = np.flatnonzero(members(entries, wanted))
    return by_entry(entries[rows], parts[rows], similarities(vectors[rows], query))


def _gathered(columns: Sequence[tuple[Numbers, NDArray[np.int32], Matrix]], rows: Mask) -> Matrix:
    taken, first = [], 0
    for entries, _, vectors in columns:
        taken.append(vectors[rows[first : first + len(entries)]])
        first += len(entries)
    return np.concatenate(taken)
