"""The quick route: a graph over the vectors of a large scope, in a file that is mapped and never changed by reading."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.block import GONE
from timmy_core.memory.index.files import HEADER, Folder, Manifest
from timmy_core.memory.index.found import Found
from timmy_core.memory.index.kernel import (
    Bf16,
    Mask,
    Numbers,
    Order,
    Vector,
    by_entry,
    distinct,
    members,
    nearest_entries,
    similarities_bf16,
    similarities_few,
)
from timmy_core.memory.index.rows import Source

CONNECTIVITY: Final = 16
EXPANSION_ADD: Final = 128
GATHERED: Final = 20_000  # rows that are looked at one by one in less time than the graph takes with a filter
_GATHERED: Final = 0.15  # the share of all rows from which on the graph, with a filter, takes less
_IN_ONE_PIECE: Final = 60_000  # rows that lie together are read in less time than the graph takes, up to so many
_DENSE: Final = 2  # times as many rows as are wanted may be read where they lie in one piece
_EF_AT, _EF, _EF_MOST = 100_000, 128, 1024


def width_of_search(rows: int) -> int:
    """Return how many candidates a search keeps: 128 among 100,000, three times as many among a million."""
    return int(min(_EF_MOST, max(96, _EF * (rows / _EF_AT) ** 0.477)))


def new_index(dimensions: int) -> Any:
    """Return an empty graph. Its keys are the numbers of rows, so it need not look any up."""
    from usearch.index import Index

    return Index(
        ndim=dimensions,
        metric="ip",
        dtype="bf16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        enable_key_lookups=False,
    )


class Graph:
    """An opened generation. One thread at a time may search: the library gives two the same scratch memory."""

    def __init__(self, manifest: Manifest, index: Any, keys: NDArray[Any], vectors: Bf16) -> None:
        self.manifest = manifest
        self.entries: Numbers = np.ascontiguousarray(keys["entry"])
        self._parts: NDArray[np.int32] = np.ascontiguousarray(keys["part"])
        self._order = Order(self.entries)
        self._index = index
        self._vectors = vectors
        self.dead: Mask = self.entries == GONE
        index.expansion_search = width_of_search(len(self.entries))

    @classmethod
    def open(cls, folder: Folder, source: Source) -> Graph | None:
        """Open what the manifest names; None where there is nothing sound, or nothing that the database knows of."""
        if folder.identity() is None:
            return None
        with folder.locked(alone=False):
            manifest = folder.manifest()
            if manifest is None or manifest.token != source.token(folder.key) or not folder.verified(manifest):
                return None
            index = new_index(manifest.dimensions)
            path = folder.path / manifest.graph_name
            try:
                index.view(path)
            except RuntimeError:
                return None  # written by a version of the library that this one does not read
            shape = (manifest.rows, manifest.dimensions)
            # As a plain array: picking rows of it is quicker.
            vectors = np.asarray(np.memmap(path, np.uint16, "r", offset=HEADER, shape=shape))
            return cls(manifest, index, folder.keys(manifest), vectors)

    @property
    def live(self) -> int:
        """How many of its rows still count."""
        return len(self.dead) - int(self.dead.sum())

    @property
    def bytes(self) -> int:
        """The memory that it takes, beside the file."""
        return self.entries.nbytes + self._parts.nbytes + self._order.bytes + self.dead.nbytes

    def kill(self, entries: Numbers) -> None:
        """Leave the rows of some entries out from now on: they changed or went."""
        if len(entries):
            self.dead |= members(self.entries, entries)

    def search(self, query: Vector, limit: int, allowed: Numbers | None = None) -> Numbers:
        """Return up to `limit` entries, the nearest first, none missing that a filter leaves."""
        shut = self.dead
        if allowed is not None:
            shut = shut | ~members(self.entries, allowed)
            rows = np.flatnonzero(~shut)
            most = _IN_ONE_PIECE if _together(rows) else min(GATHERED, _GATHERED * len(shut))
            if len(rows) <= most:
                return self._exact(query, limit, rows)
        # As many as hold enough that count, if what counts lies evenly; doubled where it does not.
        count = max(64, 2 * limit, limit * len(shut) // max(1, len(shut) - int(shut.sum())))
        while count < len(shut) // 16:
            found = self._index.search(query, count, threads=1).keys.astype(np.int64)
            entries = distinct(self.entries[found[~shut[found]]])
            if len(entries) >= limit:
                return entries[:limit]
            count *= 2
        # So far down the graph no longer pays.
        return self._exact(query, limit, np.flatnonzero(~shut))

    def _exact(self, query: Vector, limit: int, rows: Numbers) -> Numbers:
        if _together(rows):
            # Reading what lies between them too takes less time than putting them together.
            near = similarities_bf16(self._vectors[rows[0] : rows[-1] + 1], query)[rows - rows[0]]
        else:
            near = similarities_bf16(self._vectors[rows], query)
        return nearest_entries(self.entries[rows], near, limit)

    def scored(self, query: Vector, entries: Numbers) -> list[Found]:
        """Return the similarities of those of the entries that are here; exact but for how the file rounds."""
        rows = self._order.rows(entries)
        rows = rows[~self.dead[rows]]
        return by_entry(self.entries[rows], self._parts[rows], similarities_few(self._vectors[rows], query))


def _together(rows: Numbers) -> bool:
    """Whether rows, which are in order, lie in about one piece."""
    return len(rows) > 0 and bool(rows[-1] - rows[0] < _DENSE * len(rows))
