"""One scope, opened for searching: its graph with what is new since, or a matrix of all, or neither if too large."""

from __future__ import annotations

from typing import Final

import numpy as np

from timmy_core.memory.index.block import Block, search_blocks
from timmy_core.memory.index.files import Folder
from timmy_core.memory.index.found import Found, nearest
from timmy_core.memory.index.graph import Graph
from timmy_core.memory.index.kernel import Numbers, Vector, by_entry, similarities
from timmy_core.memory.index.rows import EVERYWHERE, Source

RESCORED: Final = 50  # entries that the graph names at least, and that are then compared one by one
DEAD: Final = 0.2  # of a graph's rows: from here on it misses too much and is built anew
_DELTA_LEAST, _DELTA_SHARE = 5_000, 50
_NOBODY: Final = np.empty(0, np.int64)


class Shelf:
    """A scope that is open.

    Args:
        scope: whose vectors these are.
        source: where they are read.
        folder: where its graph is, if it has one.
        most: vectors that may be kept in memory; a larger scope without a graph is read anew at every search.
    """

    def __init__(self, scope: str, source: Source, folder: Folder, most: int) -> None:
        self.scope = scope
        self.block = Block(source.dimensions)
        self.streamed = False
        self.identity = folder.identity()
        self.position = source.head()
        self.graph = Graph.open(folder, source)
        self._source = source
        if self.graph is not None and self.graph.manifest.position > self.position:
            self.graph = None
        if self.graph is not None:
            self.position, changed = source.changed(self.graph.manifest.position)
            self._change(changed, source.by_scope(changed).get(scope, _NOBODY))
        elif source.count(scope, most + 1) > most:
            self.streamed = True
        else:
            self._put(source.members(scope))

    def _put(self, entries: Numbers) -> None:
        for page in self._source.pages(entries):
            self.block.put(page)

    def _change(self, changed: Numbers, there: Numbers) -> None:
        if self.streamed:
            return
        if self.graph is not None:
            self.graph.kill(changed)
        self.block.drop(changed)
        self._put(there)

    def apply(self, position: int, changed: Numbers, there: Numbers) -> None:
        """Follow the database: `changed` may be of any scope, `there` are those of this one that there still are."""
        self._change(changed, there)
        self.position = position

    def __len__(self) -> int:
        return len(self.block) + (self.graph.live if self.graph else 0)

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return self.block.bytes + (self.graph.bytes if self.graph else 0)

    @property
    def route(self) -> str:
        """How it is searched: exact, graph or streamed."""
        return "streamed" if self.streamed else "graph" if self.graph else "exact"

    @property
    def used(self) -> bool:
        """Whether it is searched; all scopes together are only by a graph."""
        return self.scope != EVERYWHERE or self.graph is not None

    def wants_graph(self, exact_below: int) -> bool:
        """Whether a new generation would make searching quicker, or find more."""
        if self.graph is None:
            return self.streamed or len(self.block) >= exact_below
        rows = len(self.graph.dead)
        many = len(self.block) >= max(min(_DELTA_LEAST, exact_below), rows // _DELTA_SHARE)
        return many or self.worn

    @property
    def worn(self) -> bool:
        """Whether so many of the graph's rows are dead that it has to be built from nothing."""
        return self.graph is not None and len(self.graph.dead) - self.graph.live >= DEAD * len(self.graph.dead)

    def searched(self, query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
        """Return the nearest entries."""
        return self.search(query, limit, allowed) + search_blocks([self.block], query, limit, allowed)

    def search(self, query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
        """Return the nearest entries of what is not in the block."""
        if self.streamed:
            return self._stream(query, limit, allowed)
        if self.graph is None:
            return []
        return self.graph.scored(query, self.graph.search(query, max(limit, RESCORED), allowed))

    def _stream(self, query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
        entries = self._source.members(self.scope)
        if allowed is not None:
            entries = np.intersect1d(entries, allowed, assume_unique=True)
        found: list[Found] = []
        for page in self._source.pages(entries):
            block = Block(self._source.dimensions)
            block.put(page)
            found = nearest(found + search_blocks([block], query, limit), limit)
        return found


def scored(source: Source, query: Vector, entries: Numbers) -> list[Found]:
    """Return the exact similarities of some entries, read from the database."""
    rows = source.vectors(entries)
    return by_entry(rows.entries, rows.parts, similarities(rows.vectors, query))
