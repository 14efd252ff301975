"""Questions of the log: how much happened, how long it took, and how one request went."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from timmy_core.errors import EventError, ProviderError, QueryError
from timmy_core.events import archive as archive_module
from timmy_core.events.questions import Questions
from timmy_core.settings import Settings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy


@pytest.fixture
def timmy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Timmy]:
    monkeypatch.setattr(archive_module, "SEGMENT", 5)
    opened = Timmy(
        Settings(home=tmp_path, providers=()),
        clock=FakeClock(),
        providers=[
            ScriptedProvider("first", ProviderError("timeout", "too slow")),
            ScriptedProvider("second", "hi"),
        ],
    )
    yield opened
    opened.shutdown()


@pytest.fixture
def questions(timmy: Timmy) -> Questions:
    return Questions(timmy.events, timmy.lake)


def happen(timmy: Timmy, kind: str, task: str | None = None, agent: str | None = None, after_s: float = 10) -> None:
    timmy.clock.advance(after_s)  # type: ignore[attr-defined]
    timmy.events.append(kind, source="swarm", task_id=task, agent_id=agent)


def one_day(timmy: Timmy) -> datetime:
    """Two tasks end, one is still open; one agent leaves. Return when it began."""
    began = timmy.clock.now()
    happen(timmy, "agent.joined", agent="echo")
    happen(timmy, "agent.joined", agent="scout")
    happen(timmy, "task.created", "t1")
    happen(timmy, "task.assigned", "t1", "echo", after_s=5)
    happen(timmy, "task.started", "t1", "echo", after_s=1)
    happen(timmy, "task.created", "t2")
    happen(timmy, "task.completed", "t1", "echo", after_s=50)
    happen(timmy, "task.assigned", "t2", "scout")
    happen(timmy, "task.failed", "t2", "scout", after_s=7)
    happen(timmy, "task.created", "t3")
    happen(timmy, "agent.left", agent="scout")
    return began


@pytest.mark.parametrize("sealed", [False, True])
def test_a_task_is_followed_from_created_to_ended(timmy: Timmy, questions: Questions, *, sealed: bool) -> None:
    began = one_day(timmy)
    if sealed:
        timmy.events.seal()
        timmy.events.prune(timedelta(0))
    frame = questions.lifecycles("task")
    chosen = frame.select("task_id", "agent_id", "state", "to_assigned_s", "working_s", "total_s").rows()
    assert chosen == [
        ("t3", None, "created", None, None, None),
        ("t2", "scout", "failed", 60.0, 7.0, 67.0),
        ("t1", "echo", "completed", 5.0, 60.0, 66.0),
    ]
    assert frame["created_at"].to_list()[2] == began + timedelta(seconds=30)
    assert frame["ended_at"].to_list()[0] is None
    later = questions.lifecycles("task", began + timedelta(seconds=40), began + timedelta(seconds=100))
    assert later["task_id"].to_list() == ["t2"]
    assert questions.lifecycles(limit=1).height == 1


def test_an_agent_is_there_until_it_leaves_or_was_last_seen(timmy: Timmy, questions: Questions) -> None:
    one_day(timmy)
    frame = questions.lifecycles("agent")
    assert frame.select("agent_id", "state", "events", "completed", "failed", "present_s").rows() == [
        ("scout", "left", 4, 0, 1, 113.0),
        ("echo", "present", 4, 1, 0, 86.0),
    ]
    assert frame["left_at"].null_count() == 1
    with pytest.raises(EventError, match="expected task or agent"):
        questions.lifecycles("tool")  # type: ignore[arg-type]
    with pytest.raises(EventError, match="without a zone"):
        questions.lifecycles("task", datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_summary_counts_the_last_minutes_only(timmy: Timmy, questions: Questions) -> None:
    happen(timmy, "system.error")
    timmy.clock.advance(3600)  # type: ignore[attr-defined]
    one_day(timmy)
    summary = questions.summary(minutes=10)
    assert (summary.total, summary.until - summary.since) == (11, timedelta(minutes=10))
    assert list(summary.by_type.items())[:2] == [("task.created", 3), ("agent.joined", 2)]
    assert summary.by_family == {"task": 8, "agent": 3}
    assert summary.by_agent == {"echo": 4, "scout": 4}
    assert summary.by_task == {"t1": 4, "t2": 3, "t3": 1}
    assert summary.by_source == {"swarm": 11}
    assert questions.summary(minutes=120).total == 12
    for minutes in (0, -1, 1e9):
        with pytest.raises(EventError, match="out of range"):
            questions.summary(minutes)


def test_recent_events_and_counts(timmy: Timmy, questions: Questions) -> None:
    happen(timmy, "system.error")
    timmy.clock.advance(3600)  # type: ignore[attr-defined]
    began = one_day(timmy)
    assert questions.recent(minutes=10, limit=2)["type"].to_list() == ["task.created", "agent.left"]
    assert questions.recent(minutes=10, where="family = 'agent'").height == 3
    assert questions.count("agent_id").rows() == [("echo", 4), ("scout", 4)]
    assert questions.count("family", since=began).rows() == [("task", 8), ("agent", 3)]
    assert questions.count("source", limit=1).rows() == [("swarm", 12)]
    with pytest.raises(QueryError, match="cannot be used here"):
        questions.count("data")  # type: ignore[arg-type]


def test_a_trace_is_a_row_of_bars(timmy: Timmy, questions: Questions) -> None:
    trace = timmy.ask_sync("hello?").trace_id
    spans = questions.trace(trace)
    assert [span.event.seq for span in sorted(spans, key=lambda span: span.event.seq)] == [1, 2, 3, 4, 5, 6]
    by_type = {span.event.type: span for span in spans}
    assert (by_type["llm.failed"].failed, by_type["llm.failed"].provider) == (True, "first")
    assert (by_type["llm.completed"].failed, by_type["llm.completed"].provider) == (False, "second")
    assert by_type["chat.asked"].duration_ms is None
    assert min(span.begin_ms for span in spans) == 0.0
    assert questions.trace("nobody") == []


def test_a_bar_ends_when_its_event_was_written(timmy: Timmy, questions: Questions) -> None:
    for after_s, data in (
        (0, {}),
        (2, {"timmy.latency_ms": 1500}),
        (1, {"latency_ms": 250.5}),
        (0, {"latency_ms": "slow"}),
    ):
        timmy.clock.advance(after_s)  # type: ignore[attr-defined]
        timmy.events.append("x.step.done", source="test", trace_id="trace", data=data)
    spans = questions.trace("trace")
    assert [(span.event.seq, span.begin_ms, span.duration_ms, span.end_ms) for span in spans] == [
        (1, 0.0, None, 0.0),
        (2, 500.0, 1500.0, 2000.0),
        (3, 2749.5, 250.5, 3000.0),
        (4, 3000.0, None, 3000.0),
    ]


def test_an_event_without_a_time_of_its_own_lasted_since_the_one_that_began_it(
    timmy: Timmy, questions: Questions
) -> None:
    for after_s, type_, task, data in (
        (0, "task.started", "a", {}),
        (1, "task.started", "b", {}),
        (1, "payment.initiated", None, {"entry": "p"}),
        (1, "payment.settled", None, {"entry": "q"}),
        (1, "payment.settled", None, {"entry": "p"}),
        (1, "task.completed", "a", {}),
        (0, "task.failed", "b", {"took_ms": 250}),
        (0, "tool.completed", None, {}),
    ):
        timmy.clock.advance(after_s)  # type: ignore[attr-defined]
        timmy.events.append(type_, source="test", trace_id="pairs", task_id=task, data=data)
    lasted = {(span.event.type, span.event.task_id): span.duration_ms for span in questions.trace("pairs")}
    assert lasted["task.completed", "a"] == 5000.0
    assert lasted["task.failed", "b"] == 250.0
    assert lasted["tool.completed", None] is None
    settled = [span for span in questions.trace("pairs") if span.event.type == "payment.settled"]
    assert {(span.event.data or {})["entry"]: span.duration_ms for span in settled} == {"p": 2000.0, "q": None}
