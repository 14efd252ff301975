"""A stream that changes its speaker: it starts again, or the next one goes on with it, but never after a tool call."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import StreamBrokenError
from timmy_core.router.call import Seam
from timmy_core.router.cascade import Limits
from timmy_core.router.chat import Chunk, Completion, Delta, ErrorClass, StreamPart, Switch, ToolCall, Usage
from timmy_core.testing import ScriptedProvider

from .house import ASK, Heard, ask, assert_at_rest, cascade, classes, done, down, parts_of, text_shown

LOOK = ToolCall("c1", "look", '{"at": "it"}')
TOOLS: dict[str, Any] = {"tools": [{"name": "look", "description": "", "parameters": {}}]}
QUICK = Limits(backoff_s=0.001)


def switches(parts: list[StreamPart]) -> list[Switch]:
    return [part for part in parts if isinstance(part, Switch)]


async def test_who_can_goes_on_with_the_answer() -> None:
    second = ScriptedProvider("b", [" wor", "ld"], priority=2, can_prefill=True)
    parts = await parts_of(cascade(ScriptedProvider("a", ["Hel", "lo", down()]), second))
    assert second.requests[0].prefill == "Hello"
    assert switches(parts) == [Switch("a", "b", "it is server_error", continues=True)]
    assert text_shown(parts) == done(parts).text == "Hello world"
    assert done(parts).provider == "b"


@pytest.mark.parametrize(
    ("shown", "said", "whole"),
    [
        ("Hello ", [" world"], "Hello world"),
        ("Hello ", ["world"], "Hello world"),
        ("One.\n", ["\n\nTwo"], "One.\n\nTwo"),
        ("One.\n\n", ["\n", "\n", "Two"], "One.\n\nTwo"),
        ("One. \n", [" ", "\n", "\n", "Two"], "One. \n\nTwo"),
        ("Hello", [", world"], "Hello, world"),
    ],
)
async def test_the_seam_says_no_white_space_twice(shown: str, said: list[str], whole: str) -> None:
    second = ScriptedProvider("b", said, priority=2, can_prefill=True)
    parts = await parts_of(cascade(ScriptedProvider("a", [shown, down()]), second))
    assert second.requests[0].prefill == shown.rstrip()
    assert text_shown(parts) == done(parts).text == whole


@given(st.text("a \n", max_size=8), st.lists(st.text("a \n", max_size=3), max_size=6))
def test_a_seam_only_ever_drops_what_stands_there_already(shown: str, pieces: list[str]) -> None:
    shown = "x" + shown
    seam = Seam(shown, shown.rstrip())
    joined, said = "".join(seam.join(piece) for piece in pieces), "".join(pieces)
    assert said.endswith(joined)
    assert shown[len(shown.rstrip()) :].startswith(said[: len(said) - len(joined)])


async def test_a_third_goes_on_with_what_two_have_said() -> None:
    house = cascade(
        ScriptedProvider("a", ["One ", down()]),
        ScriptedProvider("b", [" two ", down()], priority=2, can_prefill=True),
        ScriptedProvider("c", down(), priority=3, can_prefill=True),
        ScriptedProvider("d", [" three"], priority=4, can_prefill=True),
    )
    parts = await parts_of(house)
    assert text_shown(parts) == done(parts).text == "One two three"
    assert [(s.from_provider, s.to_provider, s.continues) for s in switches(parts)] == [
        ("a", "b", True),
        ("b", "d", True),
    ]


async def test_who_cannot_go_on_starts_again_even_after_one_who_did() -> None:
    third = ScriptedProvider("c", ["Anew"], priority=3)
    house = cascade(
        ScriptedProvider("a", ["One ", down()]),
        ScriptedProvider("b", ["two ", down()], priority=2, can_prefill=True),
        third,
    )
    parts = await parts_of(house)
    assert text_shown(parts) == done(parts).text == "Anew"
    assert third.requests[0].prefill == ""
    assert [s.continues for s in switches(parts)] == [True, False]


async def test_what_was_void_is_not_continued() -> None:
    third = ScriptedProvider("c", ["more"], priority=3, can_prefill=True)
    house = cascade(ScriptedProvider("a", ["One ", down()]), ScriptedProvider("b", ["Two ", down()], priority=2), third)
    parts = await parts_of(house)
    assert third.requests[0].prefill == "Two"
    assert [s.continues for s in switches(parts)] == [False, True]
    assert text_shown(parts) == done(parts).text == "Two more"


async def test_a_continuation_without_a_word_is_no_end() -> None:
    house = cascade(
        ScriptedProvider("a", ["Half", down()]),
        ScriptedProvider("b", [Chunk("", "stop")], priority=2, can_prefill=True),
        ScriptedProvider("c", ["Whole"], priority=3),
    )
    parts = await parts_of(house)
    assert text_shown(parts) == done(parts).text == "Whole"
    assert classes(done(parts))[1] == ("b", "failed", "empty_answer")


@pytest.mark.parametrize("options", [{"json_mode": True}, {"json_schema": {"type": "object"}}, TOOLS])
async def test_what_somebody_will_parse_starts_again(options: dict[str, Any]) -> None:
    second = ScriptedProvider("b", ['{"a": 1}'], priority=2, can_prefill=True)
    parts = await parts_of(cascade(ScriptedProvider("a", ['{"a', down()]), second), **options)
    assert second.requests[0].prefill == ""
    assert [s.continues for s in switches(parts)] == [False]
    assert text_shown(parts) == done(parts).text == '{"a": 1}'


async def test_white_space_alone_is_not_continued() -> None:
    second = ScriptedProvider("b", ["Hi"], priority=2, can_prefill=True)
    parts = await parts_of(cascade(ScriptedProvider("a", [" \n", down()]), second))
    assert second.requests[0].prefill == ""
    assert text_shown(parts) == done(parts).text == "Hi"


async def test_a_whole_answer_is_never_continued() -> None:
    second = ScriptedProvider("b", ["Hi"], priority=2, can_prefill=True)
    assert (await cascade(ScriptedProvider("a", ["Half", down()]), second).chat(ASK)).text == "Hi"
    assert second.requests[0].prefill == ""


async def test_the_offline_answer_voids_what_stood_there() -> None:
    house = cascade(
        ScriptedProvider("a", ["One ", down(ErrorClass.REFUSED)]),
        ScriptedProvider("b", ["two ", down(ErrorClass.REFUSED)], priority=2, can_prefill=True),
    )
    parts = await parts_of(house)
    assert switches(parts)[-1].to_provider == "offline"
    assert text_shown(parts) == done(parts).text == "offline: 2 tried"


async def test_a_tool_call_comes_whole_and_stands_in_the_answer() -> None:
    house = cascade(ScriptedProvider("a", ["I look.", Chunk(tool_calls=(LOOK,)), Chunk("", "tool_calls", Usage(1, 2))]))
    parts = await parts_of(house, **TOOLS)
    assert parts[:2] == [Delta("I look."), LOOK]
    assert (done(parts).tool_calls, done(parts).finish_reason) == ((LOOK,), "tool_calls")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_call_without_a_word_is_an_answer(streamed: bool) -> None:
    whole = Completion("", "tool_calls", Usage(1, 2), "m", (LOOK,))
    answer = await ask(cascade(ScriptedProvider("a", whole)), streamed=streamed, **TOOLS)
    assert (answer.provider, answer.text, answer.tool_calls) == ("a", "", (LOOK,))


async def test_nobody_answers_instead_after_a_tool_call() -> None:
    heard = Heard()
    other = ScriptedProvider("b", priority=2)
    house = cascade(ScriptedProvider("a", [Chunk(tool_calls=(LOOK,)), down()]), other, recorder=heard, limits=QUICK)
    seen: list[StreamPart] = []

    async def read() -> None:
        async with aclosing(house.stream(ASK, **TOOLS)) as stream:
            async for part in stream:
                seen.append(part)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(StreamBrokenError, match=r"a broke off after it had asked for the tool 'look' \(it is server"):
        await read()
    assert seen == [LOOK]
    assert other.requests == []
    assert heard.outcomes == [("a", "failed", "server_error")]
    assert_at_rest(house)


async def test_before_a_tool_call_a_failure_is_invisible_and_the_next_ones_call_comes_after_a_switch() -> None:
    house = cascade(
        ScriptedProvider("a", ["Let me", down()]),
        ScriptedProvider("b", [Chunk(tool_calls=(LOOK,)), Chunk("", "tool_calls")], priority=2, can_prefill=True),
    )
    parts = await parts_of(house, **TOOLS)
    assert parts[:3] == [Delta("Let me"), Switch("a", "b", "it is server_error"), LOOK]
    assert done(parts).text == ""


async def test_a_reader_who_leaves_at_a_switch_leaves_nothing_behind() -> None:
    heard = Heard()
    house = cascade(
        ScriptedProvider("a", ["Hel", down()]), ScriptedProvider("b", ["Hi", 5.0], priority=2), recorder=heard
    )
    async with aclosing(house.stream(ASK)) as stream:
        async for part in stream:
            if isinstance(part, Switch):
                break
    assert heard.outcomes == [("a", "failed", "server_error"), ("b", "cancelled", "cancelled")]
    assert_at_rest(house)
