"""Watching: the serving process hears from each node what was settled, and looks up what it might have missed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final

from timmy_core.clock import Clock
from timmy_core.errors import LedgerError, NodeError, TimmyError
from timmy_core.ledger.desk import Desk
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Entry
from timmy_core.ledger.node import Node, NodeEvent
from timmy_core.ledger.progress import EVENTS, Progress
from timmy_core.ledger.recover import Sweep
from timmy_core.ledger.registry import Nodes
from timmy_core.loop import LoopThread

SWEEP_S: Final = 5.0
PING_S: Final = 30.0  # where nothing has to be looked up, the node is asked so often whether it answers
FIRST_WAIT_S: Final = 1.0
LAST_WAIT_S: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchState:
    """How a node is followed: whether it answers, since when, and what was wrong last."""

    node: str
    connected: bool
    since: datetime
    heard: int = 0
    last_heard_at: datetime | None = None
    last_sweep_at: datetime | None = None
    breaks: int = 0  # how often the stream of its events broke
    problem: str = ""  # why it does not answer
    stream_problem: str = ""  # why its events are not heard now; what has not ended is looked up all the same


class Watcher:
    """Follows every node on Timmy's loop, from `start` until `close`.

    A stream of events may break, repeat or leave something out: each event only says where to look, and a sweep looks
    up by itself whatever has not ended.

    Args:
        nodes: whom to follow.
        ledger: the book.
        desk: asks the node and takes its word.
        progress: where each stream was left.
        loop: Timmy's own loop.
        clock: the time.
        random: spreads the attempts to connect again.
    """

    def __init__(
        self, nodes: Nodes, ledger: Ledger, desk: Desk, progress: Progress, loop: LoopThread, clock: Clock,
        random: Random,
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._ledger = ledger
        self._desk = desk
        self._progress = progress
        self._loop = loop
        self._clock = clock
        self._random = random
        self._states: dict[str, WatchState] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ping_at: dict[str, float] = {}

    def states(self) -> tuple[WatchState, ...]:
        """Return how each node is followed; nothing before `start`."""
        return tuple(self._states.values())

    def start(self) -> None:
        """Begin to follow every node; starting twice is harmless."""
        self._loop.run(self._begin())

    async def _begin(self) -> None:
        if self._tasks:
            return
        now = self._clock.now()
        for node in self._nodes:
            self._states[node.name] = WatchState(node.name, connected=False, since=now)
            for work in (self._listen, self._sweep):
                task = asyncio.get_running_loop().create_task(work(node))
                task.add_done_callback(_told)
                self._tasks.append(task)

    async def close(self) -> None:
        """Stop following; on Timmy's loop, and harmless when repeated."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Hearing -------------------------------------------------------------------------------------------------

    async def _listen(self, node: Node) -> None:
        failures = 0
        while True:
            before = self._states[node.name].heard
            try:
                await self._hear(node)
                problem = "the node ended the stream of events"
            except TimmyError as error:
                problem = str(error)
            failures = 0 if self._states[node.name].heard > before else failures + 1
            state = self._states[node.name]
            self._states[node.name] = replace(state, breaks=state.breaks + 1, stream_problem=problem)
            self._ping_at[node.name] = 0.0  # whether the node is gone, or its stream alone, is asked at once
            wait_s = min(LAST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures, 10))
            await asyncio.sleep(wait_s * self._random.uniform(0.5, 1.0))

    async def _hear(self, node: Node) -> None:
        cursor = await asyncio.to_thread(self._progress.cursor, node.name, EVENTS)
        async with contextlib.aclosing(node.events(cursor)) as events:
            async for event in events:
                await self._take(node, event)

    async def _take(self, node: Node, event: NodeEvent) -> None:
        self._heard(node.name)
        find: Callable[[str, str], Entry | None] = (
            self._ledger.find_invoice if event.kind == "invoice" else self._ledger.find_payment
        )
        entry = await asyncio.to_thread(find, node.name, event.hash)
        if entry is not None:
            # What the ledger does not know was just made, and is about to be recorded; or reconciling finds it.
            await self._check(node, entry)
        if event.cursor is not None:
            # After the look, so that what was cut off between the two is heard again.
            await asyncio.to_thread(self._progress.save, node.name, EVENTS, event.cursor)

    async def _check(self, node: Node, entry: Entry) -> None:
        try:
            await self._desk.check(node, entry)
        except NodeError:
            raise
        except LedgerError as error:
            _log.warning("what %s says of %s could not be booked: %s", node.name, entry.payment_hash, error)

    # Sweeping ------------------------------------------------------------------------------------------------

    async def _sweep(self, node: Node) -> None:
        sweep = Sweep(self._ledger, self._desk, self._clock)
        while True:
            try:
                await self._desk.ensure_opened(node)
                await sweep.run(node)
                await self._ping(node)
            except TimmyError as error:
                sweep.forget()
                self._broke(node.name, str(error))
            else:
                self._swept(node.name)
            await asyncio.sleep(SWEEP_S)

    async def _ping(self, node: Node) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._ping_at.get(node.name, 0.0):
            await node.balance()
            self._ping_at[node.name] = now_s + PING_S

    # Telling -------------------------------------------------------------------------------------------------

    def _heard(self, node: str) -> None:
        state, now = self._states[node], self._clock.now()
        self._states[node] = replace(state, heard=state.heard + 1, last_heard_at=now, stream_problem="")

    def _swept(self, node: str) -> None:
        state, now = self._states[node], self._clock.now()
        since = state.since if state.connected else now
        self._states[node] = replace(state, connected=True, since=since, last_sweep_at=now, problem="")

    def _broke(self, node: str, problem: str) -> None:
        state = self._states[node]
        since = self._clock.now() if state.connected else state.since
        if problem != state.problem:
            _log.info("%s is not followed now: %s", node, problem)
        self._states[node] = replace(state, connected=False, since=since, problem=problem)


def _told(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("a node is no longer followed because of a fault of ours", exc_info=error)
