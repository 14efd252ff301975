"""A search of all scopes: one after the other while they are small, by one graph of all once that is quicker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.memory.index.rows import EVERYWHERE
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

from .made_vectors import BF16, Opener, agree, clustered, forget, in_the_file, openers, plain, put, seqs

LARGE, SCOPES, EACH = 1_000, 20, 100
NAMES = [f"agent:{number}" for number in range(SCOPES)]


@pytest.fixture
def opener(store: Store, root: Path) -> Iterator[Opener]:
    yield from openers(store, root, exact_below=LARGE)


def fill(store: Store, each: int = EACH) -> None:
    made = clustered(SCOPES * each)
    for number, name in enumerate(NAMES):
        first = number * each
        put(store, range(first + 1, first + each + 1), made[first : first + each], scope=name)


@pytest.fixture
def vectors(store: Store, opener: Opener) -> Vectors:
    """Vectors of 20 small scopes with 2,000 entries together, for which there is a graph."""
    fill(store)
    made = opener()
    made.search(clustered(1)[0], scopes=None, limit=1)
    assert made.maintain() == 1
    return made


def recall(store: Store, vectors: Vectors, *, asked: int = 40, limit: int = 10) -> float:
    hits = 0
    for query in clustered(asked, seed=77):
        expected = seqs(plain(store, query, NAMES, limit))
        hits += len(set(expected) & set(seqs(vectors.search(query, scopes=None, limit=limit))))
    return hits / (asked * limit)


def test_many_small_scopes_get_a_graph_together_that_finds_what_the_exact_route_does(
    store: Store, vectors: Vectors
) -> None:
    assert recall(store, vectors) >= 0.99
    states = {state.scope: state for state in vectors.states()}
    assert (states[EVERYWHERE].route, states[EVERYWHERE].vectors) == ("graph", SCOPES * EACH)
    assert {states[name].route for name in NAMES} == {"exact"}


def test_one_scope_is_searched_for_itself_as_before(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=4)[0]
    found = vectors.search(query, scopes=[NAMES[3]], limit=10)
    assert agree(found, plain(store, query, [NAMES[3]], 10))


def test_at_the_next_start_no_scope_is_opened_for_it(store: Store, vectors: Vectors, opener: Opener) -> None:
    again = opener()
    assert recall(store, again) >= 0.99
    assert [state.scope for state in again.states()] == [EVERYWHERE]
    assert again.maintain() == 0


def test_until_there_is_a_graph_each_scope_is_searched(store: Store, opener: Opener) -> None:
    fill(store)
    vectors = opener()
    query = clustered(1, seed=4)[0]
    for _ in range(2):
        assert agree(vectors.search(query, scopes=None, limit=10), plain(store, query, NAMES, 10))
    assert sorted(state.scope for state in vectors.states()) == sorted(NAMES)


def test_where_reading_all_is_quick_there_is_no_graph(store: Store, opener: Opener) -> None:
    fill(store, each=LARGE // SCOPES - 1)
    vectors = opener()
    vectors.search(clustered(1)[0], scopes=None, limit=1)
    assert vectors.maintain() == 0


def test_several_large_scopes_get_one_for_all_too(store: Store, opener: Opener) -> None:
    made = clustered(3 * LARGE)
    for number in range(3):
        first = number * LARGE
        put(store, range(first + 1, first + LARGE + 1), made[first : first + LARGE], scope=NAMES[number])
    vectors = opener()
    for scopes, built in ((NAMES[:2], 2), (None, 2), (None, 0)):
        vectors.search(clustered(1)[0], scopes=scopes, limit=1)
        assert vectors.maintain() == built
    assert recall(store, vectors) >= 0.99
    assert EVERYWHERE in {state.scope for state in vectors.states()}


def test_one_large_scope_beside_small_ones_needs_no_other_graph(store: Store, opener: Opener) -> None:
    put(store, range(1, 2 * LARGE + 1), clustered(2 * LARGE), scope=NAMES[0])
    put(store, range(3 * LARGE, 3 * LARGE + EACH), clustered(EACH, seed=2), scope=NAMES[1])
    vectors = opener()
    for built in (1, 0):
        vectors.search(clustered(1)[0], scopes=None, limit=1)
        assert vectors.maintain() == built
    assert recall(store, vectors) >= 0.99


def test_what_is_new_changed_or_gone_counts_at_once(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=11)[0]
    put(store, [4000], query[None], scope="agent:new")
    assert vectors.search(query, scopes=None, limit=1)[0].entry_seq == 4000
    forget(store, [4000])
    before = seqs(vectors.search(query, scopes=None, limit=3))
    assert 4000 not in before
    forget(store, before[:1])
    put(store, before[1:2], -query[None])
    assert not set(before[:2]) & set(seqs(vectors.search(query, scopes=None, limit=10)))
    assert recall(store, vectors) >= 0.99


def test_a_filter_never_returns_fewer_than_there_are(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=3)[0]
    for allowed in (set(range(1, 30)), set(range(1, SCOPES * EACH, 2))):
        found = vectors.search(query, scopes=None, limit=25, allowed=allowed)
        expected = plain(store, query, NAMES, 25, allowed)
        assert len(found) == 25
        assert len(set(seqs(found)) & set(seqs(expected))) >= 24


def test_similarities_of_named_entries(store: Store, vectors: Vectors, opener: Opener) -> None:
    query = clustered(1, seed=5)[0]
    expected = plain(store, query, NAMES, 10)
    for one in (vectors, opener()):
        named = one.among(query, seqs(expected), scopes=None)
        assert agree(sorted(named, key=lambda one: -one.best), expected, within=BF16)


def test_what_is_forgotten_is_in_no_file(store: Store, vectors: Vectors, root: Path) -> None:
    gone = clustered(SCOPES * EACH)[7]
    held = b"".join(path.read_bytes() for path in root.glob("*/*.usearch"))
    assert in_the_file(gone) in held
    forget(store, [8])
    vectors.forget([8])
    assert in_the_file(gone) not in b"".join(path.read_bytes() for path in root.glob("*/*.usearch"))
