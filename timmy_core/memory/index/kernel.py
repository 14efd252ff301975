"""Similarities over many vectors at once, and the choice of the entries that are nearest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.found import WHOLE, WINDOW, Found

Vector = NDArray[np.float32]
Matrix = NDArray[np.float16]
Bf16 = NDArray[np.uint16]  # bfloat16: the upper half of a float32, for which numpy has no type
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

ALL: Final = slice(None)
_TABLE: Final = 1 << 24  # the greatest number up to which a table of one byte each says what is wanted
_CHUNK: Final = 64  # rows, far from one another, of which first the greatest alone is looked at


def similarities(matrix: Matrix, query: Vector) -> Vector:
    """Return the product of each row with the query."""
    return _products(query.astype(np.float16), matrix)


def similarities_bf16(matrix: Bf16, query: Vector) -> Vector:
    """Return the product of each row of bfloat16 numbers with the query."""
    return _products(to_bf16(query), matrix, dtype="bfloat16")


def products_of_bytes(matrix: NDArray[np.int8], query: NDArray[np.int8]) -> Vector:
    """Return the product of each row of bytes with the query."""
    return _products(query, matrix)


def similarities_few(matrix: Bf16, query: Vector) -> Vector:
    """Do as `similarities_bf16` for few rows, without rounding the query."""
    return (matrix.astype(np.uint32) << np.uint32(16)).view(np.float32) @ query


def _products(query: NDArray[Any], matrix: NDArray[Any], **types: Any) -> Vector:
    import numkong

    if not len(matrix):
        return np.empty(0, np.float32)
    # Left to itself it answers in float64 at the memory's speed; asked for float32 it takes a way 25 times as slow.
    found = numkong.cdist(query.reshape(1, -1), matrix, "dot", threads=1, **types)
    return np.asarray(found, np.float32).reshape(-1)


def to_bf16(vectors: Vector) -> Bf16:
    """Return the vectors in bfloat16, each number rounded to the nearest."""
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def members(entries: Numbers, wanted: Numbers) -> Mask:
    """Say of each entry whether it is among the wanted ones."""
    if not len(wanted) or not len(entries):
        return np.zeros(len(entries), np.bool_)
    highest = int(wanted.max())
    if highest >= _TABLE:
        return np.asarray(np.isin(entries, wanted))
    table = np.zeros(highest + 2, np.bool_)
    table[wanted] = True
    return np.asarray(table[np.minimum(entries, highest + 1)])


def top_rows(near: Vector, wanted: int) -> Numbers:
    """Return the rows with the `wanted` greatest numbers, in no order, and perhaps a few more."""
    count = len(near)
    if count <= wanted:
        return np.arange(count)
    chunks = count // _CHUNK
    if chunks < 4 * wanted:
        return np.argpartition(near, count - wanted)[count - wanted :]
    # So many chunks have a greatest number that is no less, and so there are as many rows.
    greatest = near[: chunks * _CHUNK].reshape(_CHUNK, chunks).max(axis=0)
    return np.flatnonzero(near >= np.partition(greatest, chunks - wanted)[chunks - wanted])


def distinct(entries: Numbers) -> Numbers:
    """Return each entry once, where it comes first."""
    _, first = np.unique(entries, return_index=True)
    return entries[np.sort(first)]


def nearest_entries(entries: Numbers, near: Vector, limit: int) -> Numbers:
    """Return up to `limit` entries by their nearest part, the nearest first; a part at -inf counts for nothing."""
    count = len(near)
    wanted = min(count, 4 * limit + 16)  # an entry has several parts, and they are alike
    while True:
        top = top_rows(near, wanted)
        top = top[np.lexsort((entries[top], -near[top]))]
        top = top[near[top] > -np.inf]
        found = distinct(entries[top])
        if len(found) >= limit or wanted == count:
            return found[:limit]
        wanted = min(count, wanted * 2)


class Order:
    """Where the rows of an entry are; the order is made once, since most entries come in order anyway."""

    def __init__(self, entries: Numbers) -> None:
        ordered = len(entries) < 2 or bool((entries[1:] >= entries[:-1]).all())  # noqa: PLR2004 - a pair
        self._order = None if ordered else np.argsort(entries, kind="stable")
        self._entries = entries if self._order is None else entries[self._order]

    @property
    def bytes(self) -> int:
        """The memory that it takes of its own."""
        return 0 if self._order is None else self._order.nbytes + self._entries.nbytes

    def rows(self, wanted: Numbers) -> Numbers:
        """Return every row of the wanted entries."""
        first = np.searchsorted(self._entries, wanted, "left")
        counts = np.searchsorted(self._entries, wanted, "right") - first
        ends = np.cumsum(counts)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - counts), counts)
        return np.asarray(places if self._order is None else self._order[places], np.int64)


def by_entry(entries: Numbers, parts: NDArray[np.int32], near: Vector) -> list[Found]:
    """Put the parts of each entry together."""
    if not len(entries):
        return []
    different, places = np.unique(entries, return_inverse=True)
    best = np.full((3, len(different)), -np.inf)
    kinds = np.where(parts == WHOLE, 0, np.where(parts == WINDOW, 2, 1))
    np.maximum.at(best, (kinds, places), near)
    whole, sentence, window = ([None if value == -np.inf else value for value in row] for row in best.tolist())
    return list(map(Found, different.tolist(), whole, sentence, window))
