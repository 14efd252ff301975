"""Memory's search: how much of the evidence it finds, in how little time, beside simpler ways and on real questions.

    python tests/bench/memory.py --data locomo.json --models HOME/models
    python tests/bench/memory.py --fit --data … --models …        # fit the weights anew, judged on what was left out

`--data` (or `TIMMY_LOCOMO`) is a file of LoCoMo conversations, in the layout of its authors: each question names the
turns that answer it. It is not part of this repository. `--models` (or `TIMMY_TEST_MINILM`, a home) holds the model as
`timmy memory model install` puts it; without one, the rows that need vectors are left out. The latency needs neither:
100,000 made-up turns, with words as rare and as common as those of a language, each with two made-up vectors, of itself
and of it with the turn before. Turning a question into its vector is not part of a search's time there.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import ROOT, load, machine, number, percentile, scratch, table, verdict
from locomo import Corpus, judge, ways
from locomo_fit import fit
from numpy.typing import NDArray

from timmy_core.clock import SystemClock
from timmy_core.events.log import EventLog
from timmy_core.memory.index.vectors import Vectors
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Entry, NewEntry
from timmy_core.memory.query import STOP_WORDS
from timmy_core.memory.search import Search
from timmy_core.router.tokens import estimate
from timmy_core.store.engine import Store

BUDGETS = (256, 512, 1024)
BATCH = 500
MODEL, WIDTH = "made@1", 384
Floats = NDArray[np.float32]


def quality(corpus: Corpus) -> list[str]:
    rows, found = [], {}
    for name, way in ways(corpus).items():
        scores = judge(corpus.questions, way)
        found[name] = scores
        rows.append([name, *(f"{100 * scores[key]:.1f}" for key in ("5", "10", "25")), f"{scores['mrr']:.3f}"])
    lines = [table(["Way", "recall@5 %", "@10", "@25", "MRR"], rows), ""]
    lines.append(verdict("words alone, recall@10", 100 * found["Timmy, words alone"]["10"], " %", at_least=73))
    if corpus.embedded:
        lines.append(verdict("hybrid, recall@10", 100 * found["hybrid"]["10"], " %", at_least=78))
    return lines


def contexts(corpus: Corpus) -> str:
    """How much of the evidence stands in what goes before a question."""
    rows = []
    for budget in BUDGETS:
        shares, tokens = [], []
        for question in corpus.questions:
            context = corpus.search.context(question.text, max_tokens=budget, scopes=[question.scope])
            held = {entry.id for entry in context.entries}
            shares.append(len(question.evidence & held) / len(question.evidence))
            tokens.append(context.tokens)
        rows.append([f"{budget:,}", f"{100 * sum(shares) / len(shares):.1f}", number(sum(tokens) / len(tokens))])
    return table(["Budget, tokens", "evidence in it, %", "tokens used"], rows)


# Latency -----------------------------------------------------------------------------------------------------


class Talk:
    """Made-up turns: a word's rank decides how common it is (Zipf), and turns of a session share a subject."""

    def __init__(self, words: int = 40_000) -> None:
        self._random = random.Random(1)  # noqa: S311 - nothing secret
        self._words = [self._word(number) for number in range(words)]
        weights = [1 / (rank + 2.7) for rank in range(words)]
        self._drawn = iter(self._random.choices(self._words, weights, k=1 << 21))
        self._weights = weights
        self._said_by_all = frozenset(self._words[: len(STOP_WORDS)])
        self._places = {word: place for place, word in enumerate(self._words)}
        self._directions = np.random.default_rng(1).standard_normal((words, WIDTH), np.float32)
        self._telling = np.log(np.arange(words, dtype=np.float32) + 2)[:, None]
        self.speakers = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn")

    def _word(self, number: int) -> str:
        letters = "bcdfghklmnprstvz"
        vowels = "aeiou"
        made = ""
        while number or len(made) < 4:
            number, rest = divmod(number, len(letters) * len(vowels))
            made += letters[rest % len(letters)] + vowels[rest // len(letters)]
        return made

    def vector(self, text: str) -> Floats:
        """Return the mean of its words' directions, so that what shares words is near, as with a model."""
        words = [self._places[word] for word in text.rstrip(".?!").split() if word in self._places]
        made = (self._directions[words] * self._telling[words]).sum(axis=0)
        return made / np.linalg.norm(made)

    def turn(self) -> str:
        size = self._random.randint(6, 40)
        drawn = []
        for _ in range(size):
            word = next(self._drawn, None)
            if word is None:
                self._drawn = iter(self._random.choices(self._words, self._weights, k=1 << 21))
                word = next(self._drawn)
            drawn.append(word)
        return " ".join(drawn) + self._random.choice(".?!")

    def entry(self, place: int) -> NewEntry:
        agent = "main" if place % 2 else f"other{place // 2 % 50}"
        return NewEntry(
            self.turn(), agent_id=agent, session=f"{agent}-{place // 2 // 400}", task_id=f"task{place % 1000}",
            speaker=self._random.choice(self.speakers),
        )  # fmt: skip

    def question(self, text: str, speaker: str) -> str:
        """Ask for a turn by some of its words, but not by those that would be stop words in a language."""
        words = [word for word in text.rstrip(".?!").split() if word not in self._said_by_all]
        return f"What did {speaker} say about {' '.join(self._random.sample(words, min(4, len(words))))}?"


class Asked:
    """Has the vectors of the questions at hand."""

    problem = ""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._known: dict[str, Floats] = {}

    def learn(self, questions: Sequence[str]) -> None:
        """Work them out before anything is measured."""
        self._known = {question: self._talk.vector(question) for question in questions}

    def embed_query(self, text: str, *, local_only: bool = False) -> Floats | None:
        """Return what was worked out."""
        del local_only
        return self._known[text]


@dataclass
class Crowd:
    """A memory of many entries, and what to ask of it."""

    memory: Memory
    words: Search
    hybrid: Search
    questions: list[str]
    rate: float  # entries remembered a second
    route: str  # how vectors are searched


@contextmanager
def crowd(folder: Path, entries: int) -> Iterator[Crowd]:
    with scratch(folder) as home:
        store = Store.open(home / "timmy.db")
        memory = Memory(store, EventLog(store, SystemClock()), SystemClock())
        talk, questions, spent, last = Talk(), [], 0.0, np.zeros(WIDTH, np.float32)
        for start in range(0, entries, BATCH):
            batch = [talk.entry(place) for place in range(start, start + BATCH)]
            began = time.perf_counter()
            stored = memory.remember_many(batch)
            spent += time.perf_counter() - began
            last = embed(store, talk, stored, last)
            picked = batch[start // BATCH % BATCH]
            questions.append(talk.question(picked.text, picked.speaker or ""))
        memory.tidy()  # which the serving process does by itself
        asked = Asked(talk)
        asked.learn(questions)
        with closing(Vectors(store, home / "index", model=MODEL, dimensions=WIDTH, background=False)) as vectors:
            vectors.search(talk.vector(questions[0]), scopes=None, limit=1)
            vectors.maintain()
            words = Search(store, SystemClock(), tokens=estimate)
            hybrid = Search(store, SystemClock(), tokens=estimate, vectors=vectors, embeddings=asked)
            route = ", ".join(sorted({state.route for state in vectors.states()}))
            yield Crowd(memory, words, hybrid, questions, entries / spent, route)
            words.close()
            hybrid.close()
        store.close()


def embed(store: Store, talk: Talk, stored: Sequence[Entry], last: Floats) -> Floats:
    """Write the vectors of some entries; return that of the last."""
    rows = []
    for entry in stored:
        whole = talk.vector(entry.text)
        rows.append((entry.seq, MODEL, 0, whole.astype(np.float16).tobytes()))
        window = (whole + last) / np.linalg.norm(whole + last)
        rows.append((entry.seq, MODEL, -1, window.astype(np.float16).tobytes()))
        last = whole
    query = "INSERT INTO memory_vectors (entry_seq, model, part, vector) VALUES (?, ?, ?, ?)"
    store.write(lambda connection: connection.executemany(query, rows))
    return last


def latency(folder: Path, entries: int) -> list[str]:
    scopes: dict[str, dict[str, object]] = {
        "everywhere": {},
        "one agent with half of them": {"agent_id": "main"},
        "one agent with a hundredth": {"agent_id": "other7"},
        "one session": {"scopes": ["agent:main"], "session": "main-7"},
        "one task": {"task_id": "task7"},
        "the last tenth by time": {},
    }
    with crowd(folder, entries) as made:
        since = made.memory.list(limit=1, cursor=entries * 9 // 10).entries[0].created_at
        scopes["the last tenth by time"] = {"since": since}
        rows, everywhere = [], {}
        for way, search in (("words", made.words), ("hybrid", made.hybrid)):
            for name, where in scopes.items():
                walls, cpus = timed(search, made.questions, where)
                everywhere.setdefault(way, percentile(walls, 50))
                figures = [number(percentile(values, percent)) for values in (walls, cpus) for percent in (50, 95)]
                rows.append([f"{way}, {name}", *figures])
        lines = [
            f"Remembered at {number(made.rate)} entries/s, {BATCH} a transaction. Vectors: {made.route}.",
            "",
            table(["Where", "p50 ms", "p95 ms", "processor p50 ms", "p95 ms"], rows),
            "",
        ]
    return [*lines, *(verdict(f"{way}, everywhere, p50", took, " ms", at_most=5) for way, took in everywhere.items())]


def timed(search: Search, questions: Sequence[str], where: dict[str, object]) -> tuple[list[float], list[float]]:
    walls, cpus = [], []
    # The first half only warms up what a process remembers; none of its questions comes again.
    half = len(questions) // 2
    for question in questions[:half]:
        search.search(question, **where)  # type: ignore[arg-type]
    for question in questions[half:]:
        began, worked = time.perf_counter(), time.thread_time()
        search.search(question, **where)  # type: ignore[arg-type]
        cpus.append(1000 * (time.thread_time() - worked))
        walls.append(1000 * (time.perf_counter() - began))
    return walls, cpus


# -------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure memory's search.")
    parser.add_argument("--data", type=Path, default=os.environ.get("TIMMY_LOCOMO"), help="conversations of LoCoMo")
    home = os.environ.get("TIMMY_TEST_MINILM")
    parser.add_argument("--models", type=Path, default=Path(home) / "models" if home else None, help="folder of models")
    parser.add_argument("--entries", type=int, default=100_000, help="for the latency; 0 leaves it out")
    parser.add_argument("--fit", action="store_true", help="fit the weights, and judge each fit on what was left out")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk to measure; default build/")
    options = parser.parse_args()
    print(f"{machine(options.folder)}; {load()}\n")
    if options.data is None or not options.data.is_file():
        print("No conversations: --data names none, so recall is not measured.\n")
    else:
        with scratch(options.folder) as folder, Corpus.open(folder, options.data, options.models) as corpus:
            print(corpus.about(), "\n")
            if options.fit:
                print("\n".join(fit(corpus)))
                return 0
            print("\n".join(quality(corpus)), "\n")
            print(contexts(corpus), "\n")
    if options.entries:
        print(f"{options.entries:,} entries:\n")
        print("\n".join(latency(options.folder, options.entries)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
