"""The schedule: what the serving process does about the log by itself, one thing after another, on one thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from timmy_core.clock import Clock
from timmy_core.errors import StoreError, TimmyError
from timmy_core.events.events import Events
from timmy_core.events.log import EventLog
from timmy_core.settings import LogSettings

SETTLE: Final = timedelta(seconds=20)  # after a start, pages come before tidying
LOOK_S: Final = 1.0  # how often the thread looks at the clock
RETRY_AT_MOST: Final = timedelta(hours=1)
SEAL_EVERY: Final = timedelta(minutes=1)
TIDY_EVERY: Final = timedelta(hours=1)
_JOIN_S: Final = 10.0  # what is cut off later than this is finished by the next start


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do again and again; `run` returns what it did in words, or nothing where nothing was to do."""

    name: str
    every: timedelta
    run: Callable[[], str]


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands: when it last ran, what it last did, and what is wrong with it now."""

    name: str
    every_s: float
    next_at: datetime
    last_at: datetime | None = None
    last_did: str = ""
    last_did_at: datetime | None = None
    failures: int = 0
    problem: str = ""


class Schedule:
    """Runs jobs when they are due; a job that fails is tried again later and later, and said once in the log.

    Args:
        jobs: what to do, in the order in which it is done when several are due.
        log: gets a `system.warning` when a job begins to fail, and a `system.info` when it works again.
        clock: read for what is due.
        settle: how long after its making the first job is due.
    """

    def __init__(self, jobs: Iterable[Job], log: EventLog, clock: Clock, settle: timedelta = timedelta(0)) -> None:
        self._jobs = tuple(jobs)
        self._log = log
        self._clock = clock
        now = clock.now() + settle
        self._states = {job.name: JobState(job.name, job.every.total_seconds(), now) for job in self._jobs}
        # What is due goes by the clock that nobody can set back.
        self._due = dict.fromkeys(self._states, clock.monotonic() + settle.total_seconds())
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def states(self) -> tuple[JobState, ...]:
        """Return how every job stands."""
        return tuple(self._states[job.name] for job in self._jobs)

    def start(self) -> None:
        """Begin on a thread of its own; starting twice is harmless."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="timmy-schedule", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the job that runs now; stopping twice is harmless."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def run_due(self) -> int:
        """Run every job that is due, and return how many were."""
        ran = 0
        for job in self._jobs:
            if self._stopping.is_set():
                break
            if self._due[job.name] <= self._clock.monotonic():
                self._run(job)
                ran += 1
        return ran

    def _follow(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self.run_due()

    def _run(self, job: Job) -> None:
        before = self._states[job.name]
        try:
            did = job.run()
        except (TimmyError, OSError) as error:
            self._states[job.name] = self._failed(job, before, str(error) or type(error).__name__)
            return
        now = self._clock.now()
        self._due[job.name] = self._clock.monotonic() + before.every_s
        if before.problem:
            self._tell("system.info", job, {"message": f"{job.name} works again", "failures": before.failures})
        self._states[job.name] = JobState(
            job.name,
            before.every_s,
            now + job.every,
            last_at=now,
            last_did=did or before.last_did,
            last_did_at=now if did else before.last_did_at,
        )

    def _failed(self, job: Job, before: JobState, problem: str) -> JobState:
        if problem != before.problem:
            # The same trouble again and again is one event; what else the log held would drown in it.
            self._tell("system.warning", job, {"message": f"{job.name} failed: {problem}"})
        now, failures = self._clock.now(), before.failures + 1
        wait = min(job.every * 2 ** min(failures, 10), max(RETRY_AT_MOST, job.every))
        self._due[job.name] = self._clock.monotonic() + wait.total_seconds()
        return JobState(
            job.name,
            before.every_s,
            now + wait,
            last_at=now,
            last_did=before.last_did,
            last_did_at=before.last_did_at,
            failures=failures,
            problem=problem,
        )

    def _tell(self, type_: str, job: Job, data: dict[str, object]) -> None:
        # A full disk may be the very trouble; the state still says it.
        with contextlib.suppress(StoreError):
            self._log.append(type_, source="schedule", data={"job": job.name, **data})


def upkeep(events: Events, settings: LogSettings) -> list[Job]:
    """Return what the settings ask to be done about the log, in the order in which it is done."""
    jobs: list[Job] = []
    if settings.text:
        jobs.append(Job("text", TIDY_EVERY, lambda: _followed(events)))
    if settings.seal:
        jobs.append(Job("seal", SEAL_EVERY, lambda: _counted(len(events.seal()), "segment archived")))
    if settings.prune_after_days:
        age = timedelta(days=settings.prune_after_days)
        jobs.append(Job("prune", TIDY_EVERY, lambda: _counted(events.prune(age).events, "event pruned")))
    if settings.head_minutes:
        jobs.append(Job("sign", timedelta(minutes=settings.head_minutes), lambda: _signed(events)))
    jobs.append(Job("blobs", TIDY_EVERY, lambda: _counted(events.blobs.expire(), "blob expired")))
    return jobs


def _followed(events: Events) -> str:
    # The index has a follower of its own; once begun, it stays with the log by itself.
    events.text.start()
    return ""


def _signed(events: Events) -> str:
    before = len(events.heads.lines())
    head = events.sign_head()
    return f"head {head.n:,} signs up to event {head.seq:,}" if head and head.n > before else ""


def _counted(count: int, one: str) -> str:
    noun, _, rest = one.partition(" ")
    return f"{count:,} {noun if count == 1 else noun + 's'} {rest}" if count else ""
