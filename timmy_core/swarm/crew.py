"""The crew: the personas that the serving process runs. They join when there is something to do, bid, and work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from timmy_core.clock import Clock, to_us
from timmy_core.errors import SwarmError, TaskStateError, TimmyError
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.swarm.agents import Roster
from timmy_core.swarm.auction import Auctions
from timmy_core.swarm.local import LocalWork
from timmy_core.swarm.model import Task
from timmy_core.swarm.personas import CHARACTERS, Character
from timmy_core.swarm.rows import Rows
from timmy_core.swarm.work import Working

T = TypeVar("T")

AT_ONCE: Final = 100
_US: Final = 1_000_000

_log = logging.getLogger(__name__)


class Runs(Protocol):
    """Timmy's event loop, from a plain thread."""

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and block until it is done."""


class Crew:
    """Bids and works for the personas of one serving process.

    Args:
        rows: the tables.
        roster: where they join.
        auctions: where they bid.
        working: what they say of their tasks.
        work: does a task.
        loop: where it is done.
        settings: the section `[swarm]`.
        clock: the time.
        run_id: this run of Timmy.
    """

    def __init__(
        self, rows: Rows, roster: Roster, auctions: Auctions, working: Working, work: LocalWork, loop: Runs,
        settings: SwarmSettings, clock: Clock, run_id: str,
    ) -> None:  # fmt: skip
        self._rows = rows
        self._roster = roster
        self._auctions = auctions
        self._working = working
        self._work = work
        self._loop = loop
        self._settings = settings
        self._clock = clock
        self._run_id = run_id
        self.characters = tuple(CHARACTERS[name] for name in settings.personas)
        self._joined: set[str] = set()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._under_way: dict[str, tuple[Task, Future[None]]] = {}

    def look(self) -> None:
        """Join, bid, begin what was won, and renew the leases of what is under way."""
        with self._rows.store.read() as connection:
            open_ = self._rows.tasks(connection, "WHERE state = 'bidding' ORDER BY seq LIMIT ?", (AT_ONCE,))
            won = self._rows.tasks(
                connection, "WHERE state = 'assigned' AND holder = ? ORDER BY seq LIMIT ?", (self._run_id, AT_ONCE)
            )
        now = to_us(self._clock.now())
        for task in open_:
            if to_us(task.bidding_until) > now:
                self._bid(task)
        for task in won:
            self._begin(task)
        self._renew(now)

    def busy(self) -> int:
        """Return how many tasks are under way here."""
        return len(self._under_way)

    # Bidding -------------------------------------------------------------------------------------------------

    def _bid(self, task: Task) -> None:
        bidders = {bid.agent for bid in task.bids if bid.auction == task.auction}
        for who in self.characters:
            able = set(task.needs) <= set(who.capabilities)
            if who.name in bidders or not able:
                continue
            price = who.price_msat(task, busy=who.name in self._under_way)
            if price is None:
                continue
            try:
                self._join(who)
                self._auctions.bid(task.id, who.name, price)
            except SwarmError as error:
                _log.debug("%s does not bid for %s: %s", who.name, task.id, error)

    def _join(self, who: Character) -> None:
        if who.name not in self._joined:
            self._roster.register(
                who.name, kind="persona", capabilities=who.capabilities, description=who.description, wallet="home"
            )
            self._joined.add(who.name)

    # Working -------------------------------------------------------------------------------------------------

    def _begin(self, task: Task) -> None:
        """Begin a task on a thread, one for each agent at a time; others wait under their leases."""
        who = next((each for each in self.characters if each.name == task.agent), None)
        with self._lock:
            if who is None or self._closed or who.name in self._under_way:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max(1, len(self.characters)), thread_name_prefix="timmy-crew")
            future = self._pool.submit(self._do, task, who)
            self._under_way[who.name] = (task, future)
        future.add_done_callback(lambda _: self._ended(who.name))

    def _ended(self, name: str) -> None:
        with self._lock:
            self._under_way.pop(name, None)

    def _do(self, task: Task, who: Character) -> None:
        lease = task.lease or ""
        try:
            begun = self._working.start(task.id, who.name, lease)
            left_s = self._settings.work_s
            if begun.deadline_at is not None:
                left_s = min(left_s, max(0.1, (begun.deadline_at - self._clock.now()).total_seconds()))
            done = self._loop.run(self._work.do(begun, who, deadline_s=left_s))
            self._working.complete(task.id, who.name, lease, done)
        except TaskStateError as error:
            _log.info("%s worked on %s for nothing: %s", who.name, task.id, error)
        except TimmyError as error:
            self._failed(task, who, lease, str(error))
        except Exception as error:  # noqa: BLE001 - it is logged, and ends the task with words
            # A fault of ours: it belongs in the program's log, and the task must not hang.
            _log.exception("%s could not work on %s", who.name, task.id)
            self._failed(task, who, lease, f"a fault of the workbench, {type(error).__name__}")

    def _failed(self, task: Task, who: Character, lease: str, problem: str) -> None:
        if self._closed:
            return  # Timmy closes, which is no fault of the task's: the next run gives it out again
        try:
            self._working.fail(task.id, who.name, lease, problem)
        except TimmyError as error:
            _log.info("%s could not fail %s: %s", who.name, task.id, error)

    def _renew(self, now: int) -> None:
        """Renew every lease here that is half over, of what is under way and of what waits for its agent."""
        half = now + round(self._settings.lease_s * _US / 2)
        query = "WHERE state IN ('assigned', 'working') AND holder = ? AND lease_until < ? ORDER BY seq LIMIT ?"
        with self._rows.store.read() as connection:
            due = self._rows.tasks(connection, query, (self._run_id, half, AT_ONCE))
        for task in due:
            try:
                self._working.renew(task.id, task.agent or "", task.lease or "")
            except TaskStateError as error:
                _log.info("the lease of %s is gone: %s", task.id, error)

    # Closing -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing any more; what is cut off from now on is given out again by the next run."""
        self._closed = True

    def close(self) -> None:
        """Wait for the threads, whose work was cut off."""
        self.stop()
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
