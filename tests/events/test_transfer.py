"""Events out to files and in again: nothing lost, nothing double, and every mistake named by its place."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timmy_core.errors import EventConflictError, EventError, StoreError
from timmy_core.events import transfer
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event, NewEvent
from timmy_core.events.transfer import Imported, import_file, matching, write_events
from timmy_core.events.wanted import Wanted
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock


def exported(log: EventLog, format_: str = "jsonl", wanted: Wanted | None = None, limit: int | None = None) -> bytes:
    out = io.BytesIO()
    write_events(matching(log, wanted or Wanted(), limit=limit), format_, out)
    return out.getvalue()


def imported(log: EventLog, path: Path, store: Store) -> Imported:
    return import_file(log, path, store_path=store.path)


def some(log: EventLog) -> list[Event]:
    return log.append_many(
        [
            NewEvent("task.created", "cli", {"title": "Wäter\nthe garden"}, task_id="t1"),
            NewEvent("llm.completed", "router", {"gen_ai.provider.name": "ollama"}, agent_id="timmy", trace_id="x"),
            NewEvent("llm.failed", "router", {"provider": "openai"}, agent_id="timmy", trace_id="x"),
            NewEvent("x.own.thing", "script", {"formula": 1}),
        ]
    )


@pytest.fixture
def other(tmp_path: Path) -> Any:
    opened = Store.open(tmp_path / "other" / "timmy.db")
    yield EventLog(opened, FakeClock())
    opened.close()


def without_place(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.as_dict().items() if name not in ("seq", "hash")}


# Out ---------------------------------------------------------------------------------------------------------


def test_jsonl_holds_what_the_events_say(log: EventLog) -> None:
    events = some(log)
    assert [json.loads(line) for line in exported(log).splitlines()] == [event.as_dict() for event in events]


def test_csv_holds_one_row_an_event_and_defuses_formulas(log: EventLog) -> None:
    log.append("x.sheet.cell", source="=1+1")
    (row,) = csv.DictReader(io.StringIO(exported(log, "csv").decode()))
    assert row["source"] == "'=1+1"
    assert row["data"] == "{}"


def test_parquet_keeps_times_as_times(log: EventLog) -> None:
    events = some(log)
    frame = pl.read_parquet(io.BytesIO(exported(log, "parquet")))
    assert frame["seq"].to_list() == [1, 2, 3, 4]
    assert frame["ts"].to_list() == [event.ts for event in events]


@pytest.mark.parametrize("format_", transfer.FORMATS)
def test_an_empty_log_makes_a_file_that_can_be_read(log: EventLog, format_: str) -> None:
    data = exported(log, format_)
    assert data.startswith({"jsonl": b"", "csv": b"seq,", "parquet": b"PAR1"}[format_])


def test_an_unknown_format_is_named(log: EventLog) -> None:
    with pytest.raises(EventError, match="expected one of jsonl, csv, parquet"):
        exported(log, "xml")


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Wanted(family="llm"), [2, 3]),
        (Wanted(type="llm.failed"), [3]),
        (Wanted(provider="ollama"), [2]),
        (Wanted(provider="openai", trace_id="x"), [3]),
        (Wanted(task_id="t1"), [1]),
        (Wanted(source="nobody"), []),
    ],
)
def test_only_what_matches_is_exported(log: EventLog, wanted: Wanted, seqs: list[int]) -> None:
    some(log)
    assert [event.seq for batch in matching(log, wanted) for event in batch] == seqs


def test_a_limit_takes_the_newest_and_keeps_their_order(log: EventLog) -> None:
    some(log)
    assert [event.seq for batch in matching(log, Wanted(family="llm"), limit=1) for event in batch] == [3]
    assert [event.seq for batch in matching(log, Wanted(), limit=3) for event in batch] == [2, 3, 4]


def test_pages_meet_without_a_gap_and_what_comes_meanwhile_stays_out(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAGE", 3)
    log.append_many([NewEvent("system.info", "test", {"n": n}) for n in range(10)])
    seqs: list[int] = []
    for batch in matching(log, Wanted()):
        assert len(batch) <= 3
        seqs += [event.seq for event in batch]
        log.append("system.info", source="late")
    assert seqs == list(range(1, 11))


# In, as JSON lines -------------------------------------------------------------------------------------------


def test_what_was_exported_is_imported_once_with_its_ids_and_times(
    log: EventLog, other: EventLog, store: Store, tmp_path: Path
) -> None:
    events = some(log)
    path = tmp_path / "events.jsonl"
    path.write_bytes(exported(log))
    assert (imported(other, path, store).added, imported(other, path, store).added) == (4, 0)
    assert [without_place(event) for event in other.list(order="asc")] == [without_place(event) for event in events]
    assert other.verify().ok
    done = imported(log, path, store)
    assert (done.read, done.known) == (4, 4)


def test_redacted_data_stays_redacted_by_a_word(other: EventLog, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "task.created", "source": "s", "ts": "2026-01-01T00:00:00Z", "data": null}\n')
    imported(other, path, store)
    assert other.list()[0].data == {"imported": "redacted"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "this is not JSON"),
        ("[1]", "expected an object with at least 'type' and 'source'"),
        ('{"type": "task.created", "source": "s"}', "the time is missing"),
        ('{"type": "task.created", "source": "s", "ts": "noon"}', "'noon' is not a time"),
        ('{"type": "task.created", "source": "", "ts": "2026-01-01T00:00:00Z"}', "source is empty"),
        ('{"type": "task.created", "source": "s", "ts": "2026-01-01T00:00:00Z", "data": 3}', "has to be a mapping"),
    ],
)
def test_a_wrong_line_is_named_and_its_batch_is_left_out_whole(
    other: EventLog, store: Store, tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "events.jsonl"
    good = '{"type": "system.info", "source": "s", "ts": "2026-01-01T00:00:00Z"}'
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(EventError, match="line 3: ") as caught:
        imported(other, path, store)
    assert said in str(caught.value)
    assert other.head()[0] == 0
    path.write_text(f"{good}\n\n{good}\n{good}\n")
    assert imported(other, path, store).added == 3


def test_the_batches_before_a_wrong_line_are_kept_and_the_mended_file_goes_on(
    other: EventLog, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "BATCH", 2)
    path = tmp_path / "events.jsonl"
    lines = [f'{{"type": "system.info", "source": "s", "id": "i{n}", "ts": "2026-01-01T00:00:00Z"}}' for n in range(5)]
    path.write_text("\n".join([*lines[:3], "{", *lines[3:]]))
    with pytest.raises(EventError, match="line 4"):
        imported(other, path, store)
    assert [event.id for event in other.list(order="asc")] == ["i0", "i1"]
    path.write_text("\n".join(lines))
    done = imported(other, path, store)
    assert (done.read, done.added) == (5, 3)
    assert [event.id for event in other.list(order="asc")] == [f"i{n}" for n in range(5)]


def test_an_id_with_other_content_is_named_by_its_line(other: EventLog, store: Store, tmp_path: Path) -> None:
    other.append("system.info", source="s", id="taken", data={"a": 1})
    path = tmp_path / "events.jsonl"
    line = '{"type": "system.info", "source": "s", "id": "%s", "ts": "2026-01-01T00:00:00Z"}\n'
    path.write_text(line % "free" + line % "taken")
    with pytest.raises(EventConflictError, match="line 2: "):
        imported(other, path, store)
    assert other.head()[0] == 1


def test_an_unknown_type_is_kept_below_a_name_of_its_own(other: EventLog, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stamp = '"source": "s", "ts": "2026-01-01T00:00:00"'
    path.write_text(f'{{"type": "Node Started!", {stamp}}}\n{{"type": "x.mine.went", {stamp}}}\n')
    done = imported(other, path, store)
    assert [event.type for event in other.list(order="asc")] == ["x.imported.node_started", "x.mine.went"]
    assert done.renamed == {"x.imported.node_started": 1}
    assert done.zoneless == 2
    assert other.list()[0].ts == datetime(2026, 1, 1, tzinfo=UTC)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_every_name_becomes_a_type_that_the_log_takes(other: EventLog, name: str) -> None:
    other.append(transfer._known_type(name), source="test")


# In, from the earlier system ---------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE event_log (id TEXT PRIMARY KEY, event_type TEXT NOT NULL, source TEXT, task_id TEXT, "
            "agent_id TEXT, data TEXT, timestamp TEXT)"
        )
        connection.executemany(
            "INSERT INTO event_log VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                ("a", "task.created", "coordinator", "t1", None, '{"title": "x"}', "2025-02-01T10:00:00"),
                ("b", "swarm.odd", "", None, "echo", "not json", "2025-02-01T10:00:01.5+00:00"),
                ("c", "tool.called", "agent", None, "echo", None, "2025-02-01T10:00:02"),
            ],
        )
    connection.close()
    return path


def test_the_earlier_log_is_imported_once_and_its_times_are_taken_as_utc(
    other: EventLog, store: Store, earlier: Path
) -> None:
    done = imported(other, earlier, store)
    assert (done.read, done.added, done.zoneless, done.renamed) == (3, 3, 2, {"x.imported.swarm.odd": 1})
    first, second, third = other.list(order="asc")
    assert (first.id, first.task_id, first.ts) == ("a", "t1", datetime(2025, 2, 1, 10, tzinfo=UTC))
    assert (second.source, second.data) == ("imported", {"text": "not json"})
    assert (third.agent_id, third.data) == ("echo", {})
    assert imported(other, earlier, store).added == 0
    assert other.verify().ok


def test_a_wrong_row_of_the_earlier_log_is_named(other: EventLog, store: Store, earlier: Path) -> None:
    with sqlite3.connect(earlier) as connection:
        connection.execute("UPDATE event_log SET timestamp = 'later' WHERE id = 'b'")
    connection.close()
    with pytest.raises(EventError, match="row 2: 'later' is not a time"):
        imported(other, earlier, store)


def test_the_open_store_is_never_opened_as_a_foreign_file(log: EventLog, store: Store) -> None:
    with pytest.raises(StoreError, match="this home's own store"):
        imported(log, store.path, store)


def test_a_file_without_that_table_says_what_was_expected(other: EventLog, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (x)")
    connection.close()
    with pytest.raises(StoreError, match="has no table event_log"):
        imported(other, path, store)


def test_a_damaged_file_is_an_error_of_ours(other: EventLog, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 500)
    with pytest.raises(StoreError, match="cannot be read as SQLite"):
        imported(other, path, store)


def test_a_file_that_is_not_there_is_an_error_of_ours(other: EventLog, store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        imported(other, tmp_path / "nowhere", store)
