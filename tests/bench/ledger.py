"""Sats a second through the book, alone and grouped, beside bare SQLite; and balances of a long book.

    python tests/bench/ledger.py

A lifecycle is an invoice made and settled and a payment begun and settled: four durable commits. Bare SQLite commits
four rows of the same columns as well, without accounts, checks, events or a chain.
"""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from figures import load, machine, number, options, percentile, ratios, scratch, spread, table, verdict

from timmy_core.clock import SystemClock
from timmy_core.events.log import EventLog
from timmy_core.ledger import accounts
from timmy_core.ledger.book import Book
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Connection, Store

NODE = "bench"
LATER = datetime.now(UTC) + timedelta(days=1)
BATCH = 3_996  # transfers of one commit, and no part of ten thousand, so that moments lie between checkpoints
THREADS = (1, 32)
COLUMNS = "id TEXT NOT NULL UNIQUE, node TEXT, payment_hash TEXT, amount INTEGER, memo TEXT, status TEXT, at INTEGER"


@dataclass(frozen=True)
class Bill:
    """What the ledger reads of a decoded invoice."""

    text: str
    payment_hash: bytes
    amount_msat: int | None = 10_000
    description: str | None = "bench"
    payee: bytes = b"\x02" * 33
    expires_at: datetime = LATER


def preimage(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def hash_of(key: str) -> str:
    return hashlib.sha256(bytes.fromhex(preimage(key))).hexdigest()


def lifecycle(ledger: Ledger, key: str) -> None:
    came, went = f"in {key}", f"out {key}"
    ledger.record_invoice(
        node=NODE, payment_hash=hash_of(came), bolt11=came, amount_msat=21_000, memo="bench", expires_at=LATER,
        source="bench", agent_id="echo", task_id="t", trace_id=key,
    )  # fmt: skip
    ledger.settle_invoice(
        NODE, hash_of(came), received_msat=21_000, settled_at=LATER, preimage=preimage(came), proof="bench"
    )
    bill = Bill(went, bytes.fromhex(hash_of(went)))
    ledger.begin_payment(NODE, bill, None, 1_000, agent_id="echo", task_id="t", trace_id=key)
    ledger.settle_payment(NODE, hash_of(went), amount_msat=10_000, fee_msat=500, preimage=preimage(went), proof="bench")


def timmy(folder: Path, threads: int, seconds: float) -> float:
    """Return lifecycles a second, and check that the book holds."""
    store = Store.open(folder / "timmy.db")
    ledger = Ledger(store, EventLog(store), SystemClock())
    ledger.opening(NODE, 1_000_000_000)
    rate = run(threads, seconds, lambda _: lambda key: lifecycle(ledger, key))
    checked = ledger.verify()
    assert checked.ok, checked.problem
    store.close()
    return rate


def bare(folder: Path, threads: int, seconds: float) -> float:
    """Return how often four rows are committed a second by SQLite as it is well used by hand."""
    path = folder / "bare.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE rows (seq INTEGER PRIMARY KEY, {COLUMNS}) STRICT")
    connection.close()
    opened: list[sqlite3.Connection] = []

    def opening(_: int) -> Callable[[str], None]:
        mine = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        mine.execute("PRAGMA synchronous=FULL")
        opened.append(mine)

        def write(key: str) -> None:
            for step in range(4):
                mine.execute("BEGIN IMMEDIATE")
                row = (f"{key} {step}", NODE, hash_of(key), 21_000, "bench", "open", time.time_ns() // 1000)
                mine.execute(
                    "INSERT INTO rows (id, node, payment_hash, amount, memo, status, at) VALUES (?,?,?,?,?,?,?)", row
                )
                mine.execute("COMMIT")

        return write

    rate = run(threads, seconds, opening)
    for one in opened:
        one.close()
    return rate


def run(threads: int, seconds: float, opening: Callable[[int], Callable[[str], None]]) -> float:
    """Run lifecycles in threads until the time is over, and return how many were done a second."""
    done = [0] * threads
    writes = [opening(index) for index in range(threads)]
    began = time.monotonic()

    def loop(index: int) -> None:
        while time.monotonic() < began + seconds:
            writes[index](f"{index} {done[index]}")
            done[index] += 1

    runners = [threading.Thread(target=loop, args=(index,)) for index in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return sum(done) / (time.monotonic() - began)


def fill(store: Store, log: EventLog, transfers: int) -> None:
    """Book a long past: holds, posts and fees of ten agents, and income of three sources."""
    book = Book(log, SystemClock())

    def some(connection: Connection, start: int) -> None:
        posting = book.begin(connection)
        asset = accounts.asset(NODE)
        for index in range(start, start + BATCH // 4):
            agent = f"agent-{index % 10}"
            posting.single(f"in {index}", asset, accounts.income(f"source-{index % 3}", NODE), 30_000)
            held = posting.pending(f"out {index}", accounts.payments(agent, NODE), asset, 11_000)
            posting.post(f"out {index} post", held, 10_000)
            posting.single(f"out {index} fee", accounts.fees(agent, NODE), asset, 500)
        posting.tell("ledger.adjusted", {"node": NODE})

    for start in range(0, transfers // 4, BATCH // 4):
        store.write(lambda connection, start=start: some(connection, start))  # type: ignore[misc]


def looked(ledger: Ledger, moments: Sequence[datetime]) -> dict[str, list[float]]:
    """Return how long each look at a long book took, in ms."""
    asked: dict[str, list[Callable[[], object]]] = {
        "balance()": [ledger.balance] * 2_000,
        "balance(node)": [lambda: ledger.balance(NODE)] * 2_000,
        "balance(as_of=…)": [lambda moment=moment: ledger.balance(as_of=moment) for moment in moments],  # type: ignore[misc]
        "statement, 100 lines": [
            lambda moment=moment: ledger.statement(f"Assets:LN:{NODE}", moment, limit=100)  # type: ignore[misc]
            for moment in moments
        ],
    }
    found: dict[str, list[float]] = {}
    for what, calls in asked.items():
        times = found.setdefault(what, [])
        for call in calls:
            began = time.perf_counter()
            call()
            times.append((time.perf_counter() - began) * 1000)
    return found


def main() -> None:
    given = options(__doc__ or "", rounds=3, seconds=3.0, transfers=1_000_000)
    print(f"The ledger. {machine(given.folder)}; {load()} before, ", end="", flush=True)
    rows: list[list[str]] = []
    for threads in THREADS:
        rates: dict[str, list[float]] = {"timmy": [], "bare sqlite3": []}
        for _ in range(given.rounds):
            for variant, measure in (("timmy", timmy), ("bare sqlite3", bare)):
                with scratch(given.folder) as folder:
                    rates[variant].append(measure(folder, threads, given.seconds))
        for variant, values in rates.items():
            over = "1" if variant == "timmy" else spread(ratios(rates["timmy"], values))
            rows.append([f"{threads} {'threads' if threads > 1 else 'thread'}: {variant}", spread(values), over])
    with scratch(given.folder) as folder:
        store = Store.open(folder / "timmy.db")
        log = EventLog(store)
        began = datetime.now(UTC)
        fill(store, log, given.transfers)
        ledger = Ledger(store, log, SystemClock())
        step = (datetime.now(UTC) - began) / 20
        looks = looked(ledger, [began + step * index for index in range(1, 20)])
        start = time.perf_counter()
        checked = ledger.verify()
        verify_s = time.perf_counter() - start
        assert checked.ok, checked.problem
        store.close()
    print(f"{load()} after; {given.rounds} rounds of {number(given.seconds)} s.\n")
    print(table(("What", "lifecycles/s", "timmy's rate over this"), rows), "")
    lines = [[what, number(percentile(times, 50)), number(percentile(times, 99))] for what, times in looks.items()]
    print(table((f"At {given.transfers:,} transfers", "p50 ms", "p99 ms"), lines), "")
    print(f"`verify()` of all of them: {number(verify_s)} s.\n")
    print(verdict("balance()", statistics.median(looks["balance()"]), " ms", at_most=0.1))


if __name__ == "__main__":
    main()
