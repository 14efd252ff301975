"""Searches in a test's own memory: with words alone, and with similarities that the test makes up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from timmy_core.memory.index.found import Found
from timmy_core.memory.model import Match
from timmy_core.memory.search import Search, Vector

from .house import House


class MadeUp:
    """An embedder and an index in one: what each entry's similarity is, says the test."""

    problem = ""

    def __init__(self, near: Mapping[int, float], scopes: Mapping[int, str] | None = None) -> None:
        self.near = near
        self.scopes = scopes or {}
        self.asked: list[str] = []

    def embed_query(self, text: str, *, local_only: bool = False) -> Vector | None:
        self.asked.append(text)
        return None if local_only else np.ones(2, np.float32)

    def search(
        self, vector: Vector, *, scopes: Sequence[str] | None, limit: int, allowed: Collection[int] | None = None
    ) -> list[Found]:
        del vector
        open_ = [
            seq for seq in self.near
            if (not scopes or self.scopes.get(seq, scopes[0]) in scopes) and (allowed is None or seq in allowed)
        ]  # fmt: skip
        return [Found(seq, whole=self.near[seq]) for seq in sorted(open_, key=lambda seq: -self.near[seq])[:limit]]

    def among(self, vector: Vector, entries: Collection[int], *, scopes: Sequence[str] | None = ()) -> list[Found]:
        del vector, scopes
        return [Found(seq, whole=self.near[seq]) for seq in entries if seq in self.near]


def search_in(home: House, made_up: MadeUp | None = None) -> Search:
    """Return a search over a house's memory, and make it the memory's finder."""
    search = Search(home.store, home.clock, tokens=words, vectors=made_up, embeddings=made_up)
    home.memory.finder = search
    return search


def words(text: str) -> int:
    """Count tokens as a tokenizer of whole words would."""
    return len(text.split())


def texts(matches: Sequence[Match]) -> list[str]:
    return [match.entry.text for match in matches]
