"""The ways to a text's vector; each imports what it needs when it is first used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from timmy_core.errors import EmbeddingError
from timmy_core.loop import LoopThread
from timmy_core.memory.model_files import ModelFolder
from timmy_core.settings_memory import MemorySettings

if TYPE_CHECKING:
    from timmy_core.memory.embed import Embedder

_OFF: Final = 'embedder = "none" in [memory], so words alone are compared'


def build_embedder(settings: MemorySettings, models: Path, loop: LoopThread) -> Embedder:
    """Return the embedder that the settings choose; nothing is loaded or asked yet.

    Args:
        settings: the section `[memory]`.
        models: the folder of installed models.
        loop: Timmy's event loop, for embedders behind a server.

    Raises:
        EmbeddingError: there is to be none.
    """
    if settings.embedder == "none":
        raise EmbeddingError(_OFF)
    if settings.embedder in ("ollama", "openai"):
        return _remote(settings, loop)
    if settings.embedder == "sentence-transformers":
        from timmy_core.memory.embedders.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(ModelFolder(models))
    folder = ModelFolder(models)
    folder.look()  # before NumPy is loaded in vain
    from timmy_core.memory.embedders.numpy_minilm import NumpyMiniLM

    return NumpyMiniLM(folder)


def _remote(settings: MemorySettings, loop: LoopThread) -> Embedder:
    from timmy_core.memory.embedders import ollama, openai
    from timmy_core.memory.embedders.remote import Server, is_loopback

    of = ollama if settings.embedder == "ollama" else openai
    url = settings.base_url or of.DEFAULT_URL
    server = Server(
        model=settings.model or of.DEFAULT_MODEL,
        base_url=url,
        api_key=settings.api_key.get_secret_value() if settings.api_key is not None else None,
        local=is_loopback(url) if settings.local is None else settings.local,
        dimensions=settings.dimensions,
        timeout_s=settings.timeout_s,
    )
    return ollama.OllamaEmbedder(server, loop) if of is ollama else openai.OpenAIEmbedder(server, loop)
