"""Findings: what ledger and node do not agree on, kept as rows and told as events until somebody resolves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.errors import EntryUnknownError, LedgerError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.ledger.model import Direction
from timmy_core.store.engine import Connection, Store

FindingKind = Literal[
    "missing_in_ledger", "missing_on_node", "status", "amount", "fee", "preimage", "duplicate", "intent", "residue"
]

# Every kind with what it means.
FINDING_KINDS: Final[dict[FindingKind, str]] = {
    "missing_in_ledger": "the node has an invoice or payment that the ledger does not",
    "missing_on_node": "the ledger has an invoice or payment that the node does not",
    "status": "ledger and node say different things of what became of it",
    "amount": "the amounts differ",
    "fee": "the fees differ, or are more than was allowed",
    "preimage": "the proof of payment is missing, or is another one",
    "duplicate": "the same payment hash was settled more than once",
    "intent": "an invoice was to be made, and the node has none for it",
    "residue": "the balances differ by an amount that nothing explains",
}
RECONCILER: Final = "reconcile"
MAX_FINDINGS: Final = 1000

_SOURCE: Final = "ledger"
_COLUMNS: Final = (
    "id, node, kind, direction, payment_hash, words, ledger_says, node_says, action, found_at, resolved_at, resolved_by"
)
_KNOWN: Final = """
SELECT id FROM ledger_findings
WHERE node = ? AND kind = ? AND direction = ? AND payment_hash = ? AND resolved_at IS NULL
"""
_AGAIN: Final = """
UPDATE ledger_findings SET words = ?, ledger_says = ?, node_says = ?, action = ?, seen_at = ?,
       resolved_at = ?, resolved_by = ? WHERE id = ?
"""
_INSERT: Final = """
INSERT INTO ledger_findings (id, node, kind, direction, payment_hash, words, ledger_says, node_says, action,
                             found_at, seen_at, resolved_at, resolved_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GONE: Final = """
UPDATE ledger_findings SET resolved_at = ?, resolved_by = ? WHERE node = ? AND resolved_at IS NULL AND seen_at < ?
"""
_RESOLVE: Final = "UPDATE ledger_findings SET resolved_at = ?, resolved_by = ? WHERE id = ? AND resolved_at IS NULL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ledger and node do not agree on.

    Attributes:
        kind: one of `FINDING_KINDS`.
        direction: None where it is about neither an invoice nor a payment.
        payment_hash: 64 hex digits; None where it is about none.
        ledger: what the ledger says, in words.
        node: what the node says, in words.
        words: what it is, in a sentence.
        action: what was done about it or, in a dry run, would be; else what a person is to do.
        mends: whether applying it changes the ledger.
        routine: nothing is wrong, and no row is kept: the node simply knows by now how something ended, or it is too
            early to say what a difference means.
        at_node: the name of the node.
    """

    kind: FindingKind
    direction: Direction | None
    payment_hash: str | None
    ledger: str
    node: str
    words: str
    action: str
    mends: bool
    routine: bool = False
    at_node: str = ""
    id: str | None = None
    found_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None

    @property
    def open(self) -> bool:
        """Whether a person still has to look at it."""
        return self.resolved_at is None and not self.mends and not self.routine


class Findings:
    """The findings of a home; safe to use from any thread.

    Args:
        store: where they are.
        events: the log that tells of each new one.
        clock: the time.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    def record(self, node: str, found: Sequence[Finding], *, complete: bool = True) -> int:
        """Keep what one run found; each new one is an event, and what was open and is not found again is resolved.

        Args:
            node: the node that was looked at.
            found: what was found; the mended ones are kept as resolved, routine ones not at all.
            complete: the run looked at everything, so that what it did not find is gone.

        Returns:
            How many are new.
        """
        now = to_us(self._clock.now())
        kept = [finding for finding in found if not finding.routine]

        def write(connection: Connection) -> int:
            new = sum(self._put(connection, node, finding, now) for finding in kept)
            if complete:
                connection.execute(_GONE, (now, RECONCILER, node, now))
            return new

        return self._store.write(write)

    def _put(self, connection: Connection, node: str, finding: Finding, now: int) -> bool:
        key = (node, finding.kind, finding.direction or "", finding.payment_hash or "")
        resolved = (now, RECONCILER) if finding.mends else (None, None)
        said = (finding.words, finding.ledger, finding.node, finding.action)
        known = connection.execute(_KNOWN, key).fetchone()
        if known is not None:
            connection.execute(_AGAIN, (*said, now, *resolved, known[0]))
            return False
        finding_id = new_id()
        connection.execute(_INSERT, (finding_id, *key, *said, now, now, *resolved))
        data = {"finding": finding_id, "node": node, "kind": finding.kind, "direction": finding.direction,
                "payment_hash": finding.payment_hash, "message": finding.words, "action": finding.action,
                "resolved": finding.mends}  # fmt: skip
        self._events.append_in(connection, NewEvent("ledger.finding", _SOURCE, data))
        return True

    def list(
        self,
        *,
        open: bool | None = True,  # noqa: A002 - the word for it
        node: str | None = None,
        limit: int = 100,
    ) -> Sequence[Finding]:
        """Return findings, newest first: the open ones, with `open=False` the resolved ones, with None all.

        Raises:
            LedgerError: the limit is out of range.
        """
        if not 1 <= limit <= MAX_FINDINGS:
            message = f"limit is {limit}; expected 1 to {MAX_FINDINGS:,}"
            raise LedgerError(message)
        wanted = {True: "resolved_at IS NULL", False: "resolved_at IS NOT NULL", None: "1"}[open]
        query = f"SELECT {_COLUMNS} FROM ledger_findings WHERE {wanted} AND (?1 IS NULL OR node = ?1)"  # noqa: S608
        with self._store.read() as connection:
            rows = connection.execute(f"{query} ORDER BY found_at DESC, id DESC LIMIT ?2", (node, limit)).fetchall()
        return [_finding(row) for row in rows]

    def get(self, finding_id: str) -> Finding:
        """Return one finding.

        Raises:
            EntryUnknownError: there is none of that id.
        """
        with self._store.read() as connection:
            query = f"SELECT {_COLUMNS} FROM ledger_findings WHERE id = ?"  # noqa: S608
            row = connection.execute(query, (finding_id,)).fetchone()
        if row is None:
            message = f"no finding has the id {finding_id!r}; `timmy ledger reconcile` lists them"
            raise EntryUnknownError(message)
        return _finding(row)

    def count(self) -> int:
        """Return how many are open."""
        with self._store.read() as connection:
            query = "SELECT count(*) FROM ledger_findings WHERE resolved_at IS NULL"
            return int(connection.execute(query).fetchone()[0])

    def resolve(self, finding_id: str, *, by: str) -> Finding:
        """Take note that a person has dealt with a finding; again it changes nothing. A next run may find it anew.

        Raises:
            EntryUnknownError: there is none of that id.
            LedgerError: nobody is named.
        """
        if not by:
            message = "by is empty; say who resolves the finding"
            raise LedgerError(message)
        finding = self.get(finding_id)
        now = to_us(self._clock.now())

        def write(connection: Connection) -> bool:
            if not connection.execute(_RESOLVE, (now, by, finding_id)).rowcount:
                return False
            data = {"finding": finding_id, "node": finding.at_node, "kind": finding.kind, "by": by,
                    "direction": finding.direction, "payment_hash": finding.payment_hash,
                    "message": finding.words}  # fmt: skip
            self._events.append_in(connection, NewEvent("ledger.resolved", _SOURCE, data))
            return True

        changed = self._store.write(write)
        return replace(finding, resolved_at=from_us(now), resolved_by=by) if changed else self.get(finding_id)


def _finding(row: Sequence[Any]) -> Finding:
    finding_id, node, kind, direction, payment_hash, words, ledger, seen, action, found, resolved, by = row
    return Finding(
        kind, direction or None, payment_hash or None, ledger, seen, words, action,
        mends=by == RECONCILER, at_node=node, id=finding_id, found_at=from_us(found),
        resolved_at=None if resolved is None else from_us(resolved), resolved_by=by,
    )  # fmt: skip
