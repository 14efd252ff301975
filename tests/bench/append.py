"""Durable appends: the event log beside bare SQLite, beside the earlier system, and beside the disk itself.

    python tests/bench/append.py

Every variant runs for the same few seconds on an empty file of its own, one after the other, round after round.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from figures import load, machine, number, options, percentile, ratios, scratch, spread, table, verdict

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store

DATA = {"title": "measure the disk", "model": "llama3.2", "latency_ms": 12.5, "tokens": [120, 48], "note": "x" * 60}
BLOCK = bytes(4096)
BUSY_MS = 10_000
START_S = 60

# The columns and indexes of the real table, so that peers write as many pages; without its hash chain and triggers.
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL,
    source TEXT NOT NULL, task_id TEXT, agent_id TEXT, trace_id TEXT, data TEXT, ts INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS events_task  ON events (task_id, seq)  WHERE task_id  IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_agent ON events (agent_id, seq) WHERE agent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_trace ON events (trace_id, seq) WHERE trace_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_type  ON events (event_type, seq);
"""
INSERT = (
    "INSERT INTO events (id, event_type, source, task_id, agent_id, trace_id, data, ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

Write = Callable[[str], None]  # writes one row under an id; returns when it is durable
Opening = Callable[[], Any]  # a context that yields a `Write`, entered by each thread


def row(key: str, source: str) -> tuple[Any, ...]:
    text = json.dumps(DATA, separators=(",", ":"))
    return (key, "task.created", source, "task-1", "timmy", key, text, time.time_ns() // 1000)


@contextmanager
def timmy(path: Path, source: str) -> Iterator[Opening]:
    """The event log; one store for all threads of a process, as in the program."""
    store = Store.open(path)
    log = EventLog(store)

    @contextmanager
    def thread() -> Iterator[Write]:
        def write(key: str) -> None:
            log.append(
                "task.created", source=source, task_id="task-1", agent_id="timmy", trace_id=key, data=DATA, id=key
            )

        yield write

    try:
        yield thread
    finally:
        store.close()


@contextmanager
def bare(path: Path, source: str) -> Iterator[Opening]:
    """SQLite as it is well used by hand: WAL, FULL, a connection a thread, BEGIN IMMEDIATE and a busy timeout."""

    @contextmanager
    def thread() -> Iterator[Write]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

        def write(key: str) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(INSERT, row(key, source))
            connection.execute("COMMIT")

        try:
            yield write
        finally:
            connection.close()

    _create(path, "WAL")
    yield thread


@contextmanager
def earlier(path: Path, source: str) -> Iterator[Opening]:
    """How the earlier event log wrote: connect, INSERT, commit and close in each call, with SQLite's defaults."""

    @contextmanager
    def thread() -> Iterator[Write]:
        def write(key: str) -> None:
            connection = sqlite3.connect(path)
            try:
                connection.execute(INSERT, row(key, source))
                connection.commit()
            finally:
                connection.close()

        yield write

    _create(path, "DELETE")
    yield thread


@contextmanager
def disk(path: Path, source: str) -> Iterator[Opening]:
    """The disk alone: 4 KiB appended to a file and fsync."""
    del source

    @contextmanager
    def thread() -> Iterator[Write]:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

        def write(key: str) -> None:
            del key
            os.write(fd, BLOCK)
            os.fsync(fd)

        try:
            yield write
        finally:
            os.close(fd)

    yield thread


VARIANTS = {"timmy": timmy, "bare sqlite3": bare, "earlier system": earlier, "disk (4 KiB, fsync)": disk}


def _create(path: Path, mode: str) -> None:
    connection = sqlite3.connect(path, timeout=START_S)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.executescript(SCHEMA)
    connection.close()


@dataclass(slots=True)
class Work:
    """What one process did."""

    acknowledged: Counter[str]  # by source
    latencies_ms: list[float]
    refused: int
    seconds: float
    by_thread: list[int]


def work(variant: str, path: Path, threads: int, seconds: float, barrier: Barrier, answer: Any) -> None:
    """Write from some threads until the time is over; runs in a process of its own."""
    source = f"{variant.split(maxsplit=1)[0]}-{secrets.token_hex(4)}"
    done = Work(Counter(), [], 0, 0.0, [])
    lock = threading.Lock()
    with VARIANTS[variant](path, source) as opening:
        start = threading.Barrier(threads + 1)
        ends: list[float] = []

        def loop(index: int) -> None:
            with opening() as write:
                start.wait()
                times, refused, acknowledged = _loop(write, f"{source}-{index}", ends[0])
            with lock:
                done.latencies_ms += times
                done.refused += refused
                done.acknowledged[source] += acknowledged
                done.by_thread.append(acknowledged)

        runners = [threading.Thread(target=loop, args=(index,)) for index in range(threads)]
        for runner in runners:
            runner.start()
        barrier.wait(START_S)
        began = time.monotonic()
        ends.append(began + seconds)
        start.wait()
        for runner in runners:
            runner.join()
        done.seconds = time.monotonic() - began
    answer.put(done)


def _loop(write: Write, name: str, ends: float) -> tuple[list[float], int, int]:
    times: list[float] = []
    refused = 0
    for index in count():
        began = time.perf_counter()
        try:
            write(f"{name}-{index}")
        except sqlite3.OperationalError:
            refused += 1  # "database is locked" after the whole busy timeout; the row was not acknowledged
        else:
            times.append((time.perf_counter() - began) * 1000)
        if time.monotonic() >= ends:
            return times, refused, len(times)
    raise AssertionError


@dataclass(slots=True)
class Outcome:
    """One round of one variant."""

    rate: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    least_share: float  # of the mean: 1 where all threads got as much done, near 0 where one of them starved
    refused: int
    lost: int


def measure(variant: str, folder: Path, processes: int, threads: int, seconds: float) -> Outcome:
    path = folder / "log.db"
    spawn = multiprocessing.get_context("spawn")
    barrier, answer = spawn.Barrier(processes), spawn.Queue()
    arguments = (variant, path, threads, seconds, barrier, answer)
    workers = [spawn.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    results: list[Work] = [answer.get(timeout=START_S + seconds * 10) for _ in workers]
    for worker in workers:
        worker.join()
    times = [value for result in results for value in result.latencies_ms]
    acknowledged = Counter[str]()
    for result in results:
        acknowledged.update(result.acknowledged)
    by_thread = [done for result in results for done in result.by_thread]
    return Outcome(
        rate=len(times) / max(result.seconds for result in results),
        p50_ms=percentile(times, 50),
        p99_ms=percentile(times, 99),
        worst_ms=max(times, default=float("nan")),
        least_share=min(by_thread) / statistics.mean(by_thread),
        refused=sum(result.refused for result in results),
        lost=0 if variant.startswith("disk") else lost(path, acknowledged, chained=variant == "timmy"),
    )


def lost(path: Path, acknowledged: Counter[str], *, chained: bool) -> int:
    """Read the file again and count what was acknowledged and is not there."""
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT source, count(DISTINCT id) FROM events GROUP BY source").fetchall())
    connection.close()
    if chained:
        store = Store.open(path)
        checked = EventLog(store).verify()
        store.close()
        assert checked.ok, checked.problem
        assert checked.checked == sum(found.values())
    return sum(max(0, wanted - found.get(source, 0)) for source, wanted in acknowledged.items())


def report(shape: str, rounds: dict[str, list[Outcome]]) -> list[str]:
    ours = [outcome.rate for outcome in rounds["timmy"]]
    rows = []
    for variant, outcomes in rounds.items():
        rates = [outcome.rate for outcome in outcomes]
        rows.append(
            [
                f"{shape}: {variant}",
                spread(rates),
                spread([outcome.p50_ms for outcome in outcomes]),
                spread([outcome.p99_ms for outcome in outcomes]),
                spread([outcome.worst_ms for outcome in outcomes]),
                spread([outcome.least_share for outcome in outcomes]),
                "1" if variant == "timmy" else spread(ratios(ours, rates)),
                number(sum(outcome.refused for outcome in outcomes)),
                "-" if variant.startswith("disk") else str(sum(outcome.lost for outcome in outcomes)),
            ]
        )
    return [" | ".join(row) for row in rows]


def main() -> None:
    given = options(__doc__ or "", rounds=5, seconds=3.0)
    print(f"Durable appends. {machine(given.folder)}; {load()} before, ", end="", flush=True)
    lines: list[str] = []
    verdicts: list[str] = []
    for shape, processes, threads in (("1 thread", 1, 1), ("4 processes x 8 threads", 4, 8)):
        rounds: dict[str, list[Outcome]] = {variant: [] for variant in VARIANTS}
        for _ in range(given.rounds):
            for variant, outcomes in rounds.items():
                with scratch(given.folder) as folder:
                    outcomes.append(measure(variant, folder, processes, threads, given.seconds))
        lines += report(shape, rounds)
        if processes > 1:
            times = ratios([o.rate for o in rounds["timmy"]], [o.rate for o in rounds["earlier system"]])
            what = f"{shape}: rate over the earlier system's"
            verdicts.append(verdict(what, statistics.median(times), "x", at_least=20))
        verdicts.append(verdict(f"{shape}: lost", sum(o.lost for o in rounds["timmy"]), "", at_most=0))
    header = (
        "What",
        "appends/s",
        "p50 ms",
        "p99 ms",
        "worst ms",
        "least served thread",
        "timmy's rate over this",
        "refused",
        "lost",
    )
    print(f"{load()} after; {given.rounds} rounds of {number(given.seconds)} s.\n")
    print(table(header, [line.split(" | ") for line in lines]), "", *verdicts, sep="\n")


if __name__ == "__main__":
    main()
