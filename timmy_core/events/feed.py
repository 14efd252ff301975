"""The live feed: one follower a process reads the log once and wakes every subscriber, on whichever loop it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from itertools import islice
from types import TracebackType
from typing import Final, Self

from timmy_core.errors import StoreClosedError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event

RING: Final = 10_000  # the latest events, ready as JSON; a subscriber further behind reads the log
MAX_BATCH: Final = 500


class Feed:
    """Hands out subscriptions; each keeps a cursor only, so a slow one costs no memory and loses nothing."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ring: deque[tuple[int, str]] = deque(maxlen=RING)
        self._head = log.head()[0]
        self._subscribers: set[Subscription] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(self._head,), name="timmy-feed", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> str:
        """The log's epoch: a cursor from another epoch means nothing here."""
        return self._log.epoch

    @property
    def alive(self) -> bool:
        """Whether the follower runs."""
        return self._thread.is_alive()

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscribers)

    def head(self) -> int:
        """The newest seq that the follower has seen."""
        return self._head

    def newest(self) -> int:
        """Return the newest seq of the log itself, which the follower may not have seen yet; reads the store."""
        return self._log.head()[0]

    def subscribe(self, after: int | None = None) -> Subscription:
        """Return a subscription from after a seq; from the newest on if None. Enter it on the loop that reads it."""
        return Subscription(self, self._head if after is None else after)

    def close(self) -> None:
        """Stop the follower and wake every subscriber for the last time."""
        self._stopping.set()
        self._log.wake()
        self._thread.join()
        self._wake()

    def _follow(self, after: int) -> None:
        # A store that is closed first has nothing more to say; `alive` tells whoever still asks.
        with contextlib.suppress(StoreClosedError):
            for batch in self._log.tail(after, self._stopping.is_set):
                entries = [(event.seq, as_json(event)) for event in batch]
                with self._lock:
                    if any(event.type == "log.redacted" for event in batch):
                        # What is kept here may still hold what was removed; whoever is behind reads the log.
                        self._ring.clear()
                    self._ring.extend(entries)
                    self._head = batch[-1].seq
                self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiting = tuple(self._subscribers)
        for subscriber in waiting:
            subscriber.wake()

    def _add(self, subscriber: Subscription) -> None:
        with self._lock:
            self._subscribers.add(subscriber)

    def _remove(self, subscriber: Subscription) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def _ready(self, cursor: int) -> list[tuple[int, str]] | None:
        """The next entries from the ring, or None when the cursor lies before what the ring still holds."""
        with self._lock:
            if cursor >= self._head:
                return []
            if not self._ring or self._ring[0][0] > cursor + 1:
                return None
            start = cursor + 1 - self._ring[0][0]
            return list(islice(self._ring, start, start + MAX_BATCH))

    def _stored(self, cursor: int) -> list[tuple[int, str]]:
        return [(event.seq, as_json(event)) for event in self._log.read_after(cursor, MAX_BATCH)]


class Subscription:
    """One reader's place in the log; use it as an async context manager, on one loop."""

    def __init__(self, feed: Feed, after: int) -> None:
        self.cursor = after
        self._feed = feed
        self._fresh: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._fresh = asyncio.Event()
        self._feed._add(self)  # noqa: SLF001 - the two halves of one mechanism
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._feed._remove(self)  # noqa: SLF001

    def wake(self) -> None:
        """Say from any thread that there is something new."""
        if self._loop is None or self._fresh is None or self._loop.is_closed():
            return
        try:
            self._loop.call_soon_threadsafe(self._fresh.set)
        except RuntimeError:
            # The loop closed between the question and the call; its reader is gone with it.
            self._feed._remove(self)  # noqa: SLF001

    async def next(self, timeout_s: float = 15.0) -> list[str]:
        """Return the next events as JSON texts, in order without gaps, at most 500; [] after `timeout_s` seconds."""
        if self._fresh is None:
            message = "a subscription is used as `async with feed.subscribe() as subscription`"
            raise RuntimeError(message)
        self._fresh.clear()
        batch = await self._take()
        if not batch:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._fresh.wait()
            except TimeoutError:
                return []
            batch = await self._take()
        if batch:
            self.cursor = batch[-1][0]
        return [text for _, text in batch]

    async def _take(self) -> list[tuple[int, str]]:
        ready = self._feed._ready(self.cursor)  # noqa: SLF001
        if ready is None:
            return await asyncio.to_thread(self._feed._stored, self.cursor)  # noqa: SLF001
        return ready


def as_json(event: Event) -> str:
    """Return the event as one line of JSON, as the feed and the API send it."""
    return json.dumps(event.as_dict(), ensure_ascii=False, separators=(",", ":"))
