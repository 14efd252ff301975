"""Reconciling: the ledger beside a node, entry by entry and as a sum; what can be mended is, and nothing silently."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from timmy_core.clock import Clock, new_id
from timmy_core.errors import LedgerError, NodeError
from timmy_core.events.log import EventLog
from timmy_core.ledger.compare import Comparer, Comparison
from timmy_core.ledger.desk import Desk
from timmy_core.ledger.findings import Finding, Findings
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Balance
from timmy_core.ledger.money import words as sats
from timmy_core.ledger.node import Node
from timmy_core.ledger.observe import Observer
from timmy_core.ledger.progress import OPENED, Progress
from timmy_core.ledger.registry import Nodes

LEASE_S: Final = 120.0
_TRIES: Final = 3
SCHEDULE: Final = "schedule"  # who reconciles by itself in the serving process
_SUSPENSE: Final = "book the difference to Equity:Suspense"
_SOURCE: Final = "ledger"


@dataclass(frozen=True, slots=True)
class Report:
    """What reconciling one node found.

    Attributes:
        findings: what differs; the routine ones only tell how something ended.
        applied: how many changes were written; 0 in a dry run.
        looked: how many entries were compared.
        balance_ledger_msat: what the ledger says the node holds, after the changes that were or would be made.
        balance_node_msat: what the node says; None where it did not stand still long enough to be compared.
        residue_msat: what the node holds more than the ledger says; None likewise.
        opened: the book of this node had been begun before.
        complete: everything was looked at; else the next run goes on.
    """

    node: str
    play: bool
    dry_run: bool
    findings: tuple[Finding, ...]
    applied: int
    looked: int
    balance_ledger_msat: int
    balance_node_msat: int | None
    residue_msat: int | None
    opened: bool
    complete: bool
    at: datetime

    @property
    def open(self) -> tuple[Finding, ...]:
        """What a person has to look at."""
        return tuple(finding for finding in self.findings if finding.open)


@dataclass(frozen=True, slots=True)
class _Sums:
    """The two balances at one moment at which neither moved."""

    ledger: Balance
    node_msat: int | None


class Reconciler:
    """Compares the ledger with the nodes, one run a node at a time over all processes.

    Args:
        ledger: the book.
        nodes: the nodes.
        observer: takes a node's word.
        desk: opens a node's book, and tells those who wait.
        progress: cursors and leases.
        findings: keeps what was found.
        events: tells of every run that changed or found something.
        clock: the time.
    """

    def __init__(
        self, ledger: Ledger, nodes: Nodes, observer: Observer, desk: Desk, progress: Progress, findings: Findings,
        events: EventLog, clock: Clock,
    ) -> None:  # fmt: skip
        self.findings = findings
        self._ledger = ledger
        self._nodes = nodes
        self._observer = observer
        self._desk = desk
        self._progress = progress
        self._events = events
        self._clock = clock
        self._owner = new_id()

    async def run(self, node: Node, *, dry_run: bool, by: str) -> Report:
        """Compare one node with the ledger; on Timmy's loop. A run that was cut off is simply done again.

        Raises:
            NodeError: the node is not well, or could not be asked.
            LedgerError: somebody else reconciles this node now.
        """
        health = await node.health()
        if not health.ok:
            message = f"{node.name} cannot be compared with the ledger now: {health.message}"
            raise NodeError(kind="unreachable", message=message, sure=True)
        if dry_run:
            return await self._compare(node, by, owner=None)
        owner = f"{self._owner}-{new_id()}"
        await asyncio.to_thread(self._lease, node.name, owner)
        try:
            await self._desk.ensure_opened(node)
            return await self._compare(node, by, owner)
        finally:
            await asyncio.to_thread(self._progress.give_back, node.name, owner)
            self._desk.changed()

    async def run_all(self, by: str) -> str:
        """Reconcile every node, and return in words what was done; one that is not well does not keep the others.

        Raises:
            LedgerError: a node could not be reconciled.
        """
        did, wrong = [], []
        for node in self._nodes:
            try:
                report = await self.run(node, dry_run=False, by=by)
            except LedgerError as error:
                wrong.append(str(error))
            else:
                if report.applied or report.open:
                    did.append(f"{node.name}: {report.applied:,} changed, {len(report.open):,} to look at")
        if wrong:
            raise LedgerError("; ".join(wrong))
        return ", ".join(did)

    def _lease(self, node: str, owner: str) -> None:
        if not self._progress.take(node, owner, LEASE_S):
            message = (
                f"{node} is being reconciled by somebody else; try again when that has ended, in {LEASE_S:g} s at most"
            )
            raise LedgerError(message)

    async def _compare(self, node: Node, by: str, owner: str | None) -> Report:
        def on_page() -> None:
            if owner is not None:
                self._lease(node.name, owner)

        dry_run = owner is None
        opened = await asyncio.to_thread(self._progress.moment, node.name, OPENED) is not None
        comparer = Comparer(
            node, self._ledger, self._observer, self._progress, self._clock, dry_run=dry_run, on_page=on_page
        )
        result = await comparer.run()
        sums = await self._sums(node, comparer)
        residue = await asyncio.to_thread(self._settle_residue, node, result, sums, opened=opened, dry_run=dry_run)
        found = tuple(replace(finding, at_node=node.name) for finding in result.findings)
        book = sums.ledger.posted_msat + (result.planned_msat if dry_run else 0)
        report = Report(
            node.name, node.play, dry_run, found, 0 if dry_run else result.changed, len(result.keys), book,
            sums.node_msat, residue, opened, result.complete, self._clock.now(),
        )  # fmt: skip
        if not dry_run:
            await asyncio.to_thread(self._keep, report, by)
        return report

    # The sums ------------------------------------------------------------------------------------------------

    async def _sums(self, node: Node, comparer: Comparer) -> _Sums:
        """Read both balances at a moment at which neither moved, with everything compared that happened before it."""
        for _ in range(_TRIES):
            book = await asyncio.to_thread(self._ledger.balance, node.name)
            held = await node.balance()
            changed = await comparer.again()
            after = await node.balance()
            later = await asyncio.to_thread(self._ledger.balance, node.name)
            total = held.spendable_msat + held.pending_out_msat
            still = total == after.spendable_msat + after.pending_out_msat and book.posted_msat == later.posted_msat
            if still and not changed:
                return _Sums(later, total)
        return _Sums(later, None)

    def _settle_residue(
        self, node: Node, result: Comparison, sums: _Sums, *, opened: bool, dry_run: bool
    ) -> int | None:
        """Book the difference that no entry explains under its name, where nothing is under way that might."""
        if sums.node_msat is None:
            return None
        planned = result.planned_msat if dry_run else 0
        residue = sums.node_msat - sums.ledger.posted_msat - planned
        if residue == 0:
            return 0
        if not opened and dry_run:
            words = f"the ledger knows nothing of this node yet, which holds {sats(sums.node_msat)}"
            result.findings.append(_residue(sums, words, "begin its book with that", mends=True))
            return residue
        more = "more" if residue > 0 else "less"
        words = f"the node holds {sats(abs(residue))} {more} than the ledger says"
        waits = _waits(result, sums)
        if waits:
            result.findings.append(_residue(sums, words, f"nothing yet: {waits}", mends=False, routine=True))
        elif dry_run:
            result.findings.append(_residue(sums, words, _SUSPENSE, mends=True))
        else:
            self._book_residue(node.name, result, sums, residue, words)
        return residue

    def _book_residue(self, node: str, result: Comparison, sums: _Sums, residue: int, words: str) -> None:
        try:
            self._ledger.suspense(node, residue, f"{words}, and no invoice or payment explains it")
        except LedgerError as error:
            result.findings.append(_residue(sums, words, f"it could not be booked: {error}", mends=False))
            return
        result.changed += 1
        result.findings.append(_residue(sums, words, _SUSPENSE, mends=True))

    def _keep(self, report: Report, by: str) -> None:
        new = self.findings.record(report.node, report.findings, complete=report.complete)
        if not (report.applied or new) and by == SCHEDULE:
            return  # every quarter of an hour the same nothing would drown what matters
        kinds = [finding.kind for finding in report.findings]
        data = {
            "node": report.node, "by": by, "compared": report.looked, "changed": report.applied,
            "findings": {kind: kinds.count(kind) for kind in sorted(set(kinds))}, "open": len(report.open),
            "balance_ledger_msat": report.balance_ledger_msat, "balance_node_msat": report.balance_node_msat,
            "residue_msat": report.residue_msat, "complete": report.complete,
        }  # fmt: skip
        self._events.append("ledger.reconciled", source=_SOURCE, data=data)


def _waits(result: Comparison, sums: _Sums) -> str:
    """Say what is under way that may explain a difference, or nothing."""
    if not result.complete:
        return "more has to be compared first"
    if sums.ledger.pending_outgoing_msat:
        return "payments are under way"
    return "the node has something that is about to be recorded" if result.waiting else ""


def _residue(sums: _Sums, words: str, action: str, *, mends: bool, routine: bool = False) -> Finding:
    return Finding(
        "residue",
        None,
        None,
        sats(sums.ledger.posted_msat),
        sats(sums.node_msat or 0),
        words,
        action,
        mends=mends,
        routine=routine,
    )
