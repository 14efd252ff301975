"""The index of words is brought into one piece as it grows; what is found stays the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from timmy_core.memory import words
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.timmy import open_timmy

from .house import House


def pieces(home: House) -> int:
    with home.store.read() as connection:
        number: int = connection.execute("SELECT count(DISTINCT segid) FROM memory_words_idx").fetchone()[0]
    return number


def fill(memory: Memory, number: int, first: int = 0) -> None:
    for start in range(first, first + number, 100):
        memory.remember_many([NewEntry(f"lantern number {n} of many", session="s") for n in range(start, start + 100)])


def test_it_is_done_where_it_grew_by_a_tenth_and_by_a_thousand(memory: Memory, home: House) -> None:
    fill(memory, 900)
    assert memory.tidy() == 0
    fill(memory, 300, 900)
    assert pieces(home) > 1
    assert (memory.tidy(), pieces(home), memory.tidy()) == (1_200, 1, 0)
    home.check_words()
    fill(memory, 1_000, 1_200)
    assert (memory.tidy(), pieces(home)) == (1_000, 1)
    assert 1_151 in home.found("1150")


def test_what_is_written_between_its_steps_is_found(memory: Memory, home: House) -> None:
    fill(memory, 1_500)
    with ThreadPoolExecutor(1) as other:
        told = other.submit(lambda: [memory.remember(f"between {n}").seq for n in range(30)])
        assert words.tidy(home.store) >= 1_500
        seqs = told.result()
    assert sorted(home.found("between")) == seqs
    home.check_words()


def test_the_serving_process_does_it_by_itself(tmp_path: Path) -> None:
    (tmp_path / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    with open_timmy(tmp_path) as timmy:
        timmy.start_schedule()
        assert "words" in {state.name for state in timmy.status().upkeep}
