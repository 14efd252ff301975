"""The exact route: every answer is the plain one, whatever was written since and by whomever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from timmy_core.errors import StoreError
from timmy_core.memory.index.found import Found
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

from .made_vectors import MODEL, WIDTH, agree, clustered, forget, plain, put, seqs


@pytest.fixture
def vectors(store: Store, tmp_path: Path) -> Iterator[Vectors]:
    opened = Vectors(store, tmp_path / "index", model=MODEL, dimensions=WIDTH, background=False)
    yield opened
    opened.close()


def test_without_a_model_nothing_is_found_and_nothing_fails(store: Store, tmp_path: Path) -> None:
    put(store, [1], clustered(1))
    vectors = Vectors(store, tmp_path / "index")
    assert vectors.search(clustered(1)[0], scopes=["shared"], limit=10) == []
    assert vectors.among(clustered(1)[0], [1]) == []
    assert vectors.size("shared") == 0
    assert not (tmp_path / "index").exists()


def test_an_entry_comes_once_with_its_best_part_of_each_kind(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=9)[0]
    parts = np.stack([query * 0.1, query * 0.4, query * 0.9, query * 0.5])
    put(store, [1], parts, parts=(0, 1, 2, -1))
    put(store, [2], query[None] * 0.8)
    found = vectors.search(query, scopes=["shared"], limit=5)
    assert seqs(found) == [1, 2]
    assert (found[0].whole, found[0].sentence, found[0].window) == pytest.approx((0.1, 0.9, 0.5), abs=2e-3)
    assert found[1] == Found(2, found[1].whole)
    assert found[1].best == pytest.approx(0.8, abs=2e-3)


def test_every_answer_is_the_plain_one_while_entries_come_change_and_go(store: Store, vectors: Vectors) -> None:
    random = np.random.default_rng(3)
    scopes = ["shared", "agent:a", "session:s"]
    there: dict[int, str] = {}
    for step in range(40):
        kind = random.integers(0, 4)
        if kind <= 1 or not there:
            first = step * 20 + 1
            scope = scopes[random.integers(0, 3)]
            new = list(range(first, first + int(random.integers(1, 20))))
            put(store, new, clustered(3 * len(new), seed=step), scope=scope, parts=(0, 1, -1))
            there |= dict.fromkeys(new, scope)
        elif kind == 2:
            some = [int(seq) for seq in random.choice(list(there), min(5, len(there)), replace=False)]
            put(store, some, clustered(2 * len(some), seed=step), parts=(0, 1))
        else:
            some = [int(seq) for seq in random.choice(list(there), min(8, len(there)), replace=False)]
            forget(store, some)
            there = {seq: scope for seq, scope in there.items() if seq not in some}
        query = clustered(1, seed=100 + step)[0]
        named = [scope for scope in scopes if random.random() < 0.7]
        some = [seq for seq in there if random.random() < random.choice([0.02, 0.5])]
        for allowed in (None, some):
            ours = vectors.search(query, scopes=named, limit=7, allowed=allowed)
            assert agree(ours, plain(store, query, named, 7, allowed))


def test_a_search_never_leaves_its_scopes(store: Store, vectors: Vectors) -> None:
    query = clustered(1)[0]
    put(store, [1], query[None], scope="session:other")
    put(store, [2], clustered(1, seed=5), scope="shared")
    assert seqs(vectors.search(query, scopes=["shared"], limit=10)) == [2]
    assert vectors.search(query, scopes=[], limit=10) == []
    assert vectors.search(query, scopes=["unknown"], limit=10) == []
    assert seqs(vectors.search(query, scopes=["shared", "shared"], limit=10)) == [2]
    assert seqs(vectors.search(query, scopes=["shared"], limit=10, allowed={1, 2})) == [2]


def test_an_old_entry_is_found_however_many_came_after_it(store: Store, vectors: Vectors) -> None:
    query = clustered(1, seed=7)[0]
    put(store, [1], query[None])
    put(store, range(2, 3000), clustered(2998))
    assert vectors.search(query, scopes=["shared"], limit=1)[0].entry_seq == 1


@pytest.mark.parametrize("share", [0.0, 0.001, 0.04, 0.06, 0.5, 1.0])
def test_a_filter_never_returns_fewer_than_there_are(store: Store, vectors: Vectors, share: float) -> None:
    put(store, range(1, 2001), clustered(2000))
    allowed = {seq for seq in range(1, 2001) if np.random.default_rng(seq).random() < share}
    query = clustered(1, seed=3)[0]
    found = vectors.search(query, scopes=["shared"], limit=25, allowed=allowed)
    assert agree(found, plain(store, query, ["shared"], 25, allowed))
    assert len(found) == min(25, len(allowed))


def test_what_holds_no_numbers_or_too_many_is_passed_over(store: Store, vectors: Vectors) -> None:
    sound = clustered(1)[0]
    put(store, [1], np.full((1, WIDTH), np.nan, np.float32))
    put(store, [2], np.full((1, WIDTH), np.inf, np.float32))
    put(store, [3], np.ones((1, 2 * WIDTH), np.float32))
    put(store, [4], sound[None])
    assert seqs(vectors.search(sound, scopes=["shared"], limit=10)) == [4]


@pytest.mark.parametrize("bad", [np.zeros(WIDTH + 1), np.full(WIDTH, np.nan), np.full(WIDTH, np.inf)])
def test_a_question_that_is_no_vector_is_refused(store: Store, vectors: Vectors, bad: np.ndarray) -> None:
    put(store, [1], clustered(1))
    with pytest.raises(StoreError, match="numbers"):
        vectors.search(bad, scopes=["shared"], limit=10)


def test_named_entries_are_compared_without_being_searched_for(store: Store, vectors: Vectors) -> None:
    made = clustered(3)
    put(store, [1, 2, 3], made)
    found = {one.entry_seq: one.whole for one in vectors.among(made[0], [1, 3, 77])}
    assert set(found) == {1, 3}
    assert found[1] == pytest.approx(1, abs=2e-3)


def test_another_model_has_vectors_of_its_own(store: Store, vectors: Vectors) -> None:
    put(store, [1], clustered(1))
    put(store, [1], np.ones((1, 8), np.float32) / 8**0.5, model="other@1")
    assert vectors.size("shared") == 1
    vectors.use("other@1", 8)
    assert vectors.search(np.ones(8), scopes=["shared"], limit=3)[0].best == pytest.approx(8**0.5, abs=2e-2)
    vectors.use(None)
    assert vectors.search(np.ones(8), scopes=["shared"], limit=3) == []


def test_scopes_that_were_not_used_for_long_give_their_memory_back(store: Store, tmp_path: Path) -> None:
    wide = 256
    for scope in range(6):
        first = scope * 1000 + 1
        put(store, range(first, first + 500), clustered(500, seed=scope, width=wide), scope=f"session:{scope}")
    vectors = Vectors(store, tmp_path / "index", model=MODEL, dimensions=wide, budget_mib=1, background=False)
    for scope in (0, 1, 2, 3, 4, 5, 0):
        query = clustered(1, seed=50 + scope, width=wide)[0]
        found = vectors.search(query, scopes=[f"session:{scope}"], limit=5)
        assert agree(found, plain(store, query, [f"session:{scope}"], 5))
        assert sum(state.bytes for state in vectors.states()) <= 1 << 20
    assert vectors.states()[-1].scope == "session:0"


def test_a_scope_larger_than_the_memory_is_read_in_pieces(store: Store, tmp_path: Path) -> None:
    wide = 256
    put(store, range(1, 6001), clustered(6000, width=wide))
    vectors = Vectors(store, tmp_path / "index", model=MODEL, dimensions=wide, budget_mib=1, background=False)
    query = clustered(1, seed=4, width=wide)[0]
    for allowed in (None, set(range(1, 6001, 7))):
        found = vectors.search(query, scopes=["shared"], limit=20, allowed=allowed)
        assert agree(found, plain(store, query, ["shared"], 20, allowed))
    assert vectors.states()[0].route == "streamed"
    assert vectors.size("shared") == 6000
