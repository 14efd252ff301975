"""Timmy: opens the store, builds every room and hands each its doors; the only place that wires."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, Unpack, cast

from timmy_core.alerts.alerts import Alerts
from timmy_core.clock import Clock, SystemClock
from timmy_core.errors import StoreClosedError, StoreError
from timmy_core.events.events import Events
from timmy_core.events.explorer import Explorer
from timmy_core.events.feed import Feed
from timmy_core.events.frames import EVENTS_FRAME, PROMOTION, REDACTIONS_FRAME, SEGMENTS_FRAME
from timmy_core.events.questions import Questions
from timmy_core.events.schedule import SETTLE, Schedule, upkeep
from timmy_core.events.views import Views
from timmy_core.events.wanted import Wanted
from timmy_core.lab import Lab
from timmy_core.ledger.build import LightningRoom
from timmy_core.ledger.frames import LEDGER_FRAMES
from timmy_core.ledger.node import Node
from timmy_core.loop import BridgedStream, LoopThread, SyncStream
from timmy_core.memory.build import Room
from timmy_core.memory.conversing import Conversing
from timmy_core.memory.extract import Extraction
from timmy_core.memory.frames import MEMORY_FRAME
from timmy_core.opened import Opened
from timmy_core.router.budget import Budgets
from timmy_core.router.build import build_router
from timmy_core.router.chat import Answer, Delta, Provider, StreamPart, Switch
from timmy_core.router.frames import ATTEMPTS_FRAME, CIRCUITS_FRAME, PROVIDERS_FRAME, SPENDING_FRAME
from timmy_core.router.metrics import Metrics
from timmy_core.router.router import Router
from timmy_core.router.tokens import estimate
from timmy_core.settings import Settings, load_settings
from timmy_core.status import Status
from timmy_core.store.engine import Store
from timmy_core.store.frames import Filter
from timmy_core.store.lake import Lake
from timmy_core.swarm.agent import Agent
from timmy_core.swarm.asked import AskOptions, Cascade
from timmy_core.swarm.calling import Calling
from timmy_core.swarm.coordinator import Swarm
from timmy_core.swarm.forgotten import forget_results, forget_turns
from timmy_core.swarm.frames import SWARM_FRAMES
from timmy_core.swarm.own_code import ChangeTools
from timmy_core.swarm.switches import Switches
from timmy_core.swarm.turns import RECALLS_FRAME, TURNS_FRAME, Turn
from timmy_core.upgrades.build import UpgradesRoom
from timmy_core.upgrades.frames import DECISIONS_FRAME, UPGRADES_FRAME
from timmy_core.upgrades.queue import Upgrades
from timmy_core.wiring_swarm import wire_swarm

if TYPE_CHECKING:
    import polars as pl

VERSION: Final = version("timmy-workbench")

_log = logging.getLogger(__name__)


class Timmy:
    """Every room of one home, wired; made by `open_timmy`, and safe to use from any thread or event loop."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, providers: Sequence[Provider] | None = None,
        nodes: Sequence[Node] | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.clock: Clock = clock or (settings.demo.clock() if settings.demo else SystemClock())
        self.started_at = self.clock.now()
        self._closing = threading.Lock()
        self._closed = False
        self._warming: threading.Thread | None = None
        self._schedule: Schedule | None = None
        self.store = Store.open(settings.database_path)
        self.events = Events(self.store, self.clock, settings.home)
        self._metrics = Metrics(
            self.store, self.events, content=settings.router.record_content, blobs=self.events.blobs
        )
        self.events.retention.redaction.forgetters.append(self._metrics)
        # What a crash left is mended before anything reads or writes; what cannot be is kept to be shown.
        self.unmended = tuple(self.events.mend())
        self._loop = LoopThread("timmy-loop")
        self._lake = self._wire_lake()
        self.questions = Questions(self.events, self._lake)
        self.explorer = Explorer(self.events, self._lake, self.clock)
        self.views = Views(self.store, self.clock)
        self._memory = Room(
            settings, store=self.store, events=self.events, loop=self._loop, clock=self.clock, tokens=estimate,
            copies=(forget_turns, forget_results),
        )  # fmt: skip
        self.memory, self.meaning = self._memory.memory, self._memory.meaning
        self._lightning = LightningRoom(
            settings, store=self.store, events=self.events, loop=self._loop, clock=self.clock, nodes=nodes
        )
        self.ledger, self.payments = self._lightning.ledger, self._lightning.payments
        self.upgrading = UpgradesRoom(settings, store=self.store, events=self.events, clock=self.clock)
        self.router = self._wire_router(providers)
        self._agent = self._wire_agent()
        self._swarm = wire_swarm(
            settings, store=self.store, events=self.events, clock=self.clock, loop=self._loop, router=self.router,
            payments=self.payments, memory=self.memory, lake=self._lake,
            code=(lambda: self.upgrades) if self.upgrading.configured else None,
        )  # fmt: skip
        self.alerts = Alerts(settings.alerts, self, self._loop)
        if settings.read_only:
            self.store.only_read()

    def _wire_agent(self) -> Agent:
        settings = self.settings
        extraction = Extraction(self.memory, self.router) if settings.memory.extract else None
        return Agent(
            store=self.store,
            events=self.events,
            cascade=self._with_tools(),
            settings=settings.agent,
            clock=self.clock,
            memories=Conversing(self.memory, self.store, self.events, self.clock, settings.memory.recall_s),
            memory=settings.memory,
            learn=extraction.learn if extraction is not None else None,
        )

    def _with_tools(self) -> Cascade:
        """Return whom the agent asks; asked to change its own code it writes a proposal, where there is a queue."""
        if not self.upgrading.configured:
            return self.router
        tools = ChangeTools(lambda: self.upgrades, self.settings.agent.name)
        return Calling(self.router, tools, self.events, Delta, partial(Switch, "offline", "cascade"))

    def _wire_lake(self) -> Lake:
        def mend() -> list[str]:
            return [finding.message for finding in self.events.mend(thorough=True)]

        log = (EVENTS_FRAME, SEGMENTS_FRAME, REDACTIONS_FRAME)
        router = (ATTEMPTS_FRAME, PROVIDERS_FRAME, CIRCUITS_FRAME, SPENDING_FRAME)
        rooms = (MEMORY_FRAME, *LEDGER_FRAMES, UPGRADES_FRAME, DECISIONS_FRAME, *SWARM_FRAMES)
        frames = (*log, *router, TURNS_FRAME, RECALLS_FRAME, *rooms)
        return Lake(self.store, frames, folder=self.events.archive.folder, promotion=PROMOTION, mend=mend)

    def _wire_router(self, providers: Sequence[Provider] | None) -> Router:
        settings = self.settings
        self._budgets = budgets = Budgets(self.store, self.events, self.clock, settings)

        def put(changed: Settings) -> None:
            self.settings = changed
            self._metrics.configure(changed)
            budgets.configure(changed)

        return build_router(
            settings,
            store=self.store,
            events=self.events,
            clock=self.clock,
            loop=self._loop,
            metrics=self._metrics,
            budgets=budgets,
            providers=providers,
            listeners=(put,),
        )

    # Asking --------------------------------------------------------------------------------------------------

    async def ask(self, text: str, **options: Unpack[AskOptions]) -> Answer:
        """Ask Timmy in a session; the answer names its provider, and says so when none answered.

        Question, answer and every attempt's event are durable when this returns. With `local_only` nothing of it
        leaves this machine; with `memory=False` memory is neither asked nor told.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        return cast("Answer", await self._loop.call(self._agent.ask(text, **options)))

    def ask_sync(self, text: str, **options: Unpack[AskOptions]) -> Answer:
        """Do as `ask`, for a plain thread or a notebook cell."""
        return cast("Answer", self._loop.run(self._agent.ask(text, **options)))

    def ask_stream(self, text: str, **options: Unpack[AskOptions]) -> BridgedStream[StreamPart]:
        """Yield the answer as it comes: `Delta`, `Switch`, and last `Done` with the whole, durable answer."""
        return self._loop.stream(partial(self._agent.ask_stream, text, **options))

    def ask_stream_sync(self, text: str, **options: Unpack[AskOptions]) -> SyncStream[StreamPart]:
        """Do as `ask_stream`, for a plain thread."""
        return self._loop.stream_sync(partial(self._agent.ask_stream, text, **options))

    @property
    def switches(self) -> Switches:
        """Whether each session uses memory."""
        return self._agent.switches

    def history(self, session: str = "default", *, limit: int = 50) -> list[Turn]:
        """Return the latest turns of a session, oldest first."""
        return self._agent.history(session, limit=limit)

    # Looking -------------------------------------------------------------------------------------------------

    @property
    def upgrades(self) -> Upgrades:
        """The queue of proposed changes; `timmy.upgrading` has what surrounds it: people, policy, sandbox.

        Raises:
            UpgradeError: no repository is named in `[upgrades]`, or it cannot be used.
        """
        return self.upgrading.queue

    @cached_property
    def lab(self) -> Lab:
        """Replays what was recorded against other policies, and proposes the one that was chosen."""
        return Lab(
            store=self.store, events=self.events, clock=self.clock, router=self.router, cost=self._budgets.cost,
            settings=lambda: self.settings, queue=lambda: self.upgrades,
        )  # fmt: skip

    @property
    def swarm(self) -> Swarm:
        """Tasks, bids and the agents that work for sats."""
        return self._swarm.swarm

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
        where: str | None = None,
        **filters: Filter,
    ) -> pl.DataFrame:
        """Return the newest matching rows of a table such as `events` or `attempts`, oldest first; see `Lake.frame`."""
        return self._lake.frame(name, since=since, until=until, limit=limit, where=where, **filters)

    def sql(self, query: str, *, limit: int = 10_000, timeout_s: float = 10.0) -> pl.DataFrame:
        """Answer one question in SQL over every table of the home; `SHOW TABLES` lists them.

        At most `limit` rows come back; `timmy.lake.query` also says whether there were more.

        Raises:
            QueryError: it does more than read, is wrong, or takes too much time or memory.
            StoreError: an archived segment is missing or damaged.
        """
        return self.lake.query(query, limit=limit, timeout_s=timeout_s).frame

    @property
    def lake(self) -> Lake:
        """Every table of the home in SQL, and the aggregates that charts are drawn from."""
        return self._lake

    def warm(self) -> None:
        """Begin to read the log into memory on a thread of its own, so that the first question need not wait."""
        with self._closing:
            if self._warming is None and not self._closed:
                self._warming = threading.Thread(target=self._warm, name="timmy-lake", daemon=True)
                self._warming.start()

    def _warm(self) -> None:
        try:
            self._lake.warm()
            self.explorer.counts(Wanted())
        except StoreClosedError:
            return
        except StoreError as error:
            # Nobody waits for it; who asks next is told.
            _log.warning("the log was not read into memory: %s", error)

    def start_schedule(self) -> None:
        """Begin to keep log and ledger by itself, as the settings say; the serving process calls it, once."""
        with self._closing:
            if self._schedule is None and not self._closed:
                jobs = [*upkeep(self.events, self.settings.log), *self._lightning.jobs(), *self.upgrading.jobs()]
                jobs += [*self._memory.jobs(), *self._swarm.jobs(), *self.alerts.jobs()]
                self._schedule = Schedule(jobs, self.events, self.clock, SETTLE)
                self._schedule.start()
                self.meaning.start()
                self._lightning.start()
                self.upgrading.start()
                self._swarm.start()
                self.alerts.start()

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
            problem=self.router.config().problem,
            upkeep=self._schedule.states() if self._schedule else (),
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
            if self._schedule is not None:
                self._schedule.stop()
            # Cut off what runs first, so that its last events still find the store open.
            self._swarm.stop()
            self.alerts.stop()
            self.router.close()
            self.upgrading.close()
            self._lightning.close()
            self._memory.close()
            self._loop.close()
            self._swarm.close()
            self.alerts.close()
            self._agent.close()
            if "feed" in self.__dict__:
                self.feed.close()
            self._lake.close()
            if self._warming is not None:
                self._warming.join()
            self.events.close()
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


def _make(home: Path) -> Timmy:
    return Timmy(load_settings(home))


_opened = Opened(_make)
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
