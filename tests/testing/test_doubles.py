"""The doubles do what they promise, since others rely on them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Message
from timmy_core.testing import FakeClock, ScriptedProvider, Turn, WireServer

ASK = ChatRequest((Message("user", "hi"),), "m", 1, 1)


def test_a_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    wall, mono = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == (wall, mono)
    clock.advance(1.5)
    assert (clock.now() - wall, clock.monotonic() - mono) == (timedelta(seconds=1.5), 1.5)
    clock.set_wall(wall)
    assert clock.monotonic() - mono == 1.5
    with pytest.raises(ValueError, match="set_wall"):
        clock.advance(-1)


async def test_a_script_is_followed_and_its_last_entry_repeated() -> None:
    provider = ScriptedProvider("p", "one", ProviderError("server_error", "down"), ["th", "ree"])
    assert (await provider.chat(ASK)).text == "one"
    with pytest.raises(ProviderError):
        await provider.chat(ASK)
    assert [(await provider.chat(ASK)).text for _ in range(2)] == ["three", "three"]
    assert len(provider.requests) == 4


async def raw(url: str, method: str, path: str, body: object = None) -> bytes:
    """Speak HTTP by hand, to see what really comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    data = b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} {path} HTTP/1.1\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    answer = b""
    try:
        async with asyncio.timeout(0.1):
            while piece := await reader.read(65536):
                answer += piece
    except TimeoutError:
        pass
    finally:
        writer.close()
    return answer


async def test_a_reset_is_a_real_one() -> None:
    async with WireServer(Turn(drop=True)) as server:
        with pytest.raises(ConnectionResetError):
            await raw(server.url, "POST", "/api/chat", {"model": "m"})


async def test_a_connection_serves_request_after_request() -> None:
    async with WireServer(Turn(pieces=("one",)), Turn(pieces=("two",))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        body = json.dumps({"model": "m", "stream": False}).encode()
        for word in (b"one", b"two"):
            writer.write(f"POST /api/chat HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert word in await reader.readexactly(length)
        writer.close()
        assert server.connections == 1


async def test_a_stopped_server_refuses_and_comes_back_on_the_same_port() -> None:
    server = WireServer()
    await server.start()
    url = server.url
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await raw(url, "GET", "/v1/models")
    await server.start()
    assert server.url == url
    assert b"tiny" in await raw(url, "GET", "/v1/models")
    await server.stop()


async def test_a_list_of_models_uses_up_no_turn() -> None:
    async with WireServer(Turn(pieces=("first",)), Turn(pieces=("second",))) as server:
        await raw(server.url, "GET", "/api/tags")
        assert b"first" in await raw(server.url, "POST", "/v1/chat/completions", {"model": "m"})


async def test_a_body_that_is_cut_ends_before_its_promised_length() -> None:
    async with WireServer(Turn(ending="close", after=1)) as server:
        whole = await raw(server.url, "POST", "/api/chat", {"model": "m", "stream": False})
        head, _, body = whole.partition(b"\r\n\r\n")
        promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert 0 < len(body) < promised
        stream = await raw(server.url, "POST", "/api/chat", {"model": "m"})
        assert b"Hello" in stream
        assert not stream.endswith(b"0\r\n\r\n")


async def test_only_a_connection_that_served_before_is_dropped() -> None:
    async with WireServer(Turn(drop_reused=True), Turn(pieces=("second",))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET /api/tags HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"}]}")
        writer.write(b"POST /api/chat HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        # The turn was not used up by it.
        assert b"there" in await raw(server.url, "POST", "/api/chat", {"model": "m"})
        assert b"second" in await raw(server.url, "POST", "/api/chat", {"model": "m"})


async def test_a_client_that_goes_away_leaves_nothing_open() -> None:
    async with WireServer(Turn(hang=True)) as server:
        assert await raw(server.url, "POST", "/api/chat", {"model": "m"}) == b""
        for _ in range(200):
            if not server.open_connections:
                break
            await asyncio.sleep(0.01)
        assert (server.connections, server.open_connections, len(server.questions)) == (1, 0, 1)
