"""Verifying: whatever is changed behind the log's back is found, named and told apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from timmy_core.events import archive as archive_module
from timmy_core.events import retention, segment, verify
from timmy_core.events.events import Events
from timmy_core.events.files import aside, digest_of
from timmy_core.events.findings import KINDS, Finding
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    monkeypatch.setattr(segment, "ROW_GROUP", 8)
    monkeypatch.setattr(retention, "CHUNK", 7)


@pytest.fixture(params=["open", "sealed", "pruned"])
def events(request: pytest.FixtureRequest, store: Store, clock: FakeClock) -> Events:
    """A log of 50 events and more; pruned, the first 20 are in the archive only, so that 30 to 50 are always rows."""
    made = Events(store, clock)
    made.append_many([event(number, clock.now() + timedelta(minutes=number)) for number in range(50)])
    clock.advance(50 * 60)
    if request.param != "open":
        made.seal()
    if request.param == "pruned":
        made.prune(timedelta(minutes=25))
        clock.advance(1)
    return made


@pytest.fixture
def pruned(store: Store, clock: FakeClock) -> Events:
    made = Events(store, clock)
    made.append_many([event(number, clock.now() + timedelta(minutes=number)) for number in range(70)])
    clock.advance(70 * 60)
    made.seal()
    made.prune(timedelta(minutes=25))
    return made


def event(number: int, ts: datetime) -> NewEvent:
    data = {"n": number, "model": "m", "timmy.latency_ms": number}
    return NewEvent("llm.completed", "test", data, f"t{number}", "a", f"r{number}", None, ts)


def tamper(store: Store, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for trigger in (
            "events_in_order",
            "events_kept",
            "events_unchanged",
            "log_base_below_archive",
            "log_base_kept",
        ):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)

    store.write(run)


def faults(events: Events) -> list[tuple[str, int]]:
    found = events.verify()
    assert not found.ok
    assert {one.kind for one in found.findings} <= set(KINDS)
    assert found.problem == next(one.message for one in found.findings if one.fault)
    assert found.checked < events.head()[0]
    return [(one.kind, one.seq) for one in found.findings if one.fault]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "'other'"), ("event_type", "'llm.failed'"), ("source", "'mallory'"), ("task_id", "NULL"),
        ("agent_id", "'mallory'"), ("trace_id", "trace_id || ' '"), ("data", "'{}'"), ("data", "data || ' '"),
        ("ts", "ts + 1"), ("ts", "-1"), ("v", "2"), ("v", "-1"), ("salt", "randomblob(16)"), ("salt", "zeroblob(99)"),
        ("data_hash", "zeroblob(32)"), ("hash", "zeroblob(32)"), ("data", "CAST(x'ff' AS TEXT)"),
        ("source", "CAST(x'ff' AS TEXT)"), ("data", "NULL"),
    ],
)  # fmt: skip
def test_each_column_of_a_row_is_covered(events: Events, store: Store, column: str, value: str) -> None:
    tamper(store, f"UPDATE events SET {column} = {value} WHERE seq = 44")
    assert faults(events) == [("altered", 44)]
    assert "event 44" in events.verify().problem


def test_each_fault_is_found_by_itself(events: Events, store: Store) -> None:
    tamper(
        store,
        "UPDATE events SET data = '{}' WHERE seq = 43",
        "UPDATE events SET hash = zeroblob(32) WHERE seq = 45",
        "DELETE FROM events WHERE seq IN (47, 48)",
    )
    assert faults(events) == [("altered", 43), ("altered", 45), ("cut", 47)]
    assert events.verify().checked == 42


@pytest.mark.parametrize("seq", [43, 49])
def test_a_cut_in_the_middle_is_named(events: Events, store: Store, seq: int) -> None:
    tamper(store, f"DELETE FROM events WHERE seq = {seq}")
    assert faults(events) == [("cut", seq)]
    assert events.verify().problem == f"seq {seq} is missing; the next event is {seq + 1}"


def test_rows_in_another_order_are_told_from_altered_ones(events: Events, store: Store) -> None:
    tamper(
        store,
        "UPDATE events SET seq = -1 WHERE seq = 44",
        "UPDATE events SET seq = 44 WHERE seq = 45",
        "UPDATE events SET seq = 45 WHERE seq = -1",
    )
    assert faults(events) == [("reordered", 44), ("reordered", 45)]
    assert events.verify().problem == "event 44 stands at the place of event 45"


def test_a_row_that_was_moved_to_the_end_is_found_there(events: Events, store: Store) -> None:
    tamper(store, "UPDATE events SET seq = 999 WHERE seq = 44")
    assert faults(events)[0] == ("reordered", 44)


def test_a_cut_tail_shows_in_what_was_archived(pruned: Events, store: Store) -> None:
    assert pruned.archive.segments()[-1].last_seq == 60
    tamper(store, "DELETE FROM events WHERE seq > 55")
    assert ("cut", 56) in [(one.kind, one.seq) for one in pruned.verify().findings]


def test_a_chain_that_was_written_anew_is_not_the_one_that_was_sealed(pruned: Events, store: Store) -> None:
    from timmy_core.events.chain import hash_event

    with store.read() as connection:
        previous = connection.execute("SELECT hash FROM log_base").fetchone()[0]
        rows = connection.execute(f"SELECT {', '.join(segment.ROW)} FROM events ORDER BY seq").fetchall()
    statements = []
    for row in rows:
        texts = (*row[1:3], "mallory", *row[4:7]) if row[0] == 45 else row[1:7]
        previous = hash_event(previous, row[0], row[8], row[9], texts, row[12])
        statements.append(f"UPDATE events SET source = '{texts[2]}', hash = x'{previous.hex()}' WHERE seq = {row[0]}")
    tamper(store, *statements)
    assert [kind for kind, _ in faults(pruned)] == ["rewritten"]
    assert "does not hold what was sealed" in pruned.verify().problem


# The archive --------------------------------------------------------------------------------------------------


def segment_of(events: Events, seq: int) -> tuple[segment.Segment, Path]:
    one = next(one for one in events.archive.segments() if one.first_seq <= seq <= one.last_seq)
    return one, events.archive.path(one)


@pytest.mark.parametrize("seq", [5, 45])
def test_any_byte_of_a_segment_is_covered(pruned: Events, seq: int) -> None:
    one, path = segment_of(pruned, seq)
    whole = path.read_bytes()
    for at in (0, 7, len(whole) // 3, len(whole) // 2, len(whole) - 300, len(whole) - 6, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert faults(pruned)[0] == ("segment_altered", one.first_seq)
        assert one.file in pruned.verify().problem
    path.write_bytes(whole + b"more")
    assert faults(pruned) == [("segment_altered", one.first_seq)]
    path.write_bytes(whole)
    assert pruned.verify().ok


@pytest.mark.parametrize("seq", [5, 45])
def test_a_segment_that_is_gone_is_named(pruned: Events, seq: int) -> None:
    one, path = segment_of(pruned, seq)
    path.unlink()
    assert faults(pruned) == [("segment_missing", one.first_seq)]
    assert f"events {one.first_seq} to {one.last_seq}" in pruned.verify().problem


def test_a_segment_that_nothing_tells_of_any_more_is_missed(pruned: Events, store: Store) -> None:
    tamper(store, "DELETE FROM segments WHERE first_seq = 21")
    assert faults(pruned) == [("segment_missing", 21)]


def set_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    def apply(table: Any) -> Any:
        at = table.schema.get_field_index(name)
        values = change(table.column(name).to_pylist())
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return apply


def spoil(value: Any) -> Any:
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value + 1 if isinstance(value, (int, float)) else "mallory"


FIRST = (
    "source",
    "data",
    "task_id",
    "id",
    "event_type",
    "ts",
    "v",
    "salt",
    "data_hash",
    "hash",
    "agent_id",
    "trace_id",
)


@pytest.mark.parametrize("column", FIRST)
@pytest.mark.parametrize("digest_too", [False, True])
def test_a_segment_with_other_content_is_found_by_its_digest_and_by_its_chain(
    pruned: Events, store: Store, column: str, digest_too: bool
) -> None:
    one, path = segment_of(pruned, 5)
    forge(path, one, set_column(column, lambda values: [values[0], spoil(values[1]), *values[2:]]))
    if digest_too:
        store.write(lambda c: c.execute("UPDATE segments SET digest = ? WHERE first_seq = 1", (digest_of(path),)))
    kinds = faults(pruned)
    assert ("altered", 2) in kinds
    assert (("segment_altered", 1) in kinds) is not digest_too
    assert one.file in pruned.verify().problem


@pytest.mark.parametrize("column", ["model", "latency_ms", "input_tokens"])
def test_a_promoted_column_says_what_the_data_says(pruned: Events, store: Store, column: str) -> None:
    one, path = segment_of(pruned, 5)
    forge(path, one, set_column(column, lambda values: [7 if column != "model" else "7", *values[1:]]))
    store.write(lambda c: c.execute("UPDATE segments SET digest = ? WHERE first_seq = 1", (digest_of(path),)))
    assert faults(pruned) == [("segment_altered", 1)]
    assert f"its column {column} is not what the data says" in pruned.verify().problem


def test_events_in_another_order_in_a_segment_are_named(pruned: Events) -> None:
    one, path = segment_of(pruned, 5)
    forge(path, one, lambda table: table.take([1, 0, *range(2, table.num_rows)]))
    assert ("reordered", 1) in faults(pruned)


def test_an_event_cut_out_of_a_segment_is_named(pruned: Events) -> None:
    one, path = segment_of(pruned, 5)
    forge(path, one, lambda table: table.take([0, *range(2, table.num_rows)]))
    assert ("cut", 2) in faults(pruned)


def forge(path: Path, one: segment.Segment, change: Callable[[Any], Any]) -> None:
    tables = [change(table) for table in segment.tables(path)]
    with segment.SegmentWriter(path, one.first_seq - 1, one.before_hash) as writer:
        for table in tables:
            writer.add_table(table)
    aside(path).rename(path)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE log_base SET hash = zeroblob(32)", "rewritten"),
        ("UPDATE log_base SET seq = 38", "rewritten"),
        ("UPDATE log_base SET seq = 0, hash = zeroblob(32)", "cut"),
        ("DELETE FROM log_base", "cut"),
        ("UPDATE segments SET last_hash = zeroblob(32) WHERE first_seq = 1", "rewritten"),
        ("UPDATE segments SET before_hash = zeroblob(32) WHERE first_seq = 21", "rewritten"),
        ("UPDATE segments SET digest = 'x' WHERE first_seq = 41", "segment_altered"),
        ("UPDATE segments SET file = 'x' WHERE first_seq = 41", "segment_missing"),
    ],
)
def test_what_the_database_says_of_the_archive_is_covered_too(
    pruned: Events, store: Store, statement: str, kind: str
) -> None:
    tamper(store, statement)
    assert kind in [one.kind for one in pruned.verify().findings]


# The walk itself ----------------------------------------------------------------------------------------------


def test_what_was_redacted_is_said_and_holds(events: Events) -> None:
    events.redact(seq=[43, 44, 46], reason="r", by="b")
    found = events.verify()
    assert (found.ok, found.redacted) == (True, 3)
    assert [one.message.split(";")[0] for one in found.findings] == [
        "events 43 to 44 were redacted",
        "event 46 was redacted",
    ]


def test_data_that_was_removed_without_a_request_is_a_fault(events: Events, store: Store) -> None:
    store.write(lambda c: c.execute("UPDATE events SET data = NULL, salt = zeroblob(16) WHERE seq = 44"))
    assert faults(events) == [("erased", 44)]
    assert "no request is on record" in events.verify().problem


def test_many_faults_end_the_walk(events: Events, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MAX_FINDINGS", 5)
    tamper(store, "UPDATE events SET source = 'mallory' WHERE seq > 40")
    assert len(events.verify().findings) == 5


def test_signed_heads_are_asked_and_what_they_say_counts(events: Events) -> None:
    events.check_heads = lambda: [Finding("rewritten", 44, "head 3 signs another event 44")]
    assert faults(events) == [("rewritten", 44)]


def test_it_holds_while_others_append_seal_prune_and_redact(events: Events, store: Store, clock: FakeClock) -> None:
    done = threading.Event()

    def work() -> None:
        other = Events(store, clock)
        for number in range(12):
            for _ in range(8):
                other.append("system.info", source="t", data={"n": number})
            clock.advance(60)
            other.seal()
            other.redact(seq=40 + number if number != 11 else 3, reason="r", by="b") if number not in (10, 11) else None
            other.prune(timedelta(minutes=3))
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    rounds = 0
    while not done.is_set() and worker.is_alive():
        found = events.verify()
        assert found.ok, found.problem
        rounds += 1
    worker.join()
    assert done.is_set()
    assert rounds > 1
