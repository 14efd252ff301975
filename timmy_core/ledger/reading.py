"""The part of the ledger that looks: entries, transfers, balances, statements, what settled, and whether it holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.ledger.listing import Attempts, Entries, Listing, Transfers
from timmy_core.ledger.model import (
    Account,
    Balance,
    Direction,
    Entry,
    Invoice,
    Page,
    Payment,
    Statement,
    Stats,
    Verification,
)
from timmy_core.ledger.statement import Statements
from timmy_core.ledger.stats import Numbers
from timmy_core.ledger.verify import Verifier
from timmy_core.store.engine import Store

AccountList: TypeAlias = list[Account]  # named, because inside the class `list` is the method


class Reading:
    """Everything of the ledger that only reads; see `Ledger`."""

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._listing = Listing(store)
        self._statements = Statements(store, clock)
        self._numbers = Numbers(store, clock)

    def get(self, entry_id: str) -> Entry:
        """Return one invoice or payment.

        Raises:
            EntryUnknownError: there is none.
        """
        return self._listing.get(entry_id)

    def get_by_hash(self, payment_hash: str, node: str | None = None) -> Entries:
        """Return what has a payment hash: an invoice, payments of it, or both where one paid oneself."""
        return self._listing.by_hash(payment_hash, node)

    def find_invoice(self, node: str, payment_hash: str) -> Invoice | None:
        """Return the invoice of a node with a payment hash, if there is one."""
        return self._listing.invoice(node, payment_hash)

    def find_payment(self, node: str, payment_hash: str) -> Payment | None:
        """Return the payment of a node with a payment hash, if there is one."""
        return self._listing.payment(node, payment_hash)

    def pending(self, node: str | None = None, direction: Direction | None = None) -> Entries:
        """Return every entry that is not final, oldest first."""
        return self._listing.pending(node, direction)

    def list(
        self,
        *,
        direction: Direction | None = None,
        status: str | Sequence[str] | None = None,
        task_id: str | None = None,
        agent_id: str | None = None,
        node: str | None = None,
        source: str | None = None,
        trace_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Return invoices and payments, newest first.

        `status` is one of the four words that people see, or one of an entry's own states, or several of them.
        `since` is included and `until` is not; `text` is looked for in memo, payment hash, id, payee, agent, task and
        source. `source` is known of invoices alone.

        Raises:
            AccountError: a filter, the limit or the cursor cannot be.
        """
        filters = {
            "direction": direction, "status": status, "task_id": task_id, "agent_id": agent_id, "node": node,
            "source": source, "trace_id": trace_id, "since": since, "until": until, "text": text,
        }  # fmt: skip
        return self._listing.list(filters, cursor, limit)

    def attempts(self, payment_id: str) -> Attempts:
        """Return the attempts at a payment, the first one first."""
        return self._listing.attempts(payment_id)

    def postings(self, entry_id: str) -> Transfers:
        """Return the transfers of an invoice or payment, in order."""
        return self._listing.postings(entry_id)

    def transfers(self, after: int = 0, limit: int = 5000) -> Transfers:
        """Return the next transfers of the whole book after a seq, in order."""
        return self._listing.transfers(after, limit)

    def balance(self, node: str | None = None, as_of: datetime | None = None) -> Balance:
        """Return what came in, went out and is left, of one node or of all; now, or at any moment."""
        return self._statements.balance(node, as_of)

    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that the book has anything of."""
        return self._statements.nodes()

    def accounts(self, as_of: datetime | None = None, *, budgets: bool = True) -> AccountList:
        """Return every account with its totals over all nodes, by code; now, or at any moment."""
        return self._statements.accounts(as_of, budgets=budgets)

    def statement(
        self,
        account: str,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        *,
        limit: int = 500,
    ) -> Statement:
        """Return the lines of an account, oldest first, with the balance after each.

        Raises:
            AccountError: there is no such account, or the cursor or the limit cannot be.
        """
        return self._statements.statement(account, since, until, cursor, limit)

    def stats(self, days: int = 30) -> Stats:
        """Return what settled in the last days of UTC, today among them, by day, agent, task and source."""
        return self._numbers.stats(days)

    def verify(self) -> Verification:
        """Check the whole book, and explain what does not hold; writers go on."""
        return Verifier(self._store, self._events).run()
