"""Ollama's door: loading apart from asking, windows that are never overrun in silence, tools, JSON and pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, Image, Message, Tool, ToolCall, Usage
from timmy_core.router.providers import build_provider, ollama
from timmy_core.router.providers.door import SHAPE_ERRORS
from timmy_core.router.providers.ollama import DEFAULT_CONTEXT_TOKENS, OllamaDoor
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import Turn, WireServer
from timmy_core.testing.ollama_host import OllamaModel

ASK = ChatRequest((Message("user", "hi"),), "tiny", timeout_s=5, first_token_s=5)
HASTY = replace(ASK, first_token_s=0.05)
NESTED = {"type": "object", "properties": {"at": {"type": "object", "properties": {"lat": {"type": "number"}}}}}
WEATHER = Tool("weather", "what it is like", NESTED)
TIME = Tool("time", "", {"type": "object", "properties": {}})
CALL = ToolCall("call_1", "weather", '{"at": {"lat": 1.5}}')


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@pytest.fixture
async def door(server: WireServer) -> AsyncIterator[OllamaDoor]:
    made = make(server)
    yield made
    await made.close()


def make(server: WireServer, load_s: float = 5, **more: object) -> OllamaDoor:
    table = {"name": "p", "kind": "ollama", "base_url": server.url, "models": {"default": "tiny"}, **more}
    made = build_provider(ProviderSettings.model_validate(table), RouterSettings(load_s=load_s))
    assert isinstance(made, OllamaDoor)
    return made


async def ask(door: OllamaDoor, streamed: bool, request: ChatRequest = ASK) -> Completion:
    if not streamed:
        return await door.chat(request)
    async with aclosing(door.stream(request)) as stream:
        chunks = [chunk async for chunk in stream]
    last = chunks[-1]
    assert last.finish_reason is not None
    calls = tuple(call for chunk in chunks for call in chunk.tool_calls)
    text = "".join(chunk.text for chunk in chunks)
    return Completion(text, last.finish_reason, last.usage or Usage(), last.model or "", calls)


async def failure(door: OllamaDoor, request: ChatRequest = ASK, streamed: bool = False) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(door, streamed, request)
    return caught.value


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the server has no bell for each of its lists
            await asyncio.sleep(0.005)


def paths(server: WireServer) -> list[str]:
    return [request.path for request in server.requests]


def body(server: WireServer) -> dict[str, Any]:
    sent: dict[str, Any] = server.questions[-1].body
    return sent


both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


# Loading ---------------------------------------------------------------------------------------------------------


async def test_a_cold_model_is_loaded_before_it_is_asked(door: OllamaDoor, server: WireServer) -> None:
    assert (await ask(door, streamed=True)).text == "Hello there."
    assert paths(server) == ["/api/show", "/api/ps", "/api/generate", "/api/ps", "/api/chat"]
    assert server.ollama.loads == ["tiny:latest"]


async def test_a_model_that_has_just_answered_counts_as_loaded(door: OllamaDoor, server: WireServer) -> None:
    await ask(door, streamed=False)
    server.requests.clear()
    for streamed in (False, True):
        await ask(door, streamed)
    assert paths(server) == ["/api/chat"] * 2


async def test_after_a_while_the_server_is_asked_again_whether_it_is_loaded(
    door: OllamaDoor, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "_FRESH_S", 0.0)
    await ask(door, streamed=False)
    server.requests.clear()
    await ask(door, streamed=False)
    assert paths(server) == ["/api/ps", "/api/chat"]
    server.ollama.unload("tiny")
    await ask(door, streamed=False)
    assert server.ollama.loads == ["tiny:latest"] * 2


async def test_after_a_failure_too(door: OllamaDoor, server: WireServer) -> None:
    await ask(door, streamed=False)
    server.then(Turn(ending="reset", after=1), Turn())
    await failure(door)
    server.requests.clear()
    await ask(door, streamed=False)
    assert paths(server) == ["/api/ps", "/api/chat"]


@both
async def test_who_cannot_wait_is_told_that_it_loads_and_the_load_goes_on(server: WireServer, streamed: bool) -> None:
    server.ollama.load_s = 0.3
    door = make(server)
    error = await failure(door, HASTY, streamed)
    assert error.error_class == "model_loading"
    assert "first_token_s" in error.advice
    assert (await ask(door, streamed)).text == "Hello there."
    assert (server.ollama.loads, server.ollama.aborted) == (["tiny:latest"], [])
    await door.close()


async def test_a_caller_that_is_cancelled_does_not_end_the_load(server: WireServer) -> None:
    server.ollama.load_s = 0.3
    door = make(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await door.chat(ASK)
    await ask(door, streamed=False)
    assert (server.ollama.loads, server.ollama.aborted) == (["tiny:latest"], [])
    await door.close()


async def test_many_callers_wait_for_one_load(server: WireServer) -> None:
    server.ollama.load_s = 0.1
    door = make(server)
    answers = await asyncio.gather(*(ask(door, streamed) for streamed in (False, True) * 10))
    assert {answer.text for answer in answers} == {"Hello there."}
    assert server.ollama.loads == ["tiny:latest"]
    await door.close()


async def test_closing_ends_the_load(server: WireServer) -> None:
    server.ollama.load_s = 30
    door = make(server)
    await failure(door, HASTY)
    await door.close()
    await until(lambda: server.ollama.aborted == ["tiny:latest"])


async def test_a_load_has_a_budget_of_its_own(server: WireServer) -> None:
    server.ollama.load_s = 30
    door = make(server, load_s=0.05)
    error = await failure(door)
    assert (error.error_class, error.message) == ("timeout", "it did not load tiny within 0.05 s (load_s)")
    await door.close()


async def test_a_load_that_fails_is_told_to_who_waits(server: WireServer) -> None:
    server.ollama.load_s = 30
    door = make(server)
    waiting = asyncio.create_task(failure(door))
    await until(lambda: server.ollama.loads)
    await server.stop()
    assert (await waiting).error_class in ("connection_failed", "connection_refused")
    await door.close()


async def test_a_load_that_fails_while_nobody_waits_is_told_to_who_asks_next(server: WireServer) -> None:
    server.ollama.load_s = 30
    door = make(server)
    assert (await failure(door, HASTY)).error_class == "model_loading"
    await server.stop()
    await until(lambda: not door._loading.is_loading("tiny"))
    await server.start()
    server.ollama.load_s = 0
    assert (await failure(door)).error_class in ("connection_failed", "connection_refused")
    assert (await ask(door, streamed=False)).text == "Hello there."
    await door.close()


async def test_too_little_memory_says_what_to_do(door: OllamaDoor, server: WireServer) -> None:
    await ask(door, streamed=False)
    text = "model requires more system memory (61.2 GiB) than is available (12.0 GiB)"
    server.then(Turn(status=500, message=text))
    error = await failure(door)
    assert (error.error_class, text in error.message) == ("server_error", True)
    assert error.advice.startswith("choose a smaller model than tiny")


@both
async def test_a_missing_model_says_how_to_get_it(server: WireServer, streamed: bool) -> None:
    server.ollama.models["other"] = OllamaModel()
    door = make(server)
    error = await failure(door, streamed=streamed)
    assert error.error_class == "model_not_found"
    assert "`timmy router pull p tiny`" in error.advice
    await door.close()


async def test_a_model_of_another_window_is_loaded_anew_before_it_is_asked(server: WireServer) -> None:
    server.ollama.loaded["tiny:latest"] = 2048
    door = make(server, context_tokens=4096)
    await ask(door, streamed=False)
    assert (server.ollama.loads, server.ollama.loaded) == (["tiny:latest"], {"tiny:latest": 4096})
    await door.close()


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


# Servers that are not quite Ollama -------------------------------------------------------------------------------


class Plain(WireServer):
    """Answers questions, and nothing else."""

    async def _other(self, line: Any, request: Any) -> bool:  # noqa: ARG002
        return bool(await line.whole(404, "text/plain", b"404 page not found"))


class Forgetful(WireServer):
    """Never lists what is in its memory, as a server that only passes questions on."""

    async def _other(self, line: Any, request: Any) -> bool:
        self.ollama.loaded.clear()
        return await super()._other(line, request)


@both
async def test_a_server_that_tells_nothing_of_its_memory_is_asked_right_away(streamed: bool) -> None:
    async with Plain() as server:
        door = make(server)
        for _ in range(2):
            assert (await ask(door, streamed)).text == "Hello there."
        assert paths(server) == ["/api/show", "/api/ps", "/api/chat", "/api/chat"]
        assert body(server)["options"] == {"num_ctx": DEFAULT_CONTEXT_TOKENS}
        await door.close()


async def test_a_server_that_lists_nothing_is_not_asked_to_load_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ollama, "_FRESH_S", 0.0)
    async with Forgetful() as server:
        door = make(server)
        for _ in range(3):
            await ask(door, streamed=False)
        assert paths(server).count("/api/generate") == 1
        await door.close()


# Its models ------------------------------------------------------------------------------------------------------


async def test_the_models_are_listed_with_what_is_in_memory(door: OllamaDoor, server: WireServer) -> None:
    server.ollama.models = {"tiny": OllamaModel(size=5), "other:7b": OllamaModel()}
    server.ollama.loaded["other:7b"] = 4096
    first, second = await door.installed()
    assert (first.name, first.size_bytes, first.loaded, first.quantization) == ("tiny:latest", 5, False, "Q4_K_M")
    assert (second.name, second.loaded, second.parameters) == ("other:7b", True, "1B")


async def test_a_pull_tells_how_far_it_is(door: OllamaDoor, server: WireServer) -> None:
    told = [progress async for progress in door.pull("new")]
    assert [one.completed_bytes for one in told[:5]] == [None, 250_000, 500_000, 750_000, 1_000_000]
    assert {one.total_bytes for one in told[1:]} == {1_000_000}
    assert told[-1].status == "success"
    assert server.ollama.pulled == ["new:latest"]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"error": "pull model manifest: file does not exist"}, "server_error"),
        ({"cut": True}, "connection_failed"),
    ],
)
async def test_a_pull_that_fails_says_why(
    door: OllamaDoor, server: WireServer, change: dict[str, Any], kind: str
) -> None:
    server.ollama.pull = replace(server.ollama.pull, **change)
    with pytest.raises(ProviderError) as caught:
        [progress async for progress in door.pull("new")]
    assert caught.value.error_class == kind
    assert caught.value.advice
    assert server.ollama.pulled == []


async def test_a_pull_that_falls_silent_is_given_up(server: WireServer) -> None:
    server.ollama.pull = replace(server.ollama.pull, pause_s=30)
    door = make(server, load_s=0.05)
    with pytest.raises(ProviderError, match=r"said nothing for 0\.05 s"):
        [progress async for progress in door.pull("new")]
    await door.close()


async def test_a_pull_can_be_stopped_at_any_time_and_leaves_no_connection(door: OllamaDoor, server: WireServer) -> None:
    server.ollama.pull = replace(server.ollama.pull, pause_s=0.01, steps=1000)
    async with aclosing(door.pull("new")) as told:
        async for progress in told:
            if progress.completed_bytes:
                break
    await until(lambda: not server.open_connections)
    assert server.ollama.pulled == []
