"""The vectors of all scopes: what the search asks, kept in step with the database whoever writes to it."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.errors import StoreError
from timmy_core.memory.aside import Aside
from timmy_core.memory.index.block import Block, search_blocks
from timmy_core.memory.index.build import Builder
from timmy_core.memory.index.files import Folder, read_manifest
from timmy_core.memory.index.found import Found, nearest
from timmy_core.memory.index.kernel import Numbers, Vector, members
from timmy_core.memory.index.pile import Small
from timmy_core.memory.index.rows import EVERYWHERE, Source
from timmy_core.memory.index.shelf import Shelf, scored
from timmy_core.memory.index.state import ScopeState, state_of
from timmy_core.store.engine import Store
from timmy_core.store.lock import flocked

EXACT_BELOW: Final = 50_000
BUDGET_MIB: Final = 256
_PAUSE_S: Final = 2.0  # how long changes gather before the files follow them
_GRAPHS: Final = 2  # of so many scopes; where there are more, one graph of all is quicker
_NOBODY: Final = np.empty(0, np.int64)


class Vectors:
    """Finds the entries whose vectors are nearest; one search at a time, from any thread.

    Args:
        store: the database, which is the truth.
        root: the folder for the files of large scopes; all in it can be removed at any time.
        model: the embedding model, as it stands beside the vectors; None until there is one.
        dimensions: numbers in a vector of that model.
        exact_below: vectors in a scope up to which it is read from end to end.
        budget_mib: memory for scopes that are open; the one that was used longest ago goes first.
        background: whether to build graphs on a thread of its own, once a scope is large; else call `maintain`.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        *,
        model: str | None = None,
        dimensions: int = 384,
        exact_below: int = EXACT_BELOW,
        budget_mib: int = BUDGET_MIB,
        background: bool = True,
    ) -> None:
        self._store = store
        self._root = root
        self._exact_below = exact_below
        self._budget = budget_mib << 20
        self._background = background
        self._lock = threading.RLock()
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._small = Small()
        self._aside = Aside("timmy-memory-graphs")
        self._source: Source | None = None
        self._stopping = threading.Event()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem: str | None = None  # why the files could not follow, the last time
        self.use(model, dimensions)

    def use(self, model: str | None, dimensions: int = 384) -> None:
        """Search among another model's vectors from now on."""
        with self._lock:
            self._shelves.clear()
            self._small.clear()
            self._source = None if model is None else Source(self._store, model, dimensions)

    # Searching -----------------------------------------------------------------------------------------------

    def search(
        self,
        vector: NDArray[np.floating[Any]],
        *,
        scopes: Sequence[str] | None,
        limit: int,
        allowed: Collection[int] | Numbers | None = None,
    ) -> list[Found]:
        """Return up to `limit` entries of the scopes, the nearest first; without a model, none.

        Args:
            vector: of the question, by the model in use.
            scopes: where to look, and nowhere else; None for everywhere.
            limit: how many at most; fewer only if there are fewer.
            allowed: the entries that may be found; None for all.

        Raises:
            StoreError: the vector is not one of this model, or the database cannot be read.
        """
        with self._lock:
            source = self._source
            if source is None or limit <= 0:
                return []
            query = _checked(vector, source.dimensions)
            among = None if allowed is None else _numbers(allowed)
            if among is not None and not len(among):
                return []
            self._follow(source)
            if scopes is None:
                whole = self._whole(source)
                found = whole.searched(query, limit, among) if whole else self._each(source, query, limit, among)
            else:
                found = self._search(source, scopes, query, limit, among)
            return nearest(found, limit)

    def _whole(self, source: Source) -> Shelf | None:
        """Return the graph of all scopes together, where there is one."""
        there = EVERYWHERE in self._shelves or self._folder(source, EVERYWHERE).identity() is not None
        shelf = self._shelf(source, EVERYWHERE) if there else None
        return shelf if shelf is not None and shelf.graph is not None else None

    def _each(self, source: Source, query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
        """Look into one scope after the other, and have a graph of all made where that is slow."""
        names = source.scopes()
        found = self._search(source, names, query, limit, allowed)
        opened = [shelf for name in names if (shelf := self._shelves.get(name))]
        small = [shelf for shelf in opened if shelf.graph is None and not shelf.wants_graph(self._exact_below)]
        if len(opened) - len(small) > _GRAPHS or sum(map(len, small)) >= self._exact_below:
            self._shelf(source, EVERYWHERE)
        return found

    def _search(
        self, source: Source, scopes: Sequence[str], query: Vector, limit: int, allowed: Numbers | None
    ) -> list[Found]:
        """Look into every scope; the matrices of small ones are compared in one go, since there may be thousands."""
        found: list[Found] = []
        blocks: list[Block] = []
        graphs: list[Shelf] = []
        held = 0
        for scope in dict.fromkeys(scopes):
            shelf = self._shelf(source, scope)
            if shelf.graph is not None:
                graphs.append(shelf)
            else:
                found += shelf.search(query, limit, allowed)
            if len(shelf.block):
                blocks.append(shelf.block)
            held += shelf.block.bytes
            if held > self._budget:
                found += search_blocks(blocks, query, limit, allowed)
                blocks.clear()
                held = 0
                self._trim()
        # Both take about as long, and neither needs the interpreter meanwhile.
        others = self._aside.start(lambda: _in_graphs(graphs, query, limit, allowed)) if graphs and blocks else None
        found += self._small.search(blocks, query, limit, allowed, room=self._budget - self._held())
        found += others() if others is not None else _in_graphs(graphs, query, limit, allowed)
        self._trim()
        return found

    def among(
        self, vector: NDArray[np.floating[Any]], entries: Collection[int], *, scopes: Sequence[str] | None = ()
    ) -> list[Found]:
        """Return the similarities of entries that were found by other means; of those only that have a vector.

        What a search of these scopes has just looked at is not read from the database once more.

        Raises:
            StoreError: the vector is not one of this model, or the database cannot be read.
        """
        with self._lock:
            source = self._source
            if source is None or not len(entries):
                return []
            query, wanted = _checked(vector, source.dimensions), _numbers(entries)
            whole = self._whole(source) if scopes is None else None
            names = (EVERYWHERE,) if whole else tuple(self._shelves) if scopes is None else scopes
            found = self._opened(query, wanted, names)
        known = np.array([one.entry_seq for one in found], np.int64)
        rest = wanted[~members(wanted, known)]
        return found + scored(source, query, rest) if len(rest) else found

    def _opened(self, query: Vector, wanted: Numbers, scopes: Sequence[str]) -> list[Found]:
        """Return the similarities of those of the entries that are in memory or in a graph."""
        found: list[Found] = []
        blocks: list[Block] = []
        for scope in dict.fromkeys(scopes):
            shelf = self._shelves.get(scope)
            if shelf is not None and shelf.graph is not None:
                found += shelf.graph.scored(query, wanted)
            if shelf is not None and len(shelf.block):
                blocks.append(shelf.block)
        return found + self._small.scored(blocks, query, wanted)

    def size(self, scope: str) -> int:
        """Return how many vectors a scope has."""
        with self._lock:
            source = self._source
            if source is None:
                return 0
            self._follow(source)
            shelf = self._shelves.get(scope)
            return len(shelf) if shelf and not shelf.streamed else source.count(scope, 1 << 62)

    def states(self) -> list[ScopeState]:
        """Return how each scope that is open is searched."""
        with self._lock:
            return [state_of(shelf) for shelf in self._shelves.values() if shelf.used]

    def _follow(self, source: Source) -> None:
        """Take over what any process wrote since the last look; where there is nothing new, that is one read."""
        head = source.head()
        behind = [shelf for shelf in self._shelves.values() if shelf.position < head]
        if not behind:
            return
        position, changed = source.changed(min(shelf.position for shelf in behind))
        there = source.by_scope(changed)
        for shelf in behind:
            shelf.apply(position, changed, there.get(shelf.scope, _NOBODY))
            self._consider(shelf)
        self._small.follow()

    def _shelf(self, source: Source, scope: str) -> Shelf:
        shelf = self._shelves.get(scope)
        if shelf is None:
            shelf = self._open(source, scope)
            self._shelves[scope] = shelf
            self._consider(shelf)
        self._shelves.move_to_end(scope)
        return shelf

    def _open(self, source: Source, scope: str) -> Shelf:
        most = 0 if scope == EVERYWHERE else self._budget // (2 * source.dimensions)
        return Shelf(scope, source, self._folder(source, scope), most)

    def _folder(self, source: Source, scope: str) -> Folder:
        return Folder(self._root, scope, source.model)

    def _trim(self) -> None:
        total = self._held()
        if total + self._small.bytes > self._budget:
            self._small.clear()
        while total > self._budget and len(self._shelves) > 1:
            total -= self._shelves.popitem(last=False)[1].bytes

    def _held(self) -> int:
        return sum(shelf.bytes for shelf in self._shelves.values())

    # Keeping the files in step -------------------------------------------------------------------------------

    def _consider(self, shelf: Shelf) -> None:
        """Wake the thread if the files of a scope should follow."""
        if self._background and (shelf.graph is not None or shelf.wants_graph(self._exact_below)):
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="timmy-memory-index", daemon=True)
                self._thread.start()
            self._work.set()

    def _run(self) -> None:
        while True:
            self._work.wait()
            if self._stopping.wait(_PAUSE_S):
                return
            self._work.clear()
            try:
                self.settle()
                self.maintain()
                self.problem = None
            except (OSError, StoreError) as error:
                # The exact route goes on without; the next change tries again.
                self.problem = str(error)

    def settle(self) -> int:
        """Overwrite every vector in the files that the database no longer has; return how many rows that were.

        Whoever forgets an entry calls this after it. What it does not get to is done at the next call, by whomever.

        Raises:
            OSError: the disk refused.
            StoreError: the database cannot be read.
        """
        wiped = 0
        for path in sorted(self._root.iterdir()) if self._root.exists() else []:
            manifest = read_manifest(path) if path.is_dir() else None
            if manifest is None:
                continue
            source = Source(self._store, manifest.model, manifest.dimensions)
            wiped += self._builder(source, manifest.scope).wipe()
        return wiped

    def forget(self, _seqs: Sequence[int], /) -> None:
        """Do as `settle`, for whoever forgot entries; which ones it was stands in the database.

        Raises:
            StoreError: the disk refused; do it again.
        """
        try:
            self.settle()
        except OSError as error:
            message = f"vectors may be left in {self._root}: {error.strerror}; forget again, or remove the folder"
            raise StoreError(message) from error

    def maintain(self) -> int:
        """Build the graphs that are wanted, unless another process does; return how many were built.

        Raises:
            OSError: the disk refused.
            StoreError: the database cannot be read.
        """
        with self._lock:
            source = self._source
            if source is None:
                return 0
            self._follow(source)
            wanted = [shelf for shelf in self._shelves.values() if self._outdated(source, shelf)]
        return sum(self._renew(source, shelf) for shelf in wanted)

    def _outdated(self, source: Source, shelf: Shelf) -> bool:
        return shelf.wants_graph(self._exact_below) or shelf.identity != self._folder(source, shelf.scope).identity()

    def _renew(self, source: Source, shelf: Shelf) -> bool:
        """Bring the files of a scope up to date, and then what is open of them."""
        built = False
        with self._compacting() as ours:
            if ours and shelf.wants_graph(self._exact_below):
                folder = self._folder(source, shelf.scope)
                there = Shelf(shelf.scope, source, folder, 0)  # another process may have been quicker
                if there.wants_graph(self._exact_below):
                    built = self._build(source, there)
        if not self._stopping.is_set() and (built or shelf.identity != self._folder(source, shelf.scope).identity()):
            self._reopen(source, shelf.scope)
        return built

    def _build(self, source: Source, shelf: Shelf) -> bool:
        builder = self._builder(source, shelf.scope)
        if shelf.graph is not None and len(shelf) < self._exact_below // 2:
            builder.discard()
            return False
        return builder.build(None if shelf.worn else shelf.graph)

    def _reopen(self, source: Source, scope: str) -> None:
        fresh = self._open(source, scope)
        with self._lock:
            if self._source is source and scope in self._shelves:
                self._shelves[scope] = fresh

    def _builder(self, source: Source, scope: str) -> Builder:
        return Builder(self._store, source, self._folder(source, scope), self._stopping.is_set)

    @contextlib.contextmanager
    def _compacting(self) -> Iterator[bool]:
        """Be the one process that builds; False if there is another one."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with flocked(self._root / "compact.lock") as fd:
            yield fd is not None

    def close(self) -> None:
        """End the thread; closing twice is harmless."""
        self._stopping.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join()
        self._aside.close()
        with self._lock:
            self._shelves.clear()
            self._small.clear()


def _checked(vector: NDArray[np.floating[Any]], dimensions: int) -> Vector:
    query = np.asarray(vector, np.float32).reshape(-1)
    if len(query) != dimensions or not np.isfinite(query).all():
        message = f"the question's vector has {len(query)} numbers; {dimensions} are needed, each of them finite"
        raise StoreError(message)
    return query


def _numbers(entries: Collection[int] | Numbers) -> Numbers:
    made = entries if isinstance(entries, np.ndarray) else np.fromiter(entries, np.int64, len(entries))
    return np.unique(made)


def _in_graphs(shelves: Sequence[Shelf], query: Vector, limit: int, allowed: Numbers | None) -> list[Found]:
    return [one for shelf in shelves for one in shelf.search(query, limit, allowed)]
