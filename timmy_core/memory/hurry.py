"""A question's vector in a hurry: who recalls before an answer goes on with words alone rather than wait for one.

A model that is still being read, or a server that takes its time, is not given up: the vector is kept for the next
search when it comes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]

WORKERS: Final = 2

_limit_s: ContextVar[float | None] = ContextVar("limit_s", default=None)


class QueryVectors(Protocol):
    """What turns a question into a vector: `timmy_core.memory.embed.Embeddings`."""

    @property
    def problem(self) -> str:
        """Why it cannot."""
        ...

    def embed_query(self, text: str, *, local_only: bool = False) -> Vector | None:
        """Return the vector, from those that are kept if it is there; None where words have to do."""
        ...


@contextmanager
def hurry(limit_s: float) -> Iterator[None]:
    """Let searches of this thread wait for a question's vector so long at most."""
    token = _limit_s.set(limit_s)
    try:
        yield
    finally:
        _limit_s.reset(token)


class Hurrying:
    """Stands before the embedder of questions, and knows whether somebody is in a hurry."""

    def __init__(self, vectors: QueryVectors) -> None:
        self._vectors = vectors
        self._starting = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._closed = False
        self._late = False

    @property
    def problem(self) -> str:
        """Why there is no vector."""
        return self._vectors.problem or ("its vector did not come in time" if self._late else "")

    def embed_query(self, text: str, *, local_only: bool = False) -> Vector | None:
        """Return the vector; None where there is none, or none in time."""
        limit_s = _limit_s.get()
        if limit_s is None:
            return self._vectors.embed_query(text, local_only=local_only)
        with self._starting:
            # Past a few that hang, more of them would only wait behind.
            if self._closed or self._waiting >= WORKERS:
                self._late = True
                return None
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="timmy-question")
            self._waiting += 1
            work = self._pool.submit(self._vectors.embed_query, text, local_only=local_only)
        work.add_done_callback(lambda _: self._done())
        try:
            vector = work.result(limit_s)
        except TimeoutError:
            self._late = True
            return None
        self._late = False
        return vector

    def _done(self) -> None:
        with self._starting:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads, after the questions that are under way."""
        with self._starting:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
