"""Reading invoices and payments: by id, by payment hash, by filter, newest first and in parts."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from timmy_core.clock import to_us
from timmy_core.errors import AccountError, EntryUnknownError
from timmy_core.ledger.checks import check_hash, check_time
from timmy_core.ledger.model import (
    INVOICE_SHOWN,
    PAYMENT_SHOWN,
    Attempt,
    Direction,
    Entry,
    Invoice,
    Page,
    Payment,
    Transfer,
)  # fmt: skip
from timmy_core.ledger.rows import (
    SELECT_ATTEMPT,
    SELECT_INVOICE,
    SELECT_PAYMENT,
    SELECT_TRANSFER,
    invoice_row,
    payment_row,
    to_attempt,
    to_invoice,
    to_payment,
    to_transfer,
)  # fmt: skip
from timmy_core.store.engine import Connection, Store

# Named, because inside the class `list` is the method.
Entries: TypeAlias = list[Entry]
Attempts: TypeAlias = list[Attempt]
Transfers: TypeAlias = list[Transfer]

MAX_LIST: Final = 10_000
MAX_TEXT: Final = 200
_INVOICE_TEXT: Final = ("memo", "payment_hash", "id", "source", "agent_id", "task_id")
_PAYMENT_TEXT: Final = ("memo", "payment_hash", "id", "payee", "agent_id", "task_id")
_EQUAL: Final = ("task_id", "agent_id", "node", "source", "trace_id")
FILTERS: Final = ("direction", "status", *_EQUAL, "since", "until", "text")
STATUSES: Final = tuple(
    dict.fromkeys([*INVOICE_SHOWN.values(), *PAYMENT_SHOWN.values(), *INVOICE_SHOWN, *PAYMENT_SHOWN])
)


class Listing:
    """Reads entries; never writes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, entry_id: str) -> Entry:
        """Return one entry.

        Raises:
            EntryUnknownError: there is none.
        """
        with self._store.read() as connection:
            found = _both(connection, "id = ?", (entry_id,))
        if not found:
            message = (
                f"the ledger has no invoice or payment with the id {entry_id!r:.80}; `timmy ledger list` shows them"
            )
            raise EntryUnknownError(message)
        return found[0]

    def by_hash(self, payment_hash: str, node: str | None) -> Entries:
        """Return what has a payment hash: an invoice, payments of it, or both where one paid oneself."""
        where, values = ("payment_hash = ?", [check_hash(payment_hash)])
        if node is not None:
            where, values = f"{where} AND node = ?", [*values, node]
        with self._store.read() as connection:
            return _both(connection, where, values)

    def invoice(self, node: str, payment_hash: str) -> Invoice | None:
        """Return one invoice."""
        with self._store.read() as connection:
            row = invoice_row(connection, node, check_hash(payment_hash))
        return None if row is None else to_invoice(row)

    def payment(self, node: str, payment_hash: str) -> Payment | None:
        """Return one payment."""
        with self._store.read() as connection:
            row = payment_row(connection, node, check_hash(payment_hash))
        return None if row is None else to_payment(row)

    def pending(self, node: str | None, direction: Direction | None) -> Entries:
        """Return every entry that is not final, oldest first."""
        at, values = ("", ()) if node is None else ("AND node = ?", (node,))
        found: list[Entry] = []
        with self._store.read() as connection:
            if direction != "out":
                query = f"{SELECT_INVOICE} WHERE status IN ('open', 'accepted') {at}"
                found += [to_invoice(row) for row in connection.execute(query, values)]
            if direction != "in":
                query = f"{SELECT_PAYMENT} WHERE status IN ('initiated', 'in_flight') {at}"
                found += [to_payment(row) for row in connection.execute(query, values)]
        return sorted(found, key=lambda entry: (entry.created_at, entry.id))

    def list(self, filters: Mapping[str, Any], cursor: str | None, limit: int) -> Page:
        """Return entries, newest first.

        Raises:
            AccountError: a filter, the limit or the cursor cannot be.
        """
        if not isinstance(limit, int) or not 1 <= limit <= MAX_LIST:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LIST:,}"
            raise AccountError(message)
        given = {name: wanted for name, wanted in filters.items() if wanted is not None}
        direction = given.pop("direction", None)
        if direction not in {None, "in", "out"}:
            message = f"there is no direction {direction!r}; expected 'in' (invoices) or 'out' (payments)"
            raise AccountError(message)
        parts: list[list[Entry]] = []
        with self._store.read() as connection:
            if direction != "out":
                where = _conditions(given, INVOICE_SHOWN, _INVOICE_TEXT, cursor)
                rows = _select(connection, SELECT_INVOICE, where, limit + 1)
                parts.append([to_invoice(row) for row in rows])
            if direction != "in" and "source" not in given:
                where = _conditions(given, PAYMENT_SHOWN, _PAYMENT_TEXT, cursor)
                rows = _select(connection, SELECT_PAYMENT, where, limit + 1)
                parts.append([to_payment(row) for row in rows])
        merged = list(heapq.merge(*parts, key=lambda entry: (entry.created_at, entry.id), reverse=True))[: limit + 1]
        more = len(merged) > limit
        return Page(tuple(merged[:limit]), _cursor(merged[limit - 1]) if more else None)

    def attempts(self, payment_id: str) -> Attempts:
        """Return the attempts at a payment, the first one first."""
        with self._store.read() as connection:
            rows = connection.execute(f"{SELECT_ATTEMPT} WHERE payment_id = ? ORDER BY number", (payment_id,))
            return [to_attempt(row) for row in rows]

    def postings(self, entry_id: str) -> Transfers:
        """Return the transfers of an entry, in order."""
        query = f"{SELECT_TRANSFER} WHERE transfer.entry_id = ? ORDER BY transfer.seq LIMIT {MAX_LIST}"
        with self._store.read() as connection:
            return [to_transfer(row) for row in connection.execute(query, (entry_id,))]

    def transfers(self, after: int, limit: int) -> Transfers:
        """Return the transfers after a seq, in order."""
        if not 1 <= limit <= MAX_LIST:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LIST:,}"
            raise AccountError(message)
        query = f"{SELECT_TRANSFER} WHERE transfer.seq > ? ORDER BY transfer.seq LIMIT ?"
        with self._store.read() as connection:
            return [to_transfer(row) for row in connection.execute(query, (after, limit))]


def _both(connection: Connection, where: str, values: Sequence[Any]) -> list[Entry]:
    found: list[Entry] = [
        to_invoice(row) for row in connection.execute(f"{SELECT_INVOICE} WHERE {where} ORDER BY seq", values)
    ]
    found += [to_payment(row) for row in connection.execute(f"{SELECT_PAYMENT} WHERE {where} ORDER BY seq", values)]
    return found


_Where = tuple[list[str], list[Any]]


def _select(connection: Connection, select: str, where: _Where | None, limit: int) -> list[Any]:
    if where is None:
        return []
    clauses, values = where
    condition = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    return connection.execute(
        f"{select} {condition} ORDER BY created_at DESC, id DESC LIMIT {limit:d}", values
    ).fetchall()


def _conditions(
    given: Mapping[str, Any], shown: Mapping[Any, str], texts: Sequence[str], cursor: str | None
) -> _Where | None:
    """Return filters as conditions in SQL with their values; None where nothing can match."""
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in given.items():
        if name == "status":
            states = _states(wanted, shown)
            if not states:
                return None
            clauses.append(f"status IN ({', '.join('?' * len(states))})")
            values += states
        elif name in _EQUAL:
            clauses.append(f"{name} = ?")
            values.append(wanted)
        elif name in {"since", "until"}:
            clauses.append(f"created_at {'>=' if name == 'since' else '<'} ?")
            values.append(check_time(name, wanted))
        elif name == "text":
            clauses.append(f"({' OR '.join(f'instr(lower({column}), ?) > 0' for column in texts)})")
            values += [_text(wanted)] * len(texts)
        else:
            message = f"{name!r} is no filter; expected one or more of {', '.join(FILTERS)}"
            raise AccountError(message)
    if cursor is not None:
        clauses.append("(created_at, id) < (?, ?)")
        values += _after(cursor)
    return clauses, values


def _states(wanted: str | Sequence[str], shown: Mapping[Any, str]) -> list[str]:
    """Return the own states that are meant: each of them stands for itself, each of the four words for several."""
    several = [wanted] if isinstance(wanted, str) else list(wanted)
    strange = next((word for word in several if word not in STATUSES), None)
    if strange is not None or not several:
        message = f"there is no status {strange!r}; expected one or more of {', '.join(STATUSES)}"
        raise AccountError(message)
    return [state for state, word in shown.items() if state in several or word in several]


def _text(wanted: Any) -> str:
    if not isinstance(wanted, str) or not 1 <= len(wanted) <= MAX_TEXT:
        message = f"the text to look for has to be 1 to {MAX_TEXT} characters, not {wanted!r:.40}"
        raise AccountError(message)
    # As SQLite does it: letters beyond ASCII are compared as they are.
    return "".join(sign.lower() if sign.isascii() else sign for sign in wanted)


def _cursor(entry: Entry) -> str:
    return f"{to_us(entry.created_at)}.{entry.id}"


def _after(cursor: str) -> tuple[int, str]:
    when, _, id_ = cursor.partition(".") if isinstance(cursor, str) else ("", "", "")
    if not when.isascii() or not when.isdigit() or len(when) > len(str(1 << 62)) or not id_:
        message = f"{cursor!r:.80} is no cursor; give the one of the page before"
        raise AccountError(message)
    return int(when), id_
