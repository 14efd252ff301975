"""Wires the swarm: hands it the router, memory, the ledger and the tables, in the forms that its protocols name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.ledger.payments import PaymentHandler
from timmy_core.loop import LoopThread
from timmy_core.memory.memory import Memory
from timmy_core.memory.tasks import PastTasks
from timmy_core.router.chat import Delta, Switch
from timmy_core.router.router import Router
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.store.lake import Lake
from timmy_core.swarm.build import SwarmRoom
from timmy_core.swarm.local import Means
from timmy_core.swarm.own_code import ChangeTools, OwnCode
from timmy_core.swarm.recall import Looks
from timmy_core.swarm.toolbox import MAX_ROWS

RECALL_S: Final = 2.0
"""How long a task waits for memory."""
FIRST_RECALL_S: Final = 10.0
"""How long the first task of a process does."""
FOUND: Final = 8
SHOWN_CHARS: Final = 400
QUERY_S: Final = 5.0


class Kept:
    """What the home keeps, as agents' tools read it."""

    def __init__(self, past: PastTasks, lake: Lake) -> None:
        self._past = past
        self._lake = lake

    def search(self, words: str) -> Sequence[str]:
        """Return what memory holds about words, best first."""
        found = self._past.like(words, FOUND)
        return [f"{one.entry.created_at:%Y-%m-%d} {one.entry.kind}: {one.entry.text[:SHOWN_CHARS]}" for one in found]

    def query(self, sql: str) -> str:
        """Return what the tables say, as lines of CSV."""
        answer = self._lake.query(sql, limit=MAX_ROWS, timeout_s=QUERY_S)
        return answer.frame.write_csv()


def wire_swarm(
    settings: Settings, *, store: Store, events: EventLog, clock: Clock, loop: LoopThread, router: Router,
    payments: PaymentHandler, memory: Memory, lake: Lake, code: Callable[[], OwnCode] | None,
) -> SwarmRoom:  # fmt: skip
    """Return the swarm of a home; `code` opens the repository that agents may propose changes to."""
    past = PastTasks(memory)
    means = Means(
        cascade=router,
        looks=Looks(past, settings.memory.context_tokens, RECALL_S, FIRST_RECALL_S),
        keeps=Kept(past, lake),
        changes=None if code is None else partial(ChangeTools, code),
        delta=Delta,
        void=partial(Switch, "offline", "cascade"),
    )
    return SwarmRoom(
        settings, store=store, events=events, clock=clock, loop=loop, pays=payments, keeps=past, means=means
    )  # fmt: skip
