"""A long log: looking things up, drawing a day and taking percentiles, at one size and at ten times that size.

    python tests/bench/log.py --events 1000000 10000000

Makes the logs first (a million events take about two minutes and 0.7 GB); `--home` asks homes that `make_log.py` made.
Each question stands beside the same one to bare SQLite over the same file, in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from figures import ROOT, load, machine, number, percentile, scratch, table, verdict
from make_log import BEGIN_US, DAYS, RARE_WORD, make

from timmy_core.clock import from_us
from timmy_core.settings import Settings
from timmy_core.timmy import Timmy

DAY_US = 86_400_000_000
LOOKUPS = 200
CHARTS = 15
CHART_MS, LOOKUP_MS, PERCENTILES_MS, TEXT_MS, OPEN_S, FLAT = 50.0, 2.0, 1000.0, 50.0, 4.0, 1.5

COLUMNS = "seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, hash"
BARE_DAY = (
    "SELECT (ts - :a) / 720000000, substr(event_type, 1, instr(event_type, '.') - 1), count(*) FROM events "
    "WHERE ts >= :a AND ts < :b GROUP BY 1, 2"
)
BARE_LATENCIES = (
    "SELECT data ->> '$.\"gen_ai.provider.name\"', data ->> '$.\"timmy.latency_ms\"' FROM events "
    "WHERE event_type IN ('llm.completed', 'llm.failed')"
)


@dataclass
class Figures:
    """What one log gave: name -> the times in ms, of ours and of bare SQLite."""

    events: int
    ours: dict[str, list[float]] = field(default_factory=dict)
    bare: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)


def timed(ask: Callable[[], object], times: int = 1) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        found.append((time.perf_counter() - began) * 1000)
    return found


@dataclass
class Opened:
    """A log that is open, ours and beside it bare SQLite's."""

    timmy: Timmy
    bare: sqlite3.Connection
    figures: Figures


def lookups(logs: Sequence[Opened]) -> None:
    """The newest events of everything, of one task, of one type and of one trace, each time of another one.

    The logs take turns within milliseconds, so that their ratio does not follow the machine's mood.
    """
    chance = random.Random(7)  # noqa: S311
    for _ in range(LOOKUPS):
        place = chance.random()
        for log in logs:
            event = log.timmy.events.get(1 + int(place * log.figures.events))
            look_up(log, "last 100", {}, None)
            look_up(log, "by task", {"task_id": event.task_id}, "task_id")
            look_up(log, "by type", {"type": event.type}, "event_type")
            if event.trace_id:
                look_up(log, "by trace", {"trace_id": event.trace_id}, "trace_id")


def look_up(log: Opened, name: str, wanted: dict[str, Any], column: str | None) -> None:
    where = f"WHERE {column} = ?" if column else ""
    query = f"SELECT {COLUMNS} FROM events {where} ORDER BY seq DESC LIMIT 100"
    values = list(wanted.values())
    # Bare SQLite goes first: what has to come from the disk is on its account.
    log.figures.bare.setdefault(name, []).extend(timed(lambda: log.bare.execute(query, values).fetchall()))
    log.figures.ours.setdefault(name, []).extend(timed(lambda: log.timmy.events.list(**wanted, limit=100)))


def charts(log: Opened) -> None:
    """Days all over the month, the archived and the newest, each as several charts."""
    days = [BEGIN_US + (DAYS - 1 - 2 * number) * DAY_US for number in range(CHARTS)]
    ranges = [(from_us(day), from_us(day) + timedelta(days=1)) for day in days]
    bare, figures, lake = log.bare, log.figures, log.timmy.lake
    asked: dict[str, Callable[[int], object]] = {
        "24 h by family": lambda n: lake.histogram(*ranges[n]),
        "24 h by type": lambda n: lake.histogram(*ranges[n], by="type"),
        "24 h by agent": lambda n: lake.histogram(*ranges[n], by="agent_id"),
        "24 h by provider": lambda n: lake.histogram(*ranges[n], by="provider"),
        "24 h facets of types": lambda n: lake.facets("type", *ranges[n]),
        "24 h facets of agents": lambda n: lake.facets("agent_id", *ranges[n]),
        "24 h percentiles": lambda n: lake.percentiles(*ranges[n]),
    }
    for name, ask in asked.items():
        ask(0)
        figures.ours[name] = [x for n in range(CHARTS) for x in timed(lambda ask=ask, n=n: ask(n))]
    bound = {"a": days[1], "b": days[1] + DAY_US}
    figures.bare["24 h by family"] = timed(lambda: bare.execute(BARE_DAY, bound).fetchall())


def history(log: Opened) -> None:
    """All of it at once."""
    timmy, bare, figures = log.timmy, log.bare, log.figures
    asked = {
        "percentiles of all": timmy.lake.percentiles,
        "chart of all": timmy.lake.histogram,
        "SQL, types of all": lambda: timmy.sql("SELECT event_type, count(*) AS n FROM events GROUP BY 1"),
    }
    for name, ask in asked.items():
        figures.ours[name] = timed(ask, 5)
    figures.bare["percentiles of all"] = timed(lambda: _bare_percentiles(bare))
    types = "SELECT event_type, count(*) FROM events GROUP BY 1"
    figures.bare["SQL, types of all"] = timed(lambda: bare.execute(types).fetchall())


def _bare_percentiles(bare: sqlite3.Connection) -> dict[str, list[float]]:
    latencies: dict[str, list[float]] = {}
    for provider, latency in bare.execute(BARE_LATENCIES):
        latencies.setdefault(provider, []).append(latency)
    return {name: [percentile(found, percent) for percent in (50, 95, 99)] for name, found in latencies.items()}


def text(log: Opened) -> None:
    """A word that one event in 250,000 has."""
    timmy, figures = log.timmy, log.figures
    began = time.perf_counter()
    timmy.events.text.catch_up()
    figures.facts["text index filled, s"] = time.perf_counter() - began
    figures.ours["a rare word"] = timed(lambda: timmy.events.list(text=RARE_WORD), 20)


@contextlib.contextmanager
def opened(home: Path, events: int) -> Iterator[Opened]:
    """Open a home, and note how long it took to its first page and to its lake."""
    figures = Figures(events)
    began = time.perf_counter()
    timmy = Timmy(Settings(home=home, providers=()))
    timmy.events.list(limit=100)
    figures.facts["opened and first page, s"] = time.perf_counter() - began
    bare = sqlite3.connect(f"{(home / 'timmy.db').absolute().as_uri()}?mode=ro", uri=True)
    try:
        began = time.perf_counter()
        timmy.lake.warm()
        figures.facts["lake filled, s"] = time.perf_counter() - began
        segments = timmy.events.archive.segments()
        sealed = sum(segment.events for segment in segments)
        figures.facts["events sealed"] = sealed
        figures.facts["bytes an event, hot"] = timmy.store.size_bytes() / events
        figures.facts["bytes an event, cold"] = sum(segment.bytes for segment in segments) / max(1, sealed)
        yield Opened(timmy, bare, figures)
    finally:
        bare.close()
        timmy.shutdown()


def report(found: Sequence[Figures]) -> None:
    """Print tables, and what was promised beside what was found."""
    names = list(dict.fromkeys(name for figures in found for name in figures.ours))
    header = ["ms"]
    for figures in found:
        header += [f"{figures.events:,}: p50", "p95", "bare SQLite"]
    rows = []
    for name in names:
        row = [name]
        for figures in found:
            ours, bare = figures.ours.get(name, []), figures.bare.get(name, [])
            row += [number(percentile(ours, 50)), number(percentile(ours, 95)), number(percentile(bare, 50))]
        rows.append(row)
    print(table(header, rows), end="\n\n")
    facts = list(dict.fromkeys(name for figures in found for name in figures.facts))
    header = ["", *(f"{figures.events:,}" for figures in found)]
    print(
        table(header, [[name, *(number(f.facts.get(name, float("nan"))) for f in found)] for name in facts]), end="\n\n"
    )
    for line in verdicts(found):
        print(line)


def verdicts(found: Sequence[Figures]) -> Iterator[str]:
    """Say of each promise whether it was kept, by the largest log."""
    most = found[-1]
    for name in ("last 100", "by task", "by type", "by trace"):
        yield verdict(f"{name} at {most.events:,}", statistics.median(most.ours[name]), " ms", at_most=LOOKUP_MS)
        if len(found) > 1:
            times = statistics.median(most.ours[name]) / statistics.median(found[0].ours[name])
            yield verdict(f"{name}, {most.events:,} over {found[0].events:,}", times, "x", at_most=FLAT)
    slowest = max((name for name in most.ours if name.startswith("24 h")), key=lambda n: percentile(most.ours[n], 50))
    yield verdict(f"slowest day, {slowest}", statistics.median(most.ours[slowest]), " ms", at_most=CHART_MS)
    all_ms = statistics.median(most.ours["percentiles of all"])
    yield verdict("percentiles of all", all_ms, " ms", at_most=PERCENTILES_MS)
    if "a rare word" in most.ours:
        yield verdict("a rare word", statistics.median(most.ours["a rare word"]), " ms", at_most=TEXT_MS)
    yield verdict("opening", most.facts["opened and first page, s"], " s", at_most=OPEN_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000], help="how long the logs are")
    parser.add_argument("--home", type=Path, nargs="*", default=[], help="homes that are made already, in this order")
    parser.add_argument("--text", action="store_true", help="fill the text index too, which takes minutes")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk to measure; default build/")
    given = parser.parse_args()
    with scratch(given.folder) as folder, contextlib.ExitStack() as stack:
        print(f"{machine(folder)}; {load()}", end="\n\n", flush=True)
        logs = []
        for index, events in enumerate(given.events):
            home = given.home[index] if index < len(given.home) else stack.enter_context(scratch(folder))
            if index >= len(given.home):
                print(f"{events:,} events made in {make(home, events):,.0f} s", flush=True)
            logs.append(stack.enter_context(opened(home, events)))
        lookups(logs)
        for log in logs:
            charts(log)
            history(log)
            if given.text:
                text(log)
    found = [log.figures for log in logs]
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB of memory at most", end="\n\n")
    report(found)
    print(f"\n{load()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
