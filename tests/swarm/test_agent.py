"""Timmy: a question is kept, answered with the session's history, and told to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError, QuestionError
from timmy_core.router.chat import Delta, Done, Switch
from timmy_core.settings import AgentSettings, Settings
from timmy_core.settings_memory import MemorySettings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider("local", "first answer", "second answer", "third answer")


@pytest.fixture
def asked(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Timmy]:
    agent = AgentSettings(system_prompt="Be Timmy.", history_messages=4)
    settings = Settings(home=tmp_path, providers=(), agent=agent, memory=MemorySettings(recall_s=30))
    timmy = Timmy(settings, clock=FakeClock(), providers=[provider])
    yield timmy
    timmy.shutdown()


def said(provider: ScriptedProvider, number: int) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in provider.requests[number].messages]


async def test_the_answer_names_its_provider_and_is_kept(asked: Timmy) -> None:
    answer = await asked.ask("hello?", session="s1")
    assert (answer.text, answer.provider, answer.offline) == ("first answer", "local", False)
    turns = [(turn.role, turn.content, turn.provider) for turn in asked.history("s1")]
    assert turns == [("user", "hello?", None), ("assistant", "first answer", "local")]


async def test_prompt_and_history_go_before_the_question(asked: Timmy, provider: ScriptedProvider) -> None:
    for question in ("one", "two", "three"):
        await asked.ask(question)
    assert said(provider, 0) == [("system", "Be Timmy."), ("user", "one")]
    assert said(provider, 2) == [
        ("system", "Be Timmy."),
        ("user", "one"),
        ("assistant", "first answer"),
        ("user", "two"),
        ("assistant", "second answer"),
        ("user", "three"),
    ]


async def test_sessions_do_not_hear_each_other(asked: Timmy, provider: ScriptedProvider) -> None:
    await asked.ask("one", session="a")
    await asked.ask("two", session="b")
    assert said(provider, 1) == [("system", "Be Timmy."), ("user", "two")]


async def test_everything_of_one_question_shares_its_trace(asked: Timmy) -> None:
    answer = await asked.ask("hello?")
    events = asked.events.list(trace_id=answer.trace_id, order="asc")
    kinds = ["chat.asked", "memory.recalled", "llm.completed", "chat.answered", "memory.stored"]
    assert [event.type for event in events] == kinds
    assert {event.agent_id for event in events} == {"timmy"}
    assert "hello?" not in str([event.data for event in events])


async def test_an_unanswered_question_is_kept_and_left_out_of_the_next_prompt(tmp_path: Path) -> None:
    provider = ScriptedProvider("local", ProviderError("bad_request", "down"), "back")
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[provider])
    try:
        first = await timmy.ask("one")
        assert first.offline
        assert (await timmy.ask("two")).text == "back"
        assert [message.content for message in provider.requests[1].messages][1:] == ["two"]
        assert [turn.offline for turn in timmy.history()] == [False, True, False, False]
    finally:
        await asyncio.to_thread(timmy.shutdown)


async def test_a_stream_is_kept_before_its_end_is_told(asked: Timmy) -> None:
    parts = [part async for part in asked.ask_stream("hello?")]
    assert isinstance(parts[-1], Done)
    assert "".join(part.text for part in parts if isinstance(part, Delta)) == "first answer"
    assert [turn.content for turn in asked.history()] == ["hello?", "first answer"]


async def test_a_question_that_may_not_leave_this_machine_does_not(tmp_path: Path) -> None:
    away = ScriptedProvider("away", "from afar", local=False)
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[away])
    try:
        assert (await timmy.ask("one", local_only=True)).offline
        assert [part async for part in timmy.ask_stream("two", local_only=True)][-1].answer.offline
        assert away.requests == []
        assert (await timmy.ask("three")).text == "from afar"
    finally:
        await asyncio.to_thread(timmy.shutdown)


async def test_a_switch_reaches_the_reader(tmp_path: Path) -> None:
    first = ScriptedProvider("one", ["half an", ProviderError("server_error", "broke")], priority=1)
    second = ScriptedProvider("two", "whole", priority=2)
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[first, second])
    try:
        parts = [part async for part in timmy.ask_stream("hello?")]
        switch = next(part for part in parts if isinstance(part, Switch))
        assert (switch.from_provider, switch.to_provider) == ("one", "two")
        assert timmy.history()[-1].content == "whole"
    finally:
        await asyncio.to_thread(timmy.shutdown)


def test_the_plain_faces_work_from_a_thread(asked: Timmy) -> None:
    assert asked.ask_sync("hello?").text == "first answer"
    *_, last = asked.ask_stream_sync("again?")
    assert isinstance(last, Done)


async def test_a_stopped_stream_leaves_the_question_without_an_answer(tmp_path: Path) -> None:
    provider = ScriptedProvider("slow", ["a", "b", 60.0, "c"])
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[provider])
    try:
        parts = timmy.ask_stream("hello?")
        assert isinstance(await anext(parts), Delta)
        await parts.aclose()
        assert [turn.role for turn in timmy.history()] == ["user"]
        await timmy.store.awrite(lambda _: None)
        assert timmy.events.list(limit=1)[0].type == "llm.cancelled"
    finally:
        await asyncio.to_thread(timmy.shutdown)


@pytest.mark.parametrize(
    ("text", "session", "problem"),
    [
        ("", "s", "the question is empty"),
        ("  \n", "s", "the question is empty"),
        ("x" * 100_001, "s", "at most 100,000"),
        ("half \ud800", "s", "half a surrogate pair"),
        ("hello", "", "the session '' is not usable"),
        ("hello", "a b", "expected 1 to 100 letters"),
        ("hello", "x" * 101, "is not usable"),
    ],
)
async def test_what_cannot_be_asked_is_said_and_leaves_no_trace(
    asked: Timmy, text: str, session: str, problem: str
) -> None:
    with pytest.raises(QuestionError, match=problem):
        await asked.ask(text, session=session)
    assert asked.events.head()[0] == 0


def test_history_is_bounded(asked: Timmy) -> None:
    with pytest.raises(QuestionError, match="expected 1 to 1,000"):
        asked.history(limit=0)
