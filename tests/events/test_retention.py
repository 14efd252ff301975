"""Retention: pruning gives the disk back and loses nothing; redaction leaves no byte, and the chain whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import BlobNotFoundError, EventError, EventNotFoundError, StoreBusyError, StoreError
from timmy_core.events import archive as archive_module
from timmy_core.events import retention, segment
from timmy_core.events.events import Events
from timmy_core.events.feed import Feed
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

SECRET = "sesame-open-the-door"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    monkeypatch.setattr(segment, "ROW_GROUP", 8)
    monkeypatch.setattr(retention, "CHUNK", 7)


@pytest.fixture
def events(store: Store, clock: FakeClock) -> Events:
    made = Events(store, clock)
    made.append_many([event(number, clock.now() + timedelta(minutes=number)) for number in range(50)])
    clock.advance(50 * 60)
    return made


def event(number: int, ts: datetime) -> NewEvent:
    data = {"n": number, "note": f"{SECRET} {number}", "model": f"{SECRET}-model"}
    return NewEvent("task.created", "test", data, f"t{number % 5}", f"a{number % 2}", f"r{number // 10}", None, ts)


def rows(store: Store) -> list[int]:
    with store.read() as connection:
        return [row[0] for row in connection.execute("SELECT seq FROM events ORDER BY seq")]


def raw(events: Events) -> bytes:
    """Every byte of the database, its write-ahead log and the archive, as a thief of the disk would read them."""
    home = events._store.path.parent
    # Read by another process: closing the file here would drop this one's locks on it.
    database = subprocess.run(["cat", *home.glob("timmy.db*")], capture_output=True, check=True).stdout
    tables = [table for path in (home / "archive").glob("*.parquet") for table in segment.tables(path)]
    return database + json.dumps([table.to_pylist() for table in tables], default=str).encode()


# Pruning ------------------------------------------------------------------------------------------------------


def test_only_whole_archived_segments_that_are_old_enough_leave_the_table(events: Events, clock: FakeClock) -> None:
    assert events.prune(timedelta(0)).events == 0
    events.seal()
    assert events.prune(timedelta(minutes=45)).events == 0
    pruned = events.prune(clock.now() - timedelta(minutes=25))
    assert (pruned.events, pruned.segments) == (20, 1)
    assert rows(events._store)[0] == 21
    assert events.prune(timedelta(0)).events == 20
    assert rows(events._store)[0] == 41
    said = [event.data for event in events.list(type="log.pruned", order="asc")]
    assert [(data["first_seq"], data["last_seq"]) for data in said if data] == [(1, 20), (21, 40)]
    found = events.verify()
    assert (found.ok, found.checked) == (True, events.head()[0])


def test_a_wrong_age_is_said(events: Events) -> None:
    with pytest.raises(EventError, match="lies in the future"):
        events.prune(timedelta(days=-1))
    with pytest.raises(EventError, match="without a zone"):
        events.prune(datetime(2026, 1, 1))  # noqa: DTZ001 - the fault under test


def test_the_disk_gets_its_room_back(store: Store, clock: FakeClock) -> None:
    events = Events(store, clock)
    empty = store.size_bytes()
    for start in range(0, 400, 100):
        events.append_many([NewEvent("system.info", "t", {"x": f"{start + n}" * 900}) for n in range(100)])
    clock.advance(60)
    events.seal()
    store.empty_wal()
    taken = store.size_bytes() - empty
    pruned = events.prune(timedelta(0))
    assert store.size_bytes() - empty < taken / 4
    assert pruned.bytes_back > taken / 2


@pytest.mark.parametrize("harm", ["flip", "gone", "other content"])
def test_a_segment_that_does_not_hold_is_made_anew_before_its_rows_go(
    events: Events, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events.seal()
    first = events.archive.segments()[0]
    path = events.archive.path(first)
    if harm == "gone":
        path.unlink()
    elif harm == "flip":
        content = bytearray(path.read_bytes())
        content[200] ^= 4
        path.write_bytes(content)
    else:
        forge(events, first, lambda table: segment.without_data(table, {3}))
    assert events.prune(timedelta(0)).events == 40
    assert events.get(3).data is not None
    assert events.verify().ok


def forge(events: Events, one: segment.Segment, change: Callable[[Any], Any]) -> None:
    """Rewrite a segment with other content and give its row the new digest, as somebody with the disk could."""
    from timmy_core.events.files import digest_of

    path = events.archive.path(one)
    tables = [change(table) for table in segment.tables(path)]
    with segment.SegmentWriter(path, one.first_seq - 1, one.before_hash) as writer:
        for table in tables:
            writer.add_table(table)
    path.with_name(path.name + ".tmp").rename(path)
    events._store.write(
        lambda c: c.execute("UPDATE segments SET digest = ? WHERE file = ?", (digest_of(path), one.file))
    )


def test_rows_that_are_not_what_was_sealed_are_not_pruned(events: Events, store: Store) -> None:
    events.seal()

    def tamper(connection: Connection) -> None:
        connection.execute("DROP TRIGGER events_unchanged")
        connection.execute("UPDATE events SET hash = zeroblob(32) WHERE seq = 20")

    store.write(tamper)
    with pytest.raises(StoreError, match="was not pruned"):
        events.prune(timedelta(0))
    assert rows(store)[0] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE seq = 41",
        "DELETE FROM events",
        "UPDATE log_base SET prune_to = 45",
        "UPDATE log_base SET seq = 41, prune_to = 40",
        "UPDATE log_base SET seq = 0",
        "DELETE FROM log_base",
    ],
)
def test_the_tables_refuse_a_pruning_beyond_the_archive(events: Events, store: Store, statement: str) -> None:
    events.seal()
    events.prune(timedelta(minutes=25))
    with pytest.raises(StoreError, match=r"append-only|archived|kept"):
        store.write(lambda connection: connection.execute(statement))
    assert events.verify().ok


def test_numbers_go_on_after_everything_old_is_gone(events: Events) -> None:
    events.seal()
    events.prune(timedelta(0))
    head = events.head()[0]
    assert events.append("system.info", source="t").seq == head + 1


def test_a_reader_that_follows_while_it_is_pruned_misses_nothing(events: Events) -> None:
    events.seal()
    seen = [event.seq for event in events.read_after(0, 13)]
    events.prune(timedelta(0))
    while seen[-1] < 50:
        seen += [event.seq for event in events.read_after(seen[-1], 13)]
    assert seen[:50] == list(range(1, 51))


# Redacting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["open", "sealed", "pruned"])
def test_no_byte_of_the_data_is_left_and_the_chain_holds(events: Events, state: str) -> None:
    if state != "open":
        events.seal()
    if state == "pruned":
        events.prune(timedelta(0))
    assert SECRET.encode() in raw(events)
    done = events.redact(where={"type": "task.created"}, reason="asked by the user", by="ann")
    assert done.count == 50
    assert done.segments == (0 if state == "open" else 2)
    assert SECRET.encode() not in raw(events)
    assert {event.data is None for event in events.list(type="task.created")} == {True}
    found = events.verify()
    assert (found.ok, found.redacted) == (True, 50)
    runs = ["events 1 to 40", "events 41 to 50"] if state == "pruned" else ["events 1 to 50"]
    said = "were redacted; the chain holds without the data"
    assert [(one.kind, one.message) for one in found.findings] == [("redacted", f"{run} {said}") for run in runs]
    assert [events.archive.check(one) for one in events.archive.segments()] == [""] * done.segments


def test_who_asked_and_why_stays_on_record_without_the_content(events: Events) -> None:
    events.redact(seq=[7, 9], reason="a key slipped in", by="ann")
    (said,) = events.list(type="log.redacted")
    assert said.data == {"by": "ann", "reason": "a key slipped in", "count": 2, "first_seq": 7, "last_seq": 9}
    assert [event.seq for event in events.list(limit=50) if event.data is None] == [9, 7]
    assert events.redact(seq=7, reason="again", by="ann").count == 0


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"agent_id": "a1"}, 25),
        ({"task_id": "t2", "agent_id": "a0"}, 5),
        ({"trace_id": "r3"}, 10),
        ({"source": "test", "after": 40}, 10),
        ({"type": "task.created", "before": 4}, 3),
        ({"family": "log"}, 0),
    ],
)
def test_what_matches_is_redacted_in_the_table_and_below_it(events: Events, where: dict[str, Any], count: int) -> None:
    events.seal()
    events.prune(timedelta(minutes=25))
    assert events.redact(where=where, reason="r", by="b").count == count
    assert all(event.data is None for event in events.list(**where, limit=1000) if event.family != "log")
    assert sum(event.data is None for event in events.list(limit=1000)) == count
    assert events.verify().ok


def test_until_bounds_a_redaction(events: Events, clock: FakeClock) -> None:
    moment = clock.now() - timedelta(minutes=40)
    events.redact(where={"until": moment}, reason="too old", by="policy")
    assert [event.seq for event in events.list(order="asc") if event.data is None] == list(range(1, 11))


def test_what_is_unclear_is_refused(events: Events) -> None:
    with pytest.raises(EventError, match="either seq"):
        events.redact(reason="r", by="b")
    with pytest.raises(EventError, match="no filter was given"):
        events.redact(where={}, reason="r", by="b")
    with pytest.raises(EventError, match="'colour' is no filter"):
        events.redact(where={"colour": "red"}, reason="r", by="b")
    with pytest.raises(EventError, match="reason has to be text"):
        events.redact(seq=1, reason=" ", by="b")
    with pytest.raises(EventNotFoundError):
        events.redact(seq=999, reason="r", by="b")
    events.seal()
    with pytest.raises(EventError, match=r"event 51 is log\.sealed"):
        events.redact(seq=51, reason="r", by="b")
    assert events.verify().redacted == 0


def test_who_keeps_something_of_the_data_forgets_first(events: Events) -> None:
    told: list[tuple[int, str]] = []

    class Index:
        def forget(self, gone: Any, /) -> None:
            assert all(events.get(seq).data is not None for seq, _ in gone)
            told.extend(gone)

    events.retention.redaction.forgetters.append(Index())
    events.redact(seq=3, reason="r", by="b")
    assert [(seq, json.loads(data)["n"]) for seq, data in told] == [(3, 2)]


def test_the_blob_of_a_redacted_event_goes_with_it(events: Events) -> None:
    event = events.append("system.info", source="t", data={"text": SECRET * 20_000}, large=True)
    assert event.data is not None
    assert events.content(event) == {"text": SECRET * 20_000}
    events.redact(seq=event.seq, reason="r", by="b")
    with pytest.raises(BlobNotFoundError):
        events.content(event)
    assert events.content(events.get(event.seq)) is None
    assert not [path for path in events.blobs.folder.rglob("*") if path.is_file()]


async def test_the_feed_replays_nothing_that_was_redacted(events: Events) -> None:
    feed = Feed(events)
    try:
        secret = await asyncio.to_thread(events.append, "system.info", source="t", data={"note": SECRET})
        async with feed.subscribe(after=secret.seq - 1) as early:
            assert SECRET in (await early.next())[0]
        await asyncio.to_thread(lambda: events.redact(seq=secret.seq, reason="r", by="b"))
        async with feed.subscribe() as live:
            while feed.head() < events.head()[0]:
                await live.next(timeout_s=1)
        async with feed.subscribe(after=secret.seq - 1) as late:
            found = [json.loads(text) for text in await late.next()]
        assert [(one["seq"], one["data"] is None) for one in found] == [(secret.seq, True), (secret.seq + 1, False)]
    finally:
        feed.close()


def test_a_reader_that_will_not_end_leaves_the_redaction_to_be_finished(
    events: Events, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "empty_wal", lambda: False)
    with pytest.raises(StoreBusyError, match="others read the write-ahead log"):
        events.redact(seq=3, reason="r", by="b")
    monkeypatch.undo()
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    assert events.retention.unfinished()
    again = Events(store, clock)
    assert again.mend() == []
    assert not again.retention.unfinished()
    assert again.list(type="log.redacted")[0].data == {
        "by": "b",
        "reason": "r",
        "count": 1,
        "first_seq": 3,
        "last_seq": 3,
    }


def test_the_log_is_emptied_although_short_readers_come_and_go(events: Events, store: Store) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            events.list(limit=50)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        assert events.redact(seq=3, reason="r", by="b").count == 1
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def test_a_redaction_whose_segment_is_lost_is_said_and_finished_when_it_is_back(
    events: Events, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    events.seal()
    events.prune(timedelta(0))
    path = events.archive.path(events.archive.segments()[0])
    Events(store, clock).redact(seq=30, reason="r", by="b")
    events.redact(where={"trace_id": "r4"}, reason="r", by="b")
    whole = path.read_bytes()
    path.unlink()
    fresh = Events(store, clock)
    with pytest.raises(StoreError, match="is missing"):
        fresh.redact(seq=5, reason="r", by="b")
    path.write_bytes(whole)
    assert fresh.redact(seq=5, reason="r", by="b").count == 1
    assert fresh.verify().ok
