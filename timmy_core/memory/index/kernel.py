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


def similarities(matrix: Matrix, query: Vector) -> Vector:
    """Return the product of each row with the query."""
    return _products(query.astype(np.float16), matrix)


def similarities_bf16(matrix: Bf16, query: Vector) -> Vector:
    """Return the product of each row of bfloat16 numbers with the query."""
    return _products(to_bf16(query), matrix, dtype="bfloat16")


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
    found: Mask = np.isin(entries, wanted)
    return found


def distinct(entries: Numbers) -> Numbers:
    """Return each entry once, where it comes first."""
    _, first = np.unique(entries, return_index=True)
    return entries[np.sort(first)]


def nearest_entries(entries: Numbers, near: Vector, limit: int) -> Numbers:
    """Return up to `limit` entries by their nearest part, the nearest first; a part at -inf counts for nothing."""
    count = len(near)
    wanted = min(count, 4 * limit + 16)  # an entry has several parts, and they are alike
    while True:
        top = np.argpartition(near, count - wanted)[count - wanted :] if wanted < count else np.arange(count)
        top = top[np.lexsort((entries[top], -near[top]))]
        top = top[near[top] > -np.inf]
        found = distinct(entries[top])
        if len(found) >= limit or wanted == count:
            return found[:limit]
        wanted = min(count, wanted * 2)


def by_entry(entries: Numbers, parts: NDArray[np.int32], near: Vector) -> list[Found]:
    """Put the parts of each entry together."""
    best: dict[int, list[float | None]] = {}
    for entry, part, similarity in zip(entries.tolist(), parts.tolist(), near.tolist(), strict=True):
        kinds = best.setdefault(entry, [None, None, None])
        kind = 0 if part == WHOLE else 2 if part == WINDOW else 1
        known = kinds[kind]
        kinds[kind] = similarity if known is None else max(known, similarity)
    return [Found(entry, *kinds) for entry, kinds in best.items()]
