"""What the book begins with, and differences from the node: booked under their name, never edited in."""

from __future__ import annotations

from typing import Final

from timmy_core.clock import new_id
from timmy_core.errors import EntryStateError, LedgerError, MoneyError
from timmy_core.ledger import accounts
from timmy_core.ledger.book import Book
from timmy_core.ledger.checks import check_name, check_reason
from timmy_core.ledger.model import Transfer
from timmy_core.ledger.money import check_msat, words
from timmy_core.ledger.rows import SELECT_TRANSFER, to_transfer
from timmy_core.store.engine import Connection, Store

_BY_ID: Final = f"{SELECT_TRANSFER} WHERE transfer.id = ?"
_BY_SEQ: Final = f"{SELECT_TRANSFER} WHERE transfer.seq = ?"


class Corrections:
    """Books openings and differences."""

    def __init__(self, store: Store, book: Book) -> None:
        self._store = store
        self._book = book

    def opening(self, node: str, amount_msat: int, by: str) -> Transfer | None:
        """Book what a node held when its book began, once; None where that was nothing.

        Raises:
            EntryStateError: it was booked before, with another amount.
        """
        check_name("node", node, needed=True)
        check_name("by", by, needed=True)
        amount = check_msat("the opening balance", amount_msat)
        return self._store.write(lambda connection: self._opening(connection, node, amount, by))

    def _opening(self, connection: Connection, node: str, amount: int, by: str) -> Transfer | None:
        key = f"opening:{node}"
        known = _find(connection, key)
        if known is not None:
            if known.amount_msat != amount:
                message = (
                    f"node {node} opened with {words(known.amount_msat)} on {known.at:%Y-%m-%d}; a difference from "
                    "what it holds now is booked by reconciling"
                )
                raise EntryStateError(message)
            return known
        if not amount:
            return None
        posting = self._book.begin(connection)
        seq = posting.single(key, accounts.asset(node), accounts.opening(node), amount, "opening balance")
        posting.tell("ledger.opened", {"node": node, "amount_msat": amount, "by": by})
        return _at(connection, seq)

    def suspense(self, node: str, difference_msat: int, reason: str, by: str, key: str | None) -> Transfer:
        """Book a difference: above zero where the node holds more than the book says.

        Raises:
            InsufficientFundsError: the book has less available than it is to lose.
            LedgerError: it has no reason, or is nothing.
        """
        check_name("node", node, needed=True)
        check_name("by", by, needed=True)
        said = check_reason(reason)
        if not said:
            message = "a difference is booked under a name; say where it comes from"
            raise LedgerError(message)
        if not isinstance(difference_msat, int) or isinstance(difference_msat, bool) or not difference_msat:
            message = f"a difference has to be a whole number of msat other than 0, not {difference_msat!r:.40}"
            raise MoneyError(message)
        check_msat("the difference", abs(difference_msat), least=1)
        name = f"suspense:{check_name('idempotency_key', key) or new_id()}"
        return self._store.write(
            lambda connection: self._suspense(connection, name, node, int(difference_msat), said, by)
        )

    def _suspense(self, connection: Connection, key: str, node: str, difference: int, reason: str, by: str) -> Transfer:
        known = _find(connection, key)
        if known is not None:
            return known
        posting = self._book.begin(connection)
        asset, suspense = accounts.asset(node), accounts.suspense(node)
        if difference > 0:
            seq = posting.single(key, asset, suspense, difference, reason)
        else:
            posting.require(node, -difference)
            seq = posting.single(key, suspense, asset, -difference, reason)
        posting.tell("ledger.adjusted", {"node": node, "difference_msat": difference, "reason": reason, "by": by})
        return _at(connection, seq)


def _find(connection: Connection, key: str) -> Transfer | None:
    row = connection.execute(_BY_ID, (key,)).fetchone()
    return to_transfer(row) if row else None


def _at(connection: Connection, seq: int) -> Transfer:
    return to_transfer(connection.execute(_BY_SEQ, (seq,)).fetchone())
