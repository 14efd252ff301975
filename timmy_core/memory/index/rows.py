"""What the index reads of the database, which is the truth: vectors, whose they are, and what changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.kernel import Matrix, Numbers
from timmy_core.memory.rows import SCOPES
from timmy_core.store.engine import Connection
from timmy_core.store.readers import Readable

EVERYWHERE: Final = ""  # in place of a scope's name: all of them together
PAGE: Final = 4_000  # entries in one read, so that no read is long

_HEAD: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'memory_changes'"
_CHANGED: Final = "SELECT number, entry_seq FROM memory_changes WHERE number > ? AND model = ? ORDER BY number LIMIT ?"
_STATE: Final = "SELECT value FROM memory_state WHERE key = ?"
_SCOPES: Final = """
SELECT e.seq, e.scope FROM json_each(?) AS wanted CROSS JOIN memory_entries AS e ON e.seq = wanted.value"""
_MEMBERS: Final = "SELECT e.seq FROM memory_entries AS e WHERE {where}"
_VECTORS: Final = """
SELECT v.entry_seq, v.part, v.vector FROM json_each(?) AS wanted
CROSS JOIN memory_vectors AS v ON v.entry_seq = wanted.value AND v.model = ?"""
_COUNT: Final = """
SELECT count(*) FROM (
    SELECT 1 FROM memory_entries AS e CROSS JOIN memory_vectors AS v ON v.entry_seq = e.seq AND v.model = ?
    WHERE {where} LIMIT ?
)"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors with the entry and the part that each is of."""

    entries: Numbers
    parts: NDArray[np.int32]
    vectors: Matrix

    def __len__(self) -> int:
        return len(self.entries)


class Source:
    """Reads the vectors of one model; every read is a short one.

    Args:
        store: where to read.
        model: the embedding model, as it stands beside the vectors.
        dimensions: numbers in a vector; a vector of another length, or one that holds no numbers, is passed over.
    """

    def __init__(self, store: Readable, model: str, dimensions: int) -> None:
        self.model = model
        self.dimensions = dimensions
        self._store = store

    def head(self) -> int:
        """Return the number of the last change, of whatever model."""
        with self._store.read() as connection:
            row = connection.execute(_HEAD).fetchone()
        return row[0] if row else 0

    def changed(self, after: int) -> tuple[int, Numbers]:
        """Return the entries whose vectors of this model came, changed or went after a position, and where this is."""
        head = self.head()
        changed: list[int] = []
        while after < head:
            with self._store.read() as connection:
                found = connection.execute(_CHANGED, (after, self.model, PAGE)).fetchall()
            changed += (row[1] for row in found)
            after = found[-1][0] if len(found) == PAGE else max(head, found[-1][0] if found else 0)
        return after, np.unique(np.array(changed, np.int64))

    def token(self, key: str) -> str | None:
        """Return what the manifest of an index has to hold."""
        with self._store.read() as connection:
            row = connection.execute(_STATE, (key,)).fetchone()
        return row[0] if row else None

    def scopes(self) -> list[str]:
        """Return the name of every scope that there is."""
        with self._store.read() as connection:
            return [row[0] for row in connection.execute(SCOPES)]

    def members(self, scope: str) -> Numbers:
        """Return every entry of a scope, in order."""
        where, values = _within(scope)
        with self._store.read() as connection:
            rows = connection.execute(_MEMBERS.format(where=where), values)
            found = np.fromiter((row[0] for row in rows), np.int64)
        found.sort()
        return found

    def by_scope(self, entries: Numbers) -> dict[str, Numbers]:
        """Return those of the entries that there still are, by their scopes, and those of everywhere."""
        found: dict[str, list[int]] = {EVERYWHERE: []}
        for page in _pages(entries):
            with self._store.read() as connection:
                for seq, scope in connection.execute(_SCOPES, (_json(page),)):
                    found.setdefault(scope, []).append(seq)
                    found[EVERYWHERE].append(seq)
        return {scope: np.array(seqs, np.int64) for scope, seqs in found.items()}

    def count(self, scope: str, at_most: int) -> int:
        """Return how many vectors a scope has; counting ends at a number."""
        where, values = _within(scope)
        with self._store.read() as connection:
            row = connection.execute(_COUNT.format(where=where), (self.model, *values, at_most)).fetchone()
        return int(row[0])

    def vectors(self, entries: Numbers) -> Rows:
        """Return every vector of some entries."""
        pages = list(self.pages(entries))
        if len(pages) == 1:
            return pages[0]
        return Rows(
            np.concatenate([page.entries for page in pages] or [np.empty(0, np.int64)]),
            np.concatenate([page.parts for page in pages] or [np.empty(0, np.int32)]),
            np.concatenate([page.vectors for page in pages] or [np.empty((0, self.dimensions), np.float16)]),
        )

    def pages(self, entries: Numbers) -> Iterator[Rows]:
        """Yield every vector of some entries, so many entries at a time."""
        for page in _pages(entries):
            with self._store.read() as connection:
                yield self._read(connection, page)

    def _read(self, connection: Connection, entries: Numbers) -> Rows:
        width = 2 * self.dimensions
        found = [row for row in connection.execute(_VECTORS, (_json(entries), self.model)) if len(row[2]) == width]
        vectors = np.frombuffer(b"".join(row[2] for row in found), "<f2").reshape(-1, self.dimensions)
        sound = np.isfinite(vectors).all(axis=1)
        return Rows(
            np.array([row[0] for row in found], np.int64)[sound],
            np.array([row[1] for row in found], np.int32)[sound],
            vectors if sound.all() else vectors[sound],
        )


def _within(scope: str) -> tuple[str, tuple[str, ...]]:
    """Return what is of a scope as a condition in SQL, and the values to bind."""
    return ("1", ()) if scope == EVERYWHERE else ("e.scope = ?", (scope,))


def _pages(entries: Numbers) -> Iterator[Numbers]:
    for start in range(0, len(entries), PAGE):
        yield entries[start : start + PAGE]


def _json(entries: Numbers) -> str:
    return json.dumps(entries.tolist())
