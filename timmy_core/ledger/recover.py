"""Recovering: every entry that has not ended is looked up by itself at its node, after a crash as at any other time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from timmy_core.clock import Clock
from timmy_core.errors import LedgerError, NodeError
from timmy_core.ledger.desk import Desk
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Entry, Invoice
from timmy_core.ledger.node import Node, NodeInvoice, NodePayment

AT_ONCE: Final = 4  # lookups of one node at a time
EXPIRY_GRACE: Final = timedelta(seconds=60)  # the node may still say that it was paid in the last second
FIRST_LOOK_S: Final = 5.0
LAST_LOOK_S: Final = 600.0
_SHARE: Final = 0.2  # of its age: how long until the next look
MAX_LOOKS: Final = 12  # in one sweep, of which there are 12 a minute; LNbits allows 200 calls

_OF_ONE: Final = ("rejected", "protocol")  # what a node says of one entry, and not of all

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry of the ledger and the node's word; None where the node surely knows none of that hash."""

    entry: Entry
    word: NodeInvoice | NodePayment | None


async def look_up(node: Node, entries: Iterable[Entry]) -> Sequence[Seen]:
    """Ask the node about each entry, a few at a time, in the order given.

    Raises:
        NodeError: it could not be asked; nothing is concluded from that.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> Seen:
        async with room:
            if isinstance(entry, Invoice):
                return Seen(entry, await node.find_invoice(entry.payment_hash))
            return Seen(entry, await node.find_payment(entry.payment_hash))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(entry)) for entry in entries]
    except* NodeError as errors:
        first = errors.exceptions[0]
        raise first if isinstance(first, NodeError) else errors from None
    return [task.result() for task in tasks]


class Sweep:
    """Looks up what has not ended, again and again: what is young often, what is old less and less.

    Args:
        ledger: the book.
        desk: asks the node, and takes its word.
        clock: the time.
    """

    def __init__(self, ledger: Ledger, desk: Desk, clock: Clock) -> None:
        self._ledger = ledger
        self._desk = desk
        self._clock = clock
        self._due: dict[str, float] = {}  # entry -> when it is looked up next

    def forget(self) -> None:
        """Look everything up anew, a bounded number in each run; after a start, and after the node was away."""
        self._due.clear()

    async def run(self, node: Node) -> int:
        """Look up what is due, and return how many entries changed.

        Raises:
            NodeError: the node could not be asked.
        """
        pending = await asyncio.to_thread(self._ledger.pending, node.name)
        known = {entry.id for entry in pending}
        self._due = {entry_id: due for entry_id, due in self._due.items() if entry_id in known}
        changed = 0
        for entry in self._chosen(pending):
            after = await self._check(node, entry)
            changed += after != entry
            self._plan(after)
        late = self._clock.now() - EXPIRY_GRACE
        expired = await asyncio.to_thread(self._ledger.expire_due, late, node=node.name)
        if expired:
            self._desk.changed()
        return changed + len(expired)

    def _chosen(self, pending: Sequence[Entry]) -> Sequence[Entry]:
        now = self._clock.monotonic()
        for entry in pending:
            age_s = (self._clock.now() - entry.created_at).total_seconds()
            if entry.id not in self._due:
                # Whoever made it a moment ago hears of it first.
                self._due[entry.id] = now + max(0.0, FIRST_LOOK_S - age_s)
        due = [entry for entry in pending if self._due[entry.id] <= now]
        return sorted(due, key=lambda entry: self._due[entry.id])[:MAX_LOOKS]

    async def _check(self, node: Node, entry: Entry) -> Entry:
        try:
            return await self._desk.check(node, entry)
        except NodeError as error:
            if error.kind not in _OF_ONE:
                raise
            _log.warning("%s could not tell about %s: %s", node.name, entry.payment_hash, error)
        except LedgerError as error:
            _log.warning("what %s says of %s could not be booked: %s", node.name, entry.payment_hash, error)
        return entry

    def _plan(self, entry: Entry) -> None:
        if entry.shown != "pending":
            self._due.pop(entry.id, None)
            return
        age_s = (self._clock.now() - entry.created_at).total_seconds()
        wait_s = min(LAST_LOOK_S, max(FIRST_LOOK_S, age_s * _SHARE))
        self._due[entry.id] = self._clock.monotonic() + wait_s
