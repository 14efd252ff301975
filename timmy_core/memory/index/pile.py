"""The matrices of many small scopes end to end, in a byte a number: read in one go, and the promising rows exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.block import GONE, Block, scored_in, search_blocks
from timmy_core.memory.index.found import Found
from timmy_core.memory.index.kernel import (
    Matrix,
    Numbers,
    Order,
    Vector,
    by_entry,
    distinct,
    members,
    nearest_entries,
    products_of_bytes,
    similarities,
    top_rows,
)

Bytes = NDArray[np.int8]

SEVERAL: Final = 8  # matrices; up to so many are read one after the other
_GREATEST: Final = 127
_SOME: Final = 0.25  # up to this share of the rows, gathering them first is quicker than reading all
_ROUNDED: Final = 2e-3  # more than rounding to f16 changes a product of vectors of length 1
_SPARE, _SPARE_SHARE = 16, 32  # rows that are kept free behind each matrix: so many, and one for so many
_BESIDE: Final = 32  # bytes of a row beside its vector, generously
_AT_ONCE: Final = 20_000  # rows that are made smaller at a time


@dataclass(slots=True)
class _Place:
    """Where a block's rows are, and what of it was taken over."""

    block: Block
    start: int
    room: int
    count: int = 0
    drops: int = 0
    cuts: int = 0


class Pile:
    """What is the same for every search of these blocks; it follows them, and says no when it has to be made anew.

    A number becomes a byte, with one scale a row. How far that takes a row from its vector is known, so no entry is
    left out that could be among the nearest: the answer is that of the exact route.
    """

    def __init__(self, blocks: Sequence[Block], dimensions: int) -> None:
        self._places: list[_Place] = []
        rows = 0
        for block in blocks:
            count = block.rows
            room = count + count // _SPARE_SHARE + _SPARE
            self._places.append(_Place(block, rows, room))
            rows += room
        self._starts = np.array([place.start for place in self._places], np.int64)
        self._entries: Numbers = np.full(rows, GONE, np.int64)
        self._parts: NDArray[np.int32] = np.zeros(rows, np.int32)
        self._bytes: Bytes = np.zeros((rows, dimensions), np.int8)
        self._scales: Vector = np.zeros(rows, np.float32)
        self._gone: Numbers = np.arange(rows)  # rows of no entry
        self._order: Order | None = None  # made when it is first asked for after a change
        self._off = 0.0  # how far a row is from its vector, at most
        self._length = 0.0  # of a vector, at most
        self.follow(blocks)

    @property
    def blocks(self) -> list[Block]:
        """What it was made of."""
        return [place.block for place in self._places]

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return self._entries.nbytes + self._parts.nbytes + self._bytes.nbytes + self._scales.nbytes

    def follow(self, blocks: Sequence[Block]) -> bool:
        """Take over what changed; False if these are other blocks, or one outgrew its place."""
        if len(blocks) != len(self._places):
            return False
        for block, place in zip(blocks, self._places, strict=True):
            if block is not place.block or block.rows > place.room:
                return False
        behind = [
            place for place in self._places
            if (place.count, place.drops, place.cuts) != (place.block.rows, place.block.drops, place.block.cuts)
        ]  # fmt: skip
        for place in behind:
            self._take(place)
        if behind:
            self._gone, self._order = np.flatnonzero(self._entries == GONE), None
        return True

    def _take(self, place: _Place) -> None:
        block = place.block
        entries, parts, vectors = block.columns
        first = place.count if place.cuts == block.cuts else 0
        here = slice(place.start, place.start + place.room)
        self._entries[here] = GONE
        self._entries[here][: len(entries)] = entries
        self._parts[here][: len(parts)] = parts
        for begin in range(first, len(entries), _AT_ONCE):
            end = min(begin + _AT_ONCE, len(entries))
            self._shrink(slice(place.start + begin, place.start + end), vectors[begin:end])
        self._bytes[here][self._entries[here] == GONE] = 0
        place.count, place.drops, place.cuts = block.rows, block.drops, block.cuts

    def _shrink(self, rows: slice, vectors: Matrix) -> None:
        whole = vectors.astype(np.float32)
        small, scales, off = _small(whole)
        self._bytes[rows], self._scales[rows] = small, scales
        self._off = max(self._off, off)
        self._length = max(self._length, float(np.linalg.norm(whole, axis=1).max(initial=0.0)))

    def search(self, query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
        """Return the nearest entries, every part looked at."""
        rows = None
        shut = self._gone
        if allowed is not None:
            open_ = members(self._entries, allowed)
            shut = np.flatnonzero(~open_)
            if len(open_) - len(shut) <= _SOME * len(open_):
                rows = np.flatnonzero(open_)
        rows = self._promising(query, limit, shut, rows)
        near = similarities(self._vectors(rows), query)
        return self.scored(query, nearest_entries(self._entries[rows], near, limit))

    def _promising(self, query: Vector, limit: int, shut: Numbers, rows: Numbers | None) -> Numbers:
        """Return every row that may be among the nearest, of all that are not shut or of those that are named."""
        small, scales, off = _small(query.reshape(1, -1))
        if rows is None:
            entries, near = self._entries, products_of_bytes(self._bytes, small[0])
            near *= self._scales
            near[shut] = -np.inf
        else:
            entries, near = self._entries[rows], products_of_bytes(self._bytes[rows], small[0])
            near *= self._scales[rows]
        near *= scales[0]
        least = _least(entries, near, limit)
        if least == -np.inf:
            return np.flatnonzero(near > -np.inf) if rows is None else rows
        length = float(np.linalg.norm(query))
        slack = off * self._length + (length + off) * self._off + _ROUNDED * length * self._length
        found = np.flatnonzero(near >= least - 2 * slack)
        return found if rows is None else rows[found]

    def scored(self, query: Vector, wanted: Numbers) -> list[Found]:
        """Return the similarities of those of the wanted entries that are here."""
        rows = self._rows_of(wanted)
        near = similarities(self._vectors(rows), query)
        return by_entry(self._entries[rows], self._parts[rows], near)

    def _rows_of(self, wanted: Numbers) -> Numbers:
        if self._order is None:
            self._order = Order(self._entries)
        return np.sort(self._order.rows(np.unique(wanted)))

    def _vectors(self, rows: Numbers) -> Matrix:
        """Return the vectors themselves of some rows, which are in order."""
        found = np.empty((len(rows), self._bytes.shape[1]), np.float16)
        ends = np.searchsorted(rows, np.append(self._starts[1:], len(self._bytes))).tolist()
        begin = 0
        for place, end in zip(self._places, ends, strict=True):
            if end > begin:
                place.block.copy_vectors(rows[begin:end] - place.start, found[begin:end])
                begin = end
        return found


class Small:
    """Searches the matrices of small scopes; where they are several, in a pile, which is kept for the next search."""

    def __init__(self) -> None:
        self._pile: Pile | None = None

    @property
    def bytes(self) -> int:
        """The memory that the pile takes."""
        return self._pile.bytes if self._pile else 0

    def clear(self) -> None:
        """Give the memory back."""
        self._pile = None

    def follow(self) -> None:
        """Take over what changed, so that nothing stays of what was forgotten."""
        if self._pile is not None and not self._pile.follow(self._pile.blocks):
            self._pile = None

    def search(
        self, blocks: Sequence[Block], query: Vector, limit: int, allowed: Numbers | None, *, room: int
    ) -> list[Found]:
        """Return the nearest entries of all; `room` is the memory that a pile may take, without which there is none."""
        if len(blocks) <= SEVERAL or sum(block.rows for block in blocks) * (len(query) + _BESIDE) > room:
            return search_blocks(blocks, query, limit, allowed)
        if self._pile is None or not self._pile.follow(blocks):
            self._pile = None  # so that two are never held at once
            self._pile = Pile(blocks, len(query))
        return self._pile.search(query, limit, allowed)

    def scored(self, blocks: Sequence[Block], query: Vector, wanted: Numbers) -> list[Found]:
        """Return the similarities of the wanted entries; not all where there would have to be a pile and is none."""
        if len(blocks) > SEVERAL:
            return self._pile.scored(query, wanted) if self._pile and self._pile.follow(blocks) else []
        return [one for block in blocks for one in scored_in(block, query, wanted)]


def _small(vectors: Vector) -> tuple[Bytes, Vector, float]:
    """Return vectors in bytes, what each has to be multiplied by, and how far one is from what it was, at most."""
    scales = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(_GREATEST)
    scales[scales == 0] = 1.0
    small = np.rint(vectors / scales[:, None])
    off = np.linalg.norm(vectors - small * scales[:, None], axis=1).max(initial=0.0)
    return small.astype(np.int8), scales.astype(np.float32), float(off)


def _least(entries: Numbers, near: Vector, limit: int) -> float:
    """Return how near the last of `limit` entries is, by its nearest part; -inf where there are fewer."""
    wanted = 4 * limit + 16
    while True:
        top = top_rows(near, wanted)
        top = top[near[top] > -np.inf]
        top = top[np.argsort(-near[top])]
        found = distinct(entries[top])
        if len(found) >= limit:
            return float(near[top[entries[top] == found[limit - 1]][0]])
        if wanted >= len(near):
            return -np.inf
        wanted *= 2
