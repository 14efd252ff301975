"""Intents: that an invoice will be asked for, noted before a node is asked, so that none lives unknown."""

from __future__ import annotations

import dataclasses
from typing import Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import EntryStateError, EntryUnknownError, LedgerError
from timmy_core.ledger.checks import check_memo, check_name, check_reason, fingerprint, keep_key, known_key
from timmy_core.ledger.model import Intent
from timmy_core.ledger.money import check_msat
from timmy_core.ledger.rows import SELECT_INTENT, to_intent
from timmy_core.store.engine import Connection, Store

MAX_EXPIRY_S: Final = 366 * 24 * 3600
MAX_OPEN: Final = 10_000  # looked at in one go

_INSERT: Final = """
INSERT INTO ledger_intents (id, node, amount_msat, memo, expiry_s, status, source, task_id, agent_id, trace_id,
    idempotency_key, created_at) VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)"""


@dataclasses.dataclass(frozen=True, slots=True)
class NewIntent:
    """An invoice that is wanted."""

    node: str
    amount_msat: int
    memo: str
    expiry_s: int
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    idempotency_key: str | None

    def check(self) -> None:
        """Check every field.

        Raises:
            LedgerError: one cannot be.
        """
        for field in ("node", "source"):
            check_name(field, getattr(self, field), needed=True)
        for field in ("task_id", "agent_id", "trace_id", "idempotency_key"):
            check_name(field, getattr(self, field))
        check_msat("amount_msat", self.amount_msat)
        check_memo(self.memo)
        whole = isinstance(self.expiry_s, int) and not isinstance(self.expiry_s, bool)
        if not whole or not 1 <= self.expiry_s <= MAX_EXPIRY_S:
            message = f"an invoice cannot expire in {self.expiry_s!r} s; expected whole seconds, 1 to {MAX_EXPIRY_S:,}"
            raise LedgerError(message)

    @property
    def fingerprint(self) -> bytes:
        """What a repetition has to have in common with the first time; the trace may differ."""
        who = (self.source, self.task_id, self.agent_id)
        return fingerprint(["intent", self.node, self.amount_msat, self.memo, self.expiry_s, *who])


class Intents:
    """Keeps intents."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def intend(self, new: NewIntent) -> Intent:
        """Note an intent; the same key with the same content gives the one of the first time."""
        new.check()
        return self._store.write(lambda connection: self._intend(connection, new))

    def _intend(self, connection: Connection, new: NewIntent) -> Intent:
        known = known_key(connection, new.idempotency_key, "intent", new.fingerprint)
        if known is not None:
            return dataclasses.replace(fetch_intent(connection, known), replayed=True)
        id_, now = new_id(), to_us(self._clock.now())
        values = (
            id_, new.node, int(new.amount_msat), new.memo, new.expiry_s, new.source, new.task_id, new.agent_id,
            new.trace_id, new.idempotency_key, now,
        )  # fmt: skip
        connection.execute(_INSERT, values)
        keep_key(connection, new.idempotency_key, "intent", new.fingerprint, id_, now)
        return fetch_intent(connection, id_)

    def get(self, intent_id: str) -> Intent:
        """Return one intent."""
        with self._store.read() as connection:
            return fetch_intent(connection, intent_id)

    def open(self, node: str | None) -> list[Intent]:
        """Return the intents of which nobody knows yet what became, oldest first."""
        where, values = ("AND node = ?", (node,)) if node is not None else ("", ())
        query = f"{SELECT_INTENT} WHERE status = 'open' {where} ORDER BY created_at, id LIMIT {MAX_OPEN}"
        with self._store.read() as connection:
            return [to_intent(row) for row in connection.execute(query, values)]

    def abandon(self, intent_id: str, reason: str) -> Intent:
        """Note that the node made no invoice for it; twice is harmless."""
        return self._store.write(lambda connection: self._abandon(connection, intent_id, check_reason(reason)))

    @staticmethod
    def _abandon(connection: Connection, intent_id: str, reason: str) -> Intent:
        intent = fetch_intent(connection, intent_id)
        if intent.status == "done":
            message = f"intent {intent_id} became the invoice {intent.payment_hash}; it cannot be abandoned"
            raise EntryStateError(message)
        query = "UPDATE ledger_intents SET status = 'abandoned', reason = ? WHERE id = ? AND status = 'open'"
        connection.execute(query, (reason, intent_id))
        return fetch_intent(connection, intent_id)


def fetch_intent(connection: Connection, intent_id: str) -> Intent:
    """Return one intent.

    Raises:
        EntryUnknownError: there is none.
    """
    row = connection.execute(f"{SELECT_INTENT} WHERE id = ?", (intent_id,)).fetchone()
    if row is None:
        message = f"the ledger has no intent {intent_id!r:.80}"
        raise EntryUnknownError(message)
    return to_intent(row)


def finish_intent(connection: Connection, intent: Intent, payment_hash: str) -> None:
    """Note which invoice came of an intent; also of one that was given up too early.

    Raises:
        EntryStateError: another invoice came of it.
    """
    if intent.status == "done" and intent.payment_hash != payment_hash:
        message = (
            f"intent {intent.id} became the invoice {intent.payment_hash} already, and cannot become {payment_hash}"
        )
        raise EntryStateError(message)
    query = "UPDATE ledger_intents SET status = 'done', payment_hash = ?, reason = NULL WHERE id = ?"
    connection.execute(query, (payment_hash, intent.id))
