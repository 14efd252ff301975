"""Budgets: what an agent may spend in a day, a week and a month; checked and held in the payment's own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from timmy_core.clock import Clock, from_us, to_us
from timmy_core.errors import AccountError, LedgerError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.ledger import accounts
from timmy_core.ledger.accounts import BUDGETS, Place, window
from timmy_core.ledger.book import SOURCE, Posting
from timmy_core.ledger.checks import check_name
from timmy_core.ledger.model import PERIODS, Budget, Payment, Period
from timmy_core.ledger.money import check_msat, words
from timmy_core.store.engine import Connection, Store

Limits: TypeAlias = Mapping[str, Mapping[Period, int]]  # agent -> period -> msat

_LIMIT: Final = "SELECT limit_msat FROM ledger_budgets WHERE agent_id = ? AND period = ?"
_SET: Final = """
INSERT INTO ledger_budgets (agent_id, period, limit_msat, changed_by, changed_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (agent_id, period) DO UPDATE SET limit_msat = excluded.limit_msat, changed_by = excluded.changed_by,
    changed_at = excluded.changed_at"""
_TOTALS: Final = "SELECT debits, pending_debits FROM ledger_accounts WHERE code = ? AND node = ''"
# What counts for a window that nobody watched yet.
_SPENT: Final = """
SELECT coalesce(sum(amount_msat + fee_msat), 0) FROM ledger_payments
WHERE agent_id = ? AND status = 'settled' AND begun_at >= ? AND begun_at < ?"""
_UNDER_WAY: Final = """
SELECT id, attempts, amount_msat + fee_limit_msat FROM ledger_payments
WHERE agent_id = ? AND status IN ('initiated', 'in_flight') AND begun_at >= ? AND begun_at < ? AND id <> ?"""
_KEEP: Final = "INSERT INTO ledger_budget_holds (payment_id, attempt, pending_seq) VALUES (?, ?, ?)"
_HOLDS: Final = """
SELECT hold.pending_seq, transfer.amount_msat, account.code FROM ledger_budget_holds AS hold
JOIN ledger_transfers AS transfer ON transfer.seq = hold.pending_seq
JOIN ledger_accounts AS account ON account.id = transfer.debit
WHERE hold.payment_id = ? AND hold.attempt = ? ORDER BY hold.pending_seq"""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Why a budget has no room for a payment."""

    budget: Budget
    wanted_msat: int

    @property
    def message(self) -> str:
        """What was wrong, and what to do."""
        budget = self.budget
        return (
            f"the budget of {budget.agent_id} has {words(budget.left_msat or 0)} of {words(budget.limit_msat or 0)} "
            f"left for this {budget.period} (UTC), and the payment may cost {words(self.wanted_msat)} with its fee "
            f"limit; raise it with `timmy ledger budget`, or wait until {budget.until:%Y-%m-%d}"
        )


@dataclass(frozen=True, slots=True)
class Spend:
    """A payment that begins, as far as budgets are concerned."""

    payment_id: str
    attempt: int
    agent_id: str | None
    wanted_msat: int
    at: datetime


class Budgets:
    """Keeps the budgets.

    Args:
        store: where limits and holds are.
        events: told of changes and refusals.
        clock: says which day it is.
        limits: those of the configuration.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._limits: Limits = {}
        self.configure(limits)

    def configure(self, limits: Limits) -> None:
        """Take the limits of the configuration."""
        for periods in limits.values():
            for period, limit in periods.items():
                _check_period(period)
                check_msat("a budget", limit)
        self._limits = {agent: dict(periods) for agent, periods in limits.items()}

    # Holding -------------------------------------------------------------------------------------------------

    def hold(self, connection: Connection, posting: Posting, spend: Spend) -> Exceeded | tuple[Budget, ...]:
        """Set the spend aside in every budget that it counts in, or say which one has no room.

        A refusal may come after some were held, so the caller has to undo the posting.
        """
        if spend.agent_id is None:
            return ()
        held: list[Budget] = []
        for period in PERIODS:
            place = accounts.budget(spend.agent_id, period, window(period, spend.at)[0])
            watched = _totals(connection, place) is not None
            if not watched and self._limit(connection, spend.agent_id, period) is None:
                continue  # before anything is counted: most agents have no limit
            standing = self._standing(connection, spend.agent_id, period, spend.at)
            left = standing.left_msat
            if left is not None and spend.wanted_msat > left:
                return Exceeded(standing, spend.wanted_msat)
            if not watched:
                _watch(connection, posting, place, standing, spend.payment_id)
            _set_aside(connection, posting, place, spend.payment_id, spend.attempt, spend.wanted_msat)
            if left is not None:
                held.append(standing)
        return tuple(held)

    @staticmethod
    def settle(connection: Connection, posting: Posting, payment: Payment, spent_msat: int) -> None:
        """Count what a payment cost in the budgets that held it; the rest of the holds is given back."""
        for seq, held, code in connection.execute(_HOLDS, (payment.id, payment.attempts)).fetchall():
            key = f"{payment.id}:{payment.attempts}:{code}"
            posting.post(f"{key}:post", seq, min(spent_msat, held))
            if spent_msat > held:
                posting.single(f"{key}:more", Place(code, "", "budget"), BUDGETS, spent_msat - held)

    @staticmethod
    def release(connection: Connection, posting: Posting, payment: Payment) -> bool:
        """Give the holds of a payment back; return whether there were any."""
        holds = connection.execute(_HOLDS, (payment.id, payment.attempts)).fetchall()
        for seq, _, code in holds:
            posting.void(f"{payment.id}:{payment.attempts}:{code}:void", seq)
        return bool(holds)

    @staticmethod
    def count(connection: Connection, posting: Posting, payment: Payment, begun_us: int, spent_msat: int) -> None:
        """Count a payment that nothing holds any more in the budgets that are watched."""
        if payment.agent_id is None:
            return
        for period in PERIODS:
            place = accounts.budget(payment.agent_id, period, window(period, from_us(begun_us))[0])
            if _totals(connection, place) is not None:
                posting.single(f"{payment.id}:{payment.attempts}:{place.code}:late", place, BUDGETS, spent_msat)

    # Limits --------------------------------------------------------------------------------------------------

    def set(self, agent_id: str, period: Period, limit_msat: int | None, by: str) -> Budget:
        """Set what an agent may spend; None takes the limit away, also one of the configuration."""
        check_name("agent_id", agent_id, needed=True)
        check_name("by", by, needed=True)
        _check_period(period)
        limit = None if limit_msat is None else check_msat("limit_msat", limit_msat)
        return self._store.write(lambda connection: self._set(connection, agent_id, period, limit, by))

    def _set(self, connection: Connection, agent_id: str, period: Period, limit: int | None, by: str) -> Budget:
        now = self._clock.now()
        before = self._limit(connection, agent_id, period)
        connection.execute(_SET, (agent_id, period, limit, by, to_us(now)))
        data = {"period": period, "limit_msat": limit, "before_msat": before, "by": by}
        self._events.append_in(connection, NewEvent("budget.changed", SOURCE, data, agent_id=agent_id))
        return self._standing(connection, agent_id, period, now)

    def _limit(self, connection: Connection, agent_id: str, period: Period) -> int | None:
        row = connection.execute(_LIMIT, (agent_id, period)).fetchone()
        return row[0] if row is not None else self._limits.get(agent_id, {}).get(period)

    # Looking -------------------------------------------------------------------------------------------------

    def all(self, at: datetime | None) -> list[Budget]:
        """Return every budget that has a limit, by agent and period."""
        moment = self._clock.now() if at is None else at
        if moment.tzinfo is None:
            message = f"a time without a zone was given ({moment.isoformat()}); add one, for instance tzinfo=UTC"
            raise LedgerError(message)
        with self._store.read() as connection:
            set_ = connection.execute("SELECT DISTINCT agent_id FROM ledger_budgets").fetchall()
            agents = sorted({row[0] for row in set_} | set(self._limits))
            found = [self._standing(connection, agent, period, moment) for agent in agents for period in PERIODS]
        return [budget for budget in found if budget.limit_msat is not None]

    def _standing(self, connection: Connection, agent_id: str, period: Period, at: datetime) -> Budget:
        since, until = window(period, at)
        limit = self._limit(connection, agent_id, period)
        spent, held = _totals(connection, accounts.budget(agent_id, period, since)) or _counted(
            connection, agent_id, since, until
        )
        return Budget(agent_id, period, limit, spent, held, since, until)


def told(connection: Connection, events: EventLog, exceeded: Exceeded, who: Mapping[str, Any]) -> None:
    """Say in the log that a budget refused a payment."""
    budget = exceeded.budget
    data = {
        "period": budget.period,
        "limit_msat": budget.limit_msat,
        "spent_msat": budget.spent_msat,
        "held_msat": budget.held_msat,
        "wanted_msat": exceeded.wanted_msat,
    }
    events.append_in(connection, NewEvent("budget.exceeded", SOURCE, data, **who))


def _watch(connection: Connection, posting: Posting, place: Place, standing: Budget, but_for: str) -> None:
    """Begin to count a window in the book, with what was spent and set aside in it before."""
    if standing.spent_msat:
        posting.single(f"{place.code}:before", place, BUDGETS, standing.spent_msat, "spent before a limit was set")
    values = (standing.agent_id, to_us(standing.since), to_us(standing.until), but_for)
    for payment_id, attempt, amount in connection.execute(_UNDER_WAY, values).fetchall():
        _set_aside(connection, posting, place, payment_id, attempt, amount)


def _set_aside(
    connection: Connection, posting: Posting, place: Place, payment_id: str, attempt: int, amount: int
) -> None:
    seq = posting.pending(f"{payment_id}:{attempt}:{place.code}", place, BUDGETS, amount)
    connection.execute(_KEEP, (payment_id, attempt, seq))


def _totals(connection: Connection, place: Place) -> tuple[int, int] | None:
    row = connection.execute(_TOTALS, (place.code,)).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def _counted(connection: Connection, agent_id: str, since: datetime, until: datetime) -> tuple[int, int]:
    values = (agent_id, to_us(since), to_us(until))
    spent = int(connection.execute(_SPENT, values).fetchone()[0])
    return spent, sum(int(row[2]) for row in connection.execute(_UNDER_WAY, (*values, "")))


def _check_period(period: str) -> None:
    if period not in PERIODS:
        message = f"there is no period {period!r}; expected one of {', '.join(PERIODS)}"
        raise AccountError(message)
