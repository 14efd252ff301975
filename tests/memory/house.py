"""A memory of its own for a test, and what its files and its words hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from timmy_core.clock import Clock, SystemClock
from timmy_core.events.events import Events
from timmy_core.memory.build import build_memory
from timmy_core.memory.memory import Memory
from timmy_core.store.engine import Store


class House:
    """A store with its log and its memory."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.store = Store.open(path)
        self.clock = clock or SystemClock()
        self.events = Events(self.store, self.clock)
        self.memory: Memory = build_memory(store=self.store, events=self.events, clock=self.clock)

    def found(self, words: str) -> list[int]:
        """Return the seqs that a search of FTS5 finds, in order."""
        with self.store.read() as connection:
            query = "SELECT rowid FROM memory_words WHERE memory_words MATCH ? ORDER BY rowid"
            return [row[0] for row in connection.execute(query, (words,))]

    def check_words(self) -> None:
        """Raise unless the index holds exactly the words of the entries."""
        self.store.write(
            lambda c: c.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('integrity-check', 1)")
        )

    def said(self, type_: str) -> list[dict[str, object]]:
        """Return the data of the events of a type, oldest first."""
        return [dict(event.data or {}) for event in self.events.list(type=type_, order="asc", limit=10_000)]

    def close(self) -> None:
        self.events.close()
        self.store.close()


@contextmanager
def house(path: Path, clock: Clock | None = None) -> Iterator[House]:
    opened = House(path, clock)
    try:
        yield opened
    finally:
        opened.close()


def held_in(folder: Path, text: str) -> list[str]:
    """Return the names of the files that hold a text, in any case."""
    wanted = text.lower().encode()
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes().lower())
