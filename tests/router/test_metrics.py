"""What is kept of an attempt: an event and a row that stand or fall together, and numbers read back from them."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from timmy_core.errors import ProviderError
from timmy_core.events.log import EventLog
from timmy_core.router.breaker import Snapshot, Transition
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Completion, Usage
from timmy_core.router.metrics import LATENCY_ROWS, Metrics, Numbers
from timmy_core.router.record import CircuitRecord, Origin
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

from .metrics_house import flush, record

ASK = [{"role": "user", "content": "a secret question"}]
DOWN = ProviderError("server_error", "it is down", advice="wait")


@pytest.fixture
def metrics(store: Store, log: EventLog) -> Metrics:
    return Metrics(store, log)


def cascade(metrics: Metrics, clock: FakeClock, *providers: ScriptedProvider) -> Cascade:
    """A cascade that tries nobody twice, so that every attempt is one of the test's own."""
    return Cascade(
        providers,
        offline=lambda _: "offline",
        limits=Limits(retry_percent=0),
        clock=clock,
        recorder=metrics,
        circuits=metrics.circuits(),
    )


async def test_each_attempt_is_one_event_and_one_row_under_one_trace(
    store: Store, log: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    good = Completion("a secret answer", "stop", Usage(3, 4), "exact-name")
    house = cascade(metrics, clock, ScriptedProvider("a", DOWN), ScriptedProvider("b", good, priority=2, free=False))
    await house.chat(ASK, origin=Origin("trace-1", agent_id="echo", task_id="t1", session="s1"))
    flush(store)
    failed, completed = log.list(trace_id="trace-1", order="asc")
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
    store: Store, log: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", Completion("a secret answer", "stop", Usage(), "m")))
    await house.chat(ASK)
    flush(store)
    assert "secret" not in json.dumps([event.as_dict() for event in log.list()])


async def test_an_unanswered_request_says_so_once(
    store: Store, log: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", DOWN), ScriptedProvider("b", missing=("no key", "")))
    await house.chat(ASK, origin=Origin("t"))
    flush(store)
    (event,) = log.list(type="llm.unanswered")
    assert event.trace_id == "t"
    assert event.data is not None
    assert [(a["gen_ai.provider.name"], a["error.type"]) for a in event.data["timmy.attempts"]] == [
        ("a", "server_error"),
        ("b", "not_configured"),
    ]


async def test_a_circuit_tells_each_of_its_moves(
    store: Store, log: EventLog, metrics: Metrics, clock: FakeClock
) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", *[DOWN] * 5, "well"))
    for _ in range(5):
        await house.chat(ASK)
    until = clock.now() + timedelta(seconds=60)
    clock.advance(60)
    for _ in range(2):  # two probes in a row close it
        await house.chat(ASK)
    flush(store)
    moves = log.list(family="circuit", order="asc")
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
    house = cascade(metrics, clock, again, ScriptedProvider("b", "instead", priority=2))
    assert house.snapshot("a", "a-model") == first.snapshot("a", "a-model")
    assert (await house.chat(ASK)).provider == "b"
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
    assert (numbers.p50_ms, numbers.p95_ms, numbers.p99_ms) == (pytest.approx(49), pytest.approx(94), pytest.approx(98))
    assert numbers.availability == pytest.approx(100 / 101)
    assert numbers.tokens_per_s == pytest.approx(100 / sum(n / 1000 for n in range(100)))
    assert (numbers.cost_microusd, numbers.unpriced) == (0, 0)
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


async def test_the_timeline_tells_the_moves_of_one_provider(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    house = cascade(metrics, clock, ScriptedProvider("a", *[DOWN] * 5, "well"), ScriptedProvider("b", priority=2))
    for _ in range(5):
        await house.chat(ASK)
    clock.advance(70)
    for _ in range(2):
        await house.chat(ASK)
    flush(store)
    moves = metrics.timeline("a")
    assert [(move.before, move.after) for move in moves] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
    ]
    assert moves[0].open_until is not None
    assert moves[0].failures == 5
    assert metrics.timeline("b") == []
    assert [move.after for move in metrics.timeline("a", limit=1)] == ["closed"]
    json.dumps([move.as_dict() for move in moves])


# What rows and events hold ---------------------------------------------------------------------------------------


def test_every_kind_of_token_is_kept_apart_and_an_estimate_is_marked(
    store: Store, log: EventLog, metrics: Metrics
) -> None:
    whole = Usage(100, 20, cached_tokens=60, reasoning_tokens=15, cache_write_tokens=30, estimated=True)
    metrics.attempted(record(usage=whole, cost=123, agent_id="echo", first_ms=4.0, why="hedge"), None)
    flush(store)
    with store.read() as connection:
        row = connection.execute(
            "SELECT input_tokens, output_tokens, cached_tokens, reasoning_tokens, cache_write_tokens, estimated,"
            " cost_microusd, agent_id, why, streamed FROM provider_metrics"
        ).fetchone()
    assert row == (100, 20, 60, 15, 30, 1, 123, "echo", "hedge", 1)
    (event,) = log.list(type="llm.completed")
    assert event.data is not None
    assert event.data["gen_ai.usage.cache_read.input_tokens"] == 60
    assert event.data["gen_ai.usage.cache_creation.input_tokens"] == 30
    assert event.data["gen_ai.usage.reasoning.output_tokens"] == 15
    assert (event.data["timmy.estimated"], event.data["timmy.why"]) == (True, "hedge")


def test_what_a_failed_and_a_cancelled_attempt_cost_counts_too(store: Store, metrics: Metrics) -> None:
    metrics.attempted(record(outcome="failed", error="stream_truncated", cost=5), None)
    metrics.attempted(record(outcome="cancelled", error="hedge_lost", cost=7), None)
    metrics.attempted(record(cost=11), None)
    metrics.attempted(record(cost=None), None)
    flush(store)
    numbers = metrics.numbers("a")
    assert (numbers.requests, numbers.cost_microusd, numbers.unpriced) == (4, 23, 1)
    with store.read() as connection:
        assert connection.execute("SELECT sum(microusd) FROM spending").fetchone() == (23,)


def test_the_last_first_tokens_come_in_order_for_hedging(store: Store, metrics: Metrics) -> None:
    for ms in range(1, 131):
        metrics.attempted(record(first_ms=float(ms)), None)
    metrics.attempted(record(), None)
    metrics.attempted(record(outcome="failed", error="timeout", first_ms=9999.0), None)
    metrics.attempted(record(model="other", first_ms=5555.0), None)
    flush(store)
    assert metrics.first_tokens("a", "m") == [float(ms) for ms in range(31, 131)]
    assert metrics.first_tokens("nobody", "m") == []


def test_a_circuit_is_stored_whole(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    kept = Snapshot(
        "open",
        7,
        clock.now() + timedelta(seconds=90),
        isolated=True,
        reset_s=120.5,
        limited_until=clock.now() + timedelta(seconds=9),
    )
    move = Transition("closed", "open", "by hand")
    metrics.circuit_changed(CircuitRecord(Origin("t"), "a", "m", kept, move))
    flush(store)
    assert metrics.circuits() == {("a", "m"): kept}
