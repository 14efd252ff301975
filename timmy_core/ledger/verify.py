"""Checks the whole book: the chain, what each transfer may do, the totals, the entries, and what the log says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from timmy_core.events.log import EventLog
from timmy_core.ledger.chain import GENESIS, hash_transfer, head
from timmy_core.ledger.model import Problem, Verification
from timmy_core.ledger.replay import BATCH, CREDITS, DEBITS, PENDING_CREDITS, PENDING_DEBITS, Totals
from timmy_core.store.engine import Store

MAX_PROBLEMS: Final = 100

# Every kind with what it means; the reference page is made to match.
KINDS: Final[dict[str, str]] = {
    "altered": "a transfer, or one before it, was changed",
    "cut": "transfers are missing",
    "resolved": "a pending transfer was resolved twice, or not as it was made",
    "overdrawn": "a node spent what it did not have, or what was set aside",
    "total": "an account's total is not what its transfers add up to",
    "checkpoint": "a kept total of the past is not what the transfers before it add up to",
    "entry": "an invoice or payment and its transfers do not say the same",
    "anchor": "the log says otherwise of the book than the book itself",
}

_ROWS: Final = """
SELECT transfer.seq, transfer.at, transfer.amount_msat, transfer.pending_seq, transfer.event_seq, transfer.id,
    transfer.kind, debited.code, debited.node, credited.code, credited.node, transfer.entry_id, transfer.payment_hash,
    transfer.memo, transfer.hash, transfer.debit, transfer.credit
FROM ledger_transfers AS transfer
LEFT JOIN ledger_accounts AS debited ON debited.id = transfer.debit
LEFT JOIN ledger_accounts AS credited ON credited.id = transfer.credit
WHERE transfer.seq > ? AND transfer.seq <= ? ORDER BY transfer.seq LIMIT ?"""
# One statement, so that totals and the last transfer belong together while others write.
_NOW: Final = """
SELECT id, debits, credits, pending_debits, pending_credits, code, kind,
    (SELECT coalesce(max(seq), 0) FROM ledger_transfers) FROM ledger_accounts"""
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM ledger_transfers"
_CHECKPOINTS: Final = """
SELECT account, debits, credits, pending_debits, pending_credits FROM ledger_checkpoints WHERE seq = ?"""
_EVERY: Final = 10_000  # transfers from one checkpoint to the next

# What entries say against what their transfers add up to, each side in one question.
_INVOICES: Final = """
SELECT invoice.id, coalesce(invoice.received_msat, 0), coalesce(sum(transfer.amount_msat), 0)
FROM ledger_invoices AS invoice
LEFT JOIN ledger_transfers AS transfer ON transfer.entry_id = invoice.id AND transfer.kind IN ('post', 'single')
GROUP BY invoice.id HAVING coalesce(invoice.received_msat, 0) <> coalesce(sum(transfer.amount_msat), 0) LIMIT 100"""
_PAYMENTS: Final = """
SELECT payment.id, iif(payment.status = 'settled', payment.amount_msat + payment.fee_msat, 0),
    coalesce(sum(transfer.amount_msat), 0)
FROM ledger_payments AS payment
LEFT JOIN ledger_transfers AS transfer ON transfer.entry_id = payment.id AND transfer.kind IN ('post', 'single')
    AND transfer.debit IN (SELECT id FROM ledger_accounts WHERE kind IN ('payment', 'fee'))
GROUP BY payment.id
HAVING iif(payment.status = 'settled', payment.amount_msat + payment.fee_msat, 0)
    <> coalesce(sum(transfer.amount_msat), 0) LIMIT 100"""
# The events that name the head of the book; they stand in the chained and signed log.
_TYPES: Final = (
    "invoice.created", "invoice.settled", "invoice.expired", "invoice.canceled", "payment.initiated",
    "payment.settled", "payment.failed", "ledger.opened", "ledger.adjusted",
)  # fmt: skip


class Verifier:
    """One check of the book; writers go on meanwhile."""

    def __init__(self, store: Store, events: EventLog) -> None:
        self._store = store
        self._events = events
        self._problems: list[Problem] = []
        self._totals = Totals()
        self._open: dict[int, tuple[int, int, int]] = {}  # pending transfers without an end: debit, credit, amount
        self._assets: dict[int, str] = {}
        self._seq = 0
        self._hash = GENESIS

    def run(self) -> Verification:
        """Check everything, and explain what does not hold, up to a bound."""
        anchor = self._anchor()
        with self._store.read() as connection:
            now = connection.execute(_NOW).fetchall()
            last = now[0][7] if now else connection.execute(_LAST).fetchone()[0]
        self._assets = {row[0]: row[5] for row in now if row[6] == "asset"}
        anchored = self._walk(last, anchor)
        if anchor is not None and not anchored:
            message = (
                f"event {anchor[0]} says that the book had {anchor[1].partition('h')[0]} as its last transfer with "
                "another hash, or the book does not reach so far any more"
            )
            self._say("anchor", self._seq, message)
        self._check_totals(now)
        self._check_entries()
        return Verification(self._seq, self._hash.hex(), tuple(self._problems[:MAX_PROBLEMS]))

    def _say(self, kind: str, seq: int, message: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(kind, seq, message))

    def _anchor(self) -> tuple[int, str] | None:
        """Return the latest event that names the book's head; asked before the book is read, which only grows."""
        for event in self._events.list(type=_TYPES, limit=BATCH):
            if event.data is not None and isinstance(event.data.get("book"), str):
                return event.seq, str(event.data["book"])
        return None

    # The transfers -------------------------------------------------------------------------------------------

    def _walk(self, last: int, anchor: tuple[int, str] | None) -> bool:
        """Walk the chain; return whether the log's own word of it was met on the way."""
        met = False
        at = 0
        while self._seq < last:
            with self._store.read() as connection:
                rows = connection.execute(_ROWS, (self._seq, last, BATCH)).fetchall()
            if not rows:
                self._say("cut", self._seq + 1, f"the transfers from {self._seq + 1} to {last} are missing")
                break
            for row in rows:
                self._step(row, at)
                at = row[1]
                if anchor is not None and anchor[1] == head(self._seq, self._hash):
                    met = True
        return met

    def _step(self, row: Sequence[Any], before_at: int) -> None:
        """Take one transfer in; after one that does not hold it goes on, so that the others are looked at too."""
        seq = row[0]
        numbers = (seq, row[1], row[2], row[3] or 0, row[4])
        texts = (row[5], row[6], *row[7:14])
        if seq != self._seq + 1:
            self._say("cut", self._seq + 1, f"transfer {self._seq + 1} is missing; the next one is {seq}")
        elif row[7] is None or row[9] is None or hash_transfer(self._hash, numbers, texts) != row[14]:
            self._say("altered", seq, f"transfer {seq} was altered: its hash does not follow from the one before")
        if row[1] < before_at:
            self._say("altered", seq, f"transfer {seq} is booked before the one before it")
        self._resolve(row)
        self._totals.add(row[6], row[15], row[16], row[2], self._held(row[3]))
        if row[3] is not None:
            self._open.pop(row[3], None)
        self._seq, self._hash = seq, row[14]
        self._check_overdrawn(seq, row[16])
        if seq % _EVERY == 0:
            self._check_checkpoint(seq)

    def _held(self, pending_seq: int | None) -> int | None:
        return self._open.get(pending_seq, (0, 0, 0))[2] if pending_seq is not None else None

    def _resolve(self, row: Sequence[Any]) -> None:
        seq, amount, pending_seq, kind, sides = row[0], row[2], row[3], row[6], (row[15], row[16])
        if kind == "pending":
            self._open[seq] = (*sides, amount)
        elif pending_seq is not None:
            pending = self._open.get(pending_seq)
            if pending is None:
                self._say("resolved", seq, f"transfer {seq} resolves {pending_seq}, which is not pending any more")
            elif pending[:2] != sides or amount > pending[2]:
                self._say("resolved", seq, f"transfer {seq} resolves {pending_seq} otherwise than it was made")

    def _check_overdrawn(self, seq: int, account: int) -> None:
        if account in self._assets:
            totals = self._totals.of(account)
            if totals[CREDITS] + totals[PENDING_CREDITS] > totals[DEBITS]:
                self._say("overdrawn", seq, f"transfer {seq} takes more from {self._assets[account]} than it had")

    def _check_checkpoint(self, seq: int) -> None:
        with self._store.read() as connection:
            kept = {row[0]: tuple(row[1:]) for row in connection.execute(_CHECKPOINTS, (seq,))}
        for account in self._totals.by_account:
            if kept.get(account) != self._totals.of(account):
                self._say("checkpoint", seq, f"the totals kept at transfer {seq} are not those of the transfers")
                return

    # The totals and the entries ------------------------------------------------------------------------------

    def _check_totals(self, now: Sequence[Sequence[Any]]) -> None:
        for row in now:
            if tuple(row[1:5]) != self._totals.of(row[0]):
                self._say("total", self._seq, f"the totals of {row[5]} are not what its transfers add up to")
        known = {row[0] for row in now}
        for account in self._totals.by_account:
            if account not in known:
                self._say("total", self._seq, f"account {account} has transfers and no totals")
        sums = [sum(row[index] for row in now) for index in range(1, 5)]
        if (sums[DEBITS], sums[PENDING_DEBITS]) != (sums[CREDITS], sums[PENDING_CREDITS]):
            self._say("total", self._seq, "the sum of all debits is not the sum of all credits")

    def _check_entries(self) -> None:
        for what, query in (("invoice", _INVOICES), ("payment", _PAYMENTS)):
            with self._store.read() as connection:
                rows = connection.execute(query).fetchall()
            for id_, said, booked in rows:
                message = f"{what} {id_} says {said:,} msat, and its transfers add up to {booked:,}"
                self._say("entry", 0, message)
