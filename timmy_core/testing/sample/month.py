"""The month: which things happen on which day, done one after the other by the real code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from timmy_core.settings import load_settings
from timmy_core.testing.clock import FakeClock
from timmy_core.testing.sample import changes, sats, work
from timmy_core.testing.sample.config import BEGAN, DAYS, configuration
from timmy_core.testing.sample.talk import Talk
from timmy_core.testing.sample.weather import NATURES, Lived
from timmy_core.timmy import Timmy

Deed = Callable[[], object]
Planned = tuple[datetime, Deed]

QUESTIONS: Final = (81, 96, 104, 92, 115, 60, 28)  # on a Monday, and on
_MORNING: Final = 6  # a day begins at this hour

_log = logging.getLogger(__name__)


def make_sample(home: Path, *, days: int = DAYS, seed: int = 2026, tell: Callable[[str], None] = _log.info) -> None:
    """Live the month in an empty home; what happens is the same for a seed, ids and keys are not.

    Args:
        home: the home; `timmy.toml` is written into it.
        days: how many days, from the first one on.
        seed: of everything that is left to chance.
        tell: called with each day, in words.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "timmy.toml").write_text(configuration(home), encoding="utf-8")
    clock, random = FakeClock(BEGAN), Random(seed)  # noqa: S311 - the same chance each time
    changes.make_repo(home)
    talk = Talk(random)
    doors = [Lived(name, nature, clock, BEGAN, random, talk.answer) for name, nature in NATURES.items()]
    timmy = Timmy(load_settings(home), clock=clock, providers=doors)
    try:
        talk.timmy = timmy
        for day in range(days):
            for moment, deed in sorted(_planned(timmy, talk, clock, random, day), key=lambda one: one[0]):
                clock.advance(max(0.0, (moment - clock.now()).total_seconds()))
                deed()
            timmy.events.sign_head()
            tell(f"day {day + 1} of {days}: {timmy.events.head()[0]:,} events")
        _until(clock, BEGAN + timedelta(days=days))
        timmy.events.sign_head()
    finally:
        timmy.shutdown()


def _planned(timmy: Timmy, talk: Talk, clock: FakeClock, random: Random, day: int) -> Iterator[Planned]:
    morning = BEGAN + timedelta(days=day)
    for _ in range(QUESTIONS[morning.weekday()]):
        moment = morning + timedelta(hours=_hour(random) - _MORNING)
        yield moment, talk.ask
        yield moment + timedelta(seconds=30), partial(work.diagnose, timmy)
    for minute in range(11 * 60, 12 * 60, 5):
        yield morning + timedelta(minutes=minute - _MORNING * 60), partial(work.diagnose, timmy)
    deeds = (talk.of_day(day), sats.of_day(timmy, random, day), work.of_day(timmy, clock, random, day),
             changes.of_day(timmy, clock, day))  # fmt: skip
    for hour, deed in (each for kind in deeds for each in kind):
        yield morning + timedelta(hours=hour - _MORNING), deed


def _hour(random: Random) -> float:
    """Return an hour of the day: most is asked in the morning and after lunch."""
    usual = random.choices((10.0, 14.5, 19.5), weights=(5, 4, 2))[0]
    return min(22.9, max(7.0, random.gauss(usual, 1.5)))


def _until(clock: FakeClock, moment: datetime) -> None:
    clock.advance(max(0.0, (moment - clock.now()).total_seconds()))
