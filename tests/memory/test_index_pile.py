"""Many small scopes at once: the answer is the plain one, though most rows are read in a byte a number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from timmy_core.memory.aside import Aside
from timmy_core.memory.index.kernel import Order, members, top_rows
from timmy_core.memory.index.pile import SEVERAL
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

from .made_vectors import BF16, MODEL, WIDTH, agree, clustered, forget, plain, put, seqs

SCOPES = [f"session:{number}" for number in range(3 * SEVERAL)]


@pytest.fixture
def vectors(store: Store, tmp_path: Path) -> Iterator[Vectors]:
    opened = Vectors(store, tmp_path / "index", model=MODEL, dimensions=WIDTH, background=False)
    yield opened
    opened.close()


def fill(store: Store, each: int) -> None:
    for place, scope in enumerate(SCOPES):
        first = place * 10_000 + 1
        made = clustered(2 * each, seed=place)
        put(store, range(first, first + each), made, scope=scope, parts=(0, -1))


def test_nothing_stays_of_what_was_forgotten(store: Store, vectors: Vectors) -> None:
    fill(store, 10)
    vectors.search(clustered(1)[0], scopes=SCOPES, limit=5)
    forget(store, [1, 2])
    vectors.search(clustered(1)[0], scopes=SCOPES[:1], limit=5)
    pile = vectors._small._pile
    assert pile is not None
    assert not {1, 2} & set(pile._entries.tolist())
    assert not pile._bytes[pile._entries == 0].any()


@pytest.mark.parametrize("share", [None, 0.0, 0.01, 0.1, 0.6])
def test_every_answer_is_the_plain_one(store: Store, vectors: Vectors, share: float | None) -> None:
    fill(store, 120)
    random = np.random.default_rng(2)
    everyone = [place * 10_000 + 1 + entry for place in range(len(SCOPES)) for entry in range(120)]
    for query in clustered(12, seed=99):
        some = None if share is None else {seq for seq in everyone if random.random() < share}
        found = vectors.search(query, scopes=SCOPES, limit=15, allowed=some)
        assert agree(found, plain(store, query, SCOPES, 15, some))
        assert set(seqs(found)) <= set(everyone if some is None else some)


def test_it_follows_what_comes_changes_and_goes(store: Store, vectors: Vectors) -> None:
    fill(store, 40)
    random = np.random.default_rng(4)
    there = [place * 10_000 + 1 + entry for place in range(len(SCOPES)) for entry in range(40)]
    for step in range(25):
        scope = int(random.integers(0, len(SCOPES)))
        new = [scope * 10_000 + 1_000 + 100 * step + number for number in range(int(random.integers(1, 90)))]
        put(store, new, clustered(2 * len(new), seed=500 + step), scope=SCOPES[scope], parts=(0, 1))
        there += new
        changed = [int(seq) for seq in random.choice(there, 6, replace=False)]
        put(store, changed, clustered(len(changed), seed=900 + step))
        gone = [int(seq) for seq in random.choice(there, 60 if step % 5 == 0 else 4, replace=False)]
        forget(store, gone)
        there = [seq for seq in there if seq not in set(gone)]
        query = clustered(1, seed=200 + step)[0]
        asked = SCOPES if step % 3 else SCOPES[: 2 * SEVERAL]
        assert agree(vectors.search(query, scopes=asked, limit=10), plain(store, query, asked, 10))


def test_named_entries_have_the_same_similarities_wherever_they_are_looked_up(store: Store, vectors: Vectors) -> None:
    fill(store, 30)
    query = clustered(1, seed=8)[0]
    wanted = [1, 10_003, 50_017, 230_030, 77]
    read = {one.entry_seq: one for one in vectors.among(query, wanted)}
    vectors.search(query, scopes=SCOPES, limit=5)
    held = {one.entry_seq: one for one in vectors.among(query, wanted, scopes=SCOPES)}
    assert set(held) == set(read) == set(wanted) - {77}
    for seq, one in held.items():
        assert (one.whole, one.window) == pytest.approx((read[seq].whole, read[seq].window), abs=1e-3)
    assert [one.entry_seq for one in vectors.among(query, [77], scopes=SCOPES)] == []


def test_beside_a_graph_both_are_asked(store: Store, tmp_path: Path) -> None:
    fill(store, 30)
    put(store, range(500_001, 502_501), clustered(2_500, seed=70), scope="agent:a")
    opened = Vectors(store, tmp_path / "index", model=MODEL, dimensions=WIDTH, exact_below=2_000, background=False)
    everywhere = [*SCOPES, "agent:a"]
    opened.search(clustered(1)[0], scopes=everywhere, limit=1)
    assert opened.maintain() == 1
    for query in clustered(10, seed=71):
        found, expected = opened.search(query, scopes=everywhere, limit=12), plain(store, query, everywhere, 12)
        assert agree(found, expected, within=BF16)
        named = opened.among(query, seqs(expected), scopes=everywhere)
        assert agree(sorted(named, key=lambda one: -one.best), expected, within=BF16)
    opened.close()


def test_without_memory_for_a_pile_the_answer_is_the_same(store: Store, tmp_path: Path) -> None:
    wide = 256
    for place, scope in enumerate(SCOPES):
        first = place * 1_000 + 1
        put(store, range(first, first + 70), clustered(70, seed=place, width=wide), scope=scope)
    opened = Vectors(store, tmp_path / "index", model=MODEL, dimensions=wide, budget_mib=1, background=False)
    for query in clustered(4, seed=5, width=wide):
        assert agree(opened.search(query, scopes=SCOPES, limit=10), plain(store, query, SCOPES, 10))
        assert opened._small.bytes == 0
    opened.close()


def test_vectors_of_zeros_and_of_other_lengths_are_in_order(store: Store, vectors: Vectors) -> None:
    fill(store, 5)
    query = clustered(1, seed=1)[0]
    put(store, [900_001], np.zeros((1, WIDTH), np.float32), scope=SCOPES[0])
    put(store, [900_002], 40 * query[None], scope=SCOPES[1])
    put(store, [900_003], -40 * query[None], scope=SCOPES[2])
    found = vectors.search(query, scopes=SCOPES, limit=1_000)
    assert seqs(found)[0] == 900_002
    assert seqs(found)[-1] == 900_003
    assert len(found) == 5 * len(SCOPES) + 3


def test_the_helpers_say_what_numpy_says() -> None:
    random = np.random.default_rng(6)
    for count in (0, 1, 5, 300, 30_000):
        entries = random.integers(1, max(2, count), count)
        wanted = np.unique(random.integers(1, max(2, count), 20))
        assert (members(entries, wanted) == np.isin(entries, wanted)).all()
        assert (members(entries, wanted + (1 << 40)) == np.isin(entries, wanted + (1 << 40))).all()
        for order in (entries, np.sort(entries)):
            assert sorted(Order(order).rows(wanted).tolist()) == np.flatnonzero(np.isin(order, wanted)).tolist()
        near = random.standard_normal(count).astype(np.float32)
        top = set(top_rows(near, 7).tolist())
        assert set(np.argsort(-near)[:7].tolist()) <= top
        assert len(top) < max(8, count // 50)


def test_work_aside_is_done_on_another_thread_and_after_the_end_on_this_one() -> None:
    aside = Aside("test")
    aside._closed = False  # as with two cores
    assert aside.start(threading.current_thread)() is not threading.current_thread()

    def fail() -> None:
        message = "as expected"
        raise ValueError(message)

    with pytest.raises(ValueError, match="as expected"):
        aside.start(fail)()
    aside.close()
    aside.close()
    assert aside.start(threading.current_thread)() is threading.current_thread()
