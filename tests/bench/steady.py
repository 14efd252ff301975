"""The cascade in steady state: what a first provider costs that refuses, and whether memory grows with the calls.

    python tests/bench/steady.py
    python tests/bench/steady.py --calls 300000

Two cascades with recorders ask the same server; one of them has a provider in front whose port is closed. They take
turns, and the order changes with each round. Then one of them is called from 64 callers at once, again and again, and
the process's memory is read after each tenth.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import statistics
import time
from pathlib import Path
from typing import Any

from figures import load, machine, options, percentile, scratch, spread, table, verdict
from respond import responder
from router import MESSAGES, WARM

from timmy_core.events.log import EventLog
from timmy_core.router.cascade import Cascade
from timmy_core.router.metrics import Metrics
from timmy_core.router.providers import OfflineAnswer, build_provider
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.store.engine import Store

AT_ONCE, PARTS, SETTLED = 64, 10, 2
ALONE, BEHIND = "one provider", "behind one that refuses"


def cascade(home: Path, metrics: Metrics, urls: list[str]) -> Cascade:
    providers = []
    for place, url in enumerate(urls):
        known: dict[str, Any] = {"name": f"p{place}", "kind": "openai", "base_url": url, "api_key": "none"}
        settings = ProviderSettings.model_validate({**known, "priority": place, "models": {"default": "tiny"}})
        providers.append(build_provider(settings, RouterSettings()))
    return Cascade(providers, offline=OfflineAnswer(home / "timmy.toml"), recorder=metrics)


async def once(house: Cascade, store: Store) -> float:
    began = time.perf_counter()
    answer = await house.chat(MESSAGES)
    took = time.perf_counter() - began
    assert not answer.offline
    await store.awrite(lambda _: None)  # so that no call pays for the records of the one before
    return took * 1000


async def refused(houses: dict[str, Cascade], store: Store, rounds: int, calls: int) -> dict[str, list[list[float]]]:
    """Return the milliseconds of each call, a list a round."""
    for house in houses.values():
        for _ in range(WARM):  # the first few open the circuit
            await once(house, store)
    taken: dict[str, list[list[float]]] = {name: [] for name in houses}
    for index in range(rounds):
        names = list(houses) if index % 2 else list(houses)[::-1]
        times: dict[str, list[float]] = {name: [] for name in houses}
        for _ in range(calls):
            for name in names:
                times[name].append(await once(houses[name], store))
        for name in houses:
            taken[name].append(times[name])
    return taken


def resident_mib() -> float:
    """Return how much of this process is in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


async def growth(house: Cascade, store: Store, calls: int) -> tuple[list[float], float]:
    """Return the memory after each part of the calls, and the calls a second."""
    seen, began = [], time.perf_counter()
    for _ in range(PARTS):
        left = iter(range(calls // PARTS))

        async def caller(left: Any = left) -> None:
            for _ in left:
                await house.chat(MESSAGES)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        await store.awrite(lambda _: None)
        gc.collect()
        seen.append(resident_mib())
    return seen, calls / (time.perf_counter() - began)


def closed_port() -> str:
    """Return the address of a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def run(
    home: Path, rounds: int, many: int, calls: int
) -> tuple[dict[str, list[list[float]]], list[float], float]:
    with responder() as url:
        store = Store.open(home / "log.db")
        metrics = Metrics(store, EventLog(store))
        houses = {ALONE: cascade(home, metrics, [url]), BEHIND: cascade(home, metrics, [closed_port(), url])}
        try:
            taken = await refused(houses, store, rounds, many)
            seen, rate = await growth(houses[ALONE], store, calls)
        finally:
            for house in houses.values():
                await house.close()
            store.close()
    return taken, seen, rate


def main() -> None:
    given = options(__doc__ or "", rounds=8, each=200, calls=100_000)
    before = load()
    with scratch(given.folder) as home:
        taken, seen, rate = asyncio.run(run(home, given.rounds, given.each, given.calls))
    print(f"{machine(given.folder)}; {before} before, {load()} after.\n")
    rows = [
        [name, *(spread([percentile(times, percent) for times in rounds]) for percent in (50, 99))]
        for name, rounds in taken.items()
    ]
    print(table(("A call", "p50 ms", "p99 ms"), rows), end="\n\n")
    dearer = [
        statistics.fmean(behind) - statistics.fmean(alone)
        for behind, alone in zip(taken[BEHIND], taken[ALONE], strict=True)
    ]
    print(verdict("a refused first provider, mean a call", statistics.median(dearer), " ms", at_most=5))
    print(f"\nMemory after each tenth of {given.calls:,} calls, {AT_ONCE} at once, {rate:.0f} a second, in MiB:")
    print(", ".join(f"{value:.1f}" for value in seen), end="\n\n")
    # The first parts fill the caches of the database, which have a bound.
    print(verdict("growth after the first two tenths", max(seen[SETTLED:]) - seen[SETTLED - 1], " MiB", at_most=4))


if __name__ == "__main__":
    main()
