"""The lake: every table in one place, read-only and bounded, over what is archived and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from timmy_core import open_timmy
from timmy_core.clock import from_us
from timmy_core.errors import QueryError, StoreClosedError, StoreError
from timmy_core.events import archive as archive_module
from timmy_core.events.frames import PROMOTION
from timmy_core.events.segment import PROMOTED, promote
from timmy_core.settings import Settings
from timmy_core.store import lake as lake_module
from timmy_core.store.duck import Duck
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy

SEGMENT = 20
LLM = {"gen_ai.provider.name": "local", "gen_ai.request.model": "m1", "timmy.latency_ms": 12.5, "error.type": None}
ODD = {
    "provider": 7,
    "model": ["x"],
    "latency_ms": "slow",
    "gen_ai.usage.input_tokens": 1.5,
    "timmy.cost_microusd": True,
}


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


def fill(timmy: Timmy, count: int) -> None:
    """A minute between two events; each third one is a provider's answer."""
    for number in range(count):
        kind, data = (
            ("llm.completed", {**LLM, "timmy.latency_ms": number}) if number % 3 == 0 else ("task.created", ODD)
        )
        timmy.events.append(kind, source="test", task_id=f"t{number % 4}", agent_id=f"a{number % 15}", data=data)
        timmy.clock.advance(60)  # type: ignore[attr-defined]


def everything(timmy: Timmy) -> pl.DataFrame:
    return timmy.sql("SELECT * FROM events WHERE family <> 'log' ORDER BY seq")


# One log over hot and cold ---------------------------------------------------------------------------------------


def test_sealing_and_pruning_change_no_answer(timmy: Timmy) -> None:
    fill(timmy, 50)
    before = everything(timmy)
    assert before.height == 50
    assert before["latency_ms"].drop_nulls().to_list() == [float(number) for number in range(0, 50, 3)]
    assert before.filter(pl.col("type") == "task.created").select("provider", "input_tokens").null_count().row(0) == (
        33,
        33,
    )
    timmy.events.seal()
    assert everything(timmy).equals(before)
    timmy.events.prune(timedelta(0))
    assert everything(timmy).equals(before)
    again = Timmy(timmy.settings, clock=timmy.clock)
    assert everything(again).equals(before)
    again.shutdown()


def test_what_is_appended_is_there_at_once_from_any_process(timmy: Timmy) -> None:
    other = Timmy(timmy.settings)
    for number in range(1, 4):
        other.events.append("system.info", source="test")
        assert timmy.sql("SELECT count(*) AS n FROM events")["n"].to_list() == [number]
    other.shutdown()


def test_another_process_may_seal_meanwhile(timmy: Timmy) -> None:
    fill(timmy, 30)
    before = everything(timmy)
    other = Timmy(timmy.settings)
    other.events.seal()
    other.events.prune(timedelta(0))
    other.shutdown()
    assert everything(timmy).equals(before)
    assert timmy.sql("SELECT first_seq, last_seq FROM segments").rows() == [(1, 20)]


@pytest.mark.parametrize("pruned", [False, True])
def test_a_frame_is_the_same_from_the_store_and_from_the_lake(
    timmy: Timmy, monkeypatch: pytest.MonkeyPatch, *, pruned: bool
) -> None:
    fill(timmy, 70)
    start = timmy.events.get(1).ts
    asked = [
        {},
        {"limit": 7},
        {"task_id": "t1"},
        {"task_id": ["t1", "t2"], "limit": 5},
        {"family": "llm"},
        {"type": "task.created", "source": "test"},
        {"since": start + timedelta(minutes=5), "until": start + timedelta(minutes=33)},
        {"since": start + timedelta(minutes=200)},
        {"seq": [3, 25, 69]},
        {"agent_id": []},
        {"task_id": "it's"},
    ]
    wanted = [timmy.frame("events", **one) for one in asked]
    assert [frame.height for frame in wanted] == [70, 7, 18, 5, 24, 46, 28, 0, 3, 0, 0]
    timmy.events.seal()
    if pruned:
        timmy.events.prune(timedelta(0))
    monkeypatch.setattr(lake_module, "QUICK_EVENTS", 0)
    for one, frame in zip(asked, wanted, strict=True):
        found = timmy.frame("events", where="family <> 'log'", **one)
        assert found.equals(frame), one
        assert found.schema == frame.schema
        if one.get("limit") is None and "since" not in one and one:
            assert timmy.frame("events", **one).equals(frame), one


def test_a_frame_takes_a_condition_and_the_columns_that_come_from_data(timmy: Timmy) -> None:
    fill(timmy, 50)
    timmy.events.seal()
    assert timmy.frame("events", where="latency_ms > 40 OR data->>'model' = 'nobody'")["seq"].to_list() == [43, 46, 49]
    assert timmy.frame("events", provider="local", limit=2)["seq"].to_list() == [46, 49]
    assert (
        timmy.frame("events", where="task_id IN (SELECT task_id FROM events WHERE seq = 2) -- why not", limit=2).height
        == 2
    )
    timmy.ask_sync("hello?")
    assert timmy.frame("turns", where="role = 'user'")["characters"].to_list() == [6]
    assert timmy.frame("attempts", where="latency_ms >= 0", provider="local").height == 1


@pytest.mark.parametrize(
    "where",
    [
        "1=1) UNION SELECT 1 --",
        "1) , (2",
        "1) FROM events WHERE (1",
        "",
        ";",
        "1; DROP TABLE x",
        "seq >",
        "1) LIMIT (1",
    ],
)
def test_a_condition_is_one_condition(timmy: Timmy, where: str) -> None:
    with pytest.raises(QueryError):
        timmy.frame("events", where=where)


def test_every_room_has_its_tables(timmy: Timmy) -> None:
    timmy.ask_sync("hello?")

    assert timmy.sql("SHOW TABLES")["name"].to_list() == [
        "accounts", "agents", "attempts", "bids", "circuits", "events", "invoices", "memory", "payments", "providers",
        "recalls", "redactions", "segments", "spending", "tasks", "transfers", "turns", "upgrade_decisions", "upgrades",
    ]  # fmt: skip
    for name in ("attempts", "circuits", "memory", "providers", "recalls", "redactions", "segments", "turns"):
        assert timmy.sql(f"FROM {name}").equals(timmy.frame(name)), name
        assert timmy.sql(f"FROM {name}").schema == timmy.frame(name).schema, name
    timmy.ask_sync("and now?")
    assert timmy.sql("SELECT requests FROM providers")["requests"].to_list() == [2]
    assert timmy.sql("SELECT count(*) AS n FROM attempts JOIN turns USING (trace_id)")["n"].to_list() == [4]


def test_the_columns_taken_from_data_are_those_of_the_archive(tmp_path: Path) -> None:
    values = [
        "x",
        "",
        'q"uo\\te',
        "naïve",
        "12",
        0,
        -1,
        2**62,
        2**63,
        -(2**63),
        2**70,
        1.5,
        1.0,
        1e5,
        1e300,
        True,
        None,
        [1],
        {},
    ]
    names = [name for _, known in PROMOTED.values() for name in known]
    texts = [json.dumps({name: value}, ensure_ascii=False) for name in names for value in values]
    texts += [
        "{}",
        '{"provider":1e400}',
        '{"latency_ms":1E400}',
        '{"latency_ms":1E2}',
        '{"model":"a","gen_ai.request.model":"b"}',
    ]
    duck = Duck(tmp_path)
    with duck.cursor() as connection:
        connection.register("fresh", pl.DataFrame({"data": [*texts, None]}))
        held = f"SELECT *, {PROMOTION.held()} AS held FROM fresh"
        found = connection.execute(f"SELECT {PROMOTION.expressions()} FROM ({held})").fetchall()
    assert found == [promote(text) for text in [*texts, None]]
    duck.close()


# Redaction -------------------------------------------------------------------------------------------------------


def test_redacted_data_leaves_the_lake_wherever_it_was(timmy: Timmy) -> None:
    fill(timmy, 50)
    timmy.events.seal()
    held = "SELECT seq, data IS NULL AS gone, provider FROM events WHERE seq IN (1, 4, 46) ORDER BY seq"
    assert timmy.sql(held).rows() == [(1, False, "local"), (4, False, "local"), (46, False, "local")]
    timmy.events.redact(seq=[4, 46], reason="asked", by="ann")
    assert timmy.sql(held).rows() == [(1, False, "local"), (4, True, None), (46, True, None)]
    assert timmy.sql("SELECT seq, state, reason FROM redactions").rows() == [
        (4, "done", "asked"),
        (46, "done", "asked"),
    ]


def test_what_is_still_to_be_erased_from_a_file_is_not_shown(timmy: Timmy) -> None:
    fill(timmy, 30)
    timmy.events.seal()
    assert timmy.sql("SELECT data FROM events WHERE seq = 1")["data"].null_count() == 0
    timmy.store.write(lambda c: c.execute("INSERT INTO redactions VALUES (1, 'pending', 'asked', 'ann', 0)"))
    assert timmy.sql("SELECT data, provider, latency_ms, seq FROM events WHERE seq = 1").rows() == [
        (None, None, None, 1)
    ]
    assert timmy.lake.facets("provider", seq=[1]).height == 0
    timmy.store.write(lambda c: c.execute("UPDATE redactions SET state = 'done'"))
    assert timmy.sql("SELECT provider FROM events WHERE seq = 1")["provider"].to_list() == ["local"]


# A damaged archive -----------------------------------------------------------------------------------------------


def lose(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def fill_with_noise(path: Path) -> None:
    path.write_bytes(b"noise" * 1000)


@pytest.mark.parametrize("harm", [lose, shorten, fill_with_noise])
def test_a_segment_that_can_be_made_anew_is(timmy: Timmy, harm: Callable[[Path], None]) -> None:
    fill(timmy, 50)
    timmy.events.seal()
    before = everything(timmy)
    harm(timmy.events.archive.path(timmy.events.archive.segments()[0]))
    assert everything(timmy).equals(before)


@pytest.mark.parametrize("harm", [lose, shorten, fill_with_noise])
def test_a_segment_that_is_gone_for_good_is_named_and_the_rest_still_answers(
    timmy: Timmy, harm: Callable[[Path], None]
) -> None:
    fill(timmy, 70)
    timmy.events.seal()
    timmy.events.prune(timedelta(0))
    timmy.ask_sync("hello?")
    first, second = timmy.events.archive.segments()[:2]
    harm(timmy.events.archive.path(first))
    for _ in range(2):
        with pytest.raises(StoreError, match=first.file):
            timmy.sql("SELECT count(*) FROM events")
        with pytest.raises(StoreError, match=first.file):
            timmy.lake.histogram()
    assert timmy.sql("SELECT count(*) AS n FROM turns")["n"].to_list() == [2]
    assert timmy.frame("events", where="true", limit=10).height == 10
    since = from_us(second.first_ts)
    assert timmy.lake.histogram(since, by="source", source="test")["count"].sum() == 50
    assert timmy.frame("events", since=since, source="test").height == 50


# Charts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sealed", [False, True])
def test_a_histogram_counts_every_event_once(timmy: Timmy, *, sealed: bool) -> None:
    fill(timmy, 50)
    if sealed:
        timmy.events.seal()
    start = timmy.events.get(1).ts
    chart = timmy.lake.histogram(start, start + timedelta(minutes=50), buckets=5, source="test")
    assert chart.columns == ["bucket", "key", "count"]
    assert chart["bucket"].unique().sort().to_list() == [start + timedelta(minutes=10 * step) for step in range(5)]
    assert chart.group_by("key").agg(pl.col("count").sum()).sort("key").rows() == [("llm", 17), ("task", 33)]
    assert timmy.lake.histogram(source="test")["count"].sum() == 50
    assert timmy.lake.histogram(start + timedelta(minutes=10), start + timedelta(minutes=13))["count"].sum() == 3
    assert timmy.lake.histogram(by="provider")["key"].unique().to_list() == ["local"]
    many = timmy.lake.histogram(by="agent_id", buckets=1)
    assert many.height == 13
    assert many.filter(pl.col("key") == "(other)")["count"].to_list() == [9]


def test_an_empty_log_gives_empty_charts(timmy: Timmy) -> None:
    assert timmy.lake.histogram().is_empty()
    assert timmy.lake.facets("type").is_empty()
    assert timmy.lake.percentiles().is_empty()
    assert timmy.lake.histogram().columns == ["bucket", "key", "count"]


def test_facets_name_the_most_frequent_values(timmy: Timmy) -> None:
    fill(timmy, 50)
    timmy.events.seal()
    assert timmy.lake.facets("type", source="test").rows() == [("task.created", 33), ("llm.completed", 17)]
    assert timmy.lake.facets("task_id", limit=1).rows() == [("t0", 13)]
    assert timmy.lake.facets("provider", type="llm.completed", task_id=["t0", "t1"]).rows() == [("local", 9)]
    assert timmy.lake.facets("type", seq=[1, 2, 4]).rows() == [("llm.completed", 2), ("task.created", 1)]


def test_percentiles_are_values_that_occurred(timmy: Timmy) -> None:
    fill(timmy, 30)
    assert timmy.lake.percentiles().rows() == [("local", 10, 12.0, 27.0, 27.0, 27.0)]


def test_charts_refuse_what_they_do_not_know(timmy: Timmy) -> None:
    for call, said in (
        (lambda: timmy.lake.histogram(by="data"), "'data' cannot be used here"),
        (lambda: timmy.lake.histogram(colour="red"), "'colour' cannot be used here"),
        (lambda: timmy.lake.histogram(buckets=0), "out of range"),
        (lambda: timmy.lake.facets("1; DROP TABLE x"), "cannot be used here"),
        (lambda: timmy.lake.facets("type", limit=0), "out of range"),
        (lambda: timmy.lake.percentiles(column="provider"), "cannot be used here"),
    ):
        with pytest.raises(QueryError, match=said):
            call()


# Opening and closing ---------------------------------------------------------------------------------------------


def test_warming_is_done_beside_and_ends_with_timmy(home: Path) -> None:
    before = set(threading.enumerate())
    with open_timmy(home) as timmy:
        timmy.events.append("system.info", source="test")
        timmy.warm()
        timmy.warm()
        assert timmy.sql("SELECT count(*) AS n FROM events")["n"].to_list() == [1]
    assert set(threading.enumerate()) <= before


def test_a_closed_lake_says_so(home: Path) -> None:
    with open_timmy(home) as timmy:
        timmy.sql("SELECT 1")
    for call in (lambda: timmy.sql("SELECT 1"), timmy.lake.histogram, timmy.lake.warm):
        with pytest.raises(StoreClosedError):
            call()
    timmy.warm()
    timmy.lake.close()


def test_filling_has_its_time_too_and_goes_on_with_the_next(timmy: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timmy_core.store.hot.BATCH", 10)
    fill(timmy, 45)
    for _ in range(4):
        with pytest.raises(QueryError, match="goes on with the next"):
            timmy.lake.answer("SELECT count(*) FROM events", timeout_s=1e-9)
    assert timmy.lake.answer("SELECT count(*) AS n FROM events").frame["n"].to_list() == [45]


def test_data_stays_the_text_that_was_written(timmy: Timmy) -> None:
    data = {"text": "naïve ✓ 'quoted' \\ \n", "deep": {"list": [1, None, True]}}
    timmy.events.append("x.odd.data", source="test", data=data)
    frame = timmy.sql("SELECT data, data->>'text' AS text, data->'deep'->>'$.list[0]' AS one FROM events")
    assert json.loads(frame["data"][0]) == data
    assert frame.row(0)[1:] == (data["text"], "1")
