"""An embedder without a model: texts that share words have like vectors, the same on every machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from timmy_core.errors import EmbeddingError
from timmy_core.memory.embed import EmbeddingModel, normalised

if TYPE_CHECKING:
    from timmy_core.memory.embed import Floats


class WordEmbedder:
    """Gives every word a direction by its hash, and a text the sum of its words' directions.

    Args:
        name: the model's name; another name is another model.
        dimensions: numbers in a vector.
        local: whether it counts as one on a machine of the owner's.

    Attributes:
        texts: what it was asked for, in order.
        failure: raised instead of an answer, while it is set.
        refuses: a text that holds this is refused.
        gate: while it is cleared, answers wait.
    """

    kind = "words"

    def __init__(self, name: str = "words", *, dimensions: int = 64, local: bool = True) -> None:
        self.local = local
        self.texts: list[str] = []
        self.failure: EmbeddingError | None = None
        self.refuses: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self._name = name
        self._dimensions = dimensions

    def prepare(self) -> EmbeddingModel:
        """Say which model it is."""
        if self.failure is not None:
            raise self.failure
        return EmbeddingModel(self._name, "1", self._dimensions)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Floats:
        """Return one normalised row a text."""
        import numpy as np

        del query
        self.texts += texts
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.refuses is not None and any(self.refuses in text for text in texts):
            message = "one of the texts is refused"
            raise EmbeddingError(message, refused=True)
        return normalised(np.array([self._vector(text) for text in texts], np.float32))

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _vector(self, text: str) -> Floats:
        import numpy as np

        total = np.zeros(self._dimensions, np.float32)
        for word in text.lower().split() or [""]:
            seed = int.from_bytes(hashlib.blake2b(f"{self._name} {word}".encode(), digest_size=8).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(self._dimensions, np.float32)
        return total
