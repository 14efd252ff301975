"""The log: appended once, read in order, never changed unseen."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from timmy_core.errors import (
    EventConflictError,
    EventDataError,
    EventError,
    EventNotFoundError,
    StoreError,
    UnknownEventTypeError,
)
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

REST = "task_id, agent_id, trace_id, data, ts, v, salt, data_hash, hash"


def fill(log: EventLog, clock: FakeClock) -> None:
    for number in range(30):
        kind = ("task.created", "task.completed", "llm.failed")[number % 3]
        log.append(kind, source="test", task_id=f"t{number % 2}", agent_id=f"a{number % 5}", data={"n": number})
        clock.advance(1)


def test_an_event_comes_back_as_it_was_written(log: EventLog, clock: FakeClock) -> None:
    written = log.append(
        "task.created",
        source="cli",
        task_id="t1",
        agent_id="echo",
        trace_id="tr",
        data={"title": "Grüße", "n": [1, None]},
    )
    assert (written.seq, written.type, written.family, written.source) == (1, "task.created", "task", "cli")
    assert written.ts == clock.now()
    assert written.data == {"title": "Grüße", "n": [1, None]}
    assert log.get(1) == log.get(written.id) == written


def test_the_first_hash_of_a_known_event_never_changes(store: Store) -> None:
    """The format on disk, byte for byte, as `chain` documents it; computed here by hand."""
    import hashlib
    import struct

    moment = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    EventLog(store).append("task.created", source="cli", task_id="t1", id="one", ts=moment, data={"a": 1})
    with store.read() as connection:
        salt, data_hash, chained = connection.execute("SELECT salt, data_hash, hash FROM events").fetchone()
    assert data_hash == hashlib.blake2b(b'{"a":1}', digest_size=32, key=salt).digest()
    us = int(moment.timestamp()) * 1_000_000 + 123456
    texts = b"".join(struct.pack(">I", len(text)) + text for text in (b"one", b"task.created", b"cli", b"t1"))
    message = bytes(32) + struct.pack(">QQI", 1, us, 1) + texts + b"\xff" * 8 + data_hash
    assert chained == hashlib.blake2b(message, digest_size=32).digest()


def test_the_same_id_again_returns_the_first_event(log: EventLog) -> None:
    first = log.append("task.created", source="cli", id="same", data={"a": 1})
    assert log.append("task.created", source="cli", id="same", data={"a": 1}) == first
    assert log.head()[0] == 1


def test_the_same_id_with_other_content_is_refused(log: EventLog) -> None:
    log.append("task.created", source="cli", id="same", data={"a": 1})
    with pytest.raises(EventConflictError, match="event 1 with other content"):
        log.append("task.created", source="cli", id="same", data={"a": 2})


def test_many_are_written_together_or_not_at_all(log: EventLog) -> None:
    written = log.append_many([NewEvent("task.created", "t", {"n": n}) for n in range(5)])
    assert [event.seq for event in written] == [1, 2, 3, 4, 5]
    with pytest.raises(UnknownEventTypeError):
        log.append_many([NewEvent("task.created", "t"), NewEvent("nope", "t")])
    with pytest.raises(EventConflictError):
        log.append_many([NewEvent("task.created", "t"), NewEvent("task.created", "t", {"n": 9}, id=written[0].id)])
    with pytest.raises(EventDataError, match="too many"):
        log.append_many([NewEvent("task.created", "t")] * 10_001)
    assert log.head()[0] == 5


def test_a_state_change_and_its_event_commit_together(log: EventLog, store: Store) -> None:
    def change(connection: Connection) -> None:
        connection.execute("INSERT INTO meta (key, value) VALUES ('state', 'changed')")
        log.append_in(connection, NewEvent("task.created", "t", id="taken", data={"x": 1}))

    store.write(change)
    store.write(lambda connection: connection.execute("DELETE FROM meta WHERE key = 'state'"))
    with pytest.raises(EventConflictError):
        store.write(
            lambda connection: (
                connection.execute("INSERT INTO meta (key, value) VALUES ('state', 'half')"),
                log.append_in(connection, NewEvent("task.created", "t", id="taken", data={"x": 2})),
            )
        )
    with store.read() as connection:
        assert connection.execute("SELECT * FROM meta WHERE key = 'state'").fetchall() == []


async def test_appending_from_an_event_loop(log: EventLog) -> None:
    event = await log.aappend(NewEvent("system.info", "test"))
    assert event.seq == 1


def test_every_filter_of_list(log: EventLog, clock: FakeClock) -> None:
    start = clock.now()
    fill(log, clock)

    def seqs(**filters: object) -> list[int]:
        return [event.seq for event in log.list(**filters)]  # type: ignore[arg-type]

    assert seqs(limit=3) == [30, 29, 28]
    assert seqs(limit=3, order="asc") == [1, 2, 3]
    assert seqs(type="llm.failed", limit=2) == [30, 27]
    assert seqs(type=["llm.failed", "task.created"], limit=3) == [30, 28, 27]
    assert seqs(family="task", limit=3, order="asc") == [1, 2, 4]
    assert seqs(family="task", type="task.created", limit=2) == [28, 25]
    assert seqs(family="nothing") == []
    assert seqs(task_id="t1", agent_id="a1") == [22, 12, 2]
    assert seqs(after=5, before=8) == [7, 6]
    assert seqs(since=start + timedelta(seconds=28)) == [30, 29]
    assert seqs(until=start + timedelta(seconds=2), order="asc") == [1, 2]
    assert seqs(source="nobody") == []
    assert [event.seq for event in log.for_task("t0")][:3] == [1, 3, 5]
    assert [event.seq for event in log.for_agent("a4")][:2] == [30, 25]


def test_wrong_filters_are_said(log: EventLog) -> None:
    with pytest.raises(EventError, match="expected 1 to 10,000"):
        log.list(limit=0)
    with pytest.raises(EventError, match=r"did you mean task\.created"):
        log.list(type="task.craeted")
    with pytest.raises(EventError, match="without a zone"):
        log.list(since=datetime(2026, 1, 1))  # noqa: DTZ001 - the fault under test
    with pytest.raises(EventError, match="expected 'desc' or 'asc'"):
        log.list(order="up")  # type: ignore[arg-type]
    with pytest.raises(EventNotFoundError, match="ends at seq 0"):
        log.get(1)


def test_a_type_of_a_later_version_is_shown(log: EventLog, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from timmy_core.events import model

    monkeypatch.setitem(model.EVENT_TYPES, "quantum.entangled", "from the future")
    log.append("quantum.entangled", source="later")
    monkeypatch.delitem(model.EVENT_TYPES, "quantum.entangled")
    assert EventLog(store).list(type="quantum.entangled")[0].family == "quantum"
    assert EventLog(store).list(family="quantum")[0].type == "quantum.entangled"


def test_tail_yields_what_is_there_and_then_what_comes_without_gaps(log: EventLog) -> None:
    for number in range(10):
        log.append("system.info", source="t", data={"n": number})
    seen: list[int] = []

    def follow() -> None:
        for batch in log.tail(after=3, stop=lambda: bool(seen) and seen[-1] >= 200):
            seen.extend(event.seq for event in batch)

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(190):
        log.append("system.info", source="t", data={"n": number})
    thread.join(20)
    assert seen == list(range(4, 201))


def test_verify_holds_over_an_empty_and_a_filled_log(log: EventLog, clock: FakeClock) -> None:
    assert log.verify().ok
    fill(log, clock)
    found = log.verify()
    assert (found.ok, found.checked, found.head_hash) == (True, 30, log.head()[1])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE events SET data = '{\"n\":99}' WHERE seq = 7", "the data of event 7 was altered"),
        ("UPDATE events SET source = 'mallory' WHERE seq = 7", "event 7 does not follow"),
        ("UPDATE events SET ts = ts + 1 WHERE seq = 7", "event 7 does not follow"),
        ("UPDATE events SET task_id = NULL WHERE seq = 7", "event 7 does not follow"),
        ("UPDATE events SET hash = zeroblob(32) WHERE seq = 7", "event 7 does not follow"),
        ("UPDATE events SET data_hash = zeroblob(32) WHERE seq = 7", "the data of event 7 was altered"),
        ("DELETE FROM events WHERE seq = 7", "seq 7 is missing; the next event is 8"),
        ("DELETE FROM events WHERE seq = 1", "seq 1 is missing"),
    ],
)
def test_verify_names_what_was_changed_behind_the_triggers(
    log: EventLog, store: Store, clock: FakeClock, statement: str, said: str
) -> None:
    fill(log, clock)

    def tamper(connection: Connection) -> None:
        for trigger in ("events_in_order", "events_kept", "events_unchanged"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)

    store.write(tamper)
    found = log.verify()
    assert not found.ok
    assert said in found.problem


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE seq = 1",
        "UPDATE events SET source = 'x' WHERE seq = 1",
        "UPDATE events SET data = '{}' WHERE seq = 1",
        f"INSERT OR REPLACE INTO events SELECT seq, id, event_type, 'x', {REST} FROM events WHERE seq = 1",
        f"INSERT OR REPLACE INTO events SELECT 31, id, event_type, 'x', {REST} FROM events WHERE seq = 1",
        f"INSERT INTO events SELECT 99, 'new', event_type, source, {REST} FROM events WHERE seq = 1",
    ],
)
def test_the_table_itself_refuses_any_change(log: EventLog, store: Store, clock: FakeClock, statement: str) -> None:
    fill(log, clock)
    with pytest.raises(StoreError, match="append"):
        store.write(lambda connection: connection.execute(statement))
    assert log.verify().ok


def test_the_table_lets_data_and_salt_be_removed_and_the_chain_still_holds(
    log: EventLog, store: Store, clock: FakeClock
) -> None:
    fill(log, clock)
    store.write(lambda c: c.execute("UPDATE events SET data = NULL, salt = zeroblob(16) WHERE seq = 7"))
    assert log.get(7).data is None
    found = log.verify()
    assert ([finding.kind for finding in found.findings], found.redacted) == (["erased"], 1)
