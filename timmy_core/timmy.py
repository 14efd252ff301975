"""Timmy: opens the store, builds every room and hands each its doors; the only place that wires."""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from timmy_core.clock import Clock, SystemClock
from timmy_core.events.feed import Feed
from timmy_core.events.log import EVENTS_FRAME, EventLog
from timmy_core.events.model import iso
from timmy_core.loop import BridgedStream, LoopThread, SyncStream
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Answer, Provider, ProviderStatus, StreamPart
from timmy_core.router.frames import ATTEMPTS_FRAME
from timmy_core.router.metrics import Metrics
from timmy_core.router.providers import build_provider
from timmy_core.router.providers.offline import OfflineAnswer
from timmy_core.router.router import Router
from timmy_core.settings import Settings, load_settings
from timmy_core.store.engine import Store
from timmy_core.store.lake import Lake
from timmy_core.swarm.agent import TURNS_FRAME, Agent, Turn

if TYPE_CHECKING:
    import polars as pl

VERSION: Final = version("timmy-workbench")


@dataclass(frozen=True, slots=True)
class Status:
    """The state of everything at a glance; read from the store, without network I/O."""

    version: str
    home: Path
    started_at: datetime
    events: int
    last_event_at: datetime | None
    questions: int
    database_bytes: int
    providers: tuple[ProviderStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON can carry it; times are ISO 8601 in UTC."""
        return cast("dict[str, Any]", _plain(dataclasses.asdict(self)))


class Timmy:
    """Every room of one home, wired; made by `open_timmy`, and safe to use from any thread or event loop."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, providers: Sequence[Provider] | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.started_at = self.clock.now()
        self._closing = threading.Lock()
        self._closed = False
        self.store = Store.open(settings.database_path)
        self.events = EventLog(self.store, self.clock)
        self._loop = LoopThread("timmy-loop")
        self._lake = Lake(self.store, (EVENTS_FRAME, ATTEMPTS_FRAME, TURNS_FRAME))
        self.router = self._wire_router(providers)
        self._agent = Agent(
            store=self.store, events=self.events, cascade=self.router, settings=settings.agent, clock=self.clock
        )

    def _wire_router(self, providers: Sequence[Provider] | None) -> Router:
        limits = self.settings.router
        if providers is None:
            providers = [build_provider(table, limits) for table in self.settings.providers]
        metrics = Metrics(self.store, self.events)
        cascade = Cascade(
            providers,
            offline=OfflineAnswer(self.settings.toml_path),
            limits=Limits.from_settings(limits),
            clock=self.clock,
            recorder=metrics,
            circuits=metrics.circuits(),
        )
        return Router(cascade, self._loop, metrics)

    # Asking --------------------------------------------------------------------------------------------------

    async def ask(self, text: str, *, session: str = "default", deadline_s: float | None = None) -> Answer:
        """Ask Timmy in a session; the answer names its provider, and says so when none answered.

        Question, answer and every attempt's event are durable when this returns.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        return cast("Answer", await self._loop.call(self._agent.ask(text, session=session, deadline_s=deadline_s)))

    def ask_sync(self, text: str, *, session: str = "default", deadline_s: float | None = None) -> Answer:
        """Do as `ask`, for a plain thread or a notebook cell."""
        return cast("Answer", self._loop.run(self._agent.ask(text, session=session, deadline_s=deadline_s)))

    def ask_stream(
        self, text: str, *, session: str = "default", deadline_s: float | None = None
    ) -> BridgedStream[StreamPart]:
        """Yield the answer as it comes: `Delta`, `Switch`, and last `Done` with the whole, durable answer."""
        return self._loop.stream(lambda: self._agent.ask_stream(text, session=session, deadline_s=deadline_s))

    def ask_stream_sync(
        self, text: str, *, session: str = "default", deadline_s: float | None = None
    ) -> SyncStream[StreamPart]:
        """Do as `ask_stream`, for a plain thread."""
        return self._loop.stream_sync(lambda: self._agent.ask_stream(text, session=session, deadline_s=deadline_s))

    def history(self, session: str = "default", *, limit: int = 50) -> list[Turn]:
        """Return the latest turns of a session, oldest first."""
        return self._agent.history(session, limit=limit)

    # Looking -------------------------------------------------------------------------------------------------

    @cached_property
    def feed(self) -> Feed:
        """The live feed of this process; its follower starts with the first use."""
        return Feed(self.events)

    def frame(
        self,
        name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
        **filters: str | int | bool | Sequence[str],
    ) -> pl.DataFrame:
        """Return the newest matching rows of `events`, `attempts` or `turns`, oldest first; see `Lake.frame`."""
        return self._lake.frame(name, since=since, until=until, limit=limit, **filters)

    def status(self) -> Status:
        """Return the state of everything at a glance, from the store alone."""
        latest = self.events.list(limit=1)
        return Status(
            version=VERSION,
            home=self.settings.home,
            started_at=self.started_at,
            events=latest[0].seq if latest else 0,
            last_event_at=latest[0].ts if latest else None,
            questions=self._agent.questions(),
            database_bytes=self.store.size_bytes(),
            providers=tuple(self.router.status()),
        )

    # Closing -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give this use back; the last one closes Timmy."""
        _opened.release(self)

    def shutdown(self) -> None:
        """Close now, whoever else still uses it: work is cancelled, sockets and threads end, writes are finished."""
        _opened.forget(self)
        with self._closing:
            if self._closed:
                return
            self._closed = True
            # Cut off what runs first, so that its last events still find the store open.
            self.router.close()
            self._loop.close()
            if "feed" in self.__dict__:
                self.feed.close()
            self.store.close()

    @property
    def closed(self) -> bool:
        """Whether Timmy was closed."""
        return self._closed

    def __enter__(self) -> Self:
        """Return itself, open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give this use back."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return itself, open already."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give this use back without blocking the event loop."""
        await asyncio.to_thread(self.close)


class _Opened:
    """The Timmys of this process, one a home, each with how many uses it has."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._uses: dict[tuple[int, Path], tuple[Timmy, int]] = {}

    def take(self, home: str | Path | None) -> Timmy:
        settings = load_settings(home)
        key = (os.getpid(), settings.home.resolve())
        with self._lock:
            timmy, uses = self._uses.get(key, (None, 0))
            if timmy is None:
                timmy = Timmy(settings)
            self._uses[key] = (timmy, uses + 1)
        return timmy

    def release(self, timmy: Timmy) -> None:
        with self._lock:
            key = self._key(timmy)
            if key is not None:
                _, uses = self._uses[key]
                if uses > 1:
                    self._uses[key] = (timmy, uses - 1)
                    return
        timmy.shutdown()

    def forget(self, timmy: Timmy) -> None:
        with self._lock:
            key = self._key(timmy)
            if key is not None:
                del self._uses[key]

    def close_all(self) -> None:
        """Finish what is queued as the process ends; what a fork inherited is not ours to close."""
        for (pid, _), (timmy, _) in list(self._uses.items()):
            if pid == os.getpid():
                timmy.shutdown()

    def _key(self, timmy: Timmy) -> tuple[int, Path] | None:
        return next((key for key, (held, _) in self._uses.items() if held is timmy), None)


_opened = _Opened()
atexit.register(_opened.close_all)


def open_timmy(home: str | Path | None = None) -> Timmy:
    """Open a home, creating it where needed; one object a process and home, shared by all who open it.

    Use it as a context manager (plain or async); `close()` gives one use back.

    Args:
        home: the folder with `timmy.toml` and the store; `TIMMY_HOME` or the default one if None.

    Raises:
        SettingsError: `timmy.toml` or an environment variable is wrong.
        StoreError: the store cannot be opened.
    """
    return _opened.take(home)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return iso(value.astimezone(UTC))
    if isinstance(value, Path):
        return str(value)
    return value
