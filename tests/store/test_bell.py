"""The doorbell wakes readers of this and of other processes, and misses no ring."""

from __future__ import annotations

import threading
from pathlib import Path

from timmy_core.store.bell import Bell, BellWatcher


def test_a_ring_before_the_wait_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    bell = Bell(path)
    with BellWatcher(path) as watcher:
        bell.ring()
        assert watcher.wait(5)
    bell.close()


def test_many_rings_are_one_waking_and_silence_times_out(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    bell = Bell(path)
    with BellWatcher(path) as watcher:
        for _ in range(50):
            bell.ring()
        assert watcher.wait(5)
        assert not watcher.wait(0.02)
    bell.close()


def test_a_ring_wakes_a_waiting_thread(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    bell, heard, armed = Bell(path), threading.Event(), threading.Event()

    def listen() -> None:
        with BellWatcher(path) as watcher:
            armed.set()
            if watcher.wait(10):
                heard.set()

    thread = threading.Thread(target=listen)
    thread.start()
    armed.wait()
    bell.ring()
    thread.join()
    assert heard.is_set()
    bell.close()
