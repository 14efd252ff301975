"""The graph of a large scope: what it finds, what is new or gone since, and what its files hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from timmy_core.memory.index.files import Folder
from timmy_core.memory.index.graph import width_of_search
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

from .made_vectors import BF16, MODEL, WIDTH, Opener, agree, clustered, forget, in_the_file, openers, plain, put, seqs

LARGE = 2_000


@pytest.fixture
def opener(store: Store, root: Path) -> Iterator[Opener]:
    yield from openers(store, root, exact_below=LARGE)


@pytest.fixture
def vectors(store: Store, opener: Opener) -> Vectors:
    """Vectors with a graph of 3,000 entries."""
    put(store, range(1, 3001), clustered(3000))
    made = opener()
    made.search(clustered(1)[0], scopes=["shared"], limit=1)
    assert made.maintain() == 1
    return made


def recall(store: Store, vectors: Vectors, *, asked: int = 60, limit: int = 10) -> float:
    hits = 0
    for query in clustered(asked, seed=77):
        expected = seqs(plain(store, query, ["shared"], limit))
        hits += len(set(expected) & set(seqs(vectors.search(query, scopes=["shared"], limit=limit))))
    return hits / (asked * limit)


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*/*"))


def test_a_large_scope_gets_a_graph_that_finds_what_the_exact_route_does(store: Store, vectors: Vectors) -> None:
    state = vectors.states()[0]
    assert (state.route, state.vectors, state.generation, state.new, state.dead) == ("graph", 3000, 1, 0, 0)
    assert recall(store, vectors) >= 0.99


def test_a_graph_is_there_at_the_next_start(store: Store, vectors: Vectors, opener: Opener, root: Path) -> None:
    put(store, [5000], clustered(1, seed=8))
    again = opener()
    assert recall(store, again) >= 0.99
    state = again.states()[0]
    assert (state.route, state.new) == ("graph", 1)
    assert again.maintain() == 0
    assert files(root) == ["idx-1.keys", "idx-1.usearch", "lock", "manifest.json"]


def test_similarities_are_of_the_vectors_in_the_database(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=5)[0]
    found, expected = vectors.search(query, scopes=["shared"], limit=10), plain(store, query, ["shared"], 10)
    assert agree(found, expected, within=BF16)
    named = vectors.among(query, seqs(expected), scopes=["shared"])
    assert agree(sorted(named, key=lambda one: -one.best), expected, within=BF16)


def test_what_is_new_changed_or_gone_counts_at_once(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=11)[0]
    put(store, [4000], query[None])
    assert vectors.search(query, scopes=["shared"], limit=1)[0].entry_seq == 4000
    forget(store, [4000])
    before = seqs(vectors.search(query, scopes=["shared"], limit=3))
    assert 4000 not in before
    forget(store, before[:1])
    put(store, before[1:2], -query[None])
    after = seqs(vectors.search(query, scopes=["shared"], limit=10))
    assert not set(before[:2]) & set(after)
    assert recall(store, vectors) >= 0.99


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.04, 0.06, 0.3, 0.9])
@pytest.mark.parametrize("far", [False, True])
def test_a_filter_never_returns_fewer_than_there_are(store: Store, vectors: Vectors, share: float, far: bool) -> None:
    query = clustered(1, seed=3)[0]
    ordered = seqs(plain(store, query, ["shared"], 3000))
    some = int(3000 * share)
    allowed = set(ordered[-some:] if far else np.random.default_rng(2).choice(ordered, some, replace=False).tolist())
    found = vectors.search(query, scopes=["shared"], limit=25, allowed=allowed)
    expected = plain(store, query, ["shared"], 25, allowed)
    assert len(found) == len(expected) == min(25, len(allowed))
    assert len(set(seqs(found)) & set(seqs(expected))) >= 0.95 * len(expected)


def test_several_parts_of_an_entry_do_not_crowd_others_out(store: Store, opener: Opener) -> None:
    query = clustered(1, seed=1)[0]
    near = query + 0.01 * np.random.default_rng(0).standard_normal((400, WIDTH)).astype(np.float32)
    put(store, [1], near, parts=range(400))
    put(store, range(2, 3002), clustered(3000))
    vectors = opener()
    vectors.search(query, scopes=["shared"], limit=1)
    assert vectors.maintain() == 1
    found = vectors.search(query, scopes=["shared"], limit=20)
    assert agree(found, plain(store, query, ["shared"], 20), within=BF16)
    assert len(set(seqs(found))) == 20


def test_many_new_entries_go_into_the_next_generation(store: Store, vectors: Vectors, root: Path) -> None:
    put(store, range(4001, 4001 + LARGE), clustered(LARGE, seed=6))
    forget(store, range(1, 101))
    assert vectors.maintain() == 1
    state = vectors.states()[0]
    assert (state.generation, state.new, state.vectors) == (2, 0, 2900 + LARGE)
    assert recall(store, vectors) >= 0.99
    assert files(root) == ["idx-2.keys", "idx-2.usearch", "lock", "manifest.json"]


def test_when_a_fifth_is_gone_the_graph_is_built_from_nothing(store: Store, vectors: Vectors) -> None:
    forget(store, range(1, 590))
    assert vectors.maintain() == 0
    forget(store, range(590, 701))
    assert vectors.maintain() == 1
    state = vectors.states()[0]
    assert (state.vectors, state.dead, state.generation) == (2300, 0, 2)


def test_a_scope_that_became_small_gives_its_graph_up(store: Store, vectors: Vectors, root: Path) -> None:
    forget(store, range(1, 2501))
    assert vectors.maintain() == 0
    assert files(root) == ["lock"]
    assert vectors.states()[0].route == "exact"
    assert recall(store, vectors) == 1


def test_what_was_forgotten_is_in_no_file_any_more(store: Store, vectors: Vectors, opener: Opener, root: Path) -> None:
    made = clustered(3000)
    graph = next(root.glob("*/*.usearch"))
    gone = [7, 1500, 3000]
    patterns = [in_the_file(made[seq - 1]) for seq in gone]
    assert all(pattern in graph.read_bytes() for pattern in patterns)
    forget(store, gone)
    vectors.forget(gone)
    held = graph.read_bytes()
    assert not any(pattern in held for pattern in patterns)
    keys = Folder(root, "shared", MODEL).keys(Folder(root, "shared", MODEL).manifest())  # type: ignore[arg-type]
    assert not set(gone) & set(keys["entry"].tolist())
    assert vectors.settle() == 0
    again = opener()
    for opened in (vectors, again):
        assert recall(store, opened) >= 0.99
    assert again.states()[0].route == "graph"
    put(store, range(4001, 4001 + LARGE), clustered(LARGE, seed=6))
    vectors.search(made[0], scopes=["shared"], limit=1)
    assert vectors.maintain() == 1
    assert not any(pattern in path.read_bytes() for pattern in patterns for path in root.glob("*/*"))


def test_what_is_forgotten_before_the_next_generation_is_not_in_it(store: Store, vectors: Vectors, root: Path) -> None:
    pattern = in_the_file(clustered(3000)[41])
    forget(store, [42])
    put(store, range(4001, 4001 + LARGE), clustered(LARGE, seed=6))
    assert vectors.maintain() == 1
    assert pattern not in next(root.glob("*/*.usearch")).read_bytes()


def test_the_thread_builds_by_itself(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timmy_core.memory.index.vectors._PAUSE_S", 0.01)
    put(store, range(1, 3001), clustered(3000))
    vectors = Vectors(store, root, model=MODEL, dimensions=WIDTH, exact_below=LARGE)
    vectors.search(clustered(1)[0], scopes=["shared"], limit=1)
    assert vectors._thread is not None
    while vectors.states()[0].route != "graph":
        vectors._thread.join(0.02)
        assert vectors._thread.is_alive()
    vectors.close()
    assert not vectors._thread.is_alive()
    assert vectors.problem is None


def test_the_width_of_a_search_grows_with_the_graph() -> None:
    assert [width_of_search(rows) for rows in (2_000, 100_000, 1_000_000)] == [96, 128, 383]
    assert width_of_search(10**9) == 1024
