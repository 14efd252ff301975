"""Several processes on one log: nothing acknowledged is lost to `kill -9`, and each sees the others' events."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store

WRITER = Path(__file__).with_name("writer.py")
ROUNDS, PROCESSES, THREADS = 20, 4, 4


def start(path: Path, name: str, threads: int = THREADS) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, WRITER, path, name, str(threads)], stdout=subprocess.PIPE)


def kill_after(writer: subprocess.Popen[bytes], acknowledgements: int, acked: dict[str, int]) -> None:
    """Kill a writer in full flight after so many lines, and keep every whole line it wrote until it died."""
    with writer:
        for number, line in enumerate(writer.stdout or ()):
            seq, key = line.decode().split()
            acked[key] = int(seq)
            if number == acknowledgements:
                writer.kill()


def test_kill_9_of_four_writers_twenty_times_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20)  # noqa: S311 - a seed, not a secret
    path = tmp_path / "timmy.db"
    store = Store.open(path)
    log = EventLog(store)
    followed: list[int] = []
    done = threading.Event()

    def follow() -> None:
        for batch in log.tail(stop=done.is_set):
            followed.extend(event.seq for event in batch)

    follower = threading.Thread(target=follow)
    follower.start()
    acked: dict[str, int] = {}
    for number in range(ROUNDS):
        writers = [start(path, f"r{number}p{process}") for process in range(PROCESSES)]
        killers = [
            threading.Thread(target=kill_after, args=(writer, chance.randrange(1, 200), acked)) for writer in writers
        ]
        for killer in killers:
            killer.start()
        for killer in killers:
            killer.join()
    # One more, from here: it wakes the follower for the last time.
    last = log.append("system.info", source="end").seq
    while not followed or followed[-1] < last:
        follower.join(0.05)
    done.set()
    follower.join()

    with store.read() as connection:
        kept = dict(connection.execute("SELECT id, seq FROM events"))
    assert len(acked) > ROUNDS * PROCESSES
    assert {key: kept.get(key) for key in acked} == acked
    assert log.verify().ok
    assert log.verify().checked == last
    assert followed == list(range(1, last + 1))
    store.close()


def test_events_of_another_process_are_seen_live(tmp_path: Path) -> None:
    path = tmp_path / "timmy.db"
    store = Store.open(path)
    log = EventLog(store)
    writer = start(path, "other", threads=1)
    seen = next(iter(log.tail()))
    writer.kill()
    writer.communicate()
    assert seen[0].source == "other"
    store.close()
