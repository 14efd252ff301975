"""The feed over a WebSocket: replay, live, reconnect, cursors from elsewhere, slow clients, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from timmy_core.server.run import Serving
from timmy_core.server.ws import FeedSockets

PASSWORD = "correct horse"
Start = Callable[..., Serving]


@contextlib.asynccontextmanager
async def feed_of(serving: Serving, query: str = "", **options: Any) -> AsyncIterator[ClientConnection]:
    address = f"ws://127.0.0.1:{serving.port}/ws/events{query}"
    async with connect(address, **{"origin": serving.url} | options) as connection:
        yield connection


async def receive(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        message: dict[str, Any] = json.loads(await connection.recv())
    return message


async def collect(connection: ClientConnection, count: int) -> list[int]:
    seqs: list[int] = []
    while len(seqs) < count:
        message = await receive(connection)
        assert message["kind"] == "events"
        seqs += [event["seq"] for event in message["events"]]
    return seqs


async def closed_with(connection: ClientConnection) -> tuple[int, str]:
    try:
        async with asyncio.timeout(10):
            while True:
                await connection.recv()
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


def write(timmy: Any, count: int, text: str = "") -> list[int]:
    from timmy_core.events.model import NewEvent

    written = timmy.events.append_many([NewEvent("system.info", "test", {"text": text}) for _ in range(count)])
    return [event.seq for event in written]


async def wait_for_head(timmy: Any, seq: int) -> None:
    async with asyncio.timeout(10):
        while timmy.feed.head() < seq:  # noqa: ASYNC110 - another thread's number, which rings no bell
            await asyncio.sleep(0.01)


async def test_since_zero_replays_everything_then_goes_live(start: Start, timmy: Any) -> None:
    old = write(timmy, 1300)
    await wait_for_head(timmy, old[-1])
    async with feed_of(start(), "?since=0") as connection:
        hello = await receive(connection)
        assert len(hello.pop("server")) == 16
        assert hello == {"kind": "hello", "epoch": timmy.feed.epoch, "head": old[-1], "since": 0, "reset": False}
        assert await collect(connection, old[-1]) == list(range(1, old[-1] + 1))
        new = write(timmy, 3)
        assert await collect(connection, 3) == new


async def test_without_since_only_what_comes(start: Start, timmy: Any) -> None:
    old = write(timmy, 5)
    await wait_for_head(timmy, old[-1])
    async with feed_of(start()) as connection:
        assert (await receive(connection))["since"] == old[-1]
        new = write(timmy, 2)
        assert await collect(connection, 2) == new


async def test_an_event_arrives_whole_and_soon(start: Start, timmy: Any) -> None:
    async with feed_of(start()) as connection:
        await receive(connection)
        began_s = time.monotonic()
        event = await asyncio.to_thread(timmy.events.append, "task.created", source="test", task_id="t", data={"ä": 1})
        message = await receive(connection)
        assert time.monotonic() - began_s < 5
        assert message["events"] == [event.as_dict()]


async def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice(start: Start, timmy: Any) -> None:
    serving = start()
    seen: list[int] = []
    for _ in range(5):
        cursor = seen[-1] if seen else 0
        async with feed_of(serving, f"?since={cursor}") as connection:
            await receive(connection)
            write(timmy, 7)
            seen += await collect(connection, 1)
        write(timmy, 3)
    async with feed_of(serving, f"?since={seen[-1]}") as connection:
        await receive(connection)
        head = timmy.events.head()[0]
        seen += await collect(connection, head - seen[-1])
    assert seen == list(range(1, head + 1))


async def test_a_cursor_from_another_log_is_told_to_start_afresh(start: Start, timmy: Any) -> None:
    old = write(timmy, 2)
    await wait_for_head(timmy, old[-1])
    async with feed_of(start(), "?since=1000000") as connection:
        hello = await receive(connection)
        assert (hello["head"], hello["since"], hello["reset"]) == (old[-1], old[-1], True)
        new = write(timmy, 1)
        assert await collect(connection, 1) == new


async def test_a_cursor_that_the_follower_has_not_reached_yet_is_no_reset(start: Start, timmy: Any) -> None:
    site = start()
    for _ in range(20):
        (newest,) = write(timmy, 1)
        async with feed_of(site, f"?since={newest}") as connection:
            hello = await receive(connection)
            assert (hello["reset"], hello["since"]) == (False, newest)


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "9" * 40, "%D9%A1"])
async def test_a_cursor_that_is_no_number_is_refused_with_a_reason(start: Start, since: str) -> None:
    async with feed_of(start(), f"?since={since}") as connection:
        code, reason = await closed_with(connection)
    assert code == 4400
    assert "expected a whole number" in reason


async def test_large_events_come_in_messages_of_bounded_size(start: Start, timmy: Any) -> None:
    written = write(timmy, 12, "x" * 100_000)
    async with feed_of(start(), f"?since={written[0] - 1}") as connection:
        await receive(connection)
        sizes = []
        count = 0
        while count < len(written):
            text = await connection.recv()
            sizes.append(len(text))
            count += len(json.loads(text)["events"])
    assert max(sizes) < 300_000


async def test_without_a_login_it_closes_with_4401(start: Start) -> None:
    async with feed_of(start(password=PASSWORD)) as connection:
        assert (await closed_with(connection))[0] == 4401


async def test_another_origin_closes_with_4403(start: Start) -> None:
    async with feed_of(start(), origin="http://evil.example") as connection:
        assert (await closed_with(connection))[0] == 4403


async def test_a_program_without_origin_needs_the_password(start: Start) -> None:
    serving = start(password=PASSWORD)
    async with feed_of(serving, origin=None) as connection:
        assert (await closed_with(connection))[0] == 4403
    headers = {"Authorization": f"Bearer {PASSWORD}"}
    async with feed_of(serving, origin=None, additional_headers=headers) as connection:
        assert (await receive(connection))["kind"] == "hello"


async def test_the_cookie_of_the_login_is_enough(start: Start) -> None:
    serving = start(password=PASSWORD)
    async with httpx.AsyncClient(base_url=serving.url) as client:
        await client.post("/login", data={"password": PASSWORD}, headers={"Origin": serving.url})
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    async with feed_of(serving, additional_headers={"Cookie": cookie}) as connection:
        assert (await receive(connection))["kind"] == "hello"


async def test_a_page_s_own_socket_is_behind_the_same_door(start: Start) -> None:
    serving = start(password=PASSWORD)
    async with connect(f"ws://127.0.0.1:{serving.port}/ws?session_id=s_123456", origin=serving.url) as connection:
        assert (await closed_with(connection))[0] == 4401


async def test_the_server_s_end_is_said(start: Start) -> None:
    serving = start()
    async with feed_of(serving) as connection:
        await receive(connection)
        serving.stop()
        assert await closed_with(connection) == (1001, "the server stops")


async def test_more_than_so_many_are_sent_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, at_most=2)
    serving = start()
    async with feed_of(serving) as first, feed_of(serving) as second:
        await receive(first)
        await receive(second)
        async with feed_of(serving) as third:
            assert (await closed_with(third))[0] == 1013
    async with feed_of(serving) as again:
        assert (await receive(again))["kind"] == "hello", "a place is free again"


async def test_a_quiet_feed_is_kept_alive(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, ping_s=0.1)
    async with feed_of(start()) as connection:
        await receive(connection)
        assert await receive(connection) == {"kind": "ping"}


async def test_a_client_that_does_not_read_is_dropped(
    start: Start, timmy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, unread_s=0.3)
    serving = start()
    with socket.create_connection(("127.0.0.1", serving.port)) as raw:
        raw.sendall(
            f"GET /ws/events?since=0 HTTP/1.1\r\nHost: 127.0.0.1:{serving.port}\r\nOrigin: {serving.url}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        async with asyncio.timeout(20):
            while timmy.feed.subscribers == 0:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
            for _ in range(100):
                await asyncio.to_thread(write, timmy, 1, "x" * 200_000)
                if timmy.feed.subscribers == 0:
                    break
            while timmy.feed.subscribers:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
        raw.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(1 << 20):
                pass  # what was under way still comes, then the end: the connection is cut
    async with feed_of(serving) as other:
        assert (await receive(other))["kind"] == "hello", "others are served on"


def shorten(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Let the server be built with other limits, so that no test waits for the real ones."""
    original = FeedSockets.__init__
    monkeypatch.setattr(FeedSockets, "__init__", lambda self, feed: original(self, feed, **options))
