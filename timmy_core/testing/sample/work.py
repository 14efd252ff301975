"""The sample's swarm: tasks that agents bid for, work on and are paid for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from timmy_core.errors import TimmyError
from timmy_core.testing.sample import words

if TYPE_CHECKING:
    from timmy_core.testing.clock import FakeClock
    from timmy_core.timmy import Timmy

Deed = Callable[[], object]

_FROM_DAY: Final = 3  # the swarm is tried out on the fourth day
_CANCELED_DAY: Final = 15
_PATIENCE_S: Final = 60.0  # of the machine's own time, for what runs on threads


def of_day(timmy: Timmy, clock: FakeClock, random: Random, day: int) -> Iterator[tuple[float, Deed]]:
    """Yield the tasks of a day, with their hour."""
    if day < _FROM_DAY:
        return
    for _ in range(random.randint(1, 3)):
        yield random.uniform(9, 18), partial(_task, timmy, clock, random)
    if day == _CANCELED_DAY:
        yield 18.5, partial(_canceled, timmy)
        yield 18.7, partial(_for_nobody, timmy, clock)


def diagnose(timmy: Timmy) -> None:
    """Look for failures that repeat themselves, as the serving process does every half minute."""
    for job in timmy._swarm.jobs():  # noqa: SLF001 - as below
        job.run()


def _task(timmy: Timmy, clock: FakeClock, random: Random) -> None:
    form, _, needs, _ = random.choice(words.TASKS)
    text = form.format(goods=random.choice(words.GOODS))
    timmy.swarm.post_task(text, budget_sats=random.choice((12, 20, 35)), needs=needs, posted_by="ann")
    room = timmy._swarm  # noqa: SLF001 - driven by hand here, because its own threads go by the machine's time
    room.crew.look()
    clock.advance(timmy.settings.swarm.bidding_s + 0.1)
    room.look()
    _wait(lambda: not room.crew.busy())
    clock.advance(1.0)
    room.look()
    timmy.swarm.pay_due()


def _canceled(timmy: Timmy) -> None:
    task = timmy.swarm.post_task("Count the spokes in stock.", budget_sats=5, posted_by="ann")
    timmy.swarm.cancel(task.id, by="ann", reason="they were counted by hand")


def _for_nobody(timmy: Timmy, clock: FakeClock) -> None:
    """Post a task that no agent is able to do."""
    timmy.swarm.post_task("Weld the stand.", budget_sats=50, needs=("welding",), posted_by="ann")
    clock.advance(timmy.settings.swarm.bidding_s + 0.1)
    timmy.swarm.tend()


def _wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > until:
            message = f"an agent did not end its task within {_PATIENCE_S:g} s; look at the log of the sample's home"
            raise TimmyError(message)
        time.sleep(0.002)
