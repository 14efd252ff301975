"""Remembering and forgetting, without any embedding: entries a second, and what one forgetting costs.

    python tests/bench/remember.py

Beside it, in turns and on the same disk: appending one bare event, which is the least that a durable write costs here.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path

from figures import load, machine, number, options, ratios, scratch, spread, table, verdict

from timmy_core.clock import SystemClock
from timmy_core.events.events import Events
from timmy_core.memory.build import build_memory
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.store.engine import Store

THREADS = 8
_numbers = count()


def text() -> str:
    """About as long as a turn of a conversation is, and never the same."""
    at = next(_numbers)
    return (
        f"I went to the support group number {at} yesterday and it was so powerful, I met {at * 7 % 1009} people there"
    )


def turn(session: str) -> NewEntry:
    return NewEntry(text(), session=session, agent_id="timmy", speaker="Ann")


def each(write: Callable[[int], object], threads: int, seconds: float) -> float:
    """Call `write` again and again from so many threads, and return how often a second."""
    done = [0] * threads
    ends = time.monotonic() + seconds

    def work(which: int) -> None:
        while time.monotonic() < ends:
            write(which)
            done[which] += 1

    workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.monotonic() - began)


def many(memory: Memory) -> float:
    entries = [turn("many") for _ in range(2_000)]
    began = time.monotonic()
    memory.remember_many(entries)
    return len(entries) / (time.monotonic() - began)


def fill(memory: Memory, entries: int) -> None:
    """Many sessions, as there are after years."""
    while memory.count() < entries:
        session = f"s{next(_numbers)}"
        memory.remember_many([turn(session) for _ in range(2_000)])


def forgetting_s(memory: Memory) -> float:
    entry = memory.remember_many([turn("short")])[0]
    began = time.monotonic()
    assert memory.forget(entry.id, by="bench").erased
    return time.monotonic() - began


def measure(path: Path, given_s: float, entries: int, results: dict[str, list[float]]) -> None:
    store, clock = Store.open(path), SystemClock()
    with closing(store), closing(Events(store, clock)) as events:
        memory = build_memory(store=store, events=events, clock=clock)
        figures = {
            "events, 1 thread": each(lambda _: events.append("system.info", source="bench"), 1, given_s),
            "turns, 1 thread": each(lambda w: memory.remember_many([turn(f"one{w}")]), 1, given_s),
            "facts, 1 thread": each(lambda _: memory.remember(text(), kind="fact", subject=text()), 1, given_s),
            f"events, {THREADS} threads": each(
                lambda _: events.append("system.info", source="bench"), THREADS, given_s
            ),
            f"turns, {THREADS} threads": each(lambda w: memory.remember_many([turn(f"t{w}")]), THREADS, given_s),
            "turns, 2,000 in one call": many(memory),
        }
        fill(memory, entries)
        figures["turns, 1 thread, when full"] = each(lambda w: memory.remember_many([turn(f"f{w}")]), 1, given_s)
        figures["forgetting one when full, s"] = forgetting_s(memory)
        for name, value in figures.items():
            results.setdefault(name, []).append(value)


def main() -> None:
    given = options(__doc__ or "", rounds=3, seconds=3.0, entries=100_000)
    before = load()
    results: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        with scratch(given.folder) as folder:
            measure(folder / "timmy.db", given.seconds, given.entries, results)
    print(f"Remembering. {machine(given.folder)}; {before} before, {load()} after; {given.rounds} rounds.")
    print(f"Full means {given.entries:,} turns.\n")
    print(table(("What", "a second"), [[name, spread(values)] for name, values in results.items()]), end="\n\n")
    against = ratios(results["turns, 1 thread"], results["events, 1 thread"])
    print(f"- a turn beside a bare event: {number(statistics.median(against))} of its rate")
    one = min(statistics.median(results[name]) for name in ("turns, 1 thread", "turns, 1 thread, when full"))
    print(verdict("remembering, one thread", one, "/s", at_least=500.0))
    print(
        verdict(
            f"remembering, {THREADS} threads",
            statistics.median(results[f"turns, {THREADS} threads"]),
            "/s",
            at_least=500.0,
        )
    )


if __name__ == "__main__":
    main()
