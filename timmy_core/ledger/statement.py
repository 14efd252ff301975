"""Balances: of a node, of all, of every account, now and at any moment, and the lines that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.errors import AccountError
from timmy_core.ledger.checks import check_time
from timmy_core.ledger.model import Account, Balance, Line, Statement, Transfer
from timmy_core.ledger.replay import CREDITS, DEBITS, PENDING_CREDITS, PENDING_DEBITS, last_at, totals_at
from timmy_core.ledger.rows import SELECT_TRANSFER, to_transfer
from timmy_core.store.engine import Connection, Store

MAX_LINES: Final = 10_000
_AT_ONCE: Final = 500

_KINDS: Final = """
SELECT kind, sum(debits), sum(credits), sum(pending_debits), sum(pending_credits) FROM ledger_accounts
WHERE kind IN ('asset', 'income', 'payment', 'fee') {at} GROUP BY kind"""
_ALL: Final = _KINDS.format(at="")
_OF_NODE: Final = _KINDS.format(at="AND node = ?")
_ACCOUNTS: Final = """
SELECT id, code, node, kind, debits, credits, pending_debits, pending_credits FROM ledger_accounts
ORDER BY code, node"""
_IDS: Final = "SELECT id FROM ledger_accounts WHERE code = ?"
_NODES: Final = "SELECT DISTINCT node FROM ledger_accounts WHERE node <> '' ORDER BY node"
_FIRST: Final = "SELECT seq FROM ledger_transfers WHERE at >= ? ORDER BY at, seq LIMIT 1"
_BEFORE: Final = "SELECT seq FROM ledger_transfers WHERE at < ? ORDER BY at DESC, seq DESC LIMIT 1"
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM ledger_transfers"
# The amount that a transfer resolves stands beside it.
_LINES: Final = SELECT_TRANSFER.replace(
    "transfer.memo, transfer.hash",
    "transfer.memo, transfer.hash,\n    (SELECT held.amount_msat FROM ledger_transfers AS held "
    "WHERE held.seq = transfer.pending_seq)",
)

_NOTHING: Final = (0, 0, 0, 0)


class Statements:
    """Reads balances and statements; never writes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def balance(self, node: str | None, as_of: datetime | None) -> Balance:
        """Return what came in, went out and is left."""
        if as_of is not None:
            return _balance(self._kinds_at(node, as_of), as_of, node)
        with self._store.read() as connection:
            rows = connection.execute(_ALL) if node is None else connection.execute(_OF_NODE, (node,))
            kinds = {row[0]: row[1:] for row in rows}
        return _balance(kinds, self._clock.now(), node)

    def _kinds_at(self, node: str | None, as_of: datetime) -> dict[str, Sequence[int]]:
        kinds: dict[str, list[int]] = {}
        for _, at, kind, totals in self._at(as_of):
            if node in {None, at}:
                so_far = kinds.setdefault(kind, [0, 0, 0, 0])
                for index, amount in enumerate(totals):
                    so_far[index] += amount
        return dict(kinds)

    def _at(self, as_of: datetime) -> list[tuple[str, str, str, Sequence[int]]]:
        """Return every account that had any transfer up to a moment: code, node, kind and its totals then."""
        with self._store.read() as connection:
            totals = totals_at(self._store, last_at(connection, as_of))
            rows = connection.execute(_ACCOUNTS).fetchall()
        return [(row[1], row[2], row[3], totals.of(row[0])) for row in rows if row[0] in totals.by_account]

    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that the book has anything of."""
        with self._store.read() as connection:
            return tuple(row[0] for row in connection.execute(_NODES))

    def accounts(self, as_of: datetime | None, *, budgets: bool) -> list[Account]:
        """Return every account with its totals over all nodes, by code."""
        if as_of is None:
            with self._store.read() as connection:
                rows = [(row[1], row[3], row[4:]) for row in connection.execute(_ACCOUNTS)]
        else:
            rows = [(code, kind, totals) for code, _, kind, totals in self._at(as_of)]
        found: dict[str, list[int]] = {}
        for code, kind, totals in rows:
            if budgets or kind != "budget":
                so_far = found.setdefault(code, [0, 0, 0, 0])
                for index, amount in enumerate(totals):
                    so_far[index] += amount
        return [Account(code, *_four(totals)) for code, totals in sorted(found.items())]

    # Statements ----------------------------------------------------------------------------------------------

    def statement(
        self, account: str, since: datetime | None, until: datetime | None, cursor: str | None, limit: int
    ) -> Statement:
        """Return the lines of an account, oldest first, with the balance after each.

        Raises:
            AccountError: there is no such account, or the cursor or the limit cannot be.
        """
        if not 1 <= limit <= MAX_LINES:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LINES:,}"
            raise AccountError(message)
        with self._store.read() as connection:
            ids = [row[0] for row in connection.execute(_IDS, (account,))]
            if not ids:
                message = f"there is no account {account!r:.80}; `timmy ledger statement` without one lists them"
                raise AccountError(message)
            start = _start(connection, since) if cursor is None else _seq(cursor)
            rows = _lines(connection, ids, start, until, limit + 1)
        opening = self._opening(account, ids, start)
        lines: list[Line] = []
        balance = opening.balance_msat
        for row in rows[:limit]:
            line = _line(to_transfer(row[:-1]), row[-1], opening, balance)
            balance = line.balance_msat
            lines.append(line)
        more = str(lines[-1].transfer.seq) if len(rows) > limit else None
        return Statement(account, since, until, opening.balance_msat, tuple(lines), balance, more)

    def _opening(self, account: str, ids: Sequence[int], start: int) -> Account:
        totals = totals_at(self._store, start)
        sums = [sum(column) for column in zip(*(totals.of(id_) for id_ in ids), strict=True)]
        return Account(account, *_four(sums))


def _balance(kinds: dict[str, Sequence[int]], at: datetime, node: str | None) -> Balance:
    asset, income = kinds.get("asset", _NOTHING), kinds.get("income", _NOTHING)
    payment, fee = kinds.get("payment", _NOTHING), kinds.get("fee", _NOTHING)
    incoming = income[CREDITS] - income[DEBITS]
    outgoing, fees = payment[DEBITS] - payment[CREDITS], fee[DEBITS] - fee[CREDITS]
    posted = asset[DEBITS] - asset[CREDITS]
    return Balance(
        incoming_total_msat=incoming,
        outgoing_total_msat=outgoing,
        fees_paid_msat=fees,
        net_msat=incoming - outgoing - fees,
        pending_incoming_msat=asset[PENDING_DEBITS],
        pending_outgoing_msat=asset[PENDING_CREDITS],
        available_msat=posted - asset[PENDING_CREDITS],
        at=at,
        posted_msat=posted,
        node=node,
    )


def _four(totals: Sequence[int]) -> tuple[int, int, int, int]:
    debits, credits_, pending_debits, pending_credits = totals
    return debits, credits_, pending_debits, pending_credits


def _start(connection: Connection, since: datetime | None) -> int:
    """Return the seq after which a statement begins."""
    if since is None:
        return 0
    row = connection.execute(_FIRST, (check_time("since", since),)).fetchone()
    return int(row[0]) - 1 if row else int(connection.execute(_LAST).fetchone()[0])


def _lines(connection: Connection, ids: Sequence[int], after: int, until: datetime | None, limit: int) -> list[Any]:
    """Return the transfers of an account; each side is read from its own index, so a long book costs nothing."""
    last = connection.execute(_LAST).fetchone()[0]
    if until is not None:
        row = connection.execute(_BEFORE, (check_time("until", until),)).fetchone()
        last = row[0] if row else 0
    sides = [(side, id_) for id_ in ids for side in ("debit", "credit")]
    found: list[int] = []
    for side, id_ in sides:
        query = f"SELECT seq FROM ledger_transfers WHERE {side} = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608
        found += [row[0] for row in connection.execute(query, (id_, after, last, limit))]
    seqs = sorted(found)[:limit]
    rows: list[Any] = []
    for start in range(0, len(seqs), _AT_ONCE):
        some = seqs[start : start + _AT_ONCE]
        query = f"{_LINES} WHERE transfer.seq IN ({', '.join('?' * len(some))}) ORDER BY transfer.seq"
        rows += connection.execute(query, some).fetchall()
    return rows


def _line(transfer: Transfer, held: int | None, account: Account, before: int) -> Line:
    """Return a transfer as its account sees it."""
    grows = (transfer.debit == account.code) == account.debit_normal
    sign = 1 if grows else -1
    posted = 0 if transfer.kind == "pending" else sign * transfer.amount_msat
    pending = sign * (transfer.amount_msat if transfer.kind == "pending" else -(held or 0))
    return Line(transfer, posted, pending, before + posted)


def _seq(cursor: str) -> int:
    if not isinstance(cursor, str) or not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:  # noqa: PLR2004
        message = f"{cursor!r:.80} is no cursor; give the one of the part before"
        raise AccountError(message)
    return int(cursor)
