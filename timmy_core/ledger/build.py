"""Puts the room together; `timmy.py` calls it, so that it need not know the parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.events.schedule import Job
from timmy_core.ledger.desk import Desk
from timmy_core.ledger.findings import Findings
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Period
from timmy_core.ledger.node import Node
from timmy_core.ledger.observe import Observer
from timmy_core.ledger.payments import PaymentHandler
from timmy_core.ledger.progress import Progress
from timmy_core.ledger.reconcile import SCHEDULE, Reconciler
from timmy_core.ledger.registry import Nodes
from timmy_core.ledger.watch import Watcher
from timmy_core.loop import LoopThread
from timmy_core.settings_ledger import LedgerSettings, default_node
from timmy_core.store.engine import Store

if TYPE_CHECKING:
    from timmy_core.settings import Settings


class LightningRoom:
    """The ledger of a home, its nodes, and who moves sats between them.

    Args:
        settings: the sections `[ledger]` and `[[nodes]]`, and where the home is.
        store: where the book is.
        events: the log.
        loop: Timmy's event loop, which does all that is asked of nodes.
        clock: the time.
        nodes: who is asked, instead of the nodes of the settings; the first is the default.
    """

    def __init__(
        self, settings: Settings, *, store: Store, events: EventLog, loop: LoopThread, clock: Clock,
        nodes: Sequence[Node] | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._minutes = settings.ledger.reconcile_minutes
        self.ledger = Ledger(store, events, clock, limits_of(settings.ledger))
        self.nodes = _nodes(settings, clock) if nodes is None else Nodes(nodes)
        progress = Progress(store, clock)
        observer = Observer(self.ledger, clock)
        self._desk = Desk(self.ledger, observer, progress, clock)
        self.findings = Findings(store, events, clock)
        self.reconciler = Reconciler(
            self.ledger, self.nodes, observer, self._desk, progress, self.findings, events, clock
        )
        spread = Random()  # noqa: S311 - it spreads attempts to connect in time
        self.watcher = Watcher(self.nodes, self.ledger, self._desk, progress, loop, clock, spread)
        self.payments = PaymentHandler(
            self.ledger, self.nodes, self._desk, self.reconciler, self.watcher, loop, clock, settings.ledger
        )

    def start(self) -> None:
        """Begin to follow the nodes; the serving process calls it. Harmless when repeated."""
        self.watcher.start()

    def jobs(self) -> list[Job]:
        """Return what the serving process does by itself about the ledger."""
        if not self._minutes:
            return []
        return [Job("reconcile", timedelta(minutes=self._minutes), self._reconcile)]

    def _reconcile(self) -> str:
        return self._loop.run(self.reconciler.run_all(SCHEDULE))

    def close(self) -> None:
        """Let what is under way be written down, and give the connections back; before the loop and the store close."""
        self._loop.run(self._close())

    async def _close(self) -> None:
        await self.watcher.close()
        await self._desk.close()
        for node in self.nodes:
            await node.close()


def limits_of(settings: LedgerSettings) -> dict[str, dict[Period, int]]:
    """Return the budgets of the settings, in msat."""
    limits: dict[str, dict[Period, int]] = {}
    for agent, sats in settings.budgets.items():
        given: dict[Period, int | None] = {"day": sats.day_sats, "week": sats.week_sats, "month": sats.month_sats}
        limits[agent] = {period: limit * 1000 for period, limit in given.items() if limit is not None}
    return limits


def _nodes(settings: Settings, clock: Clock) -> Nodes:
    from timmy_core.ledger.nodes import open_node

    opened = [open_node(table, settings.home, clock) for table in settings.nodes]
    return Nodes(opened, default_node(settings.nodes).name)
