"""Making a generation: from the one before and what changed since, or from the database alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.errors import StoreError
from timmy_core.memory.index.block import GONE
from timmy_core.memory.index.files import HEADER, KEY, Folder, Manifest, sync_file, sync_folder
from timmy_core.memory.index.graph import Graph, new_index
from timmy_core.memory.index.kernel import Bf16, Numbers, members, to_bf16
from timmy_core.memory.index.rows import Rows, Source
from timmy_core.store.engine import Connection, Store

BATCH: Final = 256  # vectors between two looks at whether to stop: about a tenth of a second
_STEP: Final = 0.01  # more than rounding to bfloat16 changes a number that is at most 1

_REMEMBER: Final = "INSERT OR REPLACE INTO memory_state (key, value) VALUES (?, ?)"
_FORGET: Final = "DELETE FROM memory_state WHERE key = ?"


class _Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The process is ending."""


class Builder:
    """Builds and changes the index of one scope; whoever calls holds the compactor's lock.

    Args:
        store: where the token is kept.
        source: where the vectors are.
        folder: where the files go.
        stop: asked every tenth of a second; True gives the building up.
    """

    def __init__(self, store: Store, source: Source, folder: Folder, stop: Callable[[], bool]) -> None:
        self._store = store
        self._source = source
        self._folder = folder
        self._stop = stop
        self._index: Any = None
        self._keys: list[NDArray[Any]] = []
        self._rows = 0
        self._last: tuple[int, Bf16] | None = None

    def build(self, base: Graph | None) -> bool:
        """Publish a new generation; False if it was stopped or there is nothing to hold.

        Raises:
            StoreError: the library laid its file out in a way that this version does not know.
            OSError: the disk refused.
        """
        position = self._source.head()
        self._index = new_index(self._source.dimensions)
        wiped = np.empty(0, np.int64)
        try:
            if base is None:
                self._add_all(self._source.members(self._folder.scope))
            else:
                wiped = self._continue(base)
        except _Stopped:
            return False
        if not self._rows:
            self.discard()
            return False
        self._publish(position, base, wiped)
        return True

    def _continue(self, base: Graph) -> Numbers:
        """Take the generation before, add what changed since, and return the rows that no longer count."""
        changed = self._source.changed(base.manifest.position)[1]
        keys = self._folder.keys(base.manifest)
        self._index.load(self._folder.path / base.manifest.graph_name)
        self._keys.append(keys)
        self._rows = len(keys)
        self._add_all(self._source.by_scope(changed).get(self._folder.scope, np.empty(0, np.int64)))
        return np.flatnonzero((keys["entry"] == GONE) | members(keys["entry"], changed))

    def _add_all(self, entries: Numbers) -> None:
        for page in self._source.pages(entries):
            for start in range(0, len(page), BATCH):
                if self._stop():
                    raise _Stopped
                self._add(page, slice(start, start + BATCH))

    def _add(self, page: Rows, batch: slice) -> None:
        vectors = page.vectors[batch].astype(np.float32)
        numbers = np.arange(self._rows, self._rows + len(vectors), dtype=np.uint64)
        # One thread only: then a vector's row in the file is its number here, and the machine stays usable.
        self._index.add(numbers, vectors, threads=1)
        keys = np.empty(len(vectors), KEY)
        keys["entry"], keys["part"] = page.entries[batch], page.parts[batch]
        self._keys.append(keys)
        self._last = (self._rows, to_bf16(vectors))
        self._rows += len(vectors)

    def _publish(self, position: int, base: Graph | None, wiped: Numbers) -> None:
        folder = self._folder
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = folder.manifest()
        generation = max(before.generation if before else 0, base.manifest.generation if base else 0) + 1
        draft = Manifest(
            scope=folder.scope,
            model=folder.model,
            dimensions=self._source.dimensions,
            generation=generation,
            rows=self._rows,
            position=position,
            graph_hash="",
            keys_hash="",
            token="",
        )
        graph, keys = folder.path / draft.graph_name, folder.path / draft.keys_name
        aside = graph.with_name(graph.name + ".tmp")
        self._index.save(aside)
        self._index = None
        aside.rename(graph)
        np.concatenate(self._keys).tofile(keys)
        self._check_rows(draft)
        ready = folder.wipe(draft, wiped)
        sync_file(graph)
        sync_file(keys)
        sync_folder(folder.path)
        with folder.locked(alone=True):
            self._count(ready)
            folder.tidy(ready)

    def _check_rows(self, draft: Manifest) -> None:
        """Make sure that rows are where they are thought to be, since wiping goes by that."""
        if self._last is None:
            return
        first, expected = self._last
        shape = (draft.rows, draft.dimensions)
        rows = np.memmap(self._folder.path / draft.graph_name, np.uint16, "r", offset=HEADER, shape=shape)
        there = rows[first : first + len(expected)]
        if np.abs(_floats(there) - _floats(expected)).max() > _STEP:
            self._folder.tidy(None)
            message = "this version of usearch writes its files in an unknown order; install the version of the lock"
            raise StoreError(message)

    def _count(self, manifest: Manifest) -> None:
        """Let a manifest count, in the folder and in the database."""
        self._folder.publish(manifest)
        self._store.write(lambda connection: _run(connection, _REMEMBER, (self._folder.key, manifest.token)))

    def wipe(self) -> int:
        """Overwrite what changed or went since the generation was made; return how many rows that were.

        Raises:
            OSError: the disk refused.
        """
        folder = self._folder
        manifest = folder.manifest()
        if manifest is None or not len(self._gone(manifest)):
            return 0
        with folder.locked(alone=True):
            manifest = folder.manifest()
            # A damaged file would get a hash that says it is sound.
            if manifest is None or not folder.verified(manifest):
                folder.tidy(None)
                return 0
            rows = self._gone(manifest)
            if len(rows):
                self._count(folder.wipe(manifest, rows))
            return len(rows)

    def _gone(self, manifest: Manifest) -> Numbers:
        changed = self._source.changed(manifest.position)[1]
        try:
            keys = self._folder.keys(manifest)
        except OSError:
            return np.zeros(1, np.int64)  # half an index: it is looked at again under the lock, and removed
        return np.flatnonzero(members(keys["entry"], changed))

    def discard(self) -> None:
        """Remove the index of this scope; the exact route goes on without."""
        with self._folder.locked(alone=True):
            self._folder.tidy(None)
        self._store.write(lambda connection: _run(connection, _FORGET, (self._folder.key,)))


def _run(connection: Connection, statement: str, row: tuple[str, ...]) -> None:
    connection.execute(statement, row)


def _floats(numbers: Bf16) -> NDArray[np.float32]:
    return (numbers.astype(np.uint32) << np.uint32(16)).view(np.float32)
