"""Many processes on one log: the order is total, and nobody misses anything."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from timmy_core.events.events import Events
from timmy_core.store.engine import Store


def test_eight_processes_append_while_one_seals_and_three_follow(tmp_path: Path) -> None:
    path, keeper = tmp_path / "timmy.db", Path(__file__).with_name("keeper.py")
    store = Store.open(path)
    many, processes = 150, 8
    events = Events(store)
    seen: list[list[int]] = [[], [], []]
    total = many * processes
    texts: list[list[str]] = [[], [], []]

    def follow(number: int) -> None:
        for batch in events.tail(stop=lambda: len(texts[number]) >= total):
            seen[number] += [event.seq for event in batch]
            texts[number] += [event.id for event in batch if event.type == "system.info"]

    followers = [threading.Thread(target=follow, args=(number,)) for number in range(3)]
    for follower in followers:
        follower.start()
    writers = [subprocess.Popen([sys.executable, keeper, path, "append", str(many), str(n)]) for n in range(processes)]
    sealer = subprocess.Popen([sys.executable, keeper, path, "seal", "25"])
    assert [writer.wait(60) for writer in writers] == [0] * processes
    for follower in followers:
        follower.join(30)
    sealer.kill()
    sealer.wait()
    events.mend()
    assert len(events.archive.segments()) > 3
    for number in range(3):
        assert seen[number] == list(range(1, len(seen[number]) + 1))
        assert sorted(texts[number]) == sorted(f"{n}-{k}" for n in range(processes) for k in range(many))
    assert events.verify().ok
    store.close()
