"""The guard: a query reads Timmy's tables and nothing else, and it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from timmy_core.errors import QueryError
from timmy_core.events import archive as archive_module
from timmy_core.events.model import NewEvent
from timmy_core.settings import Settings
from timmy_core.store.duck import Duck, literal
from timmy_core.store.guard import Guard
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy

SEGMENT = 20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", SEGMENT)


@pytest.fixture
def timmy(tmp_path: Path) -> Iterator[Timmy]:
    opened = Timmy(
        Settings(home=tmp_path, providers=()), clock=FakeClock(), providers=[ScriptedProvider("local", "hi")]
    )
    yield opened
    opened.shutdown()


# What a query may not do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("COPY events TO '/tmp/out.csv'", "exactly one statement"),
        ("COPY (SELECT 1) TO 'archive/x.parquet'", "exactly one statement"),
        ("EXPORT DATABASE 'x'", "exactly one statement"),
        ("ATTACH 'timmy.db'", "exactly one statement"),
        ("SET memory_limit = '1TB'", "exactly one statement"),
        ("RESET memory_limit", "exactly one statement"),
        ("PRAGMA database_size", "exactly one statement"),
        ("INSTALL httpfs", "exactly one statement"),
        ("LOAD httpfs", "exactly one statement"),
        ("CALL enable_logging()", "exactly one statement"),
        ("DROP TABLE turns", "exactly one statement"),
        ("CREATE TABLE x AS SELECT 1", "exactly one statement"),
        ("INSERT INTO turns SELECT * FROM turns", "exactly one statement"),
        ("CHECKPOINT", "exactly one statement"),
        ("BEGIN", "exactly one statement"),
        ("EXPLAIN ANALYZE DELETE FROM turns", "exactly one statement"),
        ("PREPARE p AS SELECT 1", "exactly one statement"),
        ("WITH w AS (INSERT INTO turns SELECT * FROM turns RETURNING *) FROM w", "exactly one statement"),
        ("WITH w AS (DELETE FROM turns RETURNING *) FROM w", "exactly one statement"),
        ("SELECT * FROM (WITH w AS (UPDATE turns SET role = 'x' RETURNING *) FROM w)", "exactly one statement"),
        ("SELECT 1; SELECT 2", "exactly one statement .* not 2"),
        ("SELECT 1; DROP TABLE turns", "exactly one statement"),
        ("", "not 0"),
        ("-- nothing", "not 0"),
        ("SELECT * FROM read_text('/etc/passwd')", "cannot be read from here"),
        ("SELECT (SELECT content FROM read_text('/etc/passwd'))", "cannot be read from here"),
        ("FROM read_csv('/etc/passwd')", "cannot be read from here"),
        ("FROM read_parquet('archive/*.parquet')", "cannot be read from here"),
        ("FROM glob('/*')", "cannot be read from here"),
        ("FROM query('DROP TABLE turns')", "cannot be read from here"),
        ("FROM query_table(['inside.hot'])", "cannot be read from here"),
        ("FROM enable_profiling(save_location := '/tmp/x')", "cannot be read from here"),
        ("FROM enable_logging(storage := 'file', storage_path := '/tmp/x')", "cannot be read from here"),
        ("FROM checkpoint()", "cannot be read from here"),
        ("FROM duckdb_secrets()", "cannot be read from here"),
        ("FROM json_execute_serialized_sql('{}')", "cannot be read from here"),
        ("SELECT 1 IN (FROM sniff_csv('/etc/passwd'))", "cannot be read from here"),
        ("FROM '/etc/passwd'", "cannot be read here"),
        ("FROM 'events.parquet'", "cannot be read here"),
        ("FROM inside.hot", "cannot be read here"),
        ("FROM memory.inside.hot", "cannot be read here"),
        ("FROM secret_frame", "does not exist"),
        ("SELECT write_log('x')", "does more than compute"),
        ("SELECT sleep_ms(5)", "does more than compute"),
        ("SELECT getenv('HOME')", "was refused"),
        ("SELECT repeat('x', 2000000000)", "written out"),
        ("SELECT repeat('x', 10 * 1000000)", "written out"),
        ("SELECT range(1000000000)", "written out"),
        ("SELECT unnest(generate_series(1, 1000000000))", "written out"),
        ("SELECT lpad('x', characters, 'y') FROM turns", "written out"),
        ("SELECT list_resize([1], 1000000000, 1)", "written out"),
        ("SELECT printf('%1000000000d', 1)", "widths below"),
        ("SELECT printf(role, 1) FROM turns", "widths below"),
        ("SELECT format('{:1000000000}', 1)", "widths below"),
        ("SELECT format('{:{}}', 1, 1000000000)", "widths below"),
        ("SELECT nothing FROM turns", "Candidate bindings: "),
        ("FROM turn", 'Did you mean "turns"'),
        ("SELEKT 1", "cannot be read: syntax error"),
        ("SELECT 'x'::INTEGER", "Could not convert"),
        ("SELECT 1 \0", "a text of at most"),
        ("SELECT " + "1, " * 50_000 + "1", "a text of at most"),
    ],
)  # fmt: skip
def test_a_query_that_does_more_than_read_the_tables_is_refused(timmy: Timmy, query: str, said: str) -> None:
    secret_frame = pl.DataFrame({"password": ["x"]})
    with pytest.raises(QueryError, match=said):
        timmy.sql(query)
    assert timmy.sql("SELECT 1 AS one")["one"].to_list() == [1]
    assert secret_frame.height == 1


@pytest.mark.parametrize(
    "query",
    [
        "FROM events",
        "WITH w AS (SELECT 1 AS n) FROM w",
        "VALUES (1), (2)",
        "TABLE turns;",
        "DESCRIBE events",
        "SUMMARIZE turns",
        "SHOW TABLES -- all of them",
        "SELECT * FROM range(5)",
        "SELECT unnest(range(24)) AS hour",
        "SELECT * FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL 1 HOUR)",
        "PIVOT events ON family IN ('llm', 'task') USING count(*)",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
        "SELECT lpad('7', 3, '0') AS padded, format('{:.2f}', 1.5) AS short",
        "SELECT type, count(*) FILTER (seq > 1) AS n, row_number() OVER (ORDER BY type) AS r FROM events GROUP BY type",
        "SELECT e.seq FROM events e JOIN attempts a ON a.event_seq = e.seq",
        "SELECT table_name FROM information_schema.tables",
        "(SELECT 1 AS n) UNION ALL (SELECT 2) ORDER BY 1",
    ],
)
def test_a_question_may_take_any_form(timmy: Timmy, query: str) -> None:
    timmy.sql(query)


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_csv('/etc/passwd')",
        "ATTACH '/tmp/other.db'",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "SET enable_external_access = true",
        "SET memory_limit = '1TB'",
        "INSTALL httpfs",
        "FROM enable_profiling(save_location := '/tmp/x')",
        "FROM a_frame",
    ],
)
def test_the_engine_itself_is_locked_behind_the_guard(tmp_path: Path, query: str) -> None:
    a_frame = pl.DataFrame({"x": [1]})
    duck = Duck(tmp_path)
    with duck.cursor() as connection, pytest.raises(duckdb.Error):
        connection.execute(query).fetchall()
    assert a_frame.height == 1
    duck.close()


def test_a_function_with_effects_that_a_later_engine_adds_is_refused_too(tmp_path: Path) -> None:
    duck = Duck(tmp_path)
    with duck.cursor() as connection:
        guard = Guard(connection)
        assert {"nextval", "setval", "write_log", "sleep_ms"} <= guard._refused
    duck.close()


# Bounds ----------------------------------------------------------------------------------------------------------


def test_rows_are_bounded_and_it_says_whether_there_were_more(timmy: Timmy) -> None:
    result = timmy.lake.query("FROM range(100)", limit=10)
    assert (result.frame.height, result.truncated) == (10, True)
    result = timmy.lake.query("FROM range(10)", limit=10)
    assert (result.frame.height, result.truncated) == (10, False)
    assert result.seconds >= 0
    for limit in (0, 100_001):
        with pytest.raises(QueryError, match="out of range"):
            timmy.sql("SELECT 1", limit=limit)


def test_time_is_bounded_and_what_was_stopped_disturbs_nobody(timmy: Timmy) -> None:
    endless = (
        "SELECT count(*) FROM range(100000000000) a, range(100000) b",
        "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT count(*) FROM r",
    )
    for query in endless:
        began = time.monotonic()
        with pytest.raises(QueryError, match=r"longer than 0\.2 s and was stopped"):
            timmy.sql(query, timeout_s=0.2)
        assert time.monotonic() - began < 30
        assert timmy.sql("SELECT 1 AS one")["one"].to_list() == [1]
    for timeout_s in (0, -1, 601, float("nan")):
        with pytest.raises(QueryError, match="out of range"):
            timmy.sql("SELECT 1", timeout_s=timeout_s)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT list(i) AS all FROM range(1000000000) r(i)".replace("AS all", "AS whole"),
        "SELECT string_agg(repeat('y', 10000), '') AS text FROM range(1000000)",
        "SELECT repeat('y', 10000) || i AS text FROM range(100000) r(i)",
    ],
)
def test_memory_is_bounded(timmy: Timmy, query: str) -> None:
    with pytest.raises(QueryError, match=r"memory that it may have|result is larger"):
        timmy.sql(query, limit=100_000, timeout_s=60)
    assert timmy.sql("SELECT count(*) AS n FROM events")["n"].to_list() == [0]


def test_many_threads_ask_while_events_are_appended(timmy: Timmy) -> None:
    stop = threading.Event()

    def ask(number: int) -> int:
        last = asked = 0
        while not stop.is_set():
            if number % 4 == 3:
                with pytest.raises(QueryError):
                    timmy.sql("SELECT nothing FROM events")
            count, head = timmy.sql("SELECT count(*) AS n, coalesce(max(seq), 0) AS head FROM events").row(0)
            assert count == head >= last
            last, asked = count, asked + 1
        return asked

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        try:
            for number in range(30):
                timmy.events.append_many([NewEvent("system.info", "test", {"n": number}) for _ in range(10)])
                if number % 10 == 5:
                    timmy.events.seal()
        finally:
            stop.set()
        assert all(one.result() > 0 for one in asking)


def test_kinds_that_frames_lack_become_kinds_that_they_have(timmy: Timmy) -> None:
    frame = timmy.sql(
        "SELECT sum(i) AS total, INTERVAL 90 MINUTE AS lasted, 1.5 AS x, 'a' AS twice, 'b' AS twice FROM range(4) r(i)"
    )
    assert frame["total"].to_list() == [6]
    assert frame.schema["total"] == pl.Int64
    assert frame["lasted"].to_list() == [timedelta(minutes=90)]
    assert len(set(frame.columns)) == 5
    with pytest.raises(QueryError, match="no fixed length"):
        timmy.sql("SELECT INTERVAL 1 MONTH AS m")


def test_a_value_to_look_for_is_never_part_of_the_query() -> None:
    assert literal("it's; --") == "'it''s; --'"
    assert (literal(5), literal(True), literal(0.5)) == ("5", "1", "0.5")
    with pytest.raises(QueryError, match="zero byte"):
        literal("\0")
