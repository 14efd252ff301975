"""What becomes of a payment: under way, settled by its preimage, or failed for sure; and what reconciliation mends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import EntryStateError, EntryUnknownError, HoldExceededError
from timmy_core.events.model import NewEvent
from timmy_core.ledger import accounts
from timmy_core.ledger.book import SOURCE, Book, Posting
from timmy_core.ledger.budgets import Budgets
from timmy_core.ledger.checks import check_hash, check_memo, check_name, check_preimage, check_reason, check_time
from timmy_core.ledger.model import PAYMENT_MOVES, Payment
from timmy_core.ledger.money import check_msat, words
from timmy_core.ledger.rows import SELECT_PAYMENT, need_payment, payment_row, to_payment
from timmy_core.store.engine import Connection, Store

MAX_NOTES: Final = 50  # of an attempt; the first ones are dropped

_SETTLE: Final = """
UPDATE ledger_payments SET status = 'settled', amount_msat = ?, fee_msat = ?, preimage = ?, settled_at = ?, proof = ?,
    compensated = ? WHERE id = ?"""
_END: Final = "UPDATE ledger_attempts SET status = ?, ended_at = ?, failure = ? WHERE payment_id = ? AND number = ?"
_ADOPT: Final = """
INSERT INTO ledger_payments (id, node, payment_hash, bolt11, amount_msat, fee_limit_msat, fee_msat, memo, status,
    preimage, created_at, begun_at, settled_at, attempts, proof)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'settled', ?, ?, ?, ?, 0, ?)"""


@dataclasses.dataclass(frozen=True, slots=True)
class Paid:
    """What a node says of a payment that went out, with its proof."""

    amount_msat: int
    fee_msat: int
    preimage: str
    proof: str
    settled_at: datetime | None = None

    @property
    def total_msat(self) -> int:
        """What left the node."""
        return self.amount_msat + self.fee_msat

    def checked(self, payment_hash: str) -> Paid:
        """Return it with every field checked.

        Raises:
            PreimageError: the preimage is not that of the payment hash.
            LedgerError: an amount or a time cannot be.
        """
        check_msat("fee_msat", self.fee_msat)
        check_name("proof", self.proof, needed=True)
        if self.settled_at is not None:
            check_time("settled_at", self.settled_at)
        amount = check_msat("amount_msat", self.amount_msat, least=1)
        return dataclasses.replace(self, amount_msat=amount, preimage=check_preimage(self.preimage, payment_hash))


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted:
    """A payment that a node made and the ledger knew nothing of."""

    node: str
    payment_hash: str
    bolt11: str
    memo: str
    created_at: datetime | None


class Endings:
    """Writes what became of payments."""

    def __init__(self, store: Store, book: Book, budgets: Budgets, clock: Clock) -> None:
        self._store = store
        self._book = book
        self._budgets = budgets
        self._clock = clock

    # On the way ----------------------------------------------------------------------------------------------

    def note(self, payment_id: str, note: str) -> Payment:
        """Keep what the node said of the latest attempt."""
        said = check_reason(note)

        def run(connection: Connection) -> Payment:
            payment = _by_id(connection, payment_id)
            _note(connection, payment, said)
            return payment

        return self._store.write(run)

    def in_flight(self, payment_id: str) -> Payment:
        """Note that the node has it; said of one that has ended, it changes nothing."""
        return self._store.write(lambda connection: self._in_flight(connection, payment_id))

    def _in_flight(self, connection: Connection, payment_id: str) -> Payment:
        payment = _by_id(connection, payment_id)
        if "in_flight" not in PAYMENT_MOVES[payment.status]:
            return dataclasses.replace(payment, replayed=True)
        connection.execute("UPDATE ledger_payments SET status = 'in_flight' WHERE id = ?", (payment.id,))
        query = "UPDATE ledger_attempts SET status = 'in_flight', sent_at = ? WHERE payment_id = ? AND number = ?"
        connection.execute(query, (to_us(self._clock.now()), payment.id, payment.attempts))
        posting = self._book.begin(connection, entry_id=payment.id, payment_hash=payment.payment_hash)
        data = {"node": payment.node, "amount_msat": payment.amount_msat, "attempt": payment.attempts}
        _tell(posting, "payment.sent", payment, data)
        return dataclasses.replace(payment, status="in_flight")

    # Settled -------------------------------------------------------------------------------------------------

    def settle(self, node: str, payment_hash: str, paid: Paid, *, beyond_hold: bool = False) -> Payment:
        """Book what left the node, on the proof of the preimage; once, whatever is said again.

        Raises:
            EntryUnknownError: the ledger has no such payment.
            EntryStateError: it is booked as failed; only reconciliation may settle it.
            PreimageError: the preimage is not that of the payment hash.
            HoldExceededError: amount and fee are more than was set aside.
        """
        payment_hash = check_hash(payment_hash)
        sure = paid.checked(payment_hash)
        return self._store.write(
            lambda connection: self._settle(connection, node, payment_hash, sure, beyond_hold=beyond_hold)
        )

    def _settle(
        self, connection: Connection, node: str, payment_hash: str, paid: Paid, *, beyond_hold: bool
    ) -> Payment:
        row = need_payment(connection, node, payment_hash)
        payment, hold = to_payment(row), row[-2]
        if payment.status == "settled":
            return dataclasses.replace(payment, replayed=True)
        if "settled" not in PAYMENT_MOVES[payment.status]:
            message = (
                f"payment {payment.id} is booked as {payment.status} and the node says that it was paid; reconcile, "
                "which books it as a compensating transfer"
            )
            raise EntryStateError(message)
        excess = paid.total_msat - payment.hold_msat
        if excess > 0 and not beyond_hold:
            message = (
                f"payment {payment.id} cost {words(paid.total_msat)}, and {words(payment.hold_msat)} were set aside; "
                "nothing was booked: reconcile shows both sides"
            )
            raise HoldExceededError(message)
        posting = self._book.begin(connection, entry_id=payment.id, payment_hash=payment_hash)
        key = f"{payment.id}:{payment.attempts}"
        if excess > 0:
            posting.cover(f"{key}:cover", node, excess, "spent beyond what was set aside, and beyond the book")
        posted = min(paid.amount_msat, payment.hold_msat)
        posting.post(f"{key}:post", hold, posted)
        self._spend(posting, key, payment, dataclasses.replace(paid, amount_msat=paid.amount_msat - posted))
        self._budgets.settle(connection, posting, payment, paid.total_msat)
        return self._settled(connection, posting, payment, paid, {"beyond_hold": True} if excess > 0 else {})

    @staticmethod
    def _spend(posting: Posting, key: str, payment: Payment, paid: Paid) -> None:
        """Book amount and fee at once, each where it belongs."""
        node = payment.node
        if paid.amount_msat:
            sides = (accounts.payments(payment.agent_id, node), accounts.asset(node))
            posting.single(f"{key}:amount", *sides, paid.amount_msat, payment.memo)
        if paid.fee_msat:
            posting.single(
                f"{key}:fee", accounts.fees(payment.agent_id, node), accounts.asset(node), paid.fee_msat, "routing fee"
            )

    def _settled(
        self, connection: Connection, posting: Posting, payment: Payment, paid: Paid, more: dict[str, Any]
    ) -> Payment:
        now = to_us(self._clock.now())
        compensated = payment.status == "failed"
        settled_us = now if paid.settled_at is None else to_us(paid.settled_at)
        values = (
            paid.amount_msat, paid.fee_msat, paid.preimage, settled_us, paid.proof, compensated, payment.id
        )  # fmt: skip
        connection.execute(_SETTLE, values)
        connection.execute(_END, ("settled", now, None, payment.id, payment.attempts))
        data = {
            "node": payment.node, "amount_msat": paid.amount_msat, "fee_msat": paid.fee_msat, "proof": paid.proof,
            "attempt": payment.attempts, **more,
        }  # fmt: skip
        _tell(posting, "payment.settled", payment, data)
        return _by_id(connection, payment.id)

    # Failed --------------------------------------------------------------------------------------------------

    def fail(self, node: str, payment_hash: str, *, reason: str, sure: bool) -> Payment:
        """Give back what was set aside where the node surely did not pay; otherwise only note what it said.

        Said of one that has ended, it changes nothing.

        Raises:
            EntryUnknownError: the ledger has no such payment.
        """
        payment_hash, said = check_hash(payment_hash), check_reason(reason)
        return self._store.write(lambda connection: self._fail(connection, node, payment_hash, said, sure=sure))

    def _fail(self, connection: Connection, node: str, payment_hash: str, reason: str, *, sure: bool) -> Payment:
        row = need_payment(connection, node, payment_hash)
        payment, hold = to_payment(row), row[-2]
        if "failed" not in PAYMENT_MOVES[payment.status]:
            return dataclasses.replace(payment, replayed=True)
        if not sure:
            _note(connection, payment, reason)
            return payment
        posting = self._book.begin(connection, entry_id=payment.id, payment_hash=payment_hash)
        posting.void(f"{payment.id}:{payment.attempts}:void", hold, reason)
        budgets = self._budgets.release(connection, posting, payment)
        connection.execute(
            "UPDATE ledger_payments SET status = 'failed', failure = ? WHERE id = ?", (reason, payment.id)
        )
        connection.execute(_END, ("failed", to_us(self._clock.now()), reason, payment.id, payment.attempts))
        data = {
            "node": node, "amount_msat": payment.amount_msat, "reason": reason, "attempt": payment.attempts,
            **({"budgets": "released"} if budgets else {}),
        }  # fmt: skip
        _tell(posting, "payment.failed", payment, data)
        return _by_id(connection, payment.id)

    # Reconciliation ------------------------------------------------------------------------------------------

    def settle_failed(self, node: str, payment_hash: str, paid: Paid) -> Payment:
        """Book a payment that was taken for failed and was paid after all, with an alert; reconciliation only.

        Raises:
            EntryUnknownError: the ledger has no such payment.
            PreimageError: the preimage is not that of the payment hash.
        """
        payment_hash = check_hash(payment_hash)
        sure = paid.checked(payment_hash)
        return self._store.write(lambda connection: self._settle_failed(connection, node, payment_hash, sure))

    def _settle_failed(self, connection: Connection, node: str, payment_hash: str, paid: Paid) -> Payment:
        row = need_payment(connection, node, payment_hash)
        payment, begun_us = to_payment(row), row[-1]
        if payment.status != "failed":
            return self._settle(connection, node, payment_hash, paid, beyond_hold=True)
        posting = self._book.begin(connection, entry_id=payment.id, payment_hash=payment_hash)
        key = f"{payment.id}:{payment.attempts}:compensate"
        covered = posting.cover(f"{key}:cover", node, paid.total_msat, "paid after it was booked as failed")
        self._spend(posting, key, payment, paid)
        self._budgets.count(connection, posting, payment, begun_us, paid.total_msat)
        settled = self._settled(connection, posting, payment, paid, {"compensated": True, "covered_msat": covered})
        words_ = f"payment {payment.id} was booked as failed, and the node had paid {words(paid.total_msat)}"
        data = {"kind": "settled_after_failed", "entry": payment.id, "node": node, "words": words_}
        event = NewEvent("ledger.finding", SOURCE, data, payment.task_id, payment.agent_id, payment.trace_id)
        self._book.events.append_in(connection, event)
        return settled

    def adopt(self, adopted: Adopted, paid: Paid) -> Payment:
        """Book a payment that the node made and the ledger knew nothing of; reconciliation only, and once.

        Raises:
            PreimageError: the preimage is not that of the payment hash.
        """
        check_name("node", adopted.node, needed=True)
        check_memo(adopted.memo)
        new = dataclasses.replace(adopted, payment_hash=check_hash(adopted.payment_hash))
        sure = paid.checked(new.payment_hash)
        return self._store.write(lambda connection: self._adopt(connection, new, sure))

    def _adopt(self, connection: Connection, new: Adopted, paid: Paid) -> Payment:
        known = payment_row(connection, new.node, new.payment_hash)
        if known is not None:
            return self._settle_failed(connection, new.node, new.payment_hash, paid)
        payment_id, now = new_id(), self._clock.now()
        settled_us = to_us(paid.settled_at or now)
        created_us = settled_us if new.created_at is None else check_time("created_at", new.created_at)
        values = (
            payment_id, new.node, new.payment_hash, new.bolt11, paid.amount_msat, paid.fee_msat, paid.fee_msat,
            new.memo, paid.preimage, created_us, created_us, settled_us, paid.proof,
        )  # fmt: skip
        connection.execute(_ADOPT, values)
        payment = _by_id(connection, payment_id)
        posting = self._book.begin(connection, entry_id=payment_id, payment_hash=new.payment_hash)
        covered = posting.cover(f"{payment_id}:cover", new.node, paid.total_msat, "paid, and not known to the book")
        self._spend(posting, payment_id, payment, paid)
        data = {
            "node": new.node, "amount_msat": paid.amount_msat, "fee_msat": paid.fee_msat, "proof": paid.proof,
            "adopted": True, "covered_msat": covered,
        }  # fmt: skip
        _tell(posting, "payment.settled", payment, data)
        return payment


def _by_id(connection: Connection, payment_id: str) -> Payment:
    row: Sequence[Any] | None = connection.execute(f"{SELECT_PAYMENT} WHERE id = ?", (payment_id,)).fetchone()
    if row is None:
        message = f"the ledger has no payment {payment_id!r:.80}"
        raise EntryUnknownError(message)
    return to_payment(row)


def _note(connection: Connection, payment: Payment, note: str) -> None:
    where = (payment.id, payment.attempts)
    row = connection.execute("SELECT notes FROM ledger_attempts WHERE payment_id = ? AND number = ?", where).fetchone()
    if row is None:  # an adopted payment had no attempt of ours
        return
    notes = json.dumps([*json.loads(row[0]), note][-MAX_NOTES:], ensure_ascii=False)
    connection.execute("UPDATE ledger_attempts SET notes = ? WHERE payment_id = ? AND number = ?", (notes, *where))


def _tell(posting: Posting, type_: str, payment: Payment, data: dict[str, Any]) -> None:
    posting.tell(type_, data, task_id=payment.task_id, agent_id=payment.agent_id, trace_id=payment.trace_id)
