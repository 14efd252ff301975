"""From another process's commit to this process's eyes: `events.tail` beside polling and beside inotify alone.

    python tests/bench/feed.py

A writer process appends one event at a time and notes when it called and when the append returned. Both processes read
the same monotonic clock. The parts run one after the other, round after round, on one file.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from figures import load, machine, number, options, percentile, scratch, spread, table, verdict

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store

IN_MODIFY = 2
WAIT_S = 60
POLL_S = 1.0

Seen = dict[int, int]  # by seq, or by count, in nanoseconds
Stamps = list[tuple[int, int, int]]  # seq, called at, returned at


def write(path: Path, orders: Any, answers: Any) -> None:
    """Do what is ordered, in a process of its own: ("append" or "touch", how many, seconds between them)."""
    store = Store.open(path)
    log = EventLog(store)
    fd = os.open(path.with_suffix(".floor"), os.O_CREAT | os.O_WRONLY)
    touched = 0  # goes on from round to round, so that a late wake cannot be taken for an early one
    while (order := orders.get(timeout=WAIT_S * 10)) is not None:
        kind, many, gap_s = order
        stamps: Stamps = []
        for index in range(many):
            time.sleep(gap_s)
            called = time.monotonic_ns()
            if kind == "append":
                seq = log.append("system.info", source="bench", data={"n": index}).seq
            else:
                seq = touched = touched + 1
                os.pwrite(fd, seq.to_bytes(8, "big"), 0)
            stamps.append((seq, called, time.monotonic_ns()))
        answers.put(stamps)
    os.close(fd)
    store.close()


def tail(log: EventLog, head: int, many: int) -> Seen:
    """The way of the program."""
    seen: Seen = {}
    for batch in log.tail(head):
        now = time.monotonic_ns()
        seen.update((event.seq, now) for event in batch)
        if len(seen) >= many:
            break
    return seen


def poll(log: EventLog, head: int, many: int) -> Seen:
    """Asking once a second, as pages do that reload themselves."""
    seen: Seen = {}
    while len(seen) < many:
        time.sleep(POLL_S)
        batch = log.read_after(head)
        now = time.monotonic_ns()
        seen.update((event.seq, now) for event in batch)
        head = batch[-1].seq if batch else head
    return seen


@contextlib.contextmanager
def watch(path: Path) -> Iterator[tuple[int, int]]:
    """The kernel's own watch, without any library."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(0)
    assert fd >= 0, "this benchmark needs inotify"
    file = os.open(path, os.O_CREAT | os.O_RDONLY)
    libc.inotify_add_watch(fd, os.fsencode(path), IN_MODIFY)
    yield fd, file
    os.close(file)
    os.close(fd)


def listen(fd: int, file: int, after: int, many: int) -> Seen:
    """Wake, look at the clock and read one number; two writes may wake it once."""
    seen: Seen = {}
    while len(seen) < many:
        os.read(fd, 4096)
        now = time.monotonic_ns()
        newest = int.from_bytes(os.pread(file, 8, 0), "big")
        seen.update((index, now) for index in range(after + len(seen) + 1, newest + 1))
    return seen


class Round:
    """The milliseconds of one round of one part."""

    def __init__(self, stamps: Stamps, seen: Seen) -> None:
        self.called = [(seen[seq] - called) / 1e6 for seq, called, _ in stamps]
        self.returned = [(seen[seq] - returned) / 1e6 for seq, _, returned in stamps]
        self.commit = [(returned - called) / 1e6 for _, called, returned in stamps]


def row(name: str, rounds: list[Round]) -> list[str]:
    def over(pick: Callable[[Round], list[float]], percent: float) -> str:
        return spread([percentile(pick(one), percent) for one in rounds])

    return [
        name,
        over(lambda one: one.called, 50),
        over(lambda one: one.called, 99),
        over(lambda one: one.commit, 50),
        over(lambda one: one.returned, 50),
        number(max(max(one.called) for one in rounds)),
    ]


def measure(folder: Path, rounds: int, events: int) -> dict[str, list[Round]]:
    path = folder / "log.db"
    spawn = multiprocessing.get_context("spawn")
    orders, answers = spawn.Queue(), spawn.Queue()
    store = Store.open(path)
    log = EventLog(store)
    writer = spawn.Process(target=write, args=(path, orders, answers))
    writer.start()
    result: dict[str, list[Round]] = {"events.tail": [], "polling each second": [], "inotify alone": []}
    with watch(path.with_suffix(".floor")) as (fd, file):
        for index in range(rounds + 1):
            found: dict[str, Round] = {}
            orders.put(("append", events, 0.02))
            head = log.head()[0]
            seen = tail(log, head, events)
            found["events.tail"] = Round(answers.get(timeout=WAIT_S), seen)
            orders.put(("append", events // 4, 0.0793))
            seen = poll(log, log.head()[0] if not seen else max(seen), events // 4)
            found["polling each second"] = Round(answers.get(timeout=WAIT_S), seen)
            orders.put(("touch", events, 0.02))
            seen = listen(fd, file, index * events, events)
            found["inotify alone"] = Round(answers.get(timeout=WAIT_S), seen)
            if index:  # the first round warms up
                for name, one in found.items():
                    result[name].append(one)
    orders.put(None)
    writer.join()
    store.close()
    return result


def main() -> None:
    given = options(__doc__ or "", rounds=5, events=200)
    before = load()
    with scratch(given.folder) as folder:
        result = measure(folder, given.rounds, given.events)
    print(f"Feed between processes. {machine(given.folder)}; {before} before, {load()} after.\n")
    header = ("What", "called → seen p50 ms", "p99 ms", "the call itself p50 ms", "returned → seen p50 ms", "worst ms")
    print(table(header, [row(name, rounds) for name, rounds in result.items()]), end="\n\n")
    worst = max(max(one.called) for one in result["events.tail"])
    print(verdict("the latest of all events from call to seen", worst, " ms", at_most=100.0))


if __name__ == "__main__":
    main()
