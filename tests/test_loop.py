"""Timmy's own loop: reached from any loop or thread, and gone without a trace when closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, suppress

import pytest

from timmy_core.errors import TimmyError
from timmy_core.loop import LoopClosedError, LoopThread


@pytest.fixture
def house() -> Iterator[LoopThread]:
    made = LoopThread("test-loop")
    yield made
    made.close()


async def where() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


class Work:
    """Something long, that notes where it ran and how it ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.tasks: set[object] = set()

    async def sleep(self) -> None:
        try:
            self.began.set()
            await asyncio.sleep(30)
        finally:
            self.ended.set()

    async def count(self, until: int, pause_s: float = 0.0) -> AsyncGenerator[int, None]:
        try:
            for number in range(until):
                self.tasks.add(asyncio.current_task())
                self.began.set()
                yield number
                await asyncio.sleep(pause_s)
        finally:
            self.tasks.add(asyncio.current_task())
            self.ended.set()


async def broken() -> AsyncGenerator[int, None]:
    yield 1
    message = "broken"
    raise KeyError(message)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "test-loop"]


def test_nothing_is_started_before_it_is_used(house: LoopThread) -> None:
    assert threads() == []
    assert house.run(where()) == "test-loop"


async def test_work_runs_on_the_houses_thread_whoever_asks(house: LoopThread) -> None:
    assert await house.call(where()) == "test-loop"
    assert await asyncio.to_thread(house.run, where()) == "test-loop"


async def test_work_asked_from_inside_is_just_awaited(house: LoopThread) -> None:
    async def nested() -> str:
        return await house.call(where())

    assert await house.call(nested()) == "test-loop"


async def test_errors_come_back_as_they_are(house: LoopThread) -> None:
    async def fail() -> None:
        raise KeyError("k")  # noqa: EM101

    with pytest.raises(KeyError):
        await house.call(fail())
    with pytest.raises(KeyError):
        await asyncio.to_thread(house.run, fail())


async def test_cancelling_the_caller_cancels_the_work(house: LoopThread) -> None:
    work = Work()
    task = asyncio.create_task(house.call(work.sleep()))
    await asyncio.to_thread(work.began.wait, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(work.ended.wait, 2)


async def test_a_blocking_call_on_the_houses_own_loop_is_refused(house: LoopThread) -> None:
    async def wrong() -> None:
        house.run(where())

    async def wrong_stream() -> None:
        next(house.stream_sync(lambda: Work().count(1)))

    for mistake in (wrong, wrong_stream):
        with pytest.raises(TimmyError, match="wait for itself"):
            await house.call(mistake())


async def test_closing_ends_the_work_and_tells_who_waits(house: LoopThread) -> None:
    work, blocked = Work(), Work()
    task = asyncio.create_task(house.call(work.sleep()))
    thread = asyncio.create_task(asyncio.to_thread(house.run, blocked.sleep()))
    await asyncio.to_thread(work.began.wait, 2)
    await asyncio.to_thread(blocked.began.wait, 2)
    await asyncio.to_thread(house.close)
    for waiting in (task, thread):
        with pytest.raises(LoopClosedError):
            await waiting
    assert work.ended.is_set()
    assert blocked.ended.is_set()
    assert threads() == []


async def test_after_closing_it_says_so(house: LoopThread) -> None:
    house.run(where())
    house.close()
    house.close()
    with pytest.raises(LoopClosedError):
        house.run(where())
    with pytest.raises(LoopClosedError):
        await house.call(where())
    with pytest.raises(LoopClosedError):
        await anext(house.stream(lambda: Work().count(1)))


def test_closing_what_was_never_used_is_harmless() -> None:
    LoopThread().close()


async def test_closing_from_inside_is_refused(house: LoopThread) -> None:
    async def wrong() -> None:
        house.close()

    with pytest.raises(TimmyError, match="from another thread"):
        await house.call(wrong())


async def test_a_stream_brings_every_item_in_order_and_is_driven_by_one_task(house: LoopThread) -> None:
    work = Work()
    assert [n async for n in house.stream(lambda: work.count(2000))] == list(range(2000))
    assert len(work.tasks) == 1


def test_a_plain_thread_reads_the_same_stream(house: LoopThread) -> None:
    work = Work()
    assert list(house.stream_sync(lambda: work.count(2000))) == list(range(2000))
    assert len(work.tasks) == 1


async def test_a_stream_read_from_inside_works_too(house: LoopThread) -> None:
    async def inside() -> list[int]:
        return [n async for n in house.stream(lambda: Work().count(5))]

    assert await house.call(inside()) == list(range(5))


async def test_a_stream_hands_on_its_error_behind_its_items(house: LoopThread) -> None:
    stream = house.stream(broken)
    assert await anext(stream) == 1
    with pytest.raises(KeyError):
        await anext(stream)
    with pytest.raises(KeyError):
        list(house.stream_sync(broken))


async def test_a_slow_reader_holds_the_writer_back(house: LoopThread) -> None:
    made = 0

    async def fast() -> AsyncGenerator[int, None]:
        nonlocal made
        for made in range(5000):
            yield made

    async with aclosing(house.stream(fast)) as stream:
        assert await anext(stream) == 0
        await asyncio.sleep(0.05)
        assert made < 300
        assert [n async for n in stream][-1] == 4999


async def test_leaving_a_stream_early_ends_its_work(house: LoopThread) -> None:
    work = Work()
    async for _ in house.stream(lambda: work.count(1000, 0.001)):
        break
    gc.collect()
    assert await asyncio.to_thread(work.ended.wait, 2)
    assert len(work.tasks) == 1

    closed = Work()
    async with aclosing(house.stream(lambda: closed.count(1000, 0.001))) as stream:
        await anext(stream)
    assert closed.ended.is_set()
    assert len(closed.tasks) == 1


def test_leaving_a_blocking_stream_early_ends_its_work(house: LoopThread) -> None:
    work = Work()
    with closing(house.stream_sync(lambda: work.count(1000, 0.001))) as stream:
        next(stream)
    assert work.ended.is_set()
    with pytest.raises(StopIteration):
        next(stream)


async def test_cancelling_a_reader_ends_the_streams_work(house: LoopThread) -> None:
    work = Work()

    async def read() -> None:
        async for _ in house.stream(lambda: work.count(1000, 5)):
            pass

    task = asyncio.create_task(read())
    await asyncio.to_thread(work.began.wait, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(work.ended.wait, 2)


async def test_closing_a_stream_before_it_began_leaves_nothing_waiting(house: LoopThread) -> None:
    began = time.monotonic()
    stream = house.stream(lambda: Work().count(5))
    await stream.aclose()
    assert [n async for n in stream] == []
    reading = asyncio.ensure_future(anext(house.stream(lambda: Work().count(5, 5))))
    await asyncio.sleep(0)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    assert time.monotonic() - began < 4.5


async def test_closing_the_house_ends_a_stream_with_an_error_not_a_hang(house: LoopThread) -> None:
    work = Work()
    stream = house.stream(lambda: work.count(1000, 5))
    assert await anext(stream) == 0
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    await asyncio.to_thread(house.close)
    with pytest.raises(LoopClosedError):
        await waiting
    assert work.ended.is_set()


async def test_many_streams_at_once_do_not_mix(house: LoopThread) -> None:
    async def read(until: int) -> bool:
        return [n async for n in house.stream(lambda: Work().count(until))] == list(range(until))

    assert all(await asyncio.gather(*(read(n) for n in range(50))))
