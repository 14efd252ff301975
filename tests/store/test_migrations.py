"""A database of an earlier schema keeps working: its rows are read, and new ones stand beside them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timmy_core.clock import to_us
from timmy_core.router.breaker import Snapshot
from timmy_core.router.chat import Attempt, Usage
from timmy_core.router.record import AttemptRecord, Origin
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.store.migrations import MIGRATIONS
from timmy_core.timmy import Timmy

AT = to_us(datetime(2026, 11, 1, 12, tzinfo=UTC))

# As the version with five migrations wrote them.
ATTEMPT = """
INSERT INTO provider_metrics (event_seq, ts, trace_id, attempt, provider, model, outcome, error_class, latency_us,
                              first_token_us, input_tokens, output_tokens, cost_microusd, message)
VALUES (?, ?, 'old', 0, 'a', 'm', ?, ?, ?, NULL, 3, 4, ?, '')"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "timmy.db", isolation_level=None)
    for script in MIGRATIONS[:5]:
        connection.executescript(script)
    connection.execute("PRAGMA user_version = 5")
    connection.execute(ATTEMPT, (1, AT, "completed", None, 1000, 7))
    connection.execute(ATTEMPT, (2, AT, "completed", None, 3000, None))
    connection.execute(ATTEMPT, (3, AT, "failed", "server_error", 9000, 0))
    connection.execute("INSERT INTO provider_totals VALUES ('a', 3, 1), ('never asked', 0, 0)")
    connection.execute("INSERT INTO provider_circuits VALUES ('a', 'm', 'open', 5, ?, ?)", (AT, AT))
    connection.close()
    return tmp_path


@pytest.fixture
def timmy(home: Path) -> Iterator[Timmy]:
    opened = Timmy(Settings.model_validate({"home": home, "providers": ()}))
    yield opened
    opened.shutdown()


def test_the_database_is_brought_to_the_newest_schema(home: Path) -> None:
    Store.open(home / "timmy.db").close()
    connection = sqlite3.connect(home / "timmy.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


def test_old_attempts_are_counted_and_read(timmy: Timmy) -> None:
    numbers = timmy._metrics.numbers("a")
    assert (numbers.requests, numbers.errors, numbers.cost_microusd, numbers.unpriced) == (3, 1, 7, 1)
    assert (numbers.p50_ms, numbers.availability) == (1.0, pytest.approx(2 / 3))
    assert timmy._metrics.numbers("never asked").cost_microusd == 0
    (line,) = timmy._metrics.report(since=datetime(2026, 11, 1, tzinfo=UTC)).lines
    assert (line.attempts, line.p99_ms, line.estimated, line.hedges) == (3, 3.0, 0, 0)
    assert timmy._metrics.circuits() == {("a", "m"): Snapshot("open", 5, datetime(2026, 11, 1, 12, tzinfo=UTC))}


def test_old_and_new_attempts_stand_in_one_frame(timmy: Timmy) -> None:
    attempt = Attempt("a", "m", "completed", 5.0, cost_microusd=11)
    record = AttemptRecord(Origin("new", "echo"), 0, "x", True, attempt, Usage(1, 2, 1), None, None, 11)
    timmy._metrics.attempted(record, None)
    timmy.store.write(lambda _: None)
    frame = timmy.frame("attempts")
    assert frame["trace_id"].to_list() == ["old", "old", "old", "new"]
    assert frame["streamed"].to_list() == [None, None, None, True]
    assert frame["why"].to_list() == ["cascade"] * 4
    assert frame["agent_id"].to_list() == [None, None, None, "echo"]
    assert timmy.sql("SELECT sum(cost_microusd) AS cost, count(cached_tokens) AS cached FROM attempts").row(0) == (
        18,
        1,
    )
    assert timmy.frame("spending")["microusd"].to_list() == [11]
    assert timmy._metrics.numbers("a").cost_microusd == 18
