"""What the page and the command line ask of the log agrees with the log itself, for every filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timmy_core.errors import EventError, TimmyError
from timmy_core.events import archive, explorer
from timmy_core.events.explorer import step_us
from timmy_core.events.model import Event, NewEvent
from timmy_core.events.wanted import Wanted, provider_of
from timmy_core.settings import load_settings
from timmy_core.testing import FakeClock
from timmy_core.timmy import Timmy

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 300


@pytest.fixture
def timmy(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timmy]:
    """Three hundred events over five hours, two segments of them archived and one pruned."""
    monkeypatch.setattr(archive, "SEGMENT", 100)
    opened = Timmy(load_settings(home))
    opened.events.append_many([_made(n) for n in range(COUNT)])
    opened.events.seal(limit=2)
    opened.events.prune(BEGIN + timedelta(minutes=100))
    yield opened
    opened.shutdown()


def _made(n: int) -> NewEvent:
    moment = BEGIN + timedelta(minutes=n)
    if n % 3 == 0:
        provider = "o'llama" if n % 2 else "openai"
        return NewEvent("llm.completed", "router", {"gen_ai.provider.name": provider}, agent_id="timmy", ts=moment)
    if n % 3 == 1:
        return NewEvent("task.created", "cli", {"title": f"lantern {n % 5}"}, task_id=f"t{n % 4}", ts=moment)
    return NewEvent("x.own.thing", f"s{n % 7}", {"n": n}, trace_id=f"trace{n % 10}", ts=moment)


FILTERS = [
    Wanted(),
    Wanted(family="llm"),
    Wanted(type="task.created", task_id="t1"),
    Wanted(source="s2"),
    Wanted(provider="o'llama"),
    Wanted(agent_id="timmy", provider="openai"),
    Wanted(trace_id="trace5"),
    Wanted(text="lantern 3"),
    Wanted(text="lantern", task_id="t2"),
    Wanted(since=BEGIN + timedelta(minutes=30), until=BEGIN + timedelta(minutes=150)),
    Wanted(since=BEGIN + timedelta(minutes=90), family="x"),
    Wanted(until=BEGIN + timedelta(minutes=110), provider="openai"),
    Wanted(source="nobody"),
]


def expected(timmy: Timmy, wanted: Wanted) -> list[Event]:
    """Return what matches, found the slow and plain way."""
    return [
        event
        for event in timmy.events.list(limit=10_000)
        if all(getattr(event, name) == value for name, value in wanted.columns().items() if name != "provider")
        and wanted.takes(event)
        and (wanted.since is None or event.ts >= wanted.since)
        and (wanted.until is None or event.ts < wanted.until)
        and (wanted.text is None or all(word in str(event.data) for word in wanted.text.split()))
    ]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_the_newest_come_in_pages_without_gap_or_repetition(timmy: Timmy, wanted: Wanted) -> None:
    found: list[Event] = []
    while page := timmy.explorer.newest(wanted, before=found[-1].seq if found else None, limit=17):
        found += page
    assert [event.seq for event in found] == [event.seq for event in expected(timmy, wanted)]


@pytest.mark.parametrize("by", ["family", "type"])
@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_the_bars_hold_every_event_that_matches_where_it_belongs(timmy: Timmy, wanted: Wanted, by: str) -> None:
    bars = timmy.explorer.histogram(wanted, by=by)
    events = expected(timmy, wanted)
    assert Counter({key: int(count) for key, count in bars.group_by("key").agg(pl_sum()).rows()}) == Counter(
        getattr(event, by) for event in events
    )
    for start, end, key, count in bars.rows():
        assert sum(start <= event.ts < end and getattr(event, by) == key for event in events) == count


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_the_sql_that_is_shown_counts_the_same(timmy: Timmy, wanted: Wanted) -> None:
    query = timmy.explorer.query(wanted)
    if wanted.text is not None:
        assert query == ""
        return
    bars, asked = timmy.explorer.histogram(wanted), timmy.sql(query)
    assert sorted(asked.select("start", "key", "events").rows()) == sorted(bars.select("start", "key", "events").rows())


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_a_facet_counts_what_choosing_its_value_would_show(timmy: Timmy, wanted: Wanted) -> None:
    for name, counted in timmy.explorer.facets(wanted).items():
        column = explorer.FACETS[name]
        if wanted.text is not None and getattr(wanted, column) is not None:
            continue
        for value, count in counted[:4]:
            chosen = Wanted(
                **{field: getattr(wanted, field) for field in wanted.__slots__ if field != column}, **{column: value}
            )
            assert len(expected(timmy, chosen)) == count, (name, value)


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_a_frame_holds_the_same_events_oldest_first(timmy: Timmy, wanted: Wanted) -> None:
    frame = timmy.explorer.frame(wanted)
    assert frame["seq"].to_list() == [event.seq for event in reversed(expected(timmy, wanted))]
    assert {"type", "family", "data", "ts"} <= set(frame.columns)


def test_bars_begin_at_round_times(timmy: Timmy) -> None:
    bars = timmy.explorer.histogram(Wanted(family="task"))
    width = (bars["end"] - bars["start"]).unique().to_list()
    assert width == [timedelta(minutes=5)]
    assert all(start.minute % 5 == 0 and start.second == 0 for start in bars["start"])


def test_an_empty_log_has_no_bars_and_no_facets(home: Path) -> None:
    opened = Timmy(load_settings(home))
    try:
        assert opened.explorer.histogram(Wanted()).is_empty()
        assert not any(opened.explorer.facets(Wanted()).values())
        assert opened.explorer.newest(Wanted()) == []
    finally:
        opened.shutdown()


@pytest.mark.parametrize("wanted", [Wanted(type="task.craeted"), Wanted(text=" ")])
def test_a_wrong_filter_is_refused_in_words(timmy: Timmy, wanted: Wanted) -> None:
    with pytest.raises(TimmyError):
        timmy.explorer.newest(wanted)


@pytest.mark.parametrize(("span_s", "step_s"), [(0.05, 0.001), (90, 1), (3600, 60), (86_400, 1800), (9e9, 29_030_400)])
def test_steps_are_round(span_s: float, step_s: float) -> None:
    assert step_us(int(span_s * 1_000_000), 90) == int(step_s * 1_000_000)


# Filters -----------------------------------------------------------------------------------------------------


def test_a_filter_is_read_from_an_address_and_described_again() -> None:
    wanted = Wanted.of({"family": " llm ", "task": "t1", "since": "2026-01-01T00:00:00Z", "by": "type", "agent": ""})
    assert wanted == Wanted(family="llm", task_id="t1", since=datetime(2026, 1, 1, tzinfo=UTC))
    assert wanted.described() == {"family": "llm", "task_id": "t1", "since": "2026-01-01T00:00:00.000000Z"}
    assert Wanted.of(wanted.described()) == wanted


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(EventError, match="'noon' is not a time"):
        Wanted.of({"since": "noon"})


def test_the_provider_of_an_event_has_two_names(timmy: Timmy) -> None:
    older = timmy.events.append("chat.answered", source="agent", data={"provider": "ollama"})
    odd = timmy.events.append("chat.answered", source="agent", data={"provider": 3})
    assert (provider_of(older), provider_of(odd)) == ("ollama", None)


def pl_sum() -> object:
    import polars as pl

    return pl.col("events").sum()


class Slow(FakeClock):
    """A clock that goes on by two seconds whenever it is read."""

    def monotonic(self) -> float:
        self.advance(2)
        return super().monotonic()


def test_what_took_long_to_count_is_not_counted_again_at_once(timmy: Timmy) -> None:
    clock = Slow()
    opened = explorer.Explorer(timmy.events, timmy.lake, clock)
    first = opened.counts(Wanted())
    assert first.over_time.rows() == opened.histogram(Wanted()).rows()
    assert first.facets == opened.facets(Wanted())
    assert first.sql == opened.query(Wanted())
    clock.advance(36)
    assert opened.counts(Wanted()) is first
    clock.advance(3)
    assert opened.counts(Wanted()) is not first


def test_only_the_latest_counts_are_remembered(timmy: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "KEPT", 2)
    monkeypatch.setattr(explorer, "KEEP_TIMES", 1e9)
    opened = explorer.Explorer(timmy.events, timmy.lake)
    task, llm, chat = (Wanted(family=family) for family in ("task", "llm", "chat"))
    first = opened.counts(task)
    opened.counts(llm)
    assert opened.counts(task) is first
    opened.counts(chat)
    assert opened.counts(task) is first
    assert len(opened._counts) == 2
