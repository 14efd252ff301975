"""The feed: every subscriber gets every event after its cursor, in order, however slow it is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from timmy_core.events import feed as feed_module
from timmy_core.events.feed import Feed
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent


@pytest.fixture
def feed(log: EventLog) -> Iterator[Feed]:
    log.append_many([NewEvent("system.info", "before", {"n": n}) for n in range(20)])
    opened = Feed(log)
    yield opened
    opened.close()


async def collect(feed: Feed, after: int | None, until: int) -> list[int]:
    seqs: list[int] = []
    async with feed.subscribe(after=after) as subscription:
        while not seqs or seqs[-1] < until:
            seqs += [json.loads(text)["seq"] for text in await subscription.next(timeout_s=10)]
    return seqs


async def test_a_subscriber_replays_from_its_cursor_and_goes_on_live(feed: Feed, log: EventLog) -> None:
    reading = asyncio.create_task(collect(feed, 5, 40))
    await asyncio.to_thread(lambda: [log.append("system.info", source="live") for _ in range(20)])
    assert await reading == list(range(6, 41))


async def test_without_a_cursor_only_what_is_new_comes(feed: Feed, log: EventLog) -> None:
    async with feed.subscribe() as subscription:
        assert await subscription.next(timeout_s=0.01) == []
        await asyncio.to_thread(log.append, "system.info", source="live")
        assert [json.loads(text)["seq"] for text in await subscription.next()] == [21]


async def test_a_subscriber_far_behind_reads_the_log_and_misses_nothing(
    feed: Feed, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MAX_BATCH", 7)
    feed._ring = type(feed._ring)(feed._ring, maxlen=10)
    async with feed.subscribe(after=0) as subscription:
        await asyncio.to_thread(lambda: [log.append("system.info", source="live") for _ in range(60)])
        seqs: list[int] = []
        while not seqs or seqs[-1] < 80:
            batch = await subscription.next()
            assert len(batch) <= 7
            seqs += [json.loads(text)["seq"] for text in batch]
    assert seqs == list(range(1, 81))


def test_subscribers_live_on_loops_of_their_own(feed: Feed, log: EventLog) -> None:
    results: list[list[int]] = []

    def read() -> None:
        results.append(asyncio.run(collect(feed, 0, 50)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    log.append_many([NewEvent("system.info", "live") for _ in range(30)])
    for thread in threads:
        thread.join(20)
    assert results == [list(range(1, 51))] * 4
    assert feed.subscribers == 0


async def test_a_subscription_is_entered_before_it_is_read(feed: Feed) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await feed.subscribe().next()


def test_closing_ends_the_follower(log: EventLog) -> None:
    feed = Feed(log)
    assert feed.alive
    feed.close()
    assert not feed.alive
