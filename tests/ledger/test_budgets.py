"""Budgets: racing agents never pass one, whenever it was set, in any day, week or month."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from timmy_core.errors import AccountError, BudgetExceededError, LedgerError, MoneyError
from timmy_core.events.log import EventLog
from timmy_core.ledger.accounts import window
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Period
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .house import NODE, begin, check_whole, payment_hash, preimage, settle_out


def standing(ledger: Ledger, period: Period = "day", agent: str = "echo") -> tuple[int, int, int | None]:
    (found,) = [one for one in ledger.budgets() if (one.agent_id, one.period) == (agent, period)]
    return found.spent_msat, found.held_msat, found.left_msat


def test_a_budget_is_held_spent_and_given_back(funded: Ledger) -> None:
    funded.set_budget("echo", "day", 30_000, by="ann")
    begin(funded, 1)
    assert standing(funded) == (0, 11_000, 19_000)
    settle_out(funded, 1)
    assert standing(funded) == (10_500, 0, 19_500)
    begin(funded, 2)
    funded.fail_payment(NODE, payment_hash(2), reason="no route", sure=True)
    assert standing(funded) == (10_500, 0, 19_500)
    check_whole(funded)


def test_a_refusal_names_figures_and_holds_nothing(funded: Ledger, log: EventLog) -> None:
    funded.set_budget("echo", "day", 10_999, by="ann")
    before = funded.transfers()
    for _ in range(2):
        with pytest.raises(
            BudgetExceededError, match=r"has 10.999 sat of 10.999 sat left for this day .* may cost 11 sat"
        ):
            begin(funded, 1)
    assert funded.transfers() == before
    assert funded.list().entries == ()
    (told,) = log.list(type="budget.exceeded")
    assert told.data is not None
    assert (told.agent_id, told.data["wanted_msat"], told.data["period"]) == ("echo", 11_000, "day")
    begin(funded, 2, 9_999)
    begin(funded, 3, agent_id="other")
    check_whole(funded)


def test_the_narrowest_budget_counts(funded: Ledger) -> None:
    funded.set_budget("echo", "day", 100_000, by="ann")
    funded.set_budget("echo", "month", 15_000, by="ann")
    begin(funded, 1)
    with pytest.raises(BudgetExceededError, match="this month"):
        begin(funded, 2)
    assert standing(funded) == (0, 11_000, 89_000)


def test_racing_agents_never_pass_a_budget(funded: Ledger) -> None:
    funded.set_budget("echo", "day", 50_000, by="ann")

    def pay(number: int) -> bool:
        try:
            begin(funded, number)
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(pay, range(24))) == 4
    assert standing(funded) == (0, 44_000, 6_000)
    check_whole(funded)


def test_a_limit_that_comes_later_counts_what_was_before(funded: Ledger) -> None:
    begin(funded, 1)
    settle_out(funded, 1)
    begin(funded, 2)
    funded.set_budget("echo", "week", 33_000, by="ann")
    assert standing(funded, "week") == (10_500, 11_000, 11_500)
    begin(funded, 3)
    assert standing(funded, "week") == (10_500, 22_000, 500)
    settle_out(funded, 2)
    settle_out(funded, 3)
    assert standing(funded, "week") == (31_500, 0, 1_500)
    check_whole(funded)


def test_a_new_day_begins_anew_and_a_late_end_counts_where_it_began(funded: Ledger, clock: FakeClock) -> None:
    funded.set_budget("echo", "day", 11_000, by="ann")
    begin(funded, 1)
    clock.advance(24 * 3600)
    assert standing(funded) == (0, 0, 11_000)
    settle_out(funded, 1)
    assert standing(funded) == (0, 0, 11_000)
    (before,) = funded.budgets(datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert (before.spent_msat, before.since, before.until.day) == (10_500, datetime(2026, 1, 1, tzinfo=UTC), 2)
    check_whole(funded)


def test_a_compensation_counts_even_beyond_the_limit(funded: Ledger) -> None:
    funded.set_budget("echo", "day", 11_000, by="ann")
    begin(funded, 1)
    funded.fail_payment(NODE, payment_hash(1), reason="no route", sure=True)
    begin(funded, 2)
    funded.settle_failed(NODE, payment_hash(1), amount_msat=10_000, fee_msat=0, preimage=preimage(1), proof="reconcile")
    assert standing(funded) == (10_000, 11_000, 0)
    check_whole(funded)


def test_limits_of_the_configuration_give_way_to_those_set_by_hand(
    store: Store, log: EventLog, clock: FakeClock
) -> None:
    ledger = Ledger(store, log, clock, {"echo": {"day": 5_000, "month": 90_000}})
    ledger.opening(NODE, 1_000_000)
    with pytest.raises(BudgetExceededError):
        begin(ledger, 1)
    ledger.set_budget("echo", "day", None, by="ann")
    begin(ledger, 1)
    assert [budget.period for budget in ledger.budgets()] == ["month"]
    ledger.configure({"mira": {"week": 7_000}})
    assert [(budget.agent_id, budget.period) for budget in ledger.budgets()] == [("mira", "week")]
    assert [event.data["before_msat"] for event in log.list(type="budget.changed") if event.data] == [5_000]


def test_a_budget_that_cannot_be_is_refused(ledger: Ledger) -> None:
    with pytest.raises(AccountError, match="expected one of day, week, month"):
        ledger.set_budget("echo", "year", 5, by="ann")  # type: ignore[arg-type]
    with pytest.raises(MoneyError):
        ledger.set_budget("echo", "day", -5, by="ann")
    with pytest.raises(LedgerError):
        ledger.set_budget("", "day", 5, by="ann")


@pytest.mark.parametrize(
    ("period", "since", "until"),
    [
        ("day", (2026, 12, 31), (2027, 1, 1)),
        ("week", (2026, 12, 28), (2027, 1, 4)),
        ("month", (2026, 12, 1), (2027, 1, 1)),
    ],
)
def test_days_weeks_and_months_are_those_of_utc(
    period: Period, since: tuple[int, int, int], until: tuple[int, int, int]
) -> None:
    moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert window(period, moment) == (datetime(*since, tzinfo=UTC), datetime(*until, tzinfo=UTC))
