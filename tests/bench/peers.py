"""The cascade beside LiteLLM's Router and the bare official client: cost a call, calls a second, cost a token, memory.

    python tests/bench/peers.py --litellm PYTHON

PYTHON is the interpreter of a virtual environment with `pip install litellm`; without it that column stays empty. The
server is a process that answers at once, each caller another one; they take turns, in another order each round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import ROOT, differences, load, machine, number, percentile, ratios, scratch, spread, table, verdict
from respond import TOKENS, responder

AT_ONCE = 64
BARE, QUICK, OURS, THEIRS = "bare AsyncOpenAI", "bare, aiohttp", "cascade", "LiteLLM Router"
THEIR_BARE = "bare, beside LiteLLM"

Figures = dict[str, list[float]]


class Caller:
    """A process that asks the server when it is told to."""

    def __init__(self, python: str, kind: str, url: str, folder: Path) -> None:
        program = [python, str(Path(__file__).with_name("peer_caller.py")), kind, url, str(folder)]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            message = f"the caller {kind} did not start; what it said stands above"
            raise SystemExit(message)

    def ask(self, *words: object) -> Any:
        """Have it do one task."""
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)
        return json.loads(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


@contextlib.contextmanager
def callers(url: str, folder: Path, litellm: str | None) -> Iterator[dict[str, Caller]]:
    """Start every caller and end them all."""
    started: dict[str, Caller] = {}
    wanted = [(BARE, sys.executable, "bare"), (QUICK, sys.executable, "bare-aiohttp"), (OURS, sys.executable, "timmy")]
    if litellm:
        wanted += [(THEIR_BARE, litellm, "bare"), (THEIRS, litellm, "litellm")]
    try:
        for name, python, kind in wanted:
            started[name] = Caller(python, kind, url, folder)
        yield started
    finally:
        for caller in started.values():
            caller.close()


def turns(asked: dict[str, Caller], rounds: int, *words: object) -> dict[str, list[Any]]:
    """Have every caller do the same task once a round, in another order each time; the first round warms up."""
    names = list(asked)
    found: dict[str, list[Any]] = {name: [] for name in names}
    for index in range(rounds + 1):
        place = index % len(names)
        for name in names[place:] + names[:place]:
            result = asked[name].ask(*words)
            if index:
                found[name].append(result)
    return found


def medians(found: dict[str, list[Any]]) -> Figures:
    """The median call of every round, in milliseconds."""
    return {name: [percentile(times, 50) for times in rounds] for name, rounds in found.items()}


def own_cost(figures: Figures, name: str) -> list[float]:
    """What a caller costs more than the bare client of the same environment, a round, in milliseconds."""
    base = THEIR_BARE if name == THEIRS else BARE
    return differences(figures[name], figures[base])


def report(whole: Figures, rates: Figures, streams: Figures) -> None:
    rows = []
    for name in whole:
        cost = "-" if name in (BARE, QUICK, THEIR_BARE) else spread(own_cost(whole, name), " ms")
        token = "-" if cost == "-" else spread([value * 1000 / TOKENS for value in own_cost(streams, name)], " µs")
        rows.append([name, spread(whole[name], " ms"), cost, spread(rates[name], "/s"), token])
    header = ("Caller", "a call, p50", "over its bare client", f"calls/s, {AT_ONCE} at once", "own cost a token")
    print(table(header, rows), end="\n\n")
    ours = statistics.median(own_cost(whole, OURS))
    print(verdict("own cost a call, p50", ours, " ms", at_most=0.25))
    best = statistics.median(max(pair) for pair in zip(rates[BARE], rates[QUICK], strict=True))
    print(verdict("calls/s over the bare client's best", statistics.median(rates[OURS]) / best, "x", at_least=0.8))
    if THEIRS in whole:
        theirs = statistics.median(own_cost(whole, THEIRS))
        print(verdict("own cost a call over LiteLLM's", ours / theirs, "", at_most=0.05))
        over = statistics.median(ratios(rates[OURS], rates[THEIRS]))
        print(verdict("calls/s over LiteLLM's", over, "x", at_least=2.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", help="the interpreter of an environment that has litellm")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--memory", type=int, default=0, help="so many calls through the cascade, watching its memory")
    parser.add_argument("--folder", type=Path, default=ROOT / "build")
    given = parser.parse_args()
    before = load()
    with scratch(given.folder) as folder, responder() as url, callers(url, folder, given.litellm) as asked:
        whole = medians(turns(asked, given.rounds, "apart", given.calls))
        calls = given.calls * 4
        taken = turns(asked, given.rounds, "together", calls, AT_ONCE)
        streams = medians(turns(asked, given.rounds, "stream", max(5, given.calls // 10)))
        held = asked[OURS].ask("memory", given.memory, AT_ONCE) if given.memory else []
    print(f"The cascade beside its peers. {machine(given.folder)}; {before} before, {load()} after.\n")
    report(whole, {name: [calls / seconds for seconds in rounds] for name, rounds in taken.items()}, streams)
    if held:
        shown = ", ".join(number(size / 2**20) for size in held)
        print(f"- memory after each tenth of {given.memory:,} calls, MiB: {shown}")


if __name__ == "__main__":
    main()
