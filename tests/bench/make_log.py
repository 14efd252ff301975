"""Make a home with a long event log: a month of tasks, questions, tool calls and providers' answers.

    python tests/bench/make_log.py /tmp/home --events 1000000

The rows are what `EventLog.append` writes, chain and all; they only come many at a time. The same seed gives the same
log, but for the salts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timmy_core.events.archive import SEGMENT
from timmy_core.events.chain import GENESIS, SALT_BYTES, hash_data, hash_event
from timmy_core.events.events import Events
from timmy_core.events.model import VERSION
from timmy_core.store.engine import Connection, Store

UNIT = 20_000  # events in one transaction
DAYS = 30
BEGIN_US = 1_760_000_000_000_000
RARE_WORD = "zanzibarite"
RARE_EVERY = 250_001

AGENTS = [f"{name}-{number}" for name in ("echo", "scout", "forge", "quill", "mason") for number in range(10)]
PROVIDERS = [("ollama", "llama3.2", 900.0), ("local-llama", "gemma", 600.0), ("openai", "gpt-5.6-luna", 1500.0),
             ("anthropic", "claude-haiku-4-5", 1200.0)]  # fmt: skip
TOOLS = ["search", "read_file", "write_file", "run_tests", "fetch_page", "send_sats"]
ERRORS = ["timeout", "rate_limited", "connection_refused", "server_error"]
SENTENCE = (
    "review the ledger and summarise open invoices then compare channel balances write a short report about routing "
    "latency check memory entries for the user prefers dark mode refactor parser tests fail on edge case retry later"
)
WORDS = SENTENCE.split()

INSERT = (
    "INSERT INTO events (seq, id, event_type, source, task_id, agent_id, trace_id, data, ts, v, salt, data_hash, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Made:
    """A happening before it has its place in the chain."""

    type: str
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    data: dict[str, Any]


class Story:
    """Tells what happens, task after task."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a story, not a secret
        self.tasks = itertools.count(1)

    def events(self) -> Iterator[Made]:
        while True:
            yield from self.task(f"task-{next(self.tasks):08d}")

    def task(self, task: str) -> Iterator[Made]:
        chance = self.random
        agent = chance.choice(AGENTS)
        yield Made(
            "task.created", "swarm", task, None, None, {"title": self.words(6), "budget_sats": chance.randrange(500)}
        )
        for bidder in chance.sample(AGENTS, 2):
            yield Made("bid.submitted", "swarm", task, bidder, None, {"bid_sats": chance.randrange(1, 500)})
        yield Made("task.assigned", "swarm", task, agent, None, {"bids": 2})
        yield Made("task.started", "swarm", task, agent, None, {})
        for _ in range(chance.randrange(1, 4)):
            yield from self.question(task, agent)
        done = chance.random() < 0.93
        last = {"result": self.words(12)} if done else {"reason": self.words(5)}
        yield Made("task.completed" if done else "task.failed", "swarm", task, agent, None, last)

    def question(self, task: str, agent: str) -> Iterator[Made]:
        chance = self.random
        trace = f"{chance.getrandbits(128):032x}"
        yield Made(
            "chat.asked", "agent", task, agent, trace, {"session": task, "characters": chance.randrange(10, 900)}
        )
        latency = yield from self.attempts(task, agent, trace)
        for _ in range(chance.randrange(0, 3)):
            tool = chance.choice(TOOLS)
            yield Made("tool.called", "agent", task, agent, trace, {"tool": tool, "arguments": {"q": self.words(4)}})
            took = {"tool": tool, "latency_ms": round(chance.expovariate(1 / 80), 3)}
            yield Made("tool.completed", "agent", task, agent, trace, took)
        yield Made(
            "chat.answered", "agent", task, agent, trace, {"session": task, "latency_ms": latency, "attempts": 1}
        )

    def attempts(self, task: str, agent: str, trace: str) -> Iterator[Made]:
        chance = self.random
        for attempt in range(3):
            provider, model, typical_ms = chance.choice(PROVIDERS)
            latency = round(chance.lognormvariate(0, 0.6) * typical_ms, 3)
            failed = chance.random() < 0.06
            data = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.response.model": model,
                "gen_ai.usage.input_tokens": chance.randrange(20, 4000),
                "gen_ai.usage.output_tokens": chance.randrange(5, 900),
                "timmy.kind": provider,
                "timmy.outcome": "failed" if failed else "completed",
                "timmy.attempt": attempt,
                "timmy.streamed": True,
                "timmy.latency_ms": latency,
                "timmy.first_token_ms": round(latency / 4, 3),
                "timmy.cost_microusd": chance.randrange(0, 900),
            }
            if failed:
                data["error.type"] = chance.choice(ERRORS)
            yield Made("llm.failed" if failed else "llm.completed", "router", task, agent, trace, data)
            if not failed:
                break
        return latency

    def words(self, count: int) -> str:
        return " ".join(self.random.choices(WORDS, k=count))


def rows(count: int, seed: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the first `count` events, chained."""
    step_us = DAYS * 86_400_000_000 / max(1, count)
    previous = GENESIS
    salts = b""
    for seq, made in enumerate(itertools.islice(Story(seed).events(), count), 1):
        if seq % RARE_EVERY == 0:
            made.data["note"] = f"found {RARE_WORD}"
        ts_us = BEGIN_US + int(seq * step_us)
        data = json.dumps(made.data, ensure_ascii=False, separators=(",", ":"))
        if not salts:
            salts = os.urandom(SALT_BYTES * 4096)
        salt, salts = salts[:SALT_BYTES], salts[SALT_BYTES:]
        digest = hash_data(salt, data)
        # Ids are made as `new_id` makes them: the time in ms, then what is unique.
        texts = (f"{ts_us // 1000:012x}{seq:020x}", made.type, made.source, made.task_id, made.agent_id, made.trace_id)
        previous = hash_event(previous, seq, ts_us, VERSION, texts, digest)
        yield (seq, *texts, data, ts_us, VERSION, salt, digest, previous)


def make(home: Path, count: int, *, seed: int = 1, seal: bool = True) -> float:
    """Make a home with so many events and return the seconds that took; the last whole segment stays unsealed."""
    began = time.monotonic()
    store = Store.open(home / "timmy.db")
    try:
        waiting: Future[None] | None = None
        source = rows(count, seed)
        while unit := list(itertools.islice(source, UNIT)):

            def write(connection: Connection, unit: list[tuple[Any, ...]] = unit) -> None:
                connection.executemany(INSERT, unit)

            if waiting is not None:
                waiting.result()
            waiting = store.submit(write)
        if waiting is not None:
            waiting.result()
        if seal:
            events = Events(store, home=home)
            events.seal(limit=max(0, count // SEGMENT - 1))
            events.close()
    finally:
        store.close()
    return time.monotonic() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unsealed", action="store_true", help="write no Parquet")
    given = parser.parse_args()
    seconds = make(given.home, given.events, seed=given.seed, seal=not given.unsealed)
    print(f"{given.events:,} events in {seconds:,.0f} s")
