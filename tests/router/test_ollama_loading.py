"""Ollama's door and its models: loaded apart from asking, listed, pulled; and servers that are not quite Ollama."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from tests.waiting import auntil
from timmy_core.errors import ProviderError
from timmy_core.router.providers import ollama
from timmy_core.router.providers.ollama import DEFAULT_CONTEXT_TOKENS, OllamaDoor
from timmy_core.testing import Turn, WireServer
from timmy_core.testing.ollama_host import OllamaModel

from .ollama_house import ASK, HASTY, ask, body, both, failure, make, paths


@pytest.fixture
async def door(server: WireServer) -> AsyncIterator[OllamaDoor]:
    made = make(server)
    yield made
    await made.close()


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
    await auntil(lambda: server.ollama.aborted == ["tiny:latest"])


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
    await auntil(lambda: server.ollama.loads)
    await server.stop()
    assert (await waiting).error_class in ("connection_failed", "connection_refused")
    await door.close()


async def test_a_load_that_fails_while_nobody_waits_is_told_to_who_asks_next(server: WireServer) -> None:
    server.ollama.load_s = 30
    door = make(server)
    assert (await failure(door, HASTY)).error_class == "model_loading"
    await server.stop()
    await auntil(lambda: not door._loading.is_loading("tiny"))
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
    await auntil(lambda: not server.open_connections)
    assert server.ollama.pulled == []
