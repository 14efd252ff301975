"""Finding by meaning, as one thing: the embedder, the worker behind it, and the model's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timmy_core.clock import Clock
from timmy_core.loop import LoopThread
from timmy_core.memory.embed import Embeddings
from timmy_core.memory.embedders import build_embedder
from timmy_core.memory.embedding_worker import EmbeddingStatus, EmbeddingWorker
from timmy_core.memory.model_files import ModelFolder, OnProgress
from timmy_core.memory.model_install import Stop, install
from timmy_core.settings_memory import MemorySettings
from timmy_core.store.engine import Store


class Meaning:
    """What memory has of its texts' meaning; nothing of it is loaded or started before it is needed.

    Args:
        store: where entries and vectors are.
        settings: the section `[memory]`.
        models: the folder of installed models.
        loop: Timmy's event loop, for embedders behind a server.
        clock: tells when an embedder that failed may be tried again.
    """

    def __init__(self, store: Store, settings: MemorySettings, models: Path, loop: LoopThread, clock: Clock) -> None:
        self.folder = ModelFolder(models)
        self.embeddings = Embeddings(lambda: build_embedder(settings, models, loop), clock=clock)
        self.worker = EmbeddingWorker(store, self.embeddings)
        self._hub_url = settings.hub_url

    def start(self) -> None:
        """Begin to embed what has no vector yet; harmless when repeated, and without a model."""
        self.worker.start()

    def status(self) -> EmbeddingStatus:
        """Return which model is in use and how far the vectors are; loads nothing."""
        return self.worker.status()

    def install(
        self, source: str | None = None, *, on_progress: OnProgress = lambda _: None, stop: Stop = lambda: False
    ) -> str:
        """Fetch the model, as `timmy memory model install` does; blocks, and returns where it came from.

        Raises:
            ModelFilesError: it could not be had, or is another file than it has to be.
        """
        return install(self.folder, source, hub_url=self._hub_url, on_progress=on_progress, stop=stop)

    def forget(self, seqs: Sequence[int], /) -> None:
        """Drop what is kept of texts in memory: vectors of late entries and of questions."""
        self.worker.forget(seqs)
        self.embeddings.forget()

    def close(self) -> None:
        """End the worker, then let go of the embedder; call it before Timmy's loop and the store are closed."""
        self.worker.close()
        self.embeddings.close()
