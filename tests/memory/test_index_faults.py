"""What disks, power cuts and other processes do to the index: an answer is right, or the index is built anew."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.errors import StoreError
from timmy_core.memory.index.build import Builder
from timmy_core.memory.index.kernel import to_bf16
from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

from .made_vectors import BF16, MODEL, WIDTH, agree, clustered, forget, plain, put, seqs

LARGE = 2_000


def opened(store: Store, root: Path) -> Vectors:
    return Vectors(store, root, model=MODEL, dimensions=WIDTH, exact_below=LARGE, background=False)


@pytest.fixture
def root(store: Store, tmp_path: Path) -> Path:
    """The files of a graph of 2,500 entries."""
    put(store, range(1, 2501), clustered(2500))
    vectors = opened(store, tmp_path / "index")
    vectors.search(clustered(1)[0], scopes=["shared"], limit=1)
    assert vectors.maintain() == 1
    vectors.close()
    return tmp_path / "index"


@contextlib.contextmanager
def child(task: str, store: Store, root: Path, first: int = 10_000, count: int = 1) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, str(Path(__file__).with_name("index_child.py")), task, str(store.path), str(root)]
    process = subprocess.Popen(
        [*program, str(first), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def right(store: Store, vectors: Vectors) -> bool:
    """Whether the answers are the plain ones; a graph may miss one in a hundred, and here misses none."""
    return all(
        agree(vectors.search(query, scopes=["shared"], limit=10), plain(store, query, ["shared"], 10), within=BF16)
        for query in clustered(5, seed=31)
    )


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("name", ["idx-1.usearch", "idx-1.keys", "manifest.json"])
@pytest.mark.parametrize("at", [0.0, 0.2, 0.8, 0.99])
def test_a_flipped_bit_is_seen_and_the_graph_built_anew(store: Store, root: Path, name: str, at: float) -> None:
    path = next(root.glob(f"*/{name}"))
    flip(path, int(path.stat().st_size * at))
    vectors = opened(store, root)
    assert right(store, vectors)
    assert vectors.states()[0].route == "exact"
    assert vectors.maintain() == 1
    assert vectors.states()[0].route == "graph"
    assert right(store, vectors)


def test_damage_is_not_sealed_by_wiping(store: Store, root: Path) -> None:
    path = next(root.glob("*/*.usearch"))
    flip(path, path.stat().st_size - 400)
    forget(store, [5])
    vectors = opened(store, root)
    assert vectors.settle() == 0
    assert not list(root.glob("*/*.usearch"))
    assert right(store, vectors)


@pytest.mark.parametrize("name", ["idx-1.usearch", "idx-1.keys", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "empty", "half"])
def test_a_file_that_is_lost_or_cut_is_no_harm(store: Store, root: Path, name: str, how: str) -> None:
    path = next(root.glob(f"*/{name}"))
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if how == "half" else 0])
    forget(store, [9])
    vectors = opened(store, root)
    vectors.settle()
    assert right(store, vectors)
    assert vectors.maintain() == 1
    assert right(store, vectors)


def test_a_manifest_of_another_version_is_passed_over(store: Store, root: Path) -> None:
    path = next(root.glob("*/manifest.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    vectors = opened(store, root)
    assert right(store, vectors)
    assert vectors.maintain() == 1


def test_the_folder_of_another_history_is_not_believed(store: Store, root: Path, tmp_path: Path) -> None:
    """A database restored from a copy knows of entries that the newer files have lost."""
    kept = tmp_path / "kept"
    shutil.copytree(root, kept)
    forget(store, range(1, 101))
    vectors = opened(store, root)
    assert vectors.settle() == 100
    put(store, range(1, 101), clustered(100))
    shutil.rmtree(root)
    shutil.copytree(kept, root)
    again = opened(store, root)
    assert right(store, again)
    assert again.states()[0].route == "exact"


def test_files_removed_under_an_open_graph_are_no_harm(store: Store, root: Path) -> None:
    vectors = opened(store, root)
    assert right(store, vectors)
    shutil.rmtree(root)
    assert right(store, vectors)
    assert vectors.settle() == 0
    vectors.maintain()
    assert right(store, vectors)


def test_killed_at_any_moment_nothing_wrong_is_left(store: Store, root: Path) -> None:
    dice = random.Random(7)  # noqa: S311 - a moment
    for turn in range(6):
        with child("build", store, root, first=10_000 * (turn + 1), count=LARGE) as process:
            time.sleep(dice.uniform(0.0, 1.2))
            process.kill()
        vectors = opened(store, root)
        assert right(store, vectors)
        vectors.settle()
        vectors.maintain()
        assert vectors.states()[0].route == "graph"
        assert right(store, vectors)
        vectors.close()
    assert len(list(root.glob("*/idx-*"))) == 2


def test_killed_between_wiping_and_sealing_the_graph_is_built_anew(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(store, [3])
    vectors = opened(store, root)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Builder, "_count", killed)
        with pytest.raises(KeyboardInterrupt):
            vectors.settle()
    again = opened(store, root)
    assert right(store, again)
    assert again.states()[0].route == "exact"
    assert again.maintain() == 1


def test_a_disk_that_refuses_is_said_and_the_next_call_wipes(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(store, [3])
    vectors = opened(store, root)

    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Builder, "wipe", refused)
        with pytest.raises(StoreError, match="No space left on device; forget again"):
            vectors.forget([3])
    assert vectors.settle() == 1
    assert right(store, vectors)


def test_the_thread_goes_on_after_a_refusal(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timmy_core.memory.index.vectors._PAUSE_S", 0.01)
    vectors = Vectors(store, root, model=MODEL, dimensions=WIDTH, exact_below=LARGE)
    refusing = threading.Event()
    refusing.set()
    settle = vectors.settle

    def settled() -> int:
        if refusing.is_set():
            raise OSError(5, "Input/output error")
        return settle()

    monkeypatch.setattr(vectors, "settle", settled)
    assert right(store, vectors)
    while vectors.problem is None:
        time.sleep(0.01)
    assert "Input/output error" in vectors.problem
    refusing.clear()
    put(store, [9000], clustered(1, seed=4))
    assert right(store, vectors)
    while vectors.problem is not None:
        time.sleep(0.01)
    vectors.close()


def test_what_another_process_writes_is_found_by_the_next_search(store: Store, root: Path) -> None:
    vectors = opened(store, root)
    assert right(store, vectors)
    with child("write", store, root, count=3) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "written\n"
        found = vectors.search(clustered(3, seed=10_000)[1], scopes=["shared"], limit=1)
    assert seqs(found) == [10_001]


def test_another_process_s_generation_is_taken_over(store: Store, root: Path) -> None:
    vectors = opened(store, root)
    assert right(store, vectors)
    put(store, range(4001, 4001 + LARGE), clustered(LARGE, seed=6))
    other = opened(store, root)
    other.search(clustered(1)[0], scopes=["shared"], limit=1)
    assert other.maintain() == 1
    assert right(store, vectors)
    assert vectors.states()[0].generation == 1
    assert vectors.maintain() == 0
    assert vectors.states()[0].generation == 2
    assert right(store, vectors)


def test_one_process_builds_at_a_time(store: Store, tmp_path: Path) -> None:
    put(store, range(1, 6001), clustered(6000))
    root = tmp_path / "two"
    with child("once", store, root) as one, child("once", store, root) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        built = [process.stdout.readline().strip() for process in (one, two) if process.stdout is not None]
    assert sorted(built) in (["0", "1"], ["1"])
    assert [path.name for path in root.glob("*/*.usearch")] == ["idx-1.usearch"]
    assert right(store, opened(store, root))


def test_a_library_that_orders_its_rows_otherwise_is_noticed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, range(1, 2501), clustered(2500))
    vectors = opened(store, tmp_path / "other")
    vectors.search(clustered(1)[0], scopes=["shared"], limit=1)
    monkeypatch.setattr("timmy_core.memory.index.build.to_bf16", lambda batch: to_bf16(batch[::-1]))
    with pytest.raises(StoreError, match="unknown order"):
        vectors.maintain()
    assert not list((tmp_path / "other").glob("*/idx-*"))
    assert right(store, vectors)
