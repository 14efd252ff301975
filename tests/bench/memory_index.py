"""The vector index beside exact numpy and sqlite-vec: recall@10, latency, building and opening, on made-up vectors.

    python tests/bench/memory_index.py --vectors 100000
    python tests/bench/memory_index.py --vectors 1000000 --questions 100      # about half an hour

With `--sqlite-vec PYTHON`, an interpreter that has `pip install sqlite-vec` and loads extensions, that stands beside.
A question is made as an entry is. Each search is the whole one: the look for what other processes wrote, the graph, and
the similarities read from the database.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import ROOT, load, machine, number, percentile, scratch, table, verdict
from numpy.typing import NDArray

from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

WIDTH, MODEL, SCOPE, TOP = 384, "made@1", "shared", 10
BATCH, TO_A_CLUSTER, DIRECTIONS, NOISE = 5_000, 200, 48, 0.15
ENTRY = """
INSERT INTO memory_entries (seq, id, kind, scope, source, text, created_at, changed_at, valid_from, seen_at,
                            content_hash)
VALUES (?, ?, 'fact', 'shared', 'bench', '', 0, 0, 0, 0, ?)"""
VECTOR = "INSERT INTO memory_vectors (entry_seq, model, part, vector) VALUES (?, ?, 0, ?)"
Floats = NDArray[np.float32]


class Made:
    """Made-up vectors as those of texts are: subjects that overlap, and far fewer directions than numbers.

    They come batch by batch, so that a million need not be kept twice. Clusters that lie apart, or numbers that owe
    nothing to each other, are easier for a graph or beyond any.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        random = np.random.default_rng(1)
        self._centres = random.standard_normal((max(50, count // TO_A_CLUSTER), DIRECTIONS), np.float32)
        self._basis = random.standard_normal((DIRECTIONS, WIDTH), np.float32) / np.float32(DIRECTIONS**0.5)

    def vectors(self, count: int, seed: int) -> Floats:
        """Return so many vectors; one is about as far from the centre of its cluster as centres are from each other."""
        random = np.random.default_rng(seed)
        within = self._centres[random.integers(0, len(self._centres), count)]
        within += random.standard_normal((count, DIRECTIONS), np.float32)
        made = within @ self._basis + np.float32(NOISE) * random.standard_normal((count, WIDTH), np.float32)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    def batches(self) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """Yield the number before the first vector of a batch, and the batch."""
        for first in range(0, self.count, BATCH):
            made = self.vectors(min(BATCH, self.count - first), seed=1000 + first)
            yield first, made.astype(np.float16)


@dataclass
class Times:
    """What calls took, by the clock and by the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def of(self, call: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.cpu.append((time.process_time() - cpu) * 1000)
        self.wall.append((time.perf_counter() - wall) * 1000)
        return result

    def shown(self) -> list[str]:
        return [
            number(percentile(self.wall, 50)),
            number(percentile(self.wall, 95)),
            number(statistics.median(self.cpu)),
        ]


def fill(store: Store, made: Made) -> None:
    for first, vectors in made.batches():
        entries = [(seq, str(seq), seq.to_bytes(8)) for seq in range(first + 1, first + 1 + len(vectors))]
        rows = [(first + 1 + at, MODEL, vector.tobytes()) for at, vector in enumerate(vectors)]

        def write(connection: Any, entries: Any = entries, rows: Any = rows) -> None:
            connection.executemany(ENTRY, entries)
            connection.executemany(VECTOR, rows)

        store.write(write)


def opened(store: Store, folder: Path) -> Vectors:
    return Vectors(store, folder / "index", model=MODEL, dimensions=WIDTH, background=False)


def search(vectors: Vectors, query: Floats, allowed: set[int] | None = None) -> list[int]:
    return [one.entry_seq for one in vectors.search(query, scopes=[SCOPE], limit=TOP, allowed=allowed)]


def exact(matrix: Floats, query: Floats) -> list[int]:
    """Return what numpy finds by itself, the whole matrix in memory."""
    near = matrix @ query
    top = np.argpartition(near, len(near) - TOP)[-TOP:]
    return [int(at) + 1 for at in top[np.argsort(-near[top])]]


def exact_filtered(matrix: Floats, query: Floats, allowed: Any) -> list[int]:
    near = matrix[allowed - 1] @ query
    return [int(seq) for seq in allowed[np.argsort(-near)[:TOP]]]


def by_sqlite_vec(python: str, folder: Path, made: Made, questions: Floats) -> tuple[list[list[int]], Times]:
    """Have sqlite-vec answer the questions, in a process of its own and from a scratch file."""
    with (folder / "vectors.f32").open("wb") as file:
        for _, vectors in made.batches():
            file.write(vectors.astype("<f4").tobytes())
    (folder / "questions.f32").write_bytes(questions.astype("<f4").tobytes())
    program = [python, str(Path(__file__).with_name("vec_caller.py")), str(folder), str(WIDTH), str(TOP)]
    said = json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return said["found"], Times(said["wall"], said["cpu"])


def recall(found: list[list[int]], expected: list[list[int]]) -> float:
    return sum(len(set(ours) & set(theirs)) for ours, theirs in zip(found, expected, strict=True)) / (
        TOP * len(expected)
    )


def open_elsewhere(folder: Path) -> dict[str, float]:
    """Open the index and search once in a process of its own, as a start does."""
    program = [sys.executable, __file__, "--open", str(folder)]
    return dict(json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout))


def open_once(folder: Path) -> None:
    """Print what the first search of a process costs, and what a question costs after that."""
    import numkong  # noqa: F401 - loading libraries is not what is measured
    import usearch.index  # noqa: F401
    import xxhash  # noqa: F401

    store = Store.open(folder / "timmy.db")
    vectors = opened(store, folder)
    query = Made(TO_A_CLUSTER * 50).vectors(1, seed=3)[0]
    times = Times()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times.of(lambda: search(vectors, query))
    route = vectors.states()[0].route
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"wall": times.wall[0], "cpu": times.cpu[0], "graph": route == "graph", "mib": grown}))
    store.close()


def routes(
    folder: Path, store: Store, made: Made, questions: Floats, python: str
) -> tuple[list[list[str]], dict[str, float]]:
    """Ask every way the same questions."""
    vectors = opened(store, folder)
    build = Times()
    search(vectors, questions[0])
    built = build.of(vectors.maintain)
    matrix = np.concatenate([batch.astype(np.float32) for _, batch in made.batches()])
    times: dict[str, Times] = {}
    answers: dict[str, list[list[int]]] = {}

    def ask(name: str, call: Callable[[Floats], list[int]]) -> None:
        call(questions[0])
        times[name] = Times()
        answers[name] = [times[name].of(lambda query=query: call(query)) for query in questions]

    ask("numpy, exact, float32 in memory", lambda query: exact(matrix, query))
    ask("Vectors.search", lambda query: search(vectors, query))
    expected = answers["numpy, exact, float32 in memory"]
    for share in (0.01, 0.05, 0.2):
        allowed = np.random.default_rng(5).choice(made.count, int(made.count * share), replace=False) + 1
        some = set(allowed.tolist())
        ask(f"Vectors.search, {share:.0%} allowed", lambda query, some=some: search(vectors, query, some))
        answers[f"{share:.0%}"] = [exact_filtered(matrix, query, allowed) for query in questions]
    if python:
        answers["sqlite-vec, exact"], times["sqlite-vec, exact"] = by_sqlite_vec(python, folder, made, questions)
    rows = []
    for name, taken in times.items():
        right = answers[name.split(", ")[1].split()[0]] if "allowed" in name else expected
        rows.append([name, f"{recall(answers[name], right):.4f}", *taken.shown()])
    vectors.close()
    ours = times["Vectors.search"]
    return rows, {
        "recall": recall(answers["Vectors.search"], expected),
        "p50": percentile(ours.wall, 50),
        "cpu": statistics.median(ours.cpu),
        "build": build.wall[0] / 1000 if built else float("nan"),
        "build_cpu": build.cpu[0] / 1000,
    }


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--sqlite-vec", default="", metavar="PYTHON", help="an interpreter that can load sqlite-vec")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk to measure; default build/")
    return parser.parse_args()


def main() -> None:
    if sys.argv[1:2] == ["--open"]:
        open_once(Path(sys.argv[2]))
        return
    given = options()
    before = load()
    made = Made(given.vectors)
    questions = made.vectors(given.questions, seed=7)
    with scratch(given.folder) as folder:
        store = Store.open(folder / "timmy.db")
        fill(store, made)
        rows, ours = routes(folder, store, made, questions, given.sqlite_vec)
        size = sum(path.stat().st_size for path in (folder / "index").glob("*/*")) / 2**20
        starts = [open_elsewhere(folder) for _ in range(5)]
        store.close()
    assert all(start["graph"] for start in starts), "the graph was not used"
    print(f"{given.vectors:,} vectors of {WIDTH} numbers. {machine(given.folder)};", end=" ")
    print(f"{before} before, {load()} after.\n")
    print(table(("Way", "recall@10", "p50 ms", "p95 ms", "processor ms"), rows), "\n")
    opening = statistics.median(start["wall"] for start in starts) / 1000
    worked = statistics.median(start["cpu"] for start in starts) / 1000
    print(f"- building: {number(ours['build'])} s, of the processor {number(ours['build_cpu'])} s; {number(size)} MiB")
    print(verdict("recall@10", ours["recall"], "", at_least=0.99))
    print(verdict("search, p50", ours["p50"], " ms", at_most=5), f"(processor {number(ours['cpu'])} ms)")
    print(verdict("opening, with the first search", opening, " s", at_most=1), f"(processor {number(worked)} s)")


if __name__ == "__main__":
    main()
