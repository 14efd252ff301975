"""What is kept of an attempt: an event and a row that stand or fall together, and numbers read back from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError
from timmy_core.events.log import EventLog
from timmy_core.router.breaker import Snapshot
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Completion, Usage
from timmy_core.router.metrics import LATENCY_ROWS, Metrics, Numbers
from timmy_core.router.record import Origin
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

ASK = [{"role": "user", "content": "a secret question"}]
DOWN = ProviderError("server_error", "it is down", advice="wait")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "timmy.db")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events(store: Store, clock: FakeClock) -> EventLog:
    return EventLog(store, clock)


@pytest.fixture
def metrics(store: Store, events: EventLog) -> Metrics:
    return Metrics(store, events)


def cascade(metrics: Metrics, clock: FakeClock, *providers: ScriptedProvider) -> Cascade:
    return Cascade(providers, offline=lambda _: "offline", clock=clock, recorder=metrics, circuits=metrics.circuits())


def flush(store: Store) -> None:
    """Writes keep their order, so one that is waited for comes behind all the others."""
    store.write(lambda _: None)


async def test_each_attempt_is_one_event_and_one_row_under_one_trace(
    store: Store, events: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    good = Completion("a secret answer", "stop", Usage(3, 4), "exact-name")
    house = cascade(metrics, clock, ScriptedProvider("a", DOWN), ScriptedProvider("b", good, priority=2, free=False))
    await house.chat(ASK, origin=Origin("trace-1", agent_id="echo", task_id="t1", session="s1"))
    flush(store)
    failed, completed = events.list(trace_id="trace-1", order="asc")
    assert (failed.type, completed.type) == ("llm.failed", "llm.completed")
    assert (completed.source, completed.agent_id, completed.task_id) == ("router", "echo", "t1")
    assert completed.data == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "b",
        "gen_ai.request.model": "b-model",
        "gen_ai.response.model": "exact-name",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.conversation.id": "s1",
        "timmy.kind": "scripted",
        "timmy.outcome": "completed",
        "timmy.attempt": 1,
        "timmy.streamed": False,
        "timmy.latency_ms": 0.0,
    }
    assert failed.data is not None
    assert (failed.data["error.type"], failed.data["timmy.message"]) == ("server_error", "it is down")
    with store.read() as connection:
        rows = connection.execute(
            "SELECT event_seq, trace_id, attempt, provider, outcome, error_class, input_tokens, cost_microusd, message"
            " FROM provider_metrics ORDER BY id"
        ).fetchall()
    assert rows == [
        (failed.seq, "trace-1", 0, "a", "failed", "server_error", None, 0, "it is down"),
        (completed.seq, "trace-1", 1, "b", "completed", None, 3, None, ""),
    ]


async def test_not_a_word_of_what_was_said_is_kept(
    store: Store, events: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", Completion("a secret answer", "stop", Usage(), "m")))
    await house.chat(ASK)
    flush(store)
    assert "secret" not in json.dumps([event.as_dict() for event in events.list()])


async def test_an_unanswered_request_says_so_once(
    store: Store, events: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", DOWN), ScriptedProvider("b", missing=("no key", "")))
    await house.chat(ASK, origin=Origin("t"))
    flush(store)
    (event,) = events.list(type="llm.unanswered")
    assert event.trace_id == "t"
    assert event.data is not None
    assert [(a["gen_ai.provider.name"], a["error.type"]) for a in event.data["timmy.attempts"]] == [
        ("a", "server_error"),
        ("b", "not_configured"),
    ]


async def test_a_circuit_tells_each_of_its_moves(
    store: Store, events: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", *[DOWN] * 5, "well"))
    for _ in range(5):
        await house.chat(ASK)
    until = clock.now() + timedelta(seconds=60)
    clock.advance(60)
    await house.chat(ASK)
    flush(store)
    moves = events.list(family="circuit", order="asc")
    assert [event.type for event in moves] == ["circuit.opened", "circuit.half_opened", "circuit.closed"]
    assert moves[0].data == {
        "provider": "a",
        "model": "a-model",
        "from": "closed",
        "to": "open",
        "reason": "5 failures in a row, the last: it is down",
        "failures": 5,
        "open_until": until.isoformat(),
    }
    assert metrics.circuits() == {("a", "a-model"): Snapshot("closed", 0)}


async def test_a_restart_finds_the_circuit_as_it_was(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    first = cascade(metrics, clock, ScriptedProvider("a", DOWN))
    for _ in range(5):
        await first.chat(ASK)
    flush(store)
    clock.advance(20)
    again = ScriptedProvider("a", "well")
    house = cascade(metrics, clock, again)
    assert house.snapshot("a", "a-model") == first.snapshot("a", "a-model")
    assert (await house.chat(ASK)).offline
    clock.advance(40)
    assert (await house.chat(ASK)).provider == "a"


async def test_failures_short_of_the_limit_are_remembered_too(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    await cascade(metrics, clock, ScriptedProvider("a", DOWN)).chat(ASK)
    flush(store)
    assert metrics.circuits() == {("a", "a-model"): Snapshot("closed", 1)}


async def test_numbers_say_what_a_provider_did(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    class Slow(ScriptedProvider):
        """Takes one millisecond longer each time."""

        async def chat(self, request: object) -> Completion:
            clock.advance(len(self.requests) / 1000)
            return await super().chat(request)  # type: ignore[arg-type]

    house = cascade(metrics, clock, Slow("a", *["fine"] * 100, DOWN))
    for _ in range(101):
        last = await house.chat(ASK, origin=Origin("t"))
    assert last.offline
    flush(store)
    numbers = metrics.numbers("a")
    assert (numbers.requests, numbers.errors) == (101, 1)
    assert (numbers.p50_ms, numbers.p95_ms) == (pytest.approx(49), pytest.approx(94))
    assert numbers.last_success_at is not None
    (failure,) = numbers.recent_failures
    assert (failure.error_class, failure.message, failure.trace_id) == ("server_error", "it is down", "t")
    assert metrics.numbers("nobody") == Numbers()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ts FROM provider_metrics WHERE provider = 'a' AND outcome = 'completed' ORDER BY id DESC LIMIT 9",
        "SELECT requests FROM provider_totals WHERE provider = 'a'",
    ],
)
def test_the_numbers_come_along_an_index_and_need_no_sort(store: Store, query: str) -> None:
    with store.read() as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
    assert "SEARCH" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan
    assert LATENCY_ROWS == 1000


async def test_an_answer_is_given_even_if_its_record_cannot_be_written(
    store: Store, metrics: Metrics, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", "fine"))
    with caplog.at_level(logging.ERROR):
        await house.chat(ASK, origin=Origin("bad\x00trace" * 100))
        flush(store)
        store.close()
        assert (await house.chat(ASK, origin=Origin("t2"))).text == "fine"
    told = [record.getMessage() for record in caplog.records if record.name == "timmy_core.router.metrics"]
    assert len(told) == 2
    assert "trace t2" in told[1]
