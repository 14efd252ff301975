"""Invoices a second: read and verified, and written and signed, beside the PyPI library `bolt11`.

    python tests/bench/invoices.py --peer PYTHON --vectors FILE

PYTHON is the interpreter of a virtual environment with `pip install bolt11 'bitstring<5'`; without it that column stays
empty. The two take turns over the same invoices, made here. FILE are the vectors of the specification, which both try.
A second is one of the processor: nothing here waits for anything, and other programs on the machine count little then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import ROOT, load, machine, ratios, spread, table, verdict

from timmy_core.errors import Bolt11Error
from timmy_core.ledger.bolt11 import Hop, decode, encode

KEY = bytes.fromhex("11" * 32)
AT = datetime(2026, 11, 1, tzinfo=UTC)
WARM_UP = 20


def make(number: int) -> str:
    """Return one of the invoices: one in four without an amount, one in three with a route."""
    hop = Hop(bytes.fromhex("02" + "22" * 32), number, 1000, 100, 40)
    return encode(
        private_key=KEY,
        payment_hash=number.to_bytes(32, "big"),
        payment_secret=bytes(32),
        timestamp=AT,
        amount_msat=1000 * number if number % 4 else None,
        description=f"the work that was done under the task number {number}",
        expiry_s=900,
        routes=() if number % 3 else ((hop, hop),),
    )


def rate(call: Callable[[Any], object], over: list[Any]) -> float:
    """Return how many of them it does in a second."""
    for each in over[:WARM_UP]:
        call(each)
    began = time.process_time()
    for each in over:
        call(each)
    return len(over) / (time.process_time() - began)


class Peer:
    """The other library, in a process of its own environment."""

    def __init__(self, python: str) -> None:
        program = [python, str(Path(__file__).with_name("invoices_caller.py"))]
        self._process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str, invoices: list[str]) -> Any:
        """Have it read them all: for its rate, or for what it refuses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, invoices]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            message = "the other library's process ended; what it said stands above"
            raise SystemExit(message)
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


def refused(text: str) -> bool:
    try:
        decode(text)
    except Bolt11Error:
        return True
    return False


def score(refusals: list[bool], valid: int) -> str:
    """Return how many of the vectors came out right: the valid ones first, then the invalid ones."""
    right = sum(not one for one in refusals[:valid]) + sum(refusals[valid:])
    return f"{right} of {len(refusals)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the interpreter of an environment that has bolt11")
    parser.add_argument("--vectors", type=Path, help="the specification's test vectors")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--invoices", type=int, default=1000)
    given = parser.parse_args()
    before, peer = load(), Peer(given.peer) if given.peer else None
    made = [make(number) for number in range(1, given.invoices + 1)]
    ours, written, theirs = [], [], []
    for _ in range(given.rounds):
        ours.append(rate(decode, made))
        written.append(rate(make, list(range(1, given.invoices + 1))))
        if peer:
            theirs.append(float(peer.ask("rate", made[: max(WARM_UP, given.invoices // 10)])))
    scores = ["-", "-"]
    if given.vectors:
        vectors = json.loads(given.vectors.read_text(encoding="utf-8"))
        texts = [text for _, text in vectors["valid"] + vectors["invalid"]]
        count = len(vectors["valid"])
        scores = [score([refused(text) for text in texts], count)]
        scores.append(score(peer.ask("refusals", texts), count) if peer else "-")
    if peer:
        peer.close()
    print(f"Invoices of BOLT #11. {machine(ROOT)}; {before} before, {load()} after.\n")
    rows = [
        ["timmy_core.ledger.bolt11", spread(ours, "/s"), spread(written, "/s"), scores[0]],
        ["bolt11 of PyPI", spread(theirs, "/s"), "-", scores[1]],
    ]
    print(table(("", "read and verified", "written and signed", "vectors right"), rows), end="\n\n")
    print(verdict("read and verified a second", statistics.median(ours), "/s", at_least=5000))
    if theirs:
        print(f"- beside the library of PyPI: {spread(ratios(ours, theirs), 'x')}")


if __name__ == "__main__":
    main()
