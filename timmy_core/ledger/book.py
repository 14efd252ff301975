"""The book: transfers between accounts, appended together with their event, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from timmy_core.clock import Clock, to_us
from timmy_core.errors import BookError, InsufficientFundsError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event, NewEvent
from timmy_core.ledger import accounts
from timmy_core.ledger.accounts import Place
from timmy_core.ledger.chain import GENESIS, hash_transfer, head
from timmy_core.ledger.model import TransferKind
from timmy_core.ledger.money import check_msat, words
from timmy_core.store.engine import Connection

SOURCE: Final = "ledger"
MAX_MEMO_CHARS: Final = 640  # of a transfer; a BOLT11 description is at most 639 bytes

_PLACE: Final = "SELECT id FROM ledger_accounts WHERE code = ? AND node = ?"
_ADD_PLACE: Final = "INSERT INTO ledger_accounts (code, node, kind) VALUES (?, ?, ?)"
_LAST: Final = "SELECT seq, at, hash FROM ledger_transfers ORDER BY seq DESC LIMIT 1"
_AVAILABLE: Final = """
SELECT debits - credits - pending_credits, pending_credits FROM ledger_accounts WHERE code = ? AND node = ?"""
_PENDING: Final = """
SELECT transfer.amount_msat, transfer.debit, transfer.credit, debited.code, debited.node, credited.code, credited.node,
    (SELECT seq FROM ledger_transfers AS other WHERE other.pending_seq = transfer.seq)
FROM ledger_transfers AS transfer
JOIN ledger_accounts AS debited ON debited.id = transfer.debit
JOIN ledger_accounts AS credited ON credited.id = transfer.credit
WHERE transfer.seq = ? AND transfer.kind = 'pending'"""
_INSERT: Final = """
INSERT INTO ledger_transfers
    (seq, id, kind, pending_seq, debit, credit, amount_msat, at, entry_id, payment_hash, event_seq, memo, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class Book:
    """Opens entries of the book inside somebody's transaction.

    Args:
        events: gets the event of each entry, in the same transaction.
        clock: says when it was booked.
    """

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self.events = events
        self.clock = clock

    def begin(self, connection: Connection, *, entry_id: str | None = None, payment_hash: str | None = None) -> Posting:
        """Begin the transfers of one event; `Posting.tell` ends them."""
        return Posting(self, connection, entry_id, payment_hash)


class Posting:
    """The transfers of one event: make them, then `tell`; whatever is raised between undoes all of them."""

    def __init__(self, book: Book, connection: Connection, entry_id: str | None, payment_hash: str | None) -> None:
        last = connection.execute(_LAST).fetchone() or (0, 0, GENESIS)
        self._book = book
        self._connection = connection
        self._entry_id = entry_id
        self._payment_hash = payment_hash
        self._before: int = last[0]
        self._seq: int = last[0]
        self._hash: bytes = last[2]
        # A clock that was set back does not change the order of the book.
        self.at_us = max(to_us(book.clock.now()), last[1])
        self.event_seq = book.events.next_seq(connection)

    def single(self, key: str, debit: Place, credit: Place, amount_msat: int, memo: str = "") -> int:
        """Move an amount at once, and return the transfer's seq."""
        return self._add(key, "single", None, debit, credit, amount_msat, memo)

    def pending(self, key: str, debit: Place, credit: Place, amount_msat: int, memo: str = "") -> int:
        """Set an amount aside, and return the transfer's seq."""
        return self._add(key, "pending", None, debit, credit, amount_msat, memo)

    def _add(
        self, key: str, kind: TransferKind, pending: int | None, debit: Place, credit: Place, amount: int, memo: str
    ) -> int:
        check_msat("a transfer's amount", amount, least=1)
        sides = tuple((self._place(place), place.code, place.node) for place in (debit, credit))
        return self._insert(key, kind, pending, sides[0], sides[1], amount, memo)

    def post(self, key: str, pending_seq: int, amount_msat: int, memo: str = "") -> int:
        """Make an amount real that was set aside, and give the rest of it back.

        Raises:
            BookError: it was resolved before, or the amount is more than was set aside.
        """
        return self._resolve(key, "post", pending_seq, check_msat("a transfer's amount", amount_msat), memo)

    def void(self, key: str, pending_seq: int, memo: str = "") -> int:
        """Give all back that was set aside.

        Raises:
            BookError: it was resolved before.
        """
        return self._resolve(key, "void", pending_seq, 0, memo)

    def _resolve(self, key: str, kind: TransferKind, pending_seq: int, amount_msat: int, memo: str) -> int:
        row = self._connection.execute(_PENDING, (pending_seq,)).fetchone()
        if row is None:
            message = f"transfer {pending_seq} sets nothing aside, so there is nothing to {kind}"
            raise BookError(message)
        held, debit, credit, debit_code, debit_node, credit_code, credit_node, resolved_by = row
        if resolved_by is not None:
            message = f"transfer {pending_seq} was resolved by transfer {resolved_by}; each is resolved once"
            raise BookError(message)
        if amount_msat > held:
            message = f"{words(amount_msat)} cannot be posted from transfer {pending_seq}, which holds {words(held)}"
            raise BookError(message)
        sides = ((debit, debit_code, debit_node), (credit, credit_code, credit_node))
        return self._insert(key, kind, pending_seq, *sides, amount_msat, memo)

    def _insert(
        self,
        key: str,
        kind: TransferKind,
        pending_seq: int | None,
        debit: tuple[int, str, str],
        credit: tuple[int, str, str],
        amount_msat: int,
        memo: str,
    ) -> int:
        memo = memo[:MAX_MEMO_CHARS]
        seq = self._seq + 1
        numbers = (seq, self.at_us, amount_msat, pending_seq or 0, self.event_seq)
        texts = (key, kind, *debit[1:], *credit[1:], self._entry_id, self._payment_hash, memo)
        chained = hash_transfer(self._hash, numbers, texts)
        values = (
            seq, key, kind, pending_seq, debit[0], credit[0], amount_msat, self.at_us, self._entry_id,
            self._payment_hash, self.event_seq, memo, chained,
        )  # fmt: skip
        self._connection.execute(_INSERT, values)
        self._seq, self._hash = seq, chained
        return seq

    def _place(self, place: Place) -> int:
        found = self._connection.execute(_PLACE, (place.code, place.node)).fetchone()
        if found is not None:
            return int(found[0])
        return int(self._connection.execute(_ADD_PLACE, (place.code, place.node, place.kind)).lastrowid or 0)

    # Funds ---------------------------------------------------------------------------------------------------

    def require(self, node: str, amount_msat: int) -> None:
        """Check that a node holds an amount that nobody else set aside.

        Raises:
            InsufficientFundsError: it does not.
        """
        available, held = available_in(self._connection, node)
        if amount_msat > available:
            message = (
                f"node {node} has {words(available)} available ({words(held)} more is set aside for payments under "
                f"way), and {words(amount_msat)} are needed with the fee limit; add funds, or pay less"
            )
            raise InsufficientFundsError(message)

    def cover(self, key: str, node: str, amount_msat: int, reason: str) -> int:
        """Book from suspense what a node surely spent and the book does not have; return how much that was."""
        missing = max(0, amount_msat - available_in(self._connection, node)[0])
        if missing:
            self.single(key, accounts.asset(node), accounts.suspense(node), missing, reason)
        return missing

    # The event -----------------------------------------------------------------------------------------------

    def tell(
        self,
        type_: str,
        data: Mapping[str, Any],
        *,
        task_id: str | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
    ) -> Event:
        """Write the event of these transfers, which names the last of them by its hash."""
        booked: dict[str, Any] = {}
        if self._seq > self._before:
            booked = {"transfers": [self._before + 1, self._seq], "book": head(self._seq, self._hash)}
        entry = {} if self._entry_id is None else {"entry": self._entry_id}
        hashed = {} if self._payment_hash is None else {"payment_hash": self._payment_hash}
        event = NewEvent(type_, SOURCE, {**entry, **hashed, **data, **booked}, task_id, agent_id, trace_id)
        written = self._book.events.append_in(self._connection, event)
        if written.seq != self.event_seq:
            message = f"the event became {written.seq}, and its transfers name {self.event_seq}; nothing was kept"
            raise BookError(message)
        return written


def available_in(connection: Connection, node: str) -> tuple[int, int]:
    """Return what a node has available and what is set aside to leave it, in msat."""
    place = accounts.asset(node)
    row = connection.execute(_AVAILABLE, (place.code, node)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
