"""Searching the log by words: complete and current, together with every other filter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import EventError, StoreBusyError, StoreError
from timmy_core.events import archive, text
from timmy_core.events.events import Events
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent, encode
from timmy_core.events.text import words_of
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

SECONDS = 3_600


@pytest.fixture
def events(store: Store, clock: FakeClock) -> Iterator[Events]:
    opened = Events(store, clock)
    yield opened
    opened.close()


def fill(events: Events, clock: FakeClock, count: int = 40) -> None:
    for number in range(1, count + 1):
        events.append(
            ("task.created", "llm.failed")[number % 2],
            source="test",
            task_id=f"t{number % 4}",
            data={"title": f"Möbel number{number} and {'odd' if number % 2 else 'even'} things"},
        )
        clock.advance(60)


def seqs(events: Events, **filters: Any) -> list[int]:
    return [event.seq for event in events.list(**filters)]


def test_text_goes_together_with_every_other_filter(events: Events, clock: FakeClock) -> None:
    start = clock.now()
    fill(events, clock)
    assert seqs(events, text="number7") == [7]
    assert seqs(events, text="odd MOBEL", limit=3) == [39, 37, 35]
    assert seqs(events, text="odd", limit=3, order="asc") == [1, 3, 5]
    assert seqs(events, text="number1*", type="llm.failed", limit=3) == [19, 17, 15]
    assert seqs(events, text="things", family="task", task_id="t2", limit=2) == [38, 34]
    assert seqs(events, text="things", after=5, before=9) == [8, 7, 6]
    assert seqs(events, text="things", since=start + timedelta(seconds=60 * 38)) == [40, 39]
    assert seqs(events, text="things", until=start + timedelta(seconds=60), source="test") == [1]
    assert seqs(events, text="things", source="nobody") == []
    assert seqs(events, text="title") == []
    with pytest.raises(EventError, match="did you mean"):
        events.list(text="things", type="task.craeted")
    with pytest.raises(StoreError, match="letter or digit"):
        events.list(text="?!")


def test_an_event_is_found_at_once(events: Events) -> None:
    for number in range(5):
        events.append("system.info", source="t", data={"message": f"fresh{number}"})
        assert seqs(events, text=f"fresh{number}") == [number + 1]


@pytest.mark.parametrize("many", [1, 20_000])
def test_common_words_with_rare_filters(
    events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Both ways to combine them give the same: hits first, or the other filters first."""
    monkeypatch.setattr(text, "MANY", many)
    monkeypatch.setattr(text, "CHUNK", 3)
    fill(events, clock)
    assert seqs(events, text="even", task_id="t2") == [n for n in range(40, 0, -1) if n % 4 == 2]
    assert seqs(events, text="odd", task_id="t1", order="asc", limit=4) == [1, 5, 9, 13]
    assert seqs(events, text="odd", task_id="t2") == []
    assert len(seqs(events, text="things")) == 40


def test_pruned_events_are_found_in_the_archive(
    events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SEGMENT", 10)
    fill(events, clock)
    events.seal()
    clock.advance(SECONDS * 24 * 40)
    assert events.prune(timedelta(days=30)).events
    assert not events.text.index.path.exists()  # so it is filled from the archive too
    assert seqs(events, text="number7") == [7]
    assert seqs(events, text="things", family="task", limit=100) == [n for n in range(40, 0, -1) if n % 2 == 0]


def test_what_is_redacted_is_neither_found_nor_in_the_file(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 10)
    events.append("chat.asked", source="t", data={"question": "my Xyzzyword", "escaped": "line\nPlughword"})
    assert seqs(events, text="xyzzyword plughword") == [11]
    events.redact(seq=11, reason="asked for", by="ann")
    assert seqs(events, text="xyzzyword") == seqs(events, text="plughword") == []
    folder = events.text.index.path.parent
    for path in folder.glob("timmy.text.db*"):
        content = path.read_bytes()
        assert b"xyzzyword" not in content
        assert b"plughword" not in content
    events.text.index.path.unlink()
    assert seqs(events, text="xyzzyword") == []
    assert len(seqs(events, text="things")) == 10


def test_the_follower_keeps_up(events: Events, store: Store, clock: FakeClock) -> None:
    events.text.start()
    events.text.start()
    fill(events, clock, 5)
    for _ in range(200):
        if events.text.index.indexed() == 5:
            break
        with store.watch() as bell:
            bell.wait(0.05)
    assert events.text.index.indexed() == 5
    events.close()


def test_an_index_that_is_far_behind_says_how_far(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 5)
    with pytest.raises(StoreBusyError, match="is being filled: 0 events"):
        events.text.catch_up(timeout_s=-1)


def test_a_log_without_an_index_says_so(log: EventLog) -> None:
    with pytest.raises(EventError, match="no text index"):
        log.list(text="word")


def test_only_values_are_words() -> None:
    data = {"key": "some value", "n": 21_000, "f": 1.5, "b": True, "none": None, "list": ["a", {"deep": "inner"}]}
    for extra in ({}, {"escape": 'a "quote"\nnew line'}):
        words = words_of(encode(data | extra)).replace('"', " ").replace(",", " ").split()
        assert {"some", "value", "21000", "inner"} <= set(words)
        assert not {"key", "deep", "none", "true", "null"} & set(words)
    assert words_of(None) == words_of("{}") == ""


JSON = st.recursive(
    st.one_of(
        st.text(max_size=20),
        st.integers(-99, 99),
        st.booleans(),
        st.none(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_every_text_of_any_data_is_there_as_it_is(data: dict[str, Any]) -> None:
    try:
        encoded = encode(data)
    except EventError:
        return
    words = words_of(encoded)
    words.encode()
    for value in data.values():
        if isinstance(value, str):
            assert value in words or json.dumps(value, ensure_ascii=False)[1:-1] in words


def test_many_events_are_searched_in_pieces(events: Events) -> None:
    for start in range(0, 3_000, 1_000):
        events.append_many([NewEvent("system.info", "t", {"m": f"bulk n{n}"}) for n in range(start, start + 1_000)])
    assert len(events.list(text="bulk", source="t", limit=10_000)) == 3_000
    assert seqs(events, text="n2999") == [3_000]


def test_the_file_is_private(events: Events, tmp_path: Path) -> None:
    events.append("system.info", source="t", data={"m": "word"})
    events.list(text="word")
    assert events.text.index.path.stat().st_mode & 0o077 == 0
    assert events.text.index.path.parent == tmp_path / "store"
