"""Backpressure of the feed: a client that does not read is bounded and dropped alone, and 200 others are on time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from timmy_core.events.feed import MAX_BATCH, Feed
from timmy_core.events.model import NewEvent
from timmy_core.server.run import Serving
from timmy_core.server.ws import MESSAGE_CHARS, FeedSockets

READERS = 200
EVENTS = 100
GAP_S = 0.03
PADDING = "x" * 20_000
BACKLOG, LARGE = 60, "x" * 200_000  # more than a system keeps for a connection by itself
ON_TIME_S = 5.0  # generous: what counts is that nobody waits for the one that does not read
Start = Callable[..., Serving]


class Reader:
    """One client that reads: what it got, and how late the latest of it was."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seqs: list[int] = []
        self.latest_s = 0.0

    async def read(self, upto: int) -> None:
        while not self.seqs or self.seqs[-1] < upto:
            message = json.loads(await self.connection.recv())
            for event in message.get("events", ()):
                self.seqs.append(event["seq"])
                self.latest_s = max(self.latest_s, time.time() - event["data"]["at"])


def unread(serving: Serving) -> socket.socket:
    """Open a feed whose client reads nothing, not even the answer, with as small a window as there is."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", serving.port))
    raw.sendall(
        f"GET /ws/events?since=0 HTTP/1.1\r\nHost: 127.0.0.1:{serving.port}\r\nOrigin: {serving.url}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return raw


async def joined(feed: Feed, count: int) -> None:
    async with asyncio.timeout(60):
        while feed.subscribers < count:  # noqa: ASYNC110 - another thread's number, which rings no bell
            await asyncio.sleep(0.02)


async def test_a_client_that_does_not_read_is_dropped_alone_while_200_others_are_on_time(
    start: Start, timmy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FeedSockets.__init__
    monkeypatch.setattr(FeedSockets, "__init__", lambda self, feed: original(self, feed, unread_s=1.0))
    serving = start()
    timmy.events.append_many([NewEvent("x.crowd.told", "test", {"text": LARGE}) for _ in range(BACKLOG)])
    async with contextlib.AsyncExitStack() as stack:
        address = f"ws://127.0.0.1:{serving.port}/ws/events?since={timmy.events.head()[0]}"
        readers = [
            Reader(await stack.enter_async_context(connect(address, origin=serving.url, compression=None)))
            for _ in range(READERS)
        ]
        await joined(timmy.feed, READERS)
        raw = unread(serving)
        stack.callback(raw.close)
        await joined(timmy.feed, READERS + 1)
        first = timmy.events.head()[0] + 1
        reading = [asyncio.create_task(reader.read(first + EVENTS - 1)) for reader in readers]
        for _ in range(EVENTS):
            await asyncio.to_thread(timmy.events.append, "x.crowd.told", source="test", data={"at": time.time()})
            await asyncio.sleep(GAP_S)
        async with asyncio.timeout(60):
            await asyncio.gather(*reading)
            while timmy.feed.subscribers > READERS:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)
        assert timmy.feed.subscribers == READERS, "only the one that did not read was dropped"
        expected = list(range(first, first + EVENTS))
        assert [index for index, reader in enumerate(readers) if reader.seqs != expected] == []
        assert max(reader.latest_s for reader in readers) < ON_TIME_S
        await _cut(raw)


async def _cut(raw: socket.socket) -> None:
    """Read what was under way, which is bounded, and see that the connection was cut."""
    raw.settimeout(10)
    got = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := await asyncio.to_thread(raw.recv, 1 << 20):
            got += len(piece)
    assert got < BACKLOG * len(LARGE), "the rest of it was never kept for this client"


async def test_what_waits_for_a_client_is_one_bounded_message(start: Start, timmy: Any) -> None:
    """However much there is to catch up with, no message is larger than its bound, or than one event."""
    events = [NewEvent("x.crowd.told", "test", {"text": PADDING}) for _ in range(60)]
    last = timmy.events.append_many(events)[-1].seq
    serving = start()
    async with connect(f"ws://127.0.0.1:{serving.port}/ws/events?since=0", origin=serving.url, max_size=None) as one:
        sizes, seen = [], 0
        async with asyncio.timeout(20):
            while seen < last:
                text = await one.recv()
                sizes.append(len(text))
                seen = max([seen, *(event["seq"] for event in json.loads(text).get("events", ()))])
    assert len(sizes) > 4
    assert max(sizes) <= MESSAGE_CHARS + 1_000


async def test_who_lags_costs_no_memory_and_misses_nothing(timmy: Any) -> None:
    """A place in the log is a number: what a reader is behind lies in the log, not in a queue of its own."""
    async with timmy.feed.subscribe(after=0) as slow:
        before = dict(vars(slow))
        written = timmy.events.append_many([NewEvent("x.crowd.told", "test", {"n": n}) for n in range(3_000)])
        async with asyncio.timeout(20):
            while timmy.feed.head() < written[-1].seq:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
        assert {name: value for name, value in vars(slow).items() if before[name] is not value} == {}
        seqs: list[int] = []
        while not seqs or seqs[-1] < written[-1].seq:
            texts = await slow.next(timeout_s=5)
            assert len(texts) <= MAX_BATCH
            seqs += [json.loads(text)["seq"] for text in texts]
    assert seqs == list(range(1, written[-1].seq + 1))


async def test_a_reader_that_leaves_in_the_middle_disturbs_nobody(start: Start, timmy: Any) -> None:
    serving = start()
    address = f"ws://127.0.0.1:{serving.port}/ws/events?since=0"
    async with connect(address, origin=serving.url) as stays:
        reader = Reader(stays)
        leaver = await connect(address, origin=serving.url)
        await joined(timmy.feed, 2)
        leaver.transport.abort()
        last = timmy.events.append_many(
            [NewEvent("x.crowd.told", "test", {"at": time.time(), "text": PADDING}) for _ in range(40)]
        )[-1].seq
        async with asyncio.timeout(20):
            await _read_all(reader, last)
    assert reader.seqs == list(range(reader.seqs[0], last + 1))


async def _read_all(reader: Reader, last: int) -> None:
    while not reader.seqs or reader.seqs[-1] < last:
        message = json.loads(await reader.connection.recv())
        reader.seqs += [event["seq"] for event in message.get("events", ())]
