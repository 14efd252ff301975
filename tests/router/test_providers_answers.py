"""What comes back: tool calls, thinking, refusals, JSON, usage and finish reasons, whole and in pieces."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Chunk, Provider, Tool, ToolCall, Usage
from timmy_core.router.providers.answers import CallParts, Unwrapped, checked_calls
from timmy_core.testing import Turn, WireServer

from .doors import ASK, ask, both, chunks_of, cloud, door, failure, question

CALLS = (ToolCall("call_1", "weather", '{"city": "Bern"}'), ToolCall("call_2", "time", "{}"))
ASK_TOOLS = question(tools=(Tool("weather", "", {"type": "object"}), Tool("time", "", {"type": "object"})))
EMPTY = b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[%s]}\n\n'


def event(delta: object, finish: str | None = None, **more: object) -> bytes:
    return EMPTY % json.dumps({"index": 0, "delta": delta, "finish_reason": finish, **more}).encode()


@both
@cloud
async def test_tool_calls_come_whole(server: WireServer, kind: str, streamed: bool) -> None:
    provider = door(kind, server.url)
    server.then(Turn(pieces=(), tool_calls=CALLS))
    answer = await ask(provider, streamed, ASK_TOOLS)
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("", "tool_calls", CALLS)
    server.then(Turn(pieces=("Let me", " see."), tool_calls=CALLS))
    answer = await ask(provider, streamed, ASK_TOOLS)
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("Let me see.", "tool_calls", CALLS)
    await provider.close()


@both
async def test_a_call_that_ends_with_another_words_is_a_call_all_the_same(server: WireServer, streamed: bool) -> None:
    provider = door("openai", server.url)
    server.then(Turn(pieces=(), tool_calls=CALLS, finish_reason="stop"))
    assert (await ask(provider, streamed, ASK_TOOLS)).finish_reason == "tool_calls"
    server.then(Turn(finish_reason="tool_calls"))
    assert (await ask(provider, streamed, ASK_TOOLS)).finish_reason == "stop"
    await provider.close()


@both
async def test_arguments_that_are_no_json_object_are_malformed(server: WireServer, streamed: bool) -> None:
    for arguments in ('{"city": ', '"Bern"', "[]"):
        server.then(Turn(pieces=(), tool_calls=(ToolCall("call_1", "weather", arguments),)))
        provider = door("openai", server.url)
        error = await failure(provider, streamed, ASK_TOOLS)
        assert error.error_class == "malformed_response"
        await provider.close()


async def test_half_an_argument_of_a_claude_is_malformed_unless_its_length_was_reached(server: WireServer) -> None:
    provider = door("anthropic", server.url)
    half = (ToolCall("call_1", "weather", '{"city": "Be'),)
    server.then(Turn(pieces=("x",), tool_calls=half))
    assert (await failure(provider, streamed=True, request=ASK_TOOLS)).error_class == "malformed_response"
    server.then(Turn(pieces=("x",), tool_calls=half, finish_reason="max_tokens"))
    answer = await ask(provider, streamed=True, request=ASK_TOOLS)
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("x", "length", ())
    await provider.close()


@cloud
async def test_no_tool_call_is_shown_before_the_answer_is_known_to_be_whole(server: WireServer, kind: str) -> None:
    provider = door(kind, server.url)
    for ending in ("reset", "end", "malformed"):
        server.then(Turn(tool_calls=CALLS, ending=ending))
        seen: list[Chunk] = []
        with pytest.raises(ProviderError):
            await collect(provider, seen)
        assert not any(chunk.tool_calls for chunk in seen)
    await provider.close()


async def collect(provider: Provider, seen: list[Chunk]) -> None:
    async with aclosing(provider.stream(ASK_TOOLS)) as stream:
        async for chunk in stream:
            seen.append(chunk)  # noqa: PERF401 - what came before the error counts


async def test_calls_in_forms_of_compatible_servers(server: WireServer) -> None:
    provider = door("openai", server.url)
    weather = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    time = {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    # All at once and all numbered 0; without a number; together with text.
    for deltas in (
        [{"tool_calls": [{"index": 0, **weather}, {"index": 0, **time}]}],
        [{"tool_calls": [weather]}, {"tool_calls": [time]}],
        [{"content": "x", "tool_calls": [{"index": 0, **weather}]}, {"tool_calls": [{"index": 1, **time}]}],
    ):
        body = b"".join(event(delta) for delta in deltas) + event({}, "tool_calls") + b"data: [DONE]\n\n"
        server.then(Turn(body=body))
        answer = await ask(provider, streamed=True, request=ASK_TOOLS)
        assert [(call.id, call.name) for call in answer.tool_calls] == [("a", "weather"), ("b", "time")]
    await provider.close()


def test_a_call_without_an_id_gets_one() -> None:
    parts = CallParts()
    parts.add(0, None, "weather", None)
    (call,) = parts.whole(cut=False)
    assert call.id
    assert call.arguments == "{}"
    with pytest.raises(ValueError, match="without a name"):
        checked_calls([ToolCall("1", "", "{}")], cut=False)


@both
@cloud
async def test_usage_is_whole(server: WireServer, kind: str, streamed: bool) -> None:
    told = Usage(120, 40, cached_tokens=80, reasoning_tokens=30, cache_write_tokens=10)
    server.then(Turn(usage=told))
    provider = door(kind, server.url)
    assert (await ask(provider, streamed)).usage == told
    if kind == "openai":
        server.then(Turn(usage=None))
        assert (await ask(provider, streamed)).usage == Usage()
    await provider.close()


@both
@pytest.mark.parametrize(
    ("kind", "word", "expected"),
    [
        ("openai", "stop", "stop"),
        ("openai", "length", "length"),
        ("openai", "content_filter", "content_filter"),
        ("openai", "eos", "stop"),
        ("openai", "model_length", "length"),
        ("anthropic", "end_turn", "stop"),
        ("anthropic", "stop_sequence", "stop"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "model_context_window_exceeded", "length"),
        ("anthropic", "refusal", "content_filter"),
        ("anthropic", "something_new", "stop"),
    ],
)
async def test_finish_reasons_are_in_the_houses_words(
    server: WireServer, streamed: bool, kind: str, word: str, expected: str
) -> None:
    server.then(Turn(finish_reason=word))
    provider = door(kind, server.url)
    assert (await ask(provider, streamed)).finish_reason == expected
    await provider.close()


@both
async def test_a_finish_reason_that_says_failed_is_a_failure(server: WireServer, streamed: bool) -> None:
    server.then(Turn(finish_reason="error"))
    provider = door("openai", server.url)
    assert (await failure(provider, streamed)).error_class == "server_error"
    server.then(Turn(body=event({}, "error", error={"code": 429, "message": "slow down"})))
    assert (await failure(provider, streamed=True)).error_class == "rate_limited"
    await provider.close()


@both
async def test_a_refusal_in_its_own_field_is_one(server: WireServer, streamed: bool) -> None:
    server.then(Turn(pieces=("I ", "won't."), refusal="I won't."))
    provider = door("openai", server.url)
    answer = await ask(provider, streamed)
    assert answer.finish_reason == "content_filter"
    # A stream shows nothing of it, because what is shown must be able to stand.
    assert answer.text == ("" if streamed else "I won't.")
    await provider.close()


@cloud
async def test_thinking_says_that_it_is_at_work_and_is_not_shown(server: WireServer, kind: str) -> None:
    server.then(Turn(pieces=("done",), thinking="hm, hm"))
    provider = door(kind, server.url)
    chunks = await chunks_of(provider)
    assert chunks[0] == Chunk()
    assert [chunk.text for chunk in chunks if chunk.text] == ["done"]
    assert (await provider.chat(ASK)).text == "done"
    await provider.close()


@pytest.mark.parametrize(
    ("kind", "ping"),
    [
        ("openai", b": OPENROUTER PROCESSING\n\n"),
        ("openai", event({})),
        ("openai", event({"role": "assistant", "content": ""})),
        ("openai", EMPTY % b""),
        ("anthropic", b'event: ping\ndata: {"type": "ping"}\n\n'),
        ("anthropic", b": keep-alive\n\n"),
        (
            "anthropic",
            b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": %s}\n\n'
            % b'{"type": "text_delta", "text": ""}',
        ),
    ],
)
async def test_a_ping_is_no_sign_of_life(server: WireServer, kind: str, ping: bytes) -> None:
    server.then(Turn(body=ping * 50, headers={"content-length": "100000"}))
    provider = door(kind, server.url)
    async with aclosing(provider.stream(ASK)) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(stream)
    await provider.close()


@both
async def test_json_that_was_only_asked_for_is_taken_out_of_the_words_around_it(
    server: WireServer, streamed: bool
) -> None:
    provider = door("anthropic", server.url)
    server.then(Turn(pieces=("Sure:\n``", '`json\n{"a": ', '{"b": [1', "]}}", "\n```\nAny", "thing else?")))
    assert json.loads((await ask(provider, streamed, question(json_mode=True))).text) == {"a": {"b": [1]}}
    server.then(Turn(pieces=('"a": ', "1}")))
    old = question(json_mode=True, model="claude-haiku-4-5")
    assert (await ask(provider, streamed, old)).text == '{"a": 1}'
    assert server.requests[-1].body["messages"][-1] == {"role": "assistant", "content": "{"}
    await provider.close()


@both
@cloud
async def test_an_answer_that_had_to_be_json_and_is_none_is_malformed(
    server: WireServer, kind: str, streamed: bool
) -> None:
    provider = door(kind, server.url)
    for pieces in (("{ not json }",), ("[1]",)):
        server.then(Turn(pieces=pieces))
        assert (await failure(provider, streamed, question(json_mode=True))).error_class == "malformed_response"
    server.then(Turn(pieces=('{"a": "cut',), finish_reason="length" if kind == "openai" else "max_tokens"))
    assert (await ask(provider, streamed, question(json_mode=True))).finish_reason == "length"
    await provider.close()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_json_is_unwrapped_in_pieces_of_any_size(size: int) -> None:
    text = 'Here: ```json\n{"a": {"b": 1}, "c": [1, 2]}\n``` Bye.'
    unwrapped = Unwrapped()
    shown = "".join(unwrapped.feed(text[at : at + size]) for at in range(0, len(text), size))
    assert shown == '{"a": {"b": 1}, "c": [1, 2]}'
