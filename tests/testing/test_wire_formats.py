"""What the server writes is read by the three official clients as they read the real thing."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from timmy_core.router.chat import Image, ToolCall, Usage
from timmy_core.testing import Turn, WireServer

CALL = ToolCall("call_1", "search", '{"query": "tea", "limit": 3}')
PICTURE = Image("image/png", b"\x89PNG\r\n\x1a\n" + bytes(12))
ALL = Usage(100, 30, cached_tokens=60, reasoning_tokens=20, cache_write_tokens=10)
ASK: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@pytest.fixture
async def ask_openai(server: WireServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url("openai"), max_retries=0) as client:
        yield client


@pytest.fixture
async def ask_anthropic(server: WireServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.base_url("anthropic"), max_retries=0) as client:
        yield client


@pytest.fixture
async def ask_ollama(server: WireServer) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(server.url) as client:
        yield client


async def test_openai_reads_tool_calls_and_every_count(server: WireServer, ask_openai: openai.AsyncOpenAI) -> None:
    server.then(Turn(pieces=("Let me ",), tool_calls=(CALL, CALL), usage=ALL, thinking="hm"))
    whole = await ask_openai.chat.completions.create(model="m", messages=ASK)
    choice = whole.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me ")
    assert [call.function.arguments for call in choice.message.tool_calls or ()] == [CALL.arguments] * 2
    assert whole.usage is not None
    assert whole.usage.prompt_tokens_details is not None
    assert whole.usage.completion_tokens_details is not None
    assert (whole.usage.prompt_tokens, whole.usage.prompt_tokens_details.cached_tokens) == (100, 60)
    assert whole.usage.completion_tokens_details.reasoning_tokens == 20

    names, arguments, usages = ["", ""], ["", ""], []
    async for chunk in await ask_openai.chat.completions.create(model="m", messages=ASK, stream=True):
        usages += [chunk.usage] if chunk.usage else []
        for part in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
            assert part.function is not None
            names[part.index] += part.function.name or ""
            arguments[part.index] += part.function.arguments or ""
    assert (names, arguments) == ([CALL.name] * 2, [CALL.arguments] * 2)
    assert usages == [whole.usage]


async def test_anthropic_reads_tool_calls_and_every_count(
    server: WireServer, ask_anthropic: anthropic.AsyncAnthropic
) -> None:
    server.then(Turn(pieces=("Let me ", "look."), tool_calls=(CALL, CALL), usage=ALL, thinking="hm"))
    whole = await ask_anthropic.messages.create(model="m", messages=ASK, max_tokens=9)
    async with ask_anthropic.messages.stream(model="m", messages=ASK, max_tokens=9) as stream:
        streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        kinds = [block.type for block in message.content]
        assert kinds == ["thinking", "text", "tool_use", "tool_use"]
        assert [block.input for block in message.content if block.type == "tool_use"] == [
            json.loads(CALL.arguments)
        ] * 2
        used = message.usage
        assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens) == (30, 60, 10)
        assert used.output_tokens == 30


async def test_ollama_reads_tool_calls_thinking_and_counts(server: WireServer, ask_ollama: ollama.AsyncClient) -> None:
    server.then(Turn(pieces=(), tool_calls=(CALL,), usage=ALL, thinking="hm"))
    whole = await ask_ollama.chat("m", ASK)
    parts = [part async for part in await ask_ollama.chat("m", ASK, stream=True)]
    found = [call for part in parts for call in part.message.tool_calls or ()]
    assert [call.function.arguments for call in found] == [json.loads(CALL.arguments)]
    assert [call.function.name for call in whole.message.tool_calls or ()] == ["search"]
    assert "".join(part.message.thinking or "" for part in parts) == whole.message.thinking == "hm"
    for last in (whole, parts[-1]):
        assert (last.done_reason, last.prompt_eval_count, last.eval_count) == ("stop", 100, 30)


async def test_a_reply_may_leave_its_usage_out_and_name_another_model(
    server: WireServer, ask_openai: openai.AsyncOpenAI, ask_ollama: ollama.AsyncClient
) -> None:
    server.then(Turn(usage=None, model="m-2026"))
    whole = await ask_openai.chat.completions.create(model="m", messages=ASK)
    assert (whole.usage, whole.model) == (None, "m-2026")
    answer = await ask_ollama.chat("m", ASK)
    assert (answer.prompt_eval_count, answer.model) == (None, "m-2026")


async def test_openai_reads_a_refusal_in_its_own_field(server: WireServer, ask_openai: openai.AsyncOpenAI) -> None:
    server.then(Turn(pieces=("I ", "can't."), refusal="I can't."))
    whole = await ask_openai.chat.completions.create(model="m", messages=ASK)
    assert (whole.choices[0].message.content, whole.choices[0].message.refusal) == (None, "I can't.")
    said = ""
    async for chunk in await ask_openai.chat.completions.create(model="m", messages=ASK, stream=True):
        said += (chunk.choices[0].delta.refusal or "") if chunk.choices else ""
    assert said == "I can't."


async def test_pictures_are_understood_in_every_format(
    server: WireServer,
    ask_openai: openai.AsyncOpenAI,
    ask_anthropic: anthropic.AsyncAnthropic,
    ask_ollama: ollama.AsyncClient,
) -> None:
    data = base64.b64encode(PICTURE.data).decode()
    url: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    await ask_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": [url]}])
    source: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    await ask_anthropic.messages.create(model="m", messages=[{"role": "user", "content": [source]}], max_tokens=9)
    await ask_ollama.chat("m", [{"role": "user", "content": "?", "images": [PICTURE.data]}])
    assert [(request.api, request.images) for request in server.questions] == [
        ("openai", (PICTURE,)),
        ("anthropic", (PICTURE,)),
        ("ollama", (PICTURE,)),
    ]


async def test_a_broken_picture_is_a_bad_request(server: WireServer, ask_openai: openai.AsyncOpenAI) -> None:
    url: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}
    with pytest.raises(openai.BadRequestError, match="base64"):
        await ask_openai.chat.completions.create(model="m", messages=[{"role": "user", "content": [url]}])
    assert not server.questions


async def test_the_models_are_listed_for_every_client(
    server: WireServer,
    ask_openai: openai.AsyncOpenAI,
    ask_anthropic: anthropic.AsyncAnthropic,
    ask_ollama: ollama.AsyncClient,
) -> None:
    assert [model.id async for model in ask_openai.models.list()] == ["tiny"]
    assert [model.id async for model in ask_anthropic.models.list()] == ["tiny"]
    assert [model.model for model in (await ask_ollama.list()).models] == ["tiny:latest"]
    assert not server.questions
