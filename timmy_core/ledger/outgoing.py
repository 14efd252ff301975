"""Payments: money is set aside before the node is asked, and only the node's proof or its sure refusal ends that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import AlreadyPaidError, BudgetExceededError, LedgerError
from timmy_core.ledger import accounts
from timmy_core.ledger.book import Book
from timmy_core.ledger.budgets import Budgets, Exceeded, Spend, told
from timmy_core.ledger.checks import check_hash, check_memo, check_name, check_time, fingerprint, keep_key, known_key
from timmy_core.ledger.model import Payment
from timmy_core.ledger.money import check_msat, words
from timmy_core.ledger.rows import SELECT_PAYMENT, need_payment, payment_row, to_payment
from timmy_core.store.engine import Connection, Store

_INSERT: Final = """
INSERT INTO ledger_payments (id, node, payment_hash, bolt11, amount_msat, fee_limit_msat, memo, payee, status, task_id,
    agent_id, trace_id, created_at, begun_at, expires_at, idempotency_key, attempts, hold_seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'initiated', ?, ?, ?, ?, ?, ?, ?, 1, ?)"""
_ANEW: Final = """
UPDATE ledger_payments SET bolt11 = ?, amount_msat = ?, fee_limit_msat = ?, memo = ?, payee = ?, status = 'initiated',
    failure = NULL, task_id = ?, agent_id = ?, trace_id = ?, begun_at = ?, expires_at = ?, idempotency_key = ?,
    attempts = ?, hold_seq = ?
WHERE id = ?"""
_ATTEMPT: Final = """
INSERT INTO ledger_attempts (payment_id, number, status, amount_msat, fee_limit_msat, started_at)
VALUES (?, ?, 'initiated', ?, ?, ?)"""
# An invoice is paid once, by whichever node.
_ELSEWHERE: Final = f"{SELECT_PAYMENT} WHERE payment_hash = ? AND status <> 'failed' ORDER BY seq LIMIT 1"
_TOLD: Final = 1_000


class Decoded(Protocol):
    """What the ledger reads of a decoded BOLT11 invoice."""

    @property
    def text(self) -> str:
        """The invoice itself."""
        ...

    @property
    def payment_hash(self) -> bytes:
        """What the preimage has to hash to."""
        ...

    @property
    def amount_msat(self) -> int | None:
        """What it asks for; None where the payer chooses."""
        ...

    @property
    def description(self) -> str | None:
        """What it is for."""
        ...

    @property
    def payee(self) -> bytes:
        """The public key of the node that is paid."""
        ...

    @property
    def expires_at(self) -> datetime:
        """When it runs out."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment that is wanted, checked."""

    node: str
    payment_hash: str
    bolt11: str
    amount_msat: int
    fee_limit_msat: int
    memo: str
    payee: str
    expires_us: int
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    idempotency_key: str | None

    @property
    def wanted_msat(self) -> int:
        """What it may cost at most."""
        return self.amount_msat + self.fee_limit_msat

    @property
    def fingerprint(self) -> bytes:
        """What a repetition has to have in common with the first time; the trace may differ."""
        amounts = (self.amount_msat, self.fee_limit_msat)
        return fingerprint(["payment", self.node, self.bolt11, *amounts, self.agent_id, self.task_id, self.memo])

    @property
    def who(self) -> dict[str, str | None]:
        """Task, agent and trace, as an event carries them."""
        return {"task_id": self.task_id, "agent_id": self.agent_id, "trace_id": self.trace_id}


def check_payment(
    node: str, decoded: Decoded, amount_msat: int | None, fee_limit_msat: int, memo: str, who: dict[str, str | None]
) -> NewPayment:
    """Return a payment that may be begun.

    Raises:
        LedgerError: a field cannot be, or the amount is not the invoice's.
    """
    check_name("node", node, needed=True)
    for field, value in who.items():
        check_name(field, value)
    if amount_msat is None and decoded.amount_msat is None:
        message = "the invoice names no amount; say with amount_msat how much to pay"
        raise LedgerError(message)
    amount = check_msat("amount_msat", (decoded.amount_msat if amount_msat is None else amount_msat) or 0, least=1)
    if decoded.amount_msat is not None and amount != decoded.amount_msat:
        message = f"the invoice asks for {words(decoded.amount_msat)}, not {words(amount)}; leave the amount out"
        raise LedgerError(message)
    return NewPayment(
        node, check_hash(decoded.payment_hash.hex()), decoded.text, amount,
        check_msat("fee_limit_msat", fee_limit_msat), check_memo(memo or (decoded.description or "")),
        decoded.payee.hex(), check_time("expires_at", decoded.expires_at), **who,
    )  # fmt: skip


class Outgoing:
    """Begins payments; `Endings` says what became of them."""

    def __init__(self, store: Store, book: Book, budgets: Budgets, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._budgets = budgets
        self._clock = clock
        self._told: dict[tuple[str, str, str], None] = {}

    def begin(self, new: NewPayment) -> Payment:
        """Set amount and fee limit aside, at the node and in the budgets, and return the payment once it is durable.

        Raises:
            AlreadyPaidError: this invoice was paid, or a payment of it is under way.
            InsufficientFundsError: the node has too little available.
            BudgetExceededError: an agent's budget has no room.
            IdempotencyConflictError: the key was used for something else.
        """
        begun = self._store.write(lambda connection: self._begin(connection, new))
        if isinstance(begun, Payment):
            return begun
        self._tell(begun, new)
        raise BudgetExceededError(begun.message)

    def _begin(self, connection: Connection, new: NewPayment) -> Payment | Exceeded:
        known = known_key(connection, new.idempotency_key, "payment", new.fingerprint)
        if known is not None:
            return dataclasses.replace(fetch_payment(connection, known), replayed=True)
        _check_unpaid(connection, new)
        before = payment_row(connection, new.node, new.payment_hash)
        failed = None if before is None else to_payment(before)
        payment_id, attempt = (new_id(), 1) if failed is None else (failed.id, failed.attempts + 1)
        connection.execute("SAVEPOINT begun")
        posting = self._book.begin(connection, entry_id=payment_id, payment_hash=new.payment_hash)
        posting.require(new.node, new.wanted_msat)
        sides = (accounts.payments(new.agent_id, new.node), accounts.asset(new.node))
        hold = posting.pending(f"{payment_id}:{attempt}:hold", *sides, new.wanted_msat, new.memo)
        spend = Spend(payment_id, attempt, new.agent_id, new.wanted_msat, self._clock.now())
        budgets = self._budgets.hold(connection, posting, spend)
        if isinstance(budgets, Exceeded):
            connection.execute("ROLLBACK TO begun")
            connection.execute("RELEASE begun")
            return budgets
        connection.execute("RELEASE begun")
        self._keep(connection, new, payment_id, attempt, hold)
        data = {
            "node": new.node, "amount_msat": new.amount_msat, "fee_limit_msat": new.fee_limit_msat, "memo": new.memo,
            "attempt": attempt, "payee": new.payee,
            **({"budgets": [budget.period for budget in budgets]} if budgets else {}),
        }  # fmt: skip
        posting.tell("payment.initiated", data, **new.who)
        return to_payment(need_payment(connection, new.node, new.payment_hash))

    def _keep(self, connection: Connection, new: NewPayment, payment_id: str, attempt: int, hold: int) -> None:
        now = to_us(self._clock.now())
        if attempt == 1:
            values: tuple[Any, ...] = (
                payment_id, new.node, new.payment_hash, new.bolt11, new.amount_msat, new.fee_limit_msat, new.memo,
                new.payee, new.task_id, new.agent_id, new.trace_id, now, now, new.expires_us, new.idempotency_key, hold,
            )  # fmt: skip
            connection.execute(_INSERT, values)
        else:
            values = (
                new.bolt11, new.amount_msat, new.fee_limit_msat, new.memo, new.payee, new.task_id, new.agent_id,
                new.trace_id, now, new.expires_us, new.idempotency_key, attempt, hold, payment_id,
            )  # fmt: skip
            connection.execute(_ANEW, values)
        connection.execute(_ATTEMPT, (payment_id, attempt, new.amount_msat, new.fee_limit_msat, now))
        keep_key(connection, new.idempotency_key, "payment", new.fingerprint, payment_id, now)

    def _tell(self, exceeded: Exceeded, new: NewPayment) -> None:
        """Say once a window and agent that a budget refused; every refusal reaches its caller anyway."""
        budget = exceeded.budget
        key = (budget.agent_id, budget.period, budget.since.isoformat())
        if key in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told[key] = None
        self._store.write(lambda connection: told(connection, self._book.events, exceeded, new.who))


def fetch_payment(connection: Connection, payment_id: str) -> Payment:
    """Return one payment, which exists."""
    row: Sequence[Any] = connection.execute(f"{SELECT_PAYMENT} WHERE id = ?", (payment_id,)).fetchone()
    return to_payment(row)


def _check_unpaid(connection: Connection, new: NewPayment) -> None:
    row = connection.execute(_ELSEWHERE, (new.payment_hash,)).fetchone()
    if row is None:
        return
    other = to_payment(row)
    if other.status == "settled":
        message = f"this invoice was paid already, by node {other.node} (payment {other.id}); it is not paid twice"
    else:
        message = (
            f"a payment of this invoice is under way at node {other.node} (payment {other.id}); wait for it, "
            "or reconcile if it has no end"
        )
    raise AlreadyPaidError(message)
