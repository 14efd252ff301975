"""The text index: complete, current, forgetful where it has to be, and never worth more than the log."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import StoreBusyError, StoreClosedError, StoreError
from timmy_core.store import shards
from timmy_core.store import text as text_module
from timmy_core.store.text import TextIndex


class Lines:
    """A source in memory: row n is line n."""

    def __init__(self, *lines: str, epoch: str = "one") -> None:
        self.epoch = epoch
        self.lines = list(lines)

    def head(self) -> int:
        return len(self.lines)

    def mark(self, seq: int) -> bytes:
        return hashlib.sha256(self.lines[seq - 1].encode()).digest() if 0 < seq <= len(self.lines) else b""

    def texts(self, after: int, limit: int) -> list[tuple[int, str]]:
        return list(enumerate(self.lines[after : after + limit], after + 1))


@pytest.fixture
def lines() -> Lines:
    return Lines("the quick brown fox", "Grüße aus Köln", "the lazy dog", "quick quick dog", "")


@pytest.fixture
def index(tmp_path: Path, lines: Lines) -> Iterator[TextIndex]:
    opened = TextIndex(tmp_path / "timmy.text.db", lines)
    opened.catch_up()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("quick", [4, 1]),
        ("quick dog", [4]),
        ("DOG Quick", [4]),
        ("grusse koln", []),
        ("grüße", [2]),
        ("GRÜSSE koln", []),
        ("gruße köln", [2]),
        ("qui*", [4, 1]),
        ("qu* la*", []),
        ("the* d*", [3]),
        ("nothing", []),
        ("brown-fox", [1]),
    ],
)
def test_words_are_all_needed_and_case_and_accents_do_not_count(index: TextIndex, words: str, rows: list[int]) -> None:
    assert index.search(words, limit=10) == rows


def test_the_order_and_the_bounds(index: TextIndex) -> None:
    assert index.search("quick", limit=1) == [4]
    assert index.search("quick", limit=10, order="asc") == [1, 4]
    assert index.search("quick", limit=10, before=4) == [1]
    assert index.search("quick", limit=10, after=1) == [4]
    assert index.among("dog", [1, 3, 4, 99]) == {3, 4}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_a_wrong_question(words: str) -> None:
    asked = shards.Tokens()
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (w, content = '', detail = none)")
    try:
        connection.execute("SELECT * FROM t WHERE t MATCH ?", (asked.match(words),)).fetchall()
    except StoreError as error:
        assert "cannot be searched for" in str(error)  # noqa: PT017 - one of two fair outcomes
    finally:
        asked.close()
        connection.close()


@pytest.mark.parametrize("words", ["", "   ", '"', "* - ( )", "'; DROP TABLE x"])
def test_signs_mean_nothing(index: TextIndex, words: str) -> None:
    if any(sign.isalnum() for sign in words):
        assert index.search(words, limit=1) == []
    else:
        with pytest.raises(StoreError, match="letter or digit"):
            index.search(words, limit=1)


def test_too_many_words_are_refused(index: TextIndex) -> None:
    with pytest.raises(StoreError, match="at most 50"):
        index.search("word " * 51, limit=1)
    with pytest.raises(StoreError, match="at most 50"):
        index.search("-".join(f"w{n}" for n in range(51)), limit=1)


def test_what_is_new_is_found_after_catching_up(index: TextIndex, lines: Lines) -> None:
    lines.lines.append("a new fox")
    assert index.catch_up()
    assert index.search("fox", limit=10) == [6, 1]
    assert index.indexed() == 6


def test_shards_are_asked_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 10)
    monkeypatch.setattr(text_module, "BATCH", 7)
    index = TextIndex(tmp_path / "t.db", Lines(*(f"row w{n % 3}" for n in range(1, 101))))
    index.catch_up()
    expected = [n for n in range(100, 0, -1) if n % 3 == 1]
    assert index.search("w1", limit=100) == expected
    assert index.search("w1", limit=100, order="asc") == expected[::-1]
    assert index.search("w1", limit=4, before=50) == [49, 46, 43, 40]
    assert index.search("w1", limit=4, after=50, order="asc") == [52, 55, 58, 61]
    assert index.among("w1", range(1, 120)) == set(expected)
    index.close()


@pytest.mark.parametrize("how", ["gone", "file_gone", "garbage", "short", "zeros", "hole", "empty", "no_table"])
def test_a_lost_or_damaged_file_is_filled_again(tmp_path: Path, how: str) -> None:
    path = tmp_path / "timmy.text.db"
    source = Lines(*(f"word{n} common" for n in range(3_000)))
    first = TextIndex(path, source)
    first.catch_up()
    first.close()
    damage(path, how)
    again = TextIndex(path, source)
    again.catch_up()
    assert again.search("word7", limit=10) == [8]
    assert len(again.search("common", limit=5_000)) == 3_000
    again.close()


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how in ("gone", "file_gone"):
        path.unlink()
        if how == "file_gone":  # a stray log of pages, as a crash leaves it, without its file
            path.with_name(path.name + "-wal").write_bytes(b"stray" * 1000)
    elif how == "no_table":
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE text_0")
        connection.close()
    else:
        contents = {
            "garbage": b"not a database " * 1000,
            "short": whole[: len(whole) // 2],
            "zeros": bytes(len(whole)),
            "hole": whole[:4096] + os.urandom(len(whole) - 4096),
            "empty": b"",
        }
        path.write_bytes(contents[how])


def test_a_file_that_vanishes_or_breaks_while_it_is_open_is_filled_again(index: TextIndex, lines: Lines) -> None:
    index.path.unlink()
    assert index.search("quick", limit=10) == [4, 1]
    other = TextIndex(index.path, lines)
    other.path.unlink()
    assert other.catch_up()
    assert index.search("quick", limit=10) == other.search("quick", limit=10) == [4, 1]
    other.close()


@pytest.mark.parametrize("change", ["epoch", "cut", "other", "format"])
def test_an_index_of_another_log_is_not_believed(
    index: TextIndex, lines: Lines, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "epoch":
        lines.epoch = "two"
    elif change == "cut":
        del lines.lines[3:]
    elif change == "other":
        lines.lines[-1] = "another end"
    else:
        monkeypatch.setattr(text_module, "FORMAT", 99)
    lines.lines[0] = "nothing of old"
    index.catch_up()
    assert 1 not in index.search("quick", limit=10) + index.search("fox", limit=10)
    assert index.search("old", limit=10) == [1]


def test_what_is_forgotten_is_neither_found_nor_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 500)
    source = Lines(*(f"filler{n % 97} common" for n in range(2_000)))
    source.lines[700] = "the Hunter2xyzzy secret common"
    source.lines[1_999] = "plughqwerty common"
    index = TextIndex(tmp_path / "timmy.text.db", source)
    index.catch_up()
    assert raw(tmp_path, b"hunter2xyzzy")
    for _ in range(3):  # a repetition changes nothing
        index.forget([(701, source.lines[700]), (2_000, source.lines[1_999])])
    assert index.search("hunter2xyzzy", limit=10) == index.search("plugh*", limit=10) == []
    assert len(index.search("common", limit=5_000)) == 1_998
    assert not raw(tmp_path, b"hunter2xyzzy")
    assert not raw(tmp_path, b"plughqwerty")
    index.close()


def raw(folder: Path, word: bytes) -> bool:
    return any(word in path.read_bytes() for path in folder.glob("timmy.text.db*"))


def test_what_is_forgotten_before_it_was_indexed_never_enters(tmp_path: Path) -> None:
    source = Lines("one word", "two words")
    index = TextIndex(tmp_path / "timmy.text.db", source)
    index.forget([(2, "two words")])
    index.catch_up()
    assert index.search("two", limit=10) == []
    assert index.search("word*", limit=10) == [1]
    index.close()


def test_whoever_waits_too_long_is_told(index: TextIndex, lines: Lines) -> None:
    lines.lines.append("more")
    other = TextIndex(index.path, lines)
    with other._exclusive(None):
        assert not index.catch_up(timeout_s=0.05)
        with pytest.raises(StoreBusyError):
            index.forget([(1, "x")], timeout_s=0.05)
    assert index.catch_up()
    other.close()


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = TextIndex(tmp_path / "t.db", Lines("one"))
    index.close()
    index.close()
    for call in (lambda: index.search("one", limit=1), index.catch_up, lambda: index.forget([(1, "one")])):
        with pytest.raises(StoreClosedError):
            call()


def test_threads_search_and_fill_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "BATCH", 50)
    source = Lines(*("common row" for _ in range(2_000)))
    indexes = [TextIndex(tmp_path / "t.db", source) for _ in range(2)]
    problems: list[object] = []

    def work(index: TextIndex) -> None:
        try:
            index.catch_up()
            problems.extend([] if len(index.search("common", limit=5_000)) == 2_000 else ["short"])
        except BaseException as error:  # noqa: BLE001 - a thread's error has to reach the test
            problems.append(error)

    threads = [threading.Thread(target=work, args=(indexes[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    for index in indexes:
        index.close()


FILLER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_text
from timmy_core.store import shards, text
text.BATCH, shards.SHARD = 100, 1_500
source = test_text.Lines(*(f"word{n} common" for n in range(20_000)))
text.TextIndex(Path(sys.argv[1]), source).catch_up()
"""


def test_a_killed_refill_loses_nothing_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 1_500)
    path = tmp_path / "timmy.text.db"
    source = Lines(*(f"word{n} common" for n in range(20_000)))
    grew = 0
    for round_ in range(20):
        process = subprocess.Popen([sys.executable, "-c", FILLER, path, Path(__file__).parent])
        deadline = time.monotonic() + 20
        before, size = grew, path.with_name("timmy.text.db-wal")
        while not (size.exists() and size.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.003 * (round_ % 7))
        process.send_signal(signal.SIGKILL)
        process.wait()
        probe = TextIndex(path, source)
        grew = probe.indexed()
        assert grew >= before
        found = probe.search("common", limit=50_000, order="asc") if grew else []
        assert found == list(range(1, grew + 1))
        if grew > 15_000:
            path.unlink()
            grew = 0
        probe.close()
    index = TextIndex(path, source)
    assert index.catch_up()
    assert index.search("common", limit=50_000, order="asc") == list(range(1, 20_001))
    assert index.search("word777", limit=5) == [778]
    index.close()
