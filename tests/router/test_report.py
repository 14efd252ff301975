"""Reports of what the providers did: figures by model, provider or agent, also from blocks counted before."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from timmy_core.errors import RouterError
from timmy_core.events.log import EventLog
from timmy_core.router import report, tallies
from timmy_core.router.chat import Usage
from timmy_core.router.metrics import Metrics
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .metrics_house import flush, record


@pytest.fixture
def metrics(store: Store, log: EventLog) -> Metrics:
    return Metrics(store, log)


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
