"""Finding by meaning as one thing, with the real model where it is there."""

from __future__ import annotations

import time
from pathlib import Path

from timmy_core.clock import SystemClock
from timmy_core.loop import LoopThread
from timmy_core.memory.meaning import Meaning
from timmy_core.memory.model_files import ModelFolder
from timmy_core.settings_memory import MemorySettings

from . import minilm
from .house import house


def test_entries_get_vectors_within_seconds_of_the_installation_without_a_restart(tmp_path: Path) -> None:
    source = minilm.models()
    loop = LoopThread("test-loop")
    with house(tmp_path / "timmy.db") as home:
        meaning = Meaning(home.store, MemorySettings(), tmp_path / "models", loop, SystemClock())
        home.memory.forgetters.append(meaning)
        meaning.start()
        entry = home.memory.remember("Prefers dark mode.", kind="fact")
        assert meaning.embeddings.embed_query("preferences") is None
        assert "timmy memory model install" in meaning.status().problem
        meaning.install(str(source))
        assert meaning.worker.wait(30), meaning.status()
        status = meaning.status()
        assert (status.model, status.done, status.total) == ("all-MiniLM-L6-v2@53aa51172d14", 1, 1)
        assert home.memory.get(entry.seq).embedding == (status.model,)
        assert meaning.embeddings.embed_query("preferences") is not None
        home.memory.forget(entry.seq, by="ann")
        assert meaning.embeddings._vectors == {}
        began = time.monotonic()
        meaning.close()
        assert time.monotonic() - began < 10
    loop.close()


def test_a_home_without_a_model_is_opened_and_closed_without_a_word(tmp_path: Path) -> None:
    loop = LoopThread("test-loop")
    with house(tmp_path / "timmy.db") as home:
        meaning = Meaning(home.store, MemorySettings(), tmp_path / "models", loop, SystemClock())
        meaning.start()
        meaning.close()
        assert not ModelFolder(tmp_path / "models").models.exists()
    loop.close()
