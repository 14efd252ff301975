"""The archive: closed segments are sealed whole, mended where they are lost, and read as if nothing had moved."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import EventConflictError, EventError, StoreBusyError, StoreError, StoreFullError
from timmy_core.events import archive as archive_module
from timmy_core.events import retention, segment
from timmy_core.events.events import Events
from timmy_core.events.model import Event, NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

KINDS = ("task.created", "llm.completed", "x.own.thing")
LLM = {
    "gen_ai.provider.name": "local",
    "gen_ai.request.model": "asked",
    "gen_ai.response.model": "answered",
    "timmy.latency_ms": 12,
    "timmy.first_token_ms": 3.5,
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 9,
    "timmy.cost_microusd": 11,
    "error.type": "none",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    monkeypatch.setattr(segment, "ROW_GROUP", 8)
    monkeypatch.setattr(retention, "CHUNK", 7)


@pytest.fixture
def events(store: Store, clock: FakeClock) -> Events:
    return Events(store, clock)


def fill(events: Events, clock: FakeClock, count: int = 90) -> None:
    many = []
    for number in range(count):
        kind = KINDS[number % 3]
        data = LLM | {"n": number} if kind.startswith("llm") else {"n": number, "text": f"Grüße {number}"}
        texts = (f"t{number % 7}" if number % 5 else None, f"a{number % 3}", f"r{number // 10}")
        key = f"id-{number}" if number % 2 else None
        many.append(NewEvent(kind, f"s{number % 4}", data, *texts, key, clock.now() + timedelta(seconds=number)))
    events.append_many(many)
    clock.advance(count)


def files(events: Events) -> list[str]:
    return sorted(path.name for path in events.archive.folder.iterdir() if path.suffix == ".parquet")


def test_closed_segments_are_sealed_and_the_last_stays_open(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 50)
    sealed = events.seal()
    assert [(one.first_seq, one.last_seq) for one in sealed] == [(1, 20), (21, 40)]
    assert (
        files(events)
        == [one.file for one in sealed]
        == [
            "events-000000000001-000000000020.parquet",
            "events-000000000021-000000000040.parquet",
        ]
    )
    assert [one.before_hash for one in sealed] == [bytes(32), sealed[0].last_hash]
    assert [events.archive.check(one) for one in sealed] == ["", ""]
    said = [event.data or {} for event in events.list(type="log.sealed", order="asc")]
    assert [(data["first_seq"], data["digest"]) for data in said] == [(one.first_seq, one.digest) for one in sealed]
    assert events.seal() == []
    assert events.verify().ok


def test_a_segment_has_the_columns_of_the_log_and_the_promoted_ones(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 20)
    (sealed,) = events.seal(limit=1)
    file = pq.ParquetFile(events.archive.path(sealed))
    assert file.metadata.num_row_groups == 3
    assert file.metadata.row_group(0).column(1).compression == "ZSTD"
    rows = file.read().to_pylist()
    assert [row["seq"] for row in rows] == list(range(1, 21))
    with events._store.read() as connection:
        kept = connection.execute("SELECT salt, data_hash, hash, data, ts, v FROM events WHERE seq = 2").fetchone()
    assert tuple(rows[1][name] for name in ("salt", "data_hash", "hash", "data", "ts", "v")) == kept
    promoted = ("provider", "model", "latency_ms", "first_token_ms", "input_tokens", "output_tokens", "cost_microusd")
    assert [rows[1][name] for name in promoted] == ["local", "answered", 12.0, 3.5, 7, 9, 11]
    assert rows[1]["error_type"] == "none"
    assert [rows[0][name] for name in promoted] == [None] * 7


def test_no_content_reaches_the_statistics_of_a_segment(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 20)
    (sealed,) = events.seal()
    group = pq.read_metadata(events.archive.path(sealed)).row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert {one.path_in_schema for one in columns if one.statistics is not None}.isdisjoint({"data", "salt", "hash"})


@pytest.mark.parametrize("value", ["text", True, None, [1], {"a": 1}, 2**63 - 1, 1.5])
def test_a_value_of_another_kind_is_not_promoted_wrongly(value: Any) -> None:
    import json

    promoted = dict(zip(segment.PROMOTED, segment.promote(json.dumps(dict.fromkeys(LLM, value))), strict=True))
    assert promoted["model"] in (None, value)
    assert promoted["input_tokens"] is None or type(promoted["input_tokens"]) is int
    assert promoted["latency_ms"] is None or type(promoted["latency_ms"]) is float


QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"order": "asc"},
    {"limit": 7, "order": "asc"},
    {"type": "llm.completed"},
    {"type": ["llm.completed", "task.created"], "limit": 9},
    {"type": "x.own.thing", "order": "asc", "limit": 5},
    {"family": "llm", "order": "asc"},
    {"family": "task", "type": "task.created", "source": "s0"},
    {"family": "nothing"},
    {"task_id": "t3"},
    {"task_id": "t3", "agent_id": "a1", "order": "asc"},
    {"trace_id": "r2"},
    {"trace_id": "nowhere"},
    {"source": "s2", "limit": 4},
    {"after": 15, "before": 45},
    {"after": 38, "before": 43, "order": "asc"},
    {"after": 500},
    {"before": 1},
)


def answers(events: Events, start: Any) -> list[Any]:
    times = ({"since": start + timedelta(seconds=30)}, {"until": start + timedelta(seconds=30), "limit": 5})
    # What sealing and pruning add at the end is not asked for.
    found: list[Any] = [events.list(**{"before": 91, **question}) for question in (*QUESTIONS, *times)]
    found += [events.get(seq) for seq in (1, 20, 21, 40, 41, 88)]
    found += [events.get(key) for key in ("id-1", "id-39", "id-89")]
    found += [events.for_task("t2"), events.rows_at([90, 3, 25, 3])]
    return found


def drain(events: Events, after: int, upto: int) -> list[Any]:
    found: list[Any] = []
    while after < upto:
        found += [event for event in events.read_after(after, 11) if event.seq <= upto]
        after = found[-1].seq
    return found


def test_every_question_is_answered_alike_before_and_after_pruning(events: Events, clock: FakeClock) -> None:
    start = clock.now()
    fill(events, clock)
    events.seal()
    before, head, run = answers(events, start), events.head(), drain(events, 0, 90)
    assert events.prune(timedelta(0)).events == 80
    assert events.list(limit=1)[0].type == "log.pruned"
    assert answers(events, start) == before
    assert drain(events, 0, 90) == run
    assert drain(events, 37, 90) == run[37:]
    assert Events(events._store, clock).list(type="x.own.thing", limit=1, before=50) == events.list(
        type="x.own.thing", limit=1, before=50
    )
    assert events.head()[0] > head[0]
    assert events.verify().ok


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Events, list[Event]]]:
    """A log whose first 80 events are in the archive only, and all its events as they were read before that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "SEGMENT", 20)
        patch.setattr(segment, "ROW_GROUP", 8)
        store, clock = Store.open(tmp_path_factory.mktemp("pruned") / "timmy.db"), FakeClock()
        events = Events(store, clock)
        fill(events, clock, 95)
        every = events.list(limit=1000, order="asc")
        events.seal()
        events.prune(timedelta(0))
    yield events, every
    store.close()


SECONDS = st.none() | st.integers(-1, 96)
SEQS = st.none() | st.integers(0, 96)


@given(
    types=st.none() | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True),
    family=st.none() | st.sampled_from(["task", "llm", "x", "system"]),
    source=st.none() | st.sampled_from(["s0", "s3", "nobody"]),
    task_id=st.none() | st.sampled_from(["t1", "t6"]),
    agent_id=st.none() | st.sampled_from(["a0", "a2"]),
    trace_id=st.none() | st.sampled_from(["r0", "r4", "r9"]),
    times=st.tuples(SECONDS, SECONDS),
    seqs=st.tuples(SEQS, st.integers(0, 96)),
    limit=st.integers(1, 100),
    order=st.sampled_from(["asc", "desc"]),
)
@settings(deadline=None, max_examples=150)
def test_any_question_is_answered_as_by_a_plain_list(
    pruned: tuple[Events, list[Event]],
    types: list[str] | None,
    family: str | None,
    source: str | None,
    task_id: str | None,
    agent_id: str | None,
    trace_id: str | None,
    times: tuple[int | None, int | None],
    seqs: tuple[int | None, int],
    limit: int,
    order: Any,
) -> None:
    events, every = pruned
    since, until = (None if second is None else every[0].ts + timedelta(seconds=second) for second in times)
    equal = {"source": source, "task_id": task_id, "agent_id": agent_id, "trace_id": trace_id}
    wanted = [
        event
        for event in every
        if (types is None or event.type in types)
        and family in (None, event.family)
        and all(value in (None, getattr(event, name)) for name, value in equal.items())
        and (since is None or event.ts >= since)
        and (until is None or event.ts < until)
        and (seqs[0] is None or event.seq > seqs[0])
        and event.seq < seqs[1]
    ]
    bounds = {"since": since, "until": until, "after": seqs[0], "before": seqs[1], "limit": limit, "order": order}
    found = events.list(type=types, family=family, **equal, **bounds)  # type: ignore[arg-type]
    assert found == (wanted if order == "asc" else wanted[::-1])[:limit]


def test_an_unknown_type_is_refused_after_pruning_too(events: Events, clock: FakeClock) -> None:
    fill(events, clock)
    events.seal()
    events.prune(timedelta(0))
    with pytest.raises(EventError, match=r"neither declared nor in the log; did you mean x\.own\.thing"):
        events.list(type="x.own.thinf")


def test_an_id_is_written_once_even_after_its_event_was_pruned(events: Events, clock: FakeClock) -> None:
    fill(events, clock)
    events.seal()
    first = events.get("id-1")
    events.prune(timedelta(0))
    again = {"source": "s1", "task_id": "t1", "agent_id": "a1", "trace_id": "r0", "data": LLM | {"n": 1}}
    assert events.append("llm.completed", id="id-1", **again) == first
    assert events.append_many([NewEvent("llm.completed", id="id-1", **again)]) == [first]
    with pytest.raises(EventConflictError, match="belongs to event 2 with other content"):
        events.append("llm.completed", source="other", id="id-1")
    for side in events.archive.folder.glob("*.ids"):
        side.unlink()
    assert Events(events._store, clock).append("llm.completed", id="id-1", **again) == first


def test_writers_go_on_while_a_segment_is_sealed(events: Events, clock: FakeClock, monkeypatch: Any) -> None:
    monkeypatch.setattr(archive_module, "BATCH", 3)
    fill(events, clock, 20)
    read = events.archive._rows

    def read_and_append(after: int, limit: int) -> Any:
        events.append("system.info", source="meanwhile")
        return read(after, limit)

    monkeypatch.setattr(events.archive, "_rows", read_and_append)
    assert len(events.seal(limit=1)) == 1
    assert len(events.list(source="meanwhile")) >= 7
    assert events.verify().ok


def test_only_one_seals_at_a_time(events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(events, clock, 45)
    others = [Events(events._store, clock) for _ in range(4)]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda one=one: found.extend(one.seal())) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.first_seq for one in found) == [1, 21]
    with events.archive.exclusive(), pytest.raises(StoreBusyError, match="another process seals"):
        others[0].archive.exclusive(0).__enter__()


def test_strays_are_removed_at_the_next_start(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 25)
    events.seal()
    folder = events.archive.folder
    (folder / "events-000000000021-000000000040.parquet.tmp").write_bytes(b"half")
    (folder / "events-000000000003-000000000022.parquet").write_bytes(b"no row")
    beyond = folder / "events-000000000901-000000000920.parquet"
    beyond.write_bytes(b"of a later database")
    assert events.mend() == []
    assert files(events) == ["events-000000000001-000000000020.parquet"]
    assert not list(folder.glob("*.tmp"))
    assert beyond.with_name(beyond.name + ".unknown").read_bytes() == b"of a later database"


@pytest.fixture
def lost(events: Events, clock: FakeClock) -> Events:
    fill(events, clock, 45)
    events.seal()
    return events


@pytest.mark.parametrize("harm", ["gone", "short", "flipped", "empty"])
def test_a_lost_or_damaged_segment_is_made_anew_while_its_rows_are_there(lost: Events, harm: str) -> None:
    first = lost.archive.segments()[0]
    path = lost.archive.path(first)
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"short": whole[:-9], "empty": b""}.get(harm, whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
        )
    assert lost.archive.check(first)
    assert lost.mend(thorough=harm == "flipped") == []
    assert [lost.archive.check(one) for one in lost.archive.segments()] == ["", ""]
    assert lost.verify().ok


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_what_was_pruned_and_lost_is_said_and_comes_back_with_the_file(
    lost: Events, clock: FakeClock, harm: str
) -> None:
    lost.prune(timedelta(0))
    first = lost.archive.segments()[0]
    path = lost.archive.path(first)
    whole = path.read_bytes()
    path.unlink() if harm == "gone" else path.write_bytes(whole[:-9])
    reader = Events(lost._store, clock)
    with pytest.raises(StoreError, match=rf"{first.file} \(events 1 to 20\) is (missing|damaged)"):
        reader.get(3)
    with pytest.raises(StoreError, match="put the file back"):
        reader.list(order="asc", limit=3)
    assert reader.list(limit=1)
    (found,) = reader.mend()
    assert found.kind == ("segment_missing" if harm == "gone" else "segment_altered")
    assert found.kind in [one.kind for one in reader.verify().findings]
    path.write_bytes(whole)
    assert reader.mend() == []
    assert reader.get(3).seq == 3


def test_a_log_that_does_not_hold_is_not_sealed(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 30)

    def tamper(connection: Connection) -> None:
        connection.execute("DROP TRIGGER events_unchanged")
        connection.execute("UPDATE events SET source = 'mallory' WHERE seq = 9")

    store.write(tamper)
    with pytest.raises(StoreError, match="cannot be archived: event 9"):
        events.seal()
    assert [path.name for path in events.archive.folder.iterdir()] == ["seal.lock"]


def test_a_full_disk_during_sealing_is_a_clear_error(tmp_path: Path, clock: FakeClock) -> None:
    """On a real, small file system: nothing acknowledged is lost, and sealing goes on when there is room."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    store = Store.open(tmp_path / "timmy.db")
    events = Events(store, clock, mounted)
    try:
        fill(events, clock, 45)
        ballast = mounted / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(4 << 20))
        with pytest.raises(StoreFullError, match="the disk is full; free some room"):
            events.seal()
        assert list(mounted.rglob("*.tmp")) == []
        assert events.verify().ok
        assert events.archive.segments() == []
        ballast.unlink()
        assert len(events.seal()) == 2
        assert events.verify().ok
    finally:
        store.close()
        subprocess.run(["umount", mounted], check=True)
