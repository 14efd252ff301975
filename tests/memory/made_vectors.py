"""Made-up vectors in a store, and the plain search that the index is compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.index.found import Found
from timmy_core.memory.index.kernel import to_bf16
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

MODEL = "made@1"
WIDTH = 32
BF16 = 3e-3  # how far a graph's rounding takes a similarity, with so few numbers

_ENTRY = """
INSERT OR IGNORE INTO memory_entries
    (seq, id, kind, scope, source, text, created_at, changed_at, valid_from, seen_at, content_hash)
VALUES (?, ?, 'fact', ?, 'test', ?, 0, 0, 0, 0, ?)"""
_VECTOR = "INSERT OR REPLACE INTO memory_vectors (entry_seq, model, part, vector) VALUES (?, ?, ?, ?)"

Floats = NDArray[np.float32]
Opener = Callable[[], Vectors]


def clustered(count: int, *, seed: int = 0, width: int = WIDTH, clusters: int = 40) -> Floats:
    """Return normalised vectors around some centres, as texts about some subjects would be."""
    centres = np.random.default_rng(1).standard_normal((clusters, width), np.float32)
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, clusters, count)] + 0.6 * random.standard_normal((count, width), np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blob(vector: Floats) -> bytes:
    return vector.astype("<f2").tobytes()


def put(
    store: Store,
    seqs: Sequence[int],
    vectors: Floats,
    *,
    scope: str = "shared",
    parts: Sequence[int] = (0,),
    model: str = MODEL,
) -> None:
    """Store entries with so many vectors each, in the order of the parts."""
    entries = [(seq, f"entry-{seq}", scope, str(seq), f"{scope}{seq}".encode()) for seq in seqs]
    of_each = vectors.reshape(len(seqs), len(parts), -1)
    rows = [
        (seq, model, part, blob(of_each[at, place])) for at, seq in enumerate(seqs) for place, part in enumerate(parts)
    ]

    def write(connection: Any) -> None:
        connection.executemany(_ENTRY, entries)
        connection.executemany(_VECTOR, rows)

    store.write(write)


def forget(store: Store, seqs: Iterable[int]) -> None:
    rows = [(seq,) for seq in seqs]

    def write(connection: Any) -> None:
        connection.executemany("DELETE FROM memory_vectors WHERE entry_seq = ?", rows)
        connection.executemany("DELETE FROM memory_entries WHERE seq = ?", rows)

    store.write(write)


def plain(
    store: Store,
    query: Floats,
    scopes: Collection[str],
    limit: int,
    allowed: Collection[int] | None = None,
    model: str = MODEL,
) -> list[Found]:
    """Return what a search has to return, one vector after the other."""
    with store.read() as connection:
        rows = connection.execute(
            "SELECT e.scope, v.entry_seq, v.part, v.vector FROM memory_vectors v JOIN memory_entries e "
            "ON e.seq = v.entry_seq WHERE v.model = ?",
            (model,),
        ).fetchall()
    best: dict[int, dict[str, float]] = {}
    rounded = query.astype(np.float16).astype(np.float32)
    for scope, seq, part, vector in rows:
        if scope in scopes and (allowed is None or seq in allowed):
            kind = {0: "whole", -1: "window"}.get(part, "sentence")
            near = float(np.frombuffer(vector, "<f2").astype(np.float32) @ rounded)
            kinds = best.setdefault(seq, {})
            kinds[kind] = max(near, kinds.get(kind, near))
    found = [Found(seq, **kinds) for seq, kinds in best.items()]
    return sorted(found, key=lambda one: (-one.best, one.entry_seq))[:limit]


def in_the_file(vector: Floats) -> bytes:
    """Return a vector as a graph's file holds it."""
    return to_bf16(vector.astype(np.float16).astype(np.float32)).tobytes()


def seqs(found: Iterable[Found]) -> list[int]:
    return [one.entry_seq for one in found]


def agree(ours: Sequence[Found], theirs: Sequence[Found], *, within: float = 1e-3) -> bool:
    """Whether two answers are the same but for rounding, which may swap what is as near."""
    if len(ours) != len(theirs):
        return False
    near = np.array([(one.best, other.best) for one, other in zip(ours, theirs, strict=True)]).reshape(-1, 2)
    same = {one.entry_seq: one for one in ours}
    parts = [
        (getattr(same[other.entry_seq], kind), getattr(other, kind))
        for other in theirs
        if other.entry_seq in same
        for kind in ("whole", "sentence", "window")
    ]
    close = all((a is None) == (b is None) and (a is None or abs(a - b) < within) for a, b in parts)
    return close and bool((np.abs(near[:, 0] - near[:, 1]) < within).all())


def openers(store: Store, root: Path, *, exact_below: int) -> Iterator[Opener]:
    """Yield what opens the vectors once more; all that were opened are closed at the end."""
    opened: list[Vectors] = []

    def open_one() -> Vectors:
        opened.append(Vectors(store, root, model=MODEL, dimensions=WIDTH, exact_below=exact_below, background=False))
        return opened[-1]

    yield open_one
    for vectors in opened:
        vectors.close()
