"""all-MiniLM-L6-v2 with sentence-transformers and torch, from the same installed files: vectors are interchangeable."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import EmbeddingError
from timmy_core.memory.embed import EmbeddingModel, normalised
from timmy_core.memory.model_files import MINILM, ModelFolder

if TYPE_CHECKING:
    from timmy_core.memory.embed import Floats

_BATCH: Final = 32
_MISSING: Final = (
    "sentence-transformers is not installed; run `pip install 'timmy-workbench[embeddings]'`, or set embedder = "
    '"minilm" in [memory], which makes the same vectors without it'
)


class SentenceTransformersEmbedder:
    """An embedder on torch, for machines where that is there already, or has a graphics card to use.

    Args:
        folder: where the weights were installed.
    """

    kind = "sentence-transformers"
    local = True

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._loading = threading.Lock()
        self._model: Any = None

    def prepare(self) -> EmbeddingModel:
        """Load library and weights, which takes seconds.

        Raises:
            EmbeddingError: the library is not there.
            ModelFilesError: the files are not there, or damaged.
        """
        self._loaded()
        return EmbeddingModel(MINILM.name, MINILM.version, 384)

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Floats:
        """Return one normalised row a text."""
        import numpy as np

        del query
        rows = self._loaded().encode(list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True)
        return normalised(np.asarray(rows, np.float32))

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                self._folder.check()
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EmbeddingError(_MISSING) from error
        return SentenceTransformer(str(self._folder.path), local_files_only=True)
