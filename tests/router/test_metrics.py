"""What is kept of an attempt: an event and a row that stand or fall together, and numbers read back from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError, RouterError
from timmy_core.events.log import EventLog
from timmy_core.router import report, tallies
from timmy_core.router.breaker import Snapshot, Transition
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Attempt, Completion, Usage
from timmy_core.router.metrics import LATENCY_ROWS, Metrics, Numbers
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin
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
    """A cascade that tries nobody twice, so that every attempt is one of the test's own."""
    return Cascade(
        providers,
        offline=lambda _: "offline",
        limits=Limits(retry_percent=0),
        clock=clock,
        recorder=metrics,
        circuits=metrics.circuits(),
    )


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
    for _ in range(2):  # two probes in a row close it
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


# What rows and events hold ---------------------------------------------------------------------------------------


def record(
    provider: str = "a",
    outcome: str = "completed",
    *,
    agent_id: str | None = None,
    error: str | None = None,
    latency_ms: float = 10.0,
    first_ms: float | None = None,
    usage: Usage | None = None,
    cost: int | None = 0,
    why: str = "cascade",
    model: str = "m",
) -> AttemptRecord:
    attempt = Attempt(provider, model, outcome, latency_ms, first_ms, error, "", "", cost, why)  # type: ignore[arg-type]
    origin = Origin("t", agent_id=agent_id)
    return AttemptRecord(origin, 0, "scripted", first_ms is not None, attempt, usage or Usage(), None, None, cost)


def test_every_kind_of_token_is_kept_apart_and_an_estimate_is_marked(
    store: Store, events: EventLog, metrics: Metrics
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
    (event,) = events.list(type="llm.completed")
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


# Reports ---------------------------------------------------------------------------------------------------------


def test_a_report_has_one_line_a_model_with_all_its_figures(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    for ms in range(1, 101):
        metrics.attempted(record(latency_ms=float(ms), first_ms=ms / 2, usage=Usage(10, 5, 2, 1, 3), cost=4), None)
    metrics.attempted(record(outcome="failed", error="server_error", why="retry"), None)
    metrics.attempted(record(outcome="failed", error="authentication_failed"), None)
    metrics.attempted(
        record(outcome="cancelled", error="hedge_lost", why="hedge", usage=Usage(1, 1, estimated=True)), None
    )
    metrics.attempted(record("b", cost=None), None)
    flush(store)
    clock.advance(1)
    told = metrics.report()
    assert [(line.provider, line.model) for line in told.lines] == [("a", "m"), ("b", "m")]
    line = told.lines[0]
    assert (line.attempts, line.completed, line.failed, line.cancelled) == (103, 100, 2, 1)
    assert (line.p50_ms, line.p95_ms, line.p99_ms) == (50.0, 95.0, 99.0)
    assert (line.first_token_p50_ms, line.first_token_p95_ms, line.first_token_p99_ms) == (25.0, 47.5, 49.5)
    assert line.availability == pytest.approx(100 / 101)  # a wrong key is no fault of the provider's
    assert line.tokens_per_s == pytest.approx(500 / 5.05)
    assert (line.input_tokens, line.output_tokens, line.cached_tokens) == (1001, 501, 200)
    assert (line.cache_write_tokens, line.reasoning_tokens, line.estimated) == (300, 100, 1)
    assert (line.cost_microusd, line.unpriced, line.retries, line.hedges) == (400, 0, 1, 1)
    assert line.errors == {"authentication_failed": 1, "hedge_lost": 1, "server_error": 1}
    assert (told.lines[1].unpriced, told.attempts, told.complete) == (1, 104, True)
    assert json.loads(json.dumps(told.as_dict()))["lines"][0]["p99_ms"] == 99.0


def test_a_report_covers_its_time_only_and_may_go_by_provider_or_agent(
    store: Store, metrics: Metrics, clock: FakeClock
) -> None:
    metrics.attempted(record(agent_id="echo", cost=1), None)
    flush(store)
    clock.advance(3600)
    noon = clock.now()
    metrics.attempted(record(model="other", cost=2), None)
    metrics.attempted(record(agent_id="echo", cost=4), None)
    flush(store)
    clock.advance(1)
    assert [line.cost_microusd for line in metrics.report(by="provider").lines] == [7]
    assert {line.agent_id: line.cost_microusd for line in metrics.report(by="agent").lines} == {"echo": 5, "": 2}
    assert metrics.report(since=noon).attempts == 2
    assert metrics.report(until=noon).attempts == 1


def test_a_report_of_very_many_attempts_covers_the_newest_and_says_so(
    store: Store, metrics: Metrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_ROWS", 10)
    for cost in range(20):
        metrics.attempted(record(cost=cost), None)
        flush(store)
        clock.advance(1)
    found = metrics.report()
    assert (found.attempts, found.complete) == (10, False)
    assert found.lines[0].cost_microusd == sum(range(10, 20))


def test_a_report_is_right_after_the_clock_was_set_back(store: Store, metrics: Metrics, clock: FakeClock) -> None:
    begin = clock.now()
    for cost in (1, 2, 4):
        metrics.attempted(record(cost=cost), None)
        flush(store)
        clock.set_wall(clock.now() - timedelta(hours=1))
    clock.set_wall(begin + timedelta(seconds=1))
    assert metrics.report(since=begin - timedelta(hours=3)).lines[0].cost_microusd == 7
    assert metrics.report(since=begin - timedelta(minutes=90)).lines[0].cost_microusd == 3
    assert metrics.report(since=begin - timedelta(hours=9), until=begin).lines[0].cost_microusd == 6


@pytest.mark.parametrize("by", ["model", "provider", "agent"])
def test_a_report_from_what_was_counted_before_is_the_same(
    store: Store, metrics: Metrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, by: report.By
) -> None:
    monkeypatch.setattr(tallies, "_BLOCK", 4)
    begin = clock.now()
    for n in range(30):
        outcome, error = ("failed", "server_error") if n % 7 == 0 else ("completed", None)
        one = record(
            "ab"[n % 2], outcome=outcome, error=error, latency_ms=float(n * 37 % 30), cost=n, agent_id="cd"[n % 3 % 2]
        )
        metrics.attempted(one, None)
        flush(store)
        clock.advance(1)
        if n % 5 == 0:  # figures of blocks that are full are kept from here on
            assert metrics.report(by=by).attempts == n + 1
    for first, last in ((0, 30), (3, 30), (4, 29), (8, 24), (9, 10), (1, 27)):
        since, until = begin + timedelta(seconds=first), begin + timedelta(seconds=last)
        told = metrics.report(since=since, until=until, by=by)
        assert told == report.read_report(store, tallies.Tallies(), since, until, by)
        assert sum(line.cost_microusd for line in told.lines) == sum(range(first, last))


def test_a_report_of_a_wrong_time_says_what_is_wrong(metrics: Metrics, clock: FakeClock) -> None:
    with pytest.raises(RouterError, match="since has to lie before until"):
        metrics.report(since=clock.now(), until=clock.now())
    with pytest.raises(RouterError, match="add one, for instance tzinfo=UTC"):
        metrics.report(since=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake that is tested
    with pytest.raises(RouterError, match="expected one of model, provider, agent"):
        metrics.report(by="colour")  # type: ignore[arg-type]


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
