"""The rest of an Ollama server, asked by the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import ollama
import pytest

from timmy_core.testing import OllamaModel, Pull, Turn, WireServer

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@pytest.fixture
async def client(server: WireServer) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(server.url) as made:
        yield made


async def test_a_question_loads_the_model_once_with_the_window_it_asks_for(
    server: WireServer, client: ollama.AsyncClient
) -> None:
    assert (await client.ps()).models == []
    await client.chat("tiny", ASK)
    await client.chat("tiny", ASK, options={"num_ctx": 4096})
    (running,) = (await client.ps()).models
    assert (running.model, running.context_length) == ("tiny:latest", 4096)
    await client.chat("tiny", ASK, options={"num_ctx": 16_384})
    (running,) = (await client.ps()).models
    assert (running.context_length, server.ollama.loads) == (16_384, ["tiny:latest"] * 2)


async def test_a_preload_takes_its_time_and_a_client_that_leaves_aborts_it(
    server: WireServer, client: ollama.AsyncClient
) -> None:
    server.ollama.load_s = 30
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.generate("tiny")
    for _ in range(500):
        if server.ollama.aborted:
            break
        await asyncio.sleep(0.01)
    assert server.ollama.aborted == ["tiny:latest"]
    assert (await client.ps()).models == []
    server.ollama.load_s = 0.02
    done = await client.generate("tiny", options={"num_ctx": 2048})
    assert (done.done, done.done_reason) == (True, "load")
    assert server.ollama.loaded == {"tiny:latest": 2048}
    assert (await client.generate("tiny", keep_alive=0)).done_reason == "unload"
    assert server.ollama.loaded == {}


async def test_callers_that_come_while_it_loads_wait_for_the_same_load(
    server: WireServer, client: ollama.AsyncClient
) -> None:
    server.ollama.load_s = 0.05
    answers = await asyncio.gather(*(client.chat("tiny", ASK) for _ in range(5)))
    assert {answer.message.content for answer in answers} == {"Hello there."}
    assert server.ollama.loads == ["tiny:latest"]


async def test_a_shelf_decides_which_models_there_are(server: WireServer, client: ollama.AsyncClient) -> None:
    server.ollama.models["big:7b"] = OllamaModel(context_tokens=131_072, num_ctx=8192, size=7_000_000_000)
    assert [model.model for model in (await client.list()).models] == ["big:7b"]
    shown = await client.show("big:7b")
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 131_072
    assert (shown.parameters or "").split() == ["num_ctx", "8192"]
    for asked in (client.show("tiny"), client.chat("tiny", ASK), client.generate("tiny")):
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            await asked
        assert caught.value.status_code == 404
    await client.chat("big:7b", ASK)
    assert server.ollama.loaded == {"big:7b": 8192}


async def test_a_pull_tells_its_progress_and_puts_the_model_on_the_shelf(
    server: WireServer, client: ollama.AsyncClient
) -> None:
    server.ollama.models["tiny"] = OllamaModel()
    server.ollama.pull = Pull(total=100, steps=4)
    told = [part async for part in await client.pull("new", stream=True)]
    assert [part.completed for part in told if part.completed] == [25, 50, 75, 100]
    assert told[-1].status == "success"
    assert (await client.pull("other")).status == "success"
    assert [model.model for model in (await client.list()).models] == ["tiny:latest", "new:latest", "other:latest"]
    assert (await client.chat("new", ASK)).message.content == "Hello there."


async def test_a_pull_fails_as_it_is_told(server: WireServer, client: ollama.AsyncClient) -> None:
    server.ollama.pull = Pull(error="pull model manifest: file does not exist")
    with pytest.raises(ollama.ResponseError, match="does not exist"):
        _ = [part async for part in await client.pull("new", stream=True)]
    server.ollama.pull = Pull(cut=True)
    with pytest.raises(httpx.TransportError):
        _ = [part async for part in await client.pull("new", stream=True)]
    assert server.ollama.pulled == []


async def test_a_sick_server_is_sick_everywhere(server: WireServer, client: ollama.AsyncClient) -> None:
    server.then(Turn(status=401, message="unauthorized"), Turn())
    for asked in (client.ps(), client.show("tiny"), client.list()):
        with pytest.raises(ollama.ResponseError, match="unauthorized"):
            await asked
    # None of them used up the turn.
    with pytest.raises(ollama.ResponseError, match="unauthorized"):
        await client.chat("tiny", ASK)
    assert (await client.chat("tiny", ASK)).message.content == "Hello there."
