"""Ollama's door and a question: windows that are never overrun in silence, tools, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from timmy_core.router.chat import Chunk, Image, Message, Tool, ToolCall, Usage
from timmy_core.router.providers import ollama
from timmy_core.router.providers.door import SHAPE_ERRORS
from timmy_core.router.providers.ollama import DEFAULT_CONTEXT_TOKENS, OllamaDoor
from timmy_core.testing import Turn, WireServer
from timmy_core.testing.ollama_host import OllamaModel

from .ollama_house import ASK, ask, body, both, failure, make

NESTED = {"type": "object", "properties": {"at": {"type": "object", "properties": {"lat": {"type": "number"}}}}}
WEATHER = Tool("weather", "what it is like", NESTED)
TIME = Tool("time", "", {"type": "object", "properties": {}})
CALL = ToolCall("call_1", "weather", '{"at": {"lat": 1.5}}')


@pytest.fixture
async def door(server: WireServer) -> AsyncIterator[OllamaDoor]:
    made = make(server)
    yield made
    await made.close()


# Windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "configured", "window"),
    [
        (OllamaModel(context_tokens=131_072, num_ctx=16_384), None, 16_384),
        (OllamaModel(context_tokens=2048, num_ctx=4096), None, 2048),
        (OllamaModel(context_tokens=131_072), 50_000, 50_000),
        (OllamaModel(context_tokens=8192), 50_000, 8192),
    ],
)
async def test_the_window_is_said_in_every_question(
    server: WireServer, model: OllamaModel, configured: int | None, window: int
) -> None:
    server.ollama.models["tiny"] = model
    door = make(server, context_tokens=configured)
    assert door.window_tokens("tiny") == configured
    await ask(door, streamed=True)
    assert body(server)["options"] == {"num_ctx": window}
    assert body(server)["truncate"] is False
    assert door.window_tokens("tiny") == window
    assert server.ollama.loaded == {"tiny:latest": window}
    await door.close()


def test_a_model_that_nobody_gave_a_window_gets_a_modest_one() -> None:
    shown = {"model_info": {"llama.context_length": 131_072}, "parameters": 'stop "<|end|>"'}
    assert ollama.wire.chosen_window(shown) is None
    assert ollama.wire.trained_window(shown) == 131_072
    assert DEFAULT_CONTEXT_TOKENS == 8192


@both
async def test_a_question_that_surely_does_not_fit_is_not_sent(server: WireServer, streamed: bool) -> None:
    door = make(server, context_tokens=256)
    long = replace(ASK, messages=(Message("user", "word " * 2000),))
    error = await failure(door, long, streamed)
    assert error.error_class == "context_length_exceeded"
    assert "the window is 256" in error.message
    assert "context_tokens" in error.advice
    assert server.questions == []
    await door.close()


@both
@pytest.mark.parametrize(("read", "words"), [(256, 100), (40, 300)], ids=["a full window", "less than was sent"])
async def test_a_question_that_the_server_cut_is_an_error_not_an_answer(
    server: WireServer, streamed: bool, read: int, words: int
) -> None:
    door = make(server, context_tokens=256)
    server.then(Turn(usage=(read, 7)))
    error = await failure(door, replace(ASK, messages=(Message("user", "word " * words),)), streamed)
    assert error.error_class == "context_length_exceeded"
    assert f"it read {read} tokens of a longer question" in error.message
    await door.close()


@both
@pytest.mark.parametrize("usage", [None, (0, 3), (3, 3)])
async def test_a_server_that_counts_oddly_is_believed_where_the_window_is_far(
    door: OllamaDoor, server: WireServer, streamed: bool, usage: tuple[int, int] | None
) -> None:
    server.then(Turn(usage=usage))
    long = replace(ASK, messages=(Message("user", "word " * 500),))
    assert (await ask(door, streamed, long)).text == "Hello there."


@both
@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"error": {"code": 400, "message": "too many", "type": "exceed_context_size_error", "n_ctx": 4096}}),
        "the prompt is longer than the context length currently available to the model; shorten the prompt",
        "request (8889 tokens) exceeds the available context size (4096 tokens), try increasing it",
    ],
)
async def test_a_refusal_of_the_servers_own_is_understood(
    door: OllamaDoor, server: WireServer, streamed: bool, said: str
) -> None:
    await ask(door, streamed)
    server.then(Turn(status=400, message=said))
    assert (await failure(door, streamed=streamed)).error_class == "context_length_exceeded"


@both
async def test_also_inside_a_stream_that_began(door: OllamaDoor, server: WireServer, streamed: bool) -> None:
    server.then(Turn(ending="error", after=1, message="exceeded max context length by 12 tokens"))
    assert (await failure(door, streamed=streamed)).error_class == "context_length_exceeded"


# What a question carries -----------------------------------------------------------------------------------------


@both
async def test_tools_travel_with_their_whole_schema_and_come_back_as_calls(
    door: OllamaDoor, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(pieces=(), tool_calls=(CALL, ToolCall("call_2", "time", "{}"))))
    answer = await ask(door, streamed, replace(ASK, tools=(WEATHER, TIME)))
    assert [tool["function"]["name"] for tool in body(server)["tools"]] == ["weather", "time"]
    assert body(server)["tools"][0]["function"]["parameters"] == NESTED
    assert answer.tool_calls == (CALL, ToolCall("call_2", "time", "{}"))
    assert answer.finish_reason == "tool_calls"


@both
async def test_a_history_with_tools_is_rendered_in_ollamas_form(
    door: OllamaDoor, server: WireServer, streamed: bool
) -> None:
    history = (
        Message("user", "how is it?"),
        Message("assistant", "", tool_calls=(CALL, ToolCall("call_x", "time", "no object"))),
        Message("tool", "sunny", tool_call_id="call_1"),
    )
    await ask(door, streamed, replace(ASK, messages=history))
    _, assistant, tool = body(server)["messages"]
    first, second = assistant["tool_calls"]
    arguments = {"at": {"lat": 1.5}}
    assert first == {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": arguments}}
    assert second["function"]["arguments"] == {"arguments": "no object"}
    assert tool == {"role": "tool", "content": "sunny", "tool_call_id": "call_1", "tool_name": "weather"}


@pytest.mark.parametrize(
    ("choice", "sent"), [("none", None), ("auto", ["weather", "time"]), ("time", ["time"]), ("required", 2)]
)
async def test_the_choice_of_a_tool_is_kept_as_far_as_the_api_can(
    door: OllamaDoor, server: WireServer, choice: str, sent: object
) -> None:
    server.then(Turn(tool_calls=() if choice == "none" else (ToolCall("c", "time", "{}"),)))
    await ask(door, streamed=False, request=replace(ASK, tools=(WEATHER, TIME), tool_choice=choice))
    names = [tool["function"]["name"] for tool in body(server).get("tools", [])] or None
    assert names == (sent if not isinstance(sent, int) else ["weather", "time"])


@both
async def test_an_answer_without_the_tool_that_was_required_is_none(
    door: OllamaDoor, server: WireServer, streamed: bool
) -> None:
    error = await failure(door, replace(ASK, tools=(TIME,), tool_choice="required"), streamed)
    assert error.error_class == "bad_request"
    assert "required" in error.message


async def test_a_call_without_an_id_gets_one() -> None:
    first, second = ollama.wire.calls_of({"tool_calls": [{"function": {"name": "a", "arguments": {"ä": 1}}}] * 2})
    assert first.arguments == '{"ä": 1}'
    assert first.id.startswith("call_")
    assert first.id != second.id


@pytest.mark.parametrize(
    "wrong", [{"tool_calls": [{"function": {"name": ""}}]}, {"tool_calls": ["x"]}, {"tool_calls": [{}]}]
)
def test_calls_of_another_form_are_malformed(wrong: dict[str, Any]) -> None:
    with pytest.raises(SHAPE_ERRORS):
        ollama.wire.calls_of(wrong)


@both
async def test_json_and_a_schema_are_asked_for(door: OllamaDoor, server: WireServer, streamed: bool) -> None:
    server.then(Turn(pieces=('{"a"', ": 1}")))
    for options, sent in (({"json_mode": True}, "json"), ({"json_schema": NESTED}, NESTED)):
        await ask(door, streamed, replace(ASK, **options))
        assert body(server)["format"] == sent


@both
async def test_an_answer_that_had_to_be_json_and_is_none_is_malformed(
    door: OllamaDoor, server: WireServer, streamed: bool
) -> None:
    assert (await failure(door, replace(ASK, json_mode=True), streamed)).error_class == "malformed_response"
    server.then(Turn(pieces=('{"a"',), finish_reason="length"))
    assert (await ask(door, streamed, replace(ASK, json_mode=True))).finish_reason == "length"


@both
async def test_pictures_travel_as_they_are(door: OllamaDoor, server: WireServer, streamed: bool) -> None:
    picture = Image("image/png", b"\x89PNG....")
    await ask(door, streamed, replace(ASK, messages=(Message("user", "what?", images=(picture,)),)))
    assert server.questions[-1].images == (picture,)


async def test_thinking_is_a_sign_of_life_and_no_part_of_the_answer(door: OllamaDoor, server: WireServer) -> None:
    server.then(Turn(thinking="hm"))
    async with aclosing(door.stream(ASK)) as stream:
        chunks = [chunk async for chunk in stream]
    assert chunks[0] == Chunk("")
    assert "".join(chunk.text for chunk in chunks) == "Hello there."
    assert (await door.chat(ASK)).text == "Hello there."


@both
async def test_limits_and_the_reason_for_the_end_come_through(
    door: OllamaDoor, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(finish_reason="length"))
    answer = await ask(door, streamed, replace(ASK, max_tokens=3, temperature=0.0))
    assert answer.finish_reason == "length"
    assert answer.usage == Usage(11, 7)
    assert body(server)["options"] | {"num_ctx": 0} == {"num_ctx": 0, "num_predict": 3, "temperature": 0.0}
