"""A finder of a few lines for tests of what uses memory: entries that share a word with the question, newest first."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from typing import Any

from timmy_core.errors import EntryError
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Context, Entry, Match, Why


class WordFinder:
    """Finds by shared words; `problem` and `pause` make it fail or dawdle."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.problem: Exception | None = None
        self.pause = threading.Event()
        self.pause.set()
        self.asked: list[Sequence[str] | None] = []

    def search(self, query: str, *, limit: int, scopes: Sequence[str] | None, **_: Any) -> list[Match]:
        wanted = set(query.lower().strip("?.!").split())
        found = [
            entry
            for entry in self._memory.list(limit=100, **({} if scopes is None else {"scope": list(scopes)}))
            if entry.state == "stored" and wanted & set(entry.text.lower().strip("?.!").split())
        ]
        return [Match(entry, 1 / (place + 1), Why(words=tuple(wanted))) for place, entry in enumerate(found[:limit])]

    def context(
        self, query: str, *, scopes: Sequence[str] | None, without_traces: Collection[str], **_: Any
    ) -> Context:
        self.asked.append(scopes)
        if self.problem is not None:
            raise self.problem
        if not self.pause.is_set():
            self.pause.wait(5)
        found = [one for one in self.search(query, limit=5, scopes=scopes) if one.entry.trace_id not in without_traces]
        text = "\n".join(_line(one.entry) for one in found)
        scores = tuple(one.score for one in found)
        return Context(text, tuple(one.entry for one in found), len(text) // 4, scores)


def _line(entry: Entry) -> str:
    return f"[{entry.id}] {entry.created_at:%Y-%m-%d} {entry.kind}: {entry.text}"


BROKEN = EntryError("the index is being rebuilt")
