"""A process that embeds a store's entries until it is told to end, and then says how many texts it embedded."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timmy_core.memory.embed import Embeddings
from timmy_core.memory.embedding_worker import EmbeddingWorker
from timmy_core.store.engine import Store
from timmy_core.testing import WordEmbedder


class Slow(WordEmbedder):
    """Takes its time for every text."""

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        time.sleep(len(texts) * int(sys.argv[2]) / 1000)
        return super().embed(texts, query=query)


def main() -> None:
    """Embed until SIGTERM."""
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    store = Store.open(Path(sys.argv[1]))
    embedder = Slow()
    worker = EmbeddingWorker(store, Embeddings(lambda: embedder))
    worker.start()
    print("ready", flush=True)
    end.wait()
    worker.close()
    store.close()
    print(len(embedder.texts), flush=True)


main()
