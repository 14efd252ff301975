"""Several processes, and `kill -9`: what was promised is there or gone as promised, and nothing is half done."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

from timmy_core.memory.model import NewEntry

from .house import House, held_in, house

PROGRAM = Path(__file__).with_name("rememberer.py")
ROUNDS = 20


def run_and_kill(path: Path, name: str, after_s: float) -> list[tuple[str, str]]:
    """Start a process, kill it so long after its first acknowledgement, and return what it had promised."""
    with subprocess.Popen([sys.executable, PROGRAM, path, "loop", name], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        killer = threading.Timer(after_s, process.kill)
        killer.start()
        rest = process.stdout.read()
        killer.join()
    assert process.returncode == -9
    lines = [line.decode().split() for line in (first + rest).splitlines(keepends=True) if line.endswith(b"\n")]
    return [(kind, id_) for kind, id_ in lines]


def check_whole(home: House, folder: Path, promised: list[tuple[str, str]]) -> None:
    """Hold the memory, its words and its events against everything that was promised."""
    said: dict[str, list[str]] = {}
    for kind, id_ in promised:
        said.setdefault(id_, []).append(kind)
    kept = {entry.id: entry for entry in home.memory.list(limit=10_000)}
    for id_, kinds in said.items():
        if kinds[-1] == "forgotten":
            assert id_ not in kept
        elif kinds[-1] != "forgetting":
            assert id_ in kept
        if kinds[-1] == "edited":
            assert kept[id_].text == "edited"
        if kinds[-1] in {"forgotten", "edited"}:
            assert home.found(f"word{id_}") == []
    for id_, entry in kept.items():
        if entry.text != "edited":
            assert entry.seq in home.found(f"own : word{id_}")
    home.check_words()
    stored = [one["entry"] for one in home.said("memory.stored")]
    assert len(stored) == len(set(stored))
    gone = [id_ for one in home.said("memory.forgotten") for id_ in one["entries"]]  # type: ignore[attr-defined]
    assert len(gone) == len(set(gone))
    assert set(stored) - set(gone) == set(kept)
    assert set(gone).isdisjoint(kept)
    for id_ in [id_ for id_, kinds in said.items() if kinds[-1] in {"forgotten", "edited"}][-40:]:
        assert held_in(folder, f"word{id_}") == [], id_
    with home.store.read() as connection:
        assert connection.execute("SELECT count(*) FROM memory_erasures").fetchone() == (0,)


def test_killed_twenty_times_all_that_was_promised_holds(tmp_path: Path) -> None:
    chance = random.Random("memory")  # noqa: S311 - a seed, not a secret
    promised: list[tuple[str, str]] = []
    for number in range(ROUNDS):
        promised += run_and_kill(tmp_path / "timmy.db", f"r{number}", chance.uniform(0, 0.3))
        with house(tmp_path / "timmy.db") as home:
            check_whole(home, tmp_path, promised)
    assert sum(kind == "forgotten" for kind, _ in promised) >= ROUNDS


def test_processes_that_remember_the_same_at_once_make_one_entry(tmp_path: Path) -> None:
    path, many = tmp_path / "timmy.db", 60
    house_first = House(path)
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, path, "same", str(many)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        answers.append(process.communicate(timeout=120)[0].split())
        assert process.returncode == 0
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0][1::2])) == many
    entries = house_first.memory.list(limit=1000)
    assert (len(entries), {entry.seen for entry in entries}) == (many, {3})
    assert all(entry.valid_to is None for entry in entries)
    house_first.check_words()
    house_first.close()


def test_threads_that_remember_and_forget_one_session_leave_its_words_whole(tmp_path: Path) -> None:
    with house(tmp_path / "timmy.db") as home:

        def work(name: int) -> None:
            for number in range(15):
                entry = home.memory.remember(f"turn {name} {number}", session="s")
                home.memory.remember_many([NewEntry(f"more {name} {number} {n}", session="s") for n in range(3)])
                if number % 5 == 0:
                    home.memory.forget(entry.id, by="test")
                if number % 5 == 1:
                    home.memory.edit(entry.id, text=f"changed {name} {number}", by="test")

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert home.memory.count() == 4 * 15 * 4 - 4 * 3
        home.check_words()
        with home.store.read() as connection:
            assert connection.execute("SELECT count(*) FROM memory_erasures").fetchone() == (0,)
