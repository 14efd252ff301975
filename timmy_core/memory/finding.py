"""Finding, made when it is first needed: search, embedder and index of one home, put together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timmy_core.clock import Clock
from timmy_core.errors import StoreClosedError
from timmy_core.memory.hurry import Hurrying
from timmy_core.memory.meaning import Meaning
from timmy_core.memory.model import Context, Match
from timmy_core.store.engine import Store

if TYPE_CHECKING:
    from timmy_core.memory.index.found import Found
    from timmy_core.memory.index.state import ScopeState
    from timmy_core.memory.index.vectors import Vectors
    from timmy_core.memory.search import Numbers, Search, Vector


class Finding:
    """The `Finder` of a memory; nothing of it is loaded before the first question, because it brings NumPy along.

    Args:
        store: where the entries are.
        clock: says what holds now.
        meaning: the embedder and the worker behind it.
        folder: for the files of the index; all in it can be removed at any time.
        tokens: how many tokens a text has.
    """

    def __init__(
        self, store: Store, clock: Clock, meaning: Meaning, folder: Path, tokens: Callable[[str], int]
    ) -> None:
        self._store = store
        self._clock = clock
        self._meaning = meaning
        self._folder = folder
        self._tokens = tokens
        self._making = threading.Lock()
        self._search: Search | None = None
        self._vectors: Vectors | None = None
        self._hurrying = Hurrying(meaning.embeddings)
        self._key: str | None = None
        self._closed = False

    def search(self, query: str, **options: Any) -> list[Match]:
        """Return the best matches, best first; see `Search.search`."""
        return self._ready().search(query, **options)

    def context(self, query: str, **options: Any) -> Context:
        """Return what memory holds about a question; see `Search.context`."""
        return self._ready().context(query, **options)

    def states(self) -> list[ScopeState]:
        """Return how each scope that is open is searched; none before the first question that has a vector."""
        vectors = self._vectors
        return [] if vectors is None else vectors.states()

    def forget(self, seqs: Sequence[int], /) -> None:
        """Let go of what was forgotten, also in files that another run left."""
        if self._search is not None:
            self._search.forget()
        if self._vectors is not None or self._folder.exists():
            self._index().forget(seqs)

    def close(self) -> None:
        """End the index, after the questions that are under way."""
        self._hurrying.close()
        with self._making:
            self._closed = True
            if self._search is not None:
                self._search.close()
            if self._vectors is not None:
                self._vectors.close()

    def _ready(self) -> Search:
        with self._making:
            if self._search is None:
                from timmy_core.memory.search import Search

                self._search = Search(
                    self._store, self._clock, tokens=self._tokens, vectors=_Followed(self), embeddings=self._hurrying
                )
            search = self._search
        self._meaning.start()
        return search

    def _index(self) -> Vectors:
        """Return the index, which follows the model that is in use."""
        with self._making:
            if self._closed:
                message = "the memory is closed; open its home again"
                raise StoreClosedError(message)
            opened = self._meaning.embeddings.opened
            if self._vectors is None:
                from timmy_core.memory.index.vectors import Vectors

                self._vectors = Vectors(self._store, self._folder)
            model = None if opened is None else opened.model
            if model is not None and model.dimensions is not None and model.key != self._key:
                self._key = model.key
                self._vectors.use(self._key, model.dimensions)
            return self._vectors


class _Followed:
    """The index as the search sees it: made by the first question that has a vector."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    def search(
        self, vector: Vector, *, scopes: Sequence[str] | None, limit: int, allowed: Numbers | None = None
    ) -> list[Found]:
        """Return the nearest entries of the scopes."""
        return self._finding._index().search(vector, scopes=scopes, limit=limit, allowed=allowed)  # noqa: SLF001

    def among(self, vector: Vector, entries: Collection[int], *, scopes: Sequence[str] | None = ()) -> list[Found]:
        """Return the similarities of some entries, which are most likely in these scopes."""
        return self._finding._index().among(vector, entries, scopes=scopes)  # noqa: SLF001
