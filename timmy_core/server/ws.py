"""`/ws/events?since=seq`: the live feed of events, gap-free from a cursor.

The server sends `{"kind": "hello", "epoch", "head", "since", "reset", "server"}`, then
`{"kind": "events", "events": [...]}` in order, and `{"kind": "ping"}` when nothing happens. A client comes back with
the last seq it saw as `since`; `reset` (or another epoch) tells it that its cursor is from another log and that it has
to start afresh. `server` changes with each start of the server: a page that sees another one than before knows that
its kernel is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timmy_core.events.feed import Feed, Subscription

GOING_AWAY, TRY_LATER, BAD_CURSOR = 1001, 1013, 4400
ABORT = "timmy.abort"  # the key in `scope["extensions"]` of what cuts a connection that will not be read
MESSAGE_CHARS = 256 * 1024
_SEQ_DIGITS = 18


class FeedSockets:
    """Every open feed of this server; bounds how many there are and how long one may leave its messages unread."""

    def __init__(
        self, feed: Feed, *, at_most: int = 256, ping_s: float = 15.0, unread_s: float = 10.0, pause_s: float = 0.01
    ) -> None:
        self._feed, self._at_most = feed, at_most
        self._ping_s, self._unread_s, self._pause_s = ping_s, unread_s, pause_s
        self._server = secrets.token_hex(8)
        self._open = 0
        self._last_left = asyncio.Event()
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        return self._open

    async def endpoint(self, websocket: WebSocket) -> None:
        """Serve one client until it leaves, the server stops, or it no longer reads."""
        await websocket.accept()
        since = _cursor(websocket.query_params.get("since"))
        if isinstance(since, str):
            await websocket.close(BAD_CURSOR, since)
            return
        if self._open >= self._at_most:
            await websocket.close(TRY_LATER, f"{self._at_most} feeds are open already; close one or try later")
            return
        self._open += 1
        self._last_left.clear()
        try:
            await self._serve(websocket, since)
        finally:
            self._open -= 1
            if not self._open:
                self._last_left.set()

    async def close(self, timeout_s: float = 1.0) -> None:
        """Tell every client that the server stops, and wait a moment for them to be told."""
        self._closing.set()
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._last_left.wait(), timeout_s)

    async def _serve(self, websocket: WebSocket, since: int | None) -> None:
        head = self._feed.head()
        if since is not None and since > head:
            # The follower may lag a moment behind the log itself, and the client have heard of an event elsewhere.
            head = await asyncio.to_thread(self._feed.newest)
        reset = since is not None and since > head
        after = head if since is None or reset else since
        hello = {"kind": "hello", "epoch": self._feed.epoch, "head": head, "since": after, "reset": reset}
        hello["server"] = self._server
        async with self._feed.subscribe(after=after) as subscription:
            sending = asyncio.create_task(self._send_all(websocket, subscription, json.dumps(hello)))
            leaving = asyncio.create_task(_until_gone(websocket))
            closing = asyncio.create_task(self._closing.wait())
            tasks = (sending, leaving, closing)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[0], TimeoutError):
            _abort(websocket)
        elif results[2] is True and results[1] is not None:
            await self._say_goodbye(websocket)
        elif isinstance(results[0], Exception) and not isinstance(results[0], WebSocketDisconnect):
            raise results[0]

    async def _send_all(self, websocket: WebSocket, subscription: Subscription, hello: str) -> None:
        await self._send(websocket, hello)
        last_s = time.monotonic()
        while True:
            texts = await subscription.next(timeout_s=self._ping_s)
            for message in _messages(texts):
                await self._send(websocket, message)
            if not texts and time.monotonic() - last_s >= self._ping_s:
                await self._send(websocket, '{"kind":"ping"}')
            if texts or time.monotonic() - last_s >= self._ping_s:
                last_s = time.monotonic()
            # The first event of a burst goes out at once; those that follow within the pause share a message.
            await asyncio.sleep(self._pause_s)

    async def _send(self, websocket: WebSocket, text: str) -> None:
        """Send, or raise TimeoutError when the client has not read what was sent before."""
        async with asyncio.timeout(self._unread_s):
            await websocket.send_text(text)

    async def _say_goodbye(self, websocket: WebSocket) -> None:
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(0.5):
                await websocket.close(GOING_AWAY, "the server stops")


def _cursor(text: str | None) -> int | str | None:
    """Return the seq, None for "from now on", or what is wrong with it."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= _SEQ_DIGITS:
        return int(text)
    return f"since={text[:20]!r} is not a seq; expected a whole number from 0, or none at all"


def _messages(texts: list[str]) -> Iterator[str]:
    """Pack events into messages of a bounded size, so that one client's unread ones are bounded too."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > MESSAGE_CHARS:
            yield _pack(batch)
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield _pack(batch)


def _pack(texts: list[str]) -> str:
    return f'{{"kind":"events","events":[{",".join(texts)}]}}'


async def _until_gone(websocket: WebSocket) -> None:
    """Return when the client has left; what it says is not listened to."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _abort(websocket: WebSocket) -> None:
    """Cut the connection: a client that does not read would not read a goodbye either."""
    abort = websocket.scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()
