"""Conversations of LoCoMo in a memory of their own, their questions, and the ways to answer these that are compared."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from timmy_core.clock import SystemClock
from timmy_core.events.log import EventLog
from timmy_core.memory.embed import Embeddings
from timmy_core.memory.embedders.numpy_minilm import NumpyMiniLM
from timmy_core.memory.embedding_worker import EmbeddingWorker
from timmy_core.memory.index.vectors import Vectors
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Entry, NewEntry, agent_scope, scope_token
from timmy_core.memory.model_files import ModelFolder
from timmy_core.memory.query import STOP_WORDS
from timmy_core.memory.rank import Weights
from timmy_core.memory.search import Search
from timmy_core.router.tokens import estimate
from timmy_core.store.engine import Store

LIMIT = 25
PLAIN = Weights(sentence=0.8, window=0.6, importance=0, diversity=0)  # the two similarities and BM25, nothing else
WORDS_ONLY = Weights(importance=0, diversity=0)
Way = Callable[["Question"], list[str]]


@dataclass(frozen=True)
class Question:
    """What is asked in one conversation, and the entries that answer it."""

    text: str
    scope: str
    evidence: frozenset[str]


class Corpus:
    """All conversations in one memory, each in a scope of its own."""

    def __init__(self, store: Store, folder: Path, conversations: Sequence[Any]) -> None:
        self.store = store
        self.entries: dict[str, list[Entry]] = {}
        self.questions: list[Question] = []
        self.embedded = ""
        self.memory = Memory(store, EventLog(store, SystemClock()), SystemClock())
        self.vectors = Vectors(store, folder / "index", background=False)
        self.embeddings: Embeddings | None = None
        for place, conversation in enumerate(conversations):
            self._add(agent_scope(f"c{place}"), conversation)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, data: Path, models: Path | None) -> Iterator[Corpus]:
        store = Store.open(folder / "timmy.db")
        corpus = cls(store, folder, json.loads(data.read_text(encoding="utf-8")))
        if models is not None and ModelFolder(models).installed:
            corpus._embed(models)
        corpus.search = corpus.searching(None)
        yield corpus
        corpus.vectors.close()
        if corpus.embeddings is not None:
            corpus.embeddings.close()
        store.close()

    search: Search

    def searching(self, weights: Weights | None, *, words_alone: bool = False) -> Search:
        vectors, embeddings = (None, None) if words_alone else (self.vectors, self.embeddings)
        return Search(
            self.store, SystemClock(), tokens=estimate, vectors=vectors, embeddings=embeddings, weights=weights
        )

    def about(self) -> str:
        turns = sum(map(len, self.entries.values()))
        return f"{len(self.entries)} conversations, {turns:,} turns, {len(self.questions):,} questions. {self.embedded}"

    def _add(self, scope: str, conversation: Any) -> None:
        said, sessions = conversation["conversation"], 1
        ids: dict[str, str] = {}
        kept: list[Entry] = []
        while f"session_{sessions}_date_time" in said:
            name = f"session_{sessions}"
            when = datetime.strptime(said[f"{name}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
            turns = said.get(name, [])
            new = [
                NewEntry(
                    turn["text"], scope=scope, session=name, speaker=turn["speaker"],
                    created_at=when + timedelta(seconds=place),
                )
                for place, turn in enumerate(turns)
            ]  # fmt: skip
            stored = self.memory.remember_many(new)
            ids |= {turn["dia_id"]: entry.id for turn, entry in zip(turns, stored, strict=True)}
            kept += stored
            sessions += 1
        self.entries[scope] = kept
        for asked in conversation["qa"]:
            named = [name for text in asked.get("evidence", []) for name in re.findall(r"D\d+:\d+", text)]
            evidence = frozenset(ids[name] for name in named if name in ids)
            if evidence:
                self.questions.append(Question(asked["question"].strip(), scope, evidence))

    def _embed(self, models: Path) -> None:
        self.embeddings = Embeddings(lambda: NumpyMiniLM(ModelFolder(models)))
        worker = EmbeddingWorker(self.store, self.embeddings)
        began = time.perf_counter()
        worker.start()
        while not worker.wait(60):
            print(f"  embedded: {worker.status().done:,}", flush=True)
        spent = time.perf_counter() - began
        worker.close()
        turns = sum(map(len, self.entries.values()))
        with self.store.read() as connection:
            vectors = connection.execute("SELECT count(*) FROM memory_vectors").fetchone()[0]
        self.embedded = f"Embedded at {turns / spent:.0f} entries/s ({vectors / spent:.0f} texts/s)."
        model = self.embeddings.model
        assert model is not None
        self.vectors.use(model.key, model.dimensions or 0)


def judge(questions: Sequence[Question], way: Way) -> dict[str, float]:
    """Return recall at 5, 10 and 25, and the mean reciprocal rank of the first turn that answers."""
    sums: Counter[str] = Counter()
    for question in questions:
        found = way(question)
        for at in (5, 10, LIMIT):
            sums[str(at)] += len(question.evidence & set(found[:at])) / len(question.evidence)
        sums["mrr"] += next((1 / place for place, id_ in enumerate(found, 1) if id_ in question.evidence), 0.0)
    return {name: total / len(questions) for name, total in sums.items()}


def ways(corpus: Corpus) -> dict[str, Way]:
    """Return what is compared, simplest first."""
    found: dict[str, Way] = {
        "share of words in common": _Overlap(corpus),
        "hash of character trigrams": _Trigrams(corpus),
        "BM25, own text alone": _Fts(corpus, "own"),
        "BM25, four columns": _searched(corpus.searching(WORDS_ONLY, words_alone=True)),
        "Timmy, words alone": _searched(corpus.searching(None, words_alone=True)),
    }
    if corpus.embedded:
        whole, sentence, window = (_Dense(corpus, part) for part in ("whole", "sentence", "window"))
        found |= {
            "MiniLM, whole turn": whole,
            "MiniLM, best sentence": sentence,
            "MiniLM, two turns": window,
            "reciprocal ranks (60) of BM25 and MiniLM": _fused([found["BM25, own text alone"], whole]),
            "hybrid": _searched(corpus.searching(PLAIN)),
            "hybrid and re-ranked: Timmy": _searched(corpus.search),
        }
    return found


def _searched(search: Search) -> Way:
    return lambda question: [
        match.entry.id for match in search.search(question.text, limit=LIMIT, scopes=[question.scope], explain=False)
    ]


def _fused(several: Sequence[Way]) -> Way:
    def fuse(question: Question) -> list[str]:
        scores: Counter[str] = Counter()
        for way in several:
            for place, id_ in enumerate(way(question), 1):
                scores[id_] += 1 / (60 + place)
        return [id_ for id_, _ in scores.most_common(LIMIT)]

    return fuse


class _Overlap:
    """What once was: the share of a question's words that stand in an entry as they are."""

    def __init__(self, corpus: Corpus) -> None:
        self._entries = corpus.entries
        self._words = {
            entry.id: set(entry.text.lower().split()) for some in corpus.entries.values() for entry in some
        }  # fmt: skip

    def __call__(self, question: Question) -> list[str]:
        asked = set(question.text.lower().split())
        ids = [entry.id for entry in self._entries[question.scope]]
        return sorted(ids, key=lambda id_: -len(asked & self._words[id_]))[:LIMIT]


class _Trigrams:
    """What once stood in for an embedding: counts of three letters, by their hash."""

    def __init__(self, corpus: Corpus) -> None:
        self._ids = {scope: [entry.id for entry in entries] for scope, entries in corpus.entries.items()}
        self._rows = {
            scope: np.array([self._vector(entry.text) for entry in entries])
            for scope, entries in corpus.entries.items()
        }

    @staticmethod
    def _vector(text: str) -> Any:
        row = np.zeros(384, np.float32)
        for place in range(len(text) - 2):
            row[sum(ord(letter) * 31**power for power, letter in enumerate(text[place : place + 3].lower())) % 384] += 1
        return row / (np.linalg.norm(row) or 1)

    def __call__(self, question: Question) -> list[str]:
        near = self._rows[question.scope] @ self._vector(question.text)
        return [self._ids[question.scope][place] for place in np.argsort(-near)[:LIMIT]]


class _Fts:
    """FTS5's own ranking, of one column."""

    def __init__(self, corpus: Corpus, column: str) -> None:
        self._store = corpus.store
        self._column = column

    def __call__(self, question: Question) -> list[str]:
        words = [word for word in re.findall(r"[^\W_]+", question.text.lower()) if word not in STOP_WORDS]
        either = " OR ".join(f'"{word}"' for word in words)
        match = f"scope : {scope_token(question.scope)} AND {self._column} : ({either})"
        query = """
        SELECT entry.id FROM (SELECT rowid, bm25(memory_words) AS score FROM memory_words WHERE memory_words MATCH ?
            ORDER BY score LIMIT ?) JOIN memory_entries AS entry ON entry.seq = rowid ORDER BY score"""
        with self._store.read() as connection:
            return [row[0] for row in connection.execute(query, (match, LIMIT))] if words else []


class _Dense:
    """Similarity alone, of one kind of part."""

    def __init__(self, corpus: Corpus, part: str) -> None:
        self._corpus = corpus
        self._part = part
        self._ids = {entry.seq: entry.id for some in corpus.entries.values() for entry in some}

    def __call__(self, question: Question) -> list[str]:
        assert self._corpus.embeddings is not None
        vector = self._corpus.embeddings.embed_query(question.text)
        assert vector is not None
        near = self._corpus.vectors.search(vector, scopes=[question.scope], limit=10_000)
        ordered = sorted(near, key=lambda one: -(getattr(one, self._part) or one.whole or -1.0))
        return [self._ids[one.entry_seq] for one in ordered[:LIMIT]]
