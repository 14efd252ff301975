"""The questions of the latency lab, asked of a home in which it is known what the answer is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from timmy_core.errors import RouterError
from timmy_core.events.log import EventLog
from timmy_core.router import latency
from timmy_core.router.chat import Attempt, Usage
from timmy_core.router.latency import Chosen
from timmy_core.router.metrics import Metrics
from timmy_core.router.record import AttemptRecord, Origin
from timmy_core.settings import load_settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
ALL = Chosen(START, START + timedelta(days=1))


@pytest.fixture
def timmy(home: Path) -> Iterator[Timmy]:
    """A hundred answers of one provider, a second apart, of 10 to 1,000 ms; another's streams, one failed in four."""
    clock = FakeClock(START)
    store = Store.open(home / "timmy.db")
    metrics = Metrics(store, EventLog(store, clock))
    for number in range(100):
        one = Attempt("it's", "m", "completed", 10.0 * (number + 1), cost_microusd=20)
        _record(metrics, one, number, streamed=False, tokens=50 * number)
        kind = "server_error" if number % 4 == 0 else None
        took = 2000.0 if number < 50 else 4000.0
        other = Attempt("other", "n", "failed" if kind else "completed", took, None if kind else 100.0, kind)
        _record(metrics, other, number, streamed=True, tokens=10)
        store.write(lambda _: None)  # written before the time goes on
        clock.advance(60)
    store.close()
    timmy = Timmy(load_settings(home), providers=())
    yield timmy
    timmy.shutdown()


def _record(metrics: Metrics, attempt: Attempt, number: int, *, streamed: bool, tokens: int) -> None:
    usage = Usage(tokens, 20)
    origin = Origin(f"{number:031x}{'1' if streamed else '0'}")
    metrics.attempted(
        AttemptRecord(origin, 0, "openai", streamed, attempt, usage, attempt.model, "stop", attempt.cost_microusd), None
    )


def rows(timmy: Timmy, sql: str) -> list[dict[str, object]]:
    return timmy.sql(sql).to_dicts()


def test_percentiles_are_those_of_the_answers(timmy: Timmy) -> None:
    one, other = rows(timmy, latency.percentiles(ALL))
    assert (one["key"], one["provider"], one["answers"], one["failed"]) == ("it's · m", "it's", 100, 0)
    assert one["p50"] == pytest.approx(505.0)
    assert one["p99"] == pytest.approx(990.1)
    assert (other["answers"], other["failed"]) == (75, 25)


@pytest.mark.parametrize(("by", "keys"), [("provider", ["it's", "other"]), ("hour", ["10 h", "11 h"])])
def test_they_can_be_told_apart_by_who_and_when(timmy: Timmy, by: latency.By, keys: list[str]) -> None:
    assert [row["key"] for row in rows(timmy, latency.percentiles(ALL, by))] == keys


def test_they_can_be_told_apart_by_the_size_of_the_question(timmy: Timmy) -> None:
    only = Chosen(ALL.since, ALL.until, "it's")
    found = {
        latency.PROMPT_WORDS[row["key"]]: row["answers"] for row in rows(timmy, latency.percentiles(only, "prompt"))
    }  # type: ignore[index]
    assert found == {"under 100": 2, "100 to 300": 4, "300 to 1,000": 14, "1,000 to 3,000": 40, "3,000 to 10,000": 40}


def test_first_tokens_are_those_of_streams_alone(timmy: Timmy) -> None:
    (row,) = rows(timmy, latency.percentiles(ALL, "provider", "first_token_ms"))
    assert (row["key"], row["p95"]) == ("other", 100.0)


def test_the_steps_of_the_distribution_hold_every_answer(timmy: Timmy) -> None:
    frame = timmy.sql(latency.distribution(ALL))
    assert dict(frame.group_by("provider").agg(pl.col("answers").sum()).rows()) == {"it's": 100, "other": 75}
    assert timmy.sql(latency.first_against_whole(ALL))["answers"].sum() == 75


def test_the_error_budget_is_overdrawn_where_one_in_four_fails(timmy: Timmy) -> None:
    found = rows(timmy, latency.error_budget(ALL))
    last = {str(row["provider"]): row["used"] for row in found}
    assert last == {"it's": 0.0, "other": pytest.approx(25.0)}


def test_cost_stands_against_latency_where_it_is_known(timmy: Timmy) -> None:
    (row,) = rows(timmy, latency.cost_against_latency(ALL))
    assert (row["provider"], row["usd_a_thousand"]) == ("it's", pytest.approx(0.02))


def test_before_and_after_a_moment(timmy: Timmy) -> None:
    split = START + timedelta(minutes=50)
    found = {(row["provider"], row["side"]): row["p50"] for row in rows(timmy, latency.before_and_after(ALL, split))}
    assert (found["other", "before"], found["other", "after"]) == (2000.0, 4000.0)


def test_points_can_be_drilled_down_to_single_attempts(timmy: Timmy) -> None:
    assert len(rows(timmy, latency.points(ALL))) == 200
    narrow = Chosen(START, START + timedelta(minutes=10), "it's", streamed=False)
    found = rows(timmy, latency.drill(narrow, least_ms=30, most_ms=50))
    assert [row["latency_ms"] for row in found] == [50.0, 40.0, 30.0]


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(RouterError, match="expected one of provider, model, hour, prompt"):
        latency.percentiles(ALL, "weather")  # type: ignore[arg-type]
    with pytest.raises(RouterError, match="expected one of latency_ms, first_token_ms"):
        latency.distribution(ALL, "1; DROP TABLE attempts")  # type: ignore[arg-type]
