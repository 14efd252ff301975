"""Puts the swarm together; `timmy.py` calls it, so that it need not know the parts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from timmy_core.clock import Clock, new_id
from timmy_core.events.log import EventLog
from timmy_core.events.schedule import Job
from timmy_core.store.engine import Store
from timmy_core.swarm.agents import Roster
from timmy_core.swarm.auction import Auctions
from timmy_core.swarm.coordinator import Swarm
from timmy_core.swarm.crew import Crew, Runs
from timmy_core.swarm.diagnosis import Diagnosis
from timmy_core.swarm.local import LocalWork, Means
from timmy_core.swarm.paying import Paying, Pays
from timmy_core.swarm.rows import Rows
from timmy_core.swarm.tending import Tender
from timmy_core.swarm.work import Keeps, Working

if TYPE_CHECKING:
    from timmy_core.settings import Settings

DIAGNOSE_EVERY: Final = timedelta(seconds=30)


class SwarmRoom:
    """The swarm of a home, and the crew and threads of the process that serves it.

    Args:
        settings: the sections `[swarm]` and `[memory]`, and the agent's name.
        store: where everything is.
        events: the log.
        clock: the time.
        loop: where local agents work.
        pays: moves the sats.
        keeps: remembers what was done.
        means: what local agents work with.
    """

    def __init__(
        self, settings: Settings, *, store: Store, events: EventLog, clock: Clock, loop: Runs, pays: Pays,
        keeps: Keeps, means: Means,
    ) -> None:  # fmt: skip
        own, run_id = settings.swarm, new_id()
        rows = Rows(store, events, clock)
        auctions = Auctions(rows, own, run_id)
        roster = Roster(rows, auctions, settings.agent.name)
        self._working = Working(rows, auctions, own, keeps, run_id)
        self.swarm = Swarm(rows, roster, auctions, self._working, Paying(rows, pays), own, settings.agent.name)
        work = LocalWork(means, events, settings.memory, tools=own.tools)
        self.crew = Crew(rows, roster, auctions, self._working, work, loop, own, clock, run_id)
        self._looks = means.looks
        self._diagnosis = Diagnosis(events, clock, own.failures)
        self._tenders = (
            Tender("swarm", self.look, store, events), Tender("swarm payments", self.swarm.pay_due, store, events)
        )  # fmt: skip
        self._started = False

    def look(self) -> None:
        """Do what is due, and have the crew bid and work."""
        self.swarm.tend(pay=False)
        self.crew.look()

    def start(self) -> None:
        """Take up what an earlier run left, then tend by itself; the serving process calls it, once."""
        if not self._started:
            self._started = True
            self._working.reclaim_own()
            for tender in self._tenders:
                tender.start()

    def jobs(self) -> list[Job]:
        """Return what the serving process does by itself, beside the threads."""
        return [Job("diagnosis", DIAGNOSE_EVERY, self._diagnosis.look)]

    def stop(self) -> None:
        """Begin nothing any more; call it before the loop is closed, which cuts work off."""
        self.crew.stop()
        for tender in self._tenders:
            tender.stop()

    def close(self) -> None:
        """Wait for threads; call it after the loop was closed, and before the store is."""
        self.crew.close()
        if self._started:
            for tender in self._tenders:
                tender.join()
        if self._looks is not None:
            self._looks.close()
