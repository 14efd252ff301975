"""Embeddings: what an embedder is, which one the settings choose, and the vector of a question.

No model is a normal state: then there is no embedder, and `problem` says what to do about it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from timmy_core.clock import Clock, SystemClock
from timmy_core.errors import EmbeddingError, ModelFilesError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

REMEMBERED: Final = 1024  # vectors of questions that are kept
RETRY_S: Final = 5.0  # how long an embedder that failed is left alone; words answer meanwhile


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """Which model made a vector; vectors of different models cannot be compared.

    Args:
        name: such as `all-MiniLM-L6-v2`.
        version: which weights exactly: the beginning of their hash, or what the server says of them.
        dimensions: how many numbers a vector has; None as long as a server has not shown.
    """

    name: str
    version: str
    dimensions: int | None

    @property
    def key(self) -> str:
        """What stands beside each of its vectors in the store."""
        return f"{self.name}@{self.version}"


class Embedder(Protocol):
    """What turns texts into vectors; it blocks its thread, and any thread may call it.

    Attributes:
        kind: what `[memory] embedder` calls it.
        local: whether texts stay on machines of the owner's.
    """

    kind: str
    local: bool

    def prepare(self) -> EmbeddingModel:
        """Get ready and say which model it is.

        Raises:
            EmbeddingError: it cannot be used now.
            ModelFilesError: its files are not there, or damaged.
        """
        ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Floats:
        """Return one row of length 1 a text; a question may be embedded otherwise than what answers it.

        Raises:
            EmbeddingError: there is no vector.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """An embedder that is ready, and its model."""

    embedder: Embedder
    model: EmbeddingModel


class Embeddings:
    """The embedder of one home: opened when it is first needed, and looked for again where it was not there.

    Args:
        build: makes the embedder that the settings choose; raises what it lacks.
        clock: tells when a failed one may be tried again.
    """

    def __init__(self, build: Callable[[], Embedder], *, clock: Clock | None = None) -> None:
        self._build = build
        self._clock = clock or SystemClock()
        self._opening = threading.Lock()
        self._opened: Opened | None = None
        self._problem = ""
        self._retry_at = 0.0
        self._closed = False
        self._vectors: OrderedDict[str, Floats] = OrderedDict()
        self._remembering = threading.Lock()

    def current(self) -> Opened | None:
        """Return the embedder, loading it where needed; None where words have to do, and `problem` says why."""
        opened = self._opened
        if opened is not None:
            return opened
        with self._opening:
            if self._opened is None and not self._closed and self._clock.monotonic() >= self._retry_at:
                self._open()
            return self._opened

    def _open(self) -> None:
        embedder: Embedder | None = None
        try:
            embedder = self._build()
            self._opened = Opened(embedder, embedder.prepare())
            self._problem = ""
        except (EmbeddingError, ModelFilesError) as error:
            self._failed(error)
            if embedder is not None:
                embedder.close()

    def _failed(self, error: Exception) -> None:
        self._problem = str(error)
        # Missing files cost a look, so they are found as soon as they were installed.
        wait_s = 0.0 if isinstance(error, ModelFilesError) else RETRY_S
        self._retry_at = self._clock.monotonic() + wait_s

    @property
    def opened(self) -> Opened | None:
        """The embedder if it is open already; nothing is loaded."""
        return self._opened

    @property
    def problem(self) -> str:
        """Why there is no embedder, or why it failed last; empty where all is well or nobody asked yet."""
        return self._problem

    @property
    def model(self) -> EmbeddingModel | None:
        """The model in use; None without one."""
        opened = self.current()
        return opened.model if opened is not None else None

    def embed_query(self, text: str, *, local_only: bool = False) -> Floats | None:
        """Return a question's vector; None where there is none, because a search goes on with words alone.

        With `local_only` an embedder on somebody else's machine is not asked.
        """
        opened = self.current()
        if opened is None or (local_only and not opened.embedder.local):
            return None
        with self._remembering:
            known = self._vectors.get(text)
            if known is not None:
                self._vectors.move_to_end(text)
                return known
        if self._problem and self._clock.monotonic() < self._retry_at:
            return None
        try:
            vector: Floats = opened.embedder.embed([text], query=True)[0]
        except (EmbeddingError, ModelFilesError) as error:
            self._failed(error)
            return None
        self._problem = ""
        self._remember(text, vector)
        return vector

    def _remember(self, text: str, vector: Floats) -> None:
        vector.flags.writeable = False
        with self._remembering:
            self._vectors[text] = vector
            while len(self._vectors) > REMEMBERED:
                self._vectors.popitem(last=False)

    def forget(self) -> None:
        """Drop the questions that are kept with their vectors."""
        with self._remembering:
            self._vectors.clear()

    def close(self) -> None:
        """Let go of the embedder; nothing is opened after this."""
        with self._opening:
            self._closed = True
            opened, self._opened = self._opened, None
            self._problem = "Timmy is closed"
        if opened is not None:
            opened.embedder.close()


def normalised(vectors: Floats) -> Floats:
    """Return the rows at length 1.

    Raises:
        EmbeddingError: a row is no vector: not finite, or without length.
    """
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        message = "the model gave a vector without a length; check the model, or choose another embedder in [memory]"
        raise EmbeddingError(message)
    return np.asarray(vectors / lengths, np.float32)
