"""The alarm: it ends the wait that it watches and no other, and never takes a foreign cancellation for its own."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from timmy_core.router.alarm import Alarm


async def wait(alarm: Alarm, limit_s: float, takes_s: float) -> bool:
    """Return whether the alarm rang."""
    alarm.set(limit_s)
    try:
        await asyncio.sleep(takes_s)
    except asyncio.CancelledError:
        if alarm.rang():
            return True
        raise
    finally:
        alarm.clear()
    return False


async def test_it_ends_a_wait_that_takes_too_long_and_leaves_the_task_as_it_was() -> None:
    with contextlib.closing(Alarm()) as alarm:
        began = time.monotonic()
        assert await wait(alarm, 0.02, 60)
        assert 0.02 <= time.monotonic() - began < 20
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)


async def test_it_watches_many_waits_in_a_row_with_one_timer() -> None:
    with contextlib.closing(Alarm()) as alarm:
        timers = set()
        for _ in range(20):
            assert not await wait(alarm, 5, 0.001)
            timers.add(alarm._timer)
        assert len(timers) == 1
        assert await wait(alarm, 0.01, 5)


async def test_a_time_between_two_waits_does_not_count() -> None:
    with contextlib.closing(Alarm()) as alarm:
        assert not await wait(alarm, 0.25, 0)
        await asyncio.sleep(0.3)
        assert not await wait(alarm, 0.25, 0.005)


async def test_a_timer_that_was_set_for_an_earlier_wait_gives_a_later_one_its_whole_time() -> None:
    with contextlib.closing(Alarm()) as alarm:
        for _ in range(2):
            assert not await wait(alarm, 3, 1.6)


async def test_somebody_elses_cancellation_goes_on() -> None:
    with contextlib.closing(Alarm()) as alarm:
        task = asyncio.create_task(wait(alarm, 5, 5))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_of_two_cancellations_at_once_the_other_one_wins() -> None:
    async def both() -> bool:
        with contextlib.closing(Alarm()) as alarm:
            asyncio.get_running_loop().call_later(0.01, task_of[0].cancel)
            asyncio.get_running_loop().call_later(0.01, alarm._ring)
            return await wait(alarm, 0.01, 5)

    task_of: list[asyncio.Task[bool]] = []
    task_of.append(asyncio.create_task(both()))
    with pytest.raises(asyncio.CancelledError):
        await task_of[0]


async def test_a_wait_that_ends_with_another_error_in_that_moment_leaves_no_cancellation_behind() -> None:
    async def swallowing(alarm: Alarm) -> None:
        alarm.set(0.01)
        try:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                message = "a door that turns everything into its own error"
                raise RuntimeError(message) from None
        finally:
            alarm.clear()

    with contextlib.closing(Alarm()) as alarm:
        with pytest.raises(RuntimeError):
            await swallowing(alarm)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_closed_it_rings_no_more() -> None:
    alarm = Alarm()
    alarm.set(0.01)
    alarm.close()
    await asyncio.sleep(0.03)
    alarm.clear()
    assert alarm._timer is None
