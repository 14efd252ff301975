"""The totals of accounts, told from the transfers alone: for balances of the past, statements and checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from timmy_core.ledger.checks import check_time
from timmy_core.store.engine import Connection, Store

BATCH: Final = 5_000

# A transfer with what it resolves: (seq, kind, debit, credit, amount, amount of the pending one).
ROWS: Final = """
SELECT transfer.seq, transfer.kind, transfer.debit, transfer.credit, transfer.amount_msat,
    (SELECT held.amount_msat FROM ledger_transfers AS held WHERE held.seq = transfer.pending_seq)
FROM ledger_transfers AS transfer WHERE transfer.seq > ? AND transfer.seq <= ? ORDER BY transfer.seq LIMIT ?"""
_CHECKPOINT: Final = "SELECT max(seq) FROM ledger_checkpoints WHERE seq <= ?"
_TOTALS: Final = """
SELECT account, debits, credits, pending_debits, pending_credits FROM ledger_checkpoints WHERE seq = ?"""
_BEFORE: Final = "SELECT seq FROM ledger_transfers WHERE at <= ? ORDER BY at DESC, seq DESC LIMIT 1"

DEBITS, CREDITS, PENDING_DEBITS, PENDING_CREDITS = range(4)


class Totals:
    """Debits, credits, pending debits and pending credits by account; what a transfer does to them stands here."""

    def __init__(self, start: Iterable[Sequence[int]] = ()) -> None:
        self.by_account: dict[int, list[int]] = {row[0]: list(row[1:5]) for row in start}

    def add(self, kind: str, debit: int, credit: int, amount: int, held: int | None) -> None:
        """Take one transfer in."""
        posted = 0 if kind == "pending" else amount
        pending = amount if kind == "pending" else -(held or 0)
        debited = self.by_account.setdefault(debit, [0, 0, 0, 0])
        credited = self.by_account.setdefault(credit, [0, 0, 0, 0])
        debited[DEBITS] += posted
        debited[PENDING_DEBITS] += pending
        credited[CREDITS] += posted
        credited[PENDING_CREDITS] += pending

    def of(self, account: int) -> tuple[int, int, int, int]:
        """Return the totals of one account."""
        debits, credits_, pending_debits, pending_credits = self.by_account.get(account, (0, 0, 0, 0))
        return debits, credits_, pending_debits, pending_credits


def last_at(connection: Connection, moment: datetime) -> int:
    """Return the seq of the last transfer that was booked up to a moment, 0 for none."""
    row = connection.execute(_BEFORE, (check_time("the moment", moment),)).fetchone()
    return int(row[0]) if row else 0


def totals_at(store: Store, seq: int) -> Totals:
    """Return the totals after a transfer: those of the checkpoint before it, and what came since."""
    with store.read() as connection:
        checkpoint = connection.execute(_CHECKPOINT, (seq,)).fetchone()[0] or 0
        totals = Totals(connection.execute(_TOTALS, (checkpoint,)).fetchall())
    for row in rows_between(store, checkpoint, seq):
        totals.add(*row[1:])
    return totals


def rows_between(store: Store, after: int, until: int) -> Iterator[Any]:
    """Yield the transfers after one seq up to another, in short reads."""
    while after < until:
        with store.read() as connection:
            rows = connection.execute(ROWS, (after, until, BATCH)).fetchall()
        if not rows:
            return
        yield from rows
        after = rows[-1][0]
