"""One circuit: when it opens, whom it lets through while it is unsure, and how it closes again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timmy_core.router.breaker import MOVES, Breaker, Permit, Policy, Snapshot, Transition
from timmy_core.testing import FakeClock

POLICY = Policy(failure_threshold=5, reset_timeout_s=60.0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(POLICY, clock)


def permit(breaker: Breaker) -> Permit:
    given = breaker.admit(lease_s=10).permit
    assert given is not None
    return given


def fail(breaker: Breaker, times: int = 1) -> Transition | None:
    move = None
    for _ in range(times):
        move = breaker.fail(permit(breaker), "down")
    return move


def test_one_first_failure_does_not_blacklist_a_provider(breaker: Breaker) -> None:
    assert fail(breaker) is None
    assert breaker.snapshot == Snapshot("closed", 1)
    assert breaker.admit(lease_s=1).permit is not None


def test_five_failures_in_a_row_open_it_for_a_minute(breaker: Breaker, clock: FakeClock) -> None:
    until = clock.now() + timedelta(seconds=60)
    assert fail(breaker, 5) == Transition("closed", "open", "5 failures in a row, the last: down", until)
    refused = breaker.admit(lease_s=1)
    assert (refused.permit, refused.refusal, refused.retry_in_s) == (None, "open", 60.0)
    clock.advance(59.9)
    assert breaker.admit(lease_s=1).permit is None


def test_a_success_in_between_starts_the_count_again(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.succeed(permit(breaker))
    assert fail(breaker, 4) is None
    assert breaker.snapshot.circuit == "closed"


def test_after_the_reset_time_exactly_one_caller_gets_through(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    admissions = [breaker.admit(lease_s=10) for _ in range(40)]
    assert [a.permit is not None for a in admissions] == [True] + [False] * 39
    assert admissions[0].transition is not None
    assert admissions[0].transition.after == "half_open"
    assert {a.refusal for a in admissions[1:]} == {"probing"}


def test_a_good_probe_closes_it(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    move = breaker.succeed(permit(breaker))
    assert move == Transition("half_open", "closed", "the probe was answered")
    assert breaker.snapshot == Snapshot("closed", 0)
    assert fail(breaker, 4) is None


def test_a_failed_probe_opens_it_for_another_minute(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    move = fail(breaker)
    assert move is not None
    assert (move.before, move.after) == ("half_open", "open")
    assert breaker.admit(lease_s=1).permit is None
    clock.advance(60)
    assert breaker.admit(lease_s=1).permit is not None


def test_a_provider_that_recovers_late_is_found_however_often_its_probes_failed(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 5)
    for _ in range(100):
        clock.advance(60)
        fail(breaker)
    clock.advance(60)
    breaker.succeed(permit(breaker))
    assert breaker.snapshot.circuit == "closed"


def test_a_cancelled_probe_frees_its_permit_at_once(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    breaker.release(permit(breaker))
    assert breaker.snapshot.circuit == "half_open"
    assert breaker.admit(lease_s=1).permit is not None


def test_a_cancelled_call_counts_neither_way(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.release(permit(breaker))
    assert breaker.snapshot == Snapshot("closed", 4)


def test_a_permit_that_never_comes_back_expires(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    lost = breaker.admit(lease_s=10).permit
    clock.advance(9.9)
    assert breaker.admit(lease_s=10).permit is None
    clock.advance(0.1)
    assert breaker.admit(lease_s=10).permit is not None
    assert lost is not None
    assert breaker.succeed(lost) is None
    assert breaker.snapshot.circuit == "half_open"


def test_results_of_an_earlier_generation_do_not_count(breaker: Breaker, clock: FakeClock) -> None:
    slow_good, slow_bad = permit(breaker), permit(breaker)
    fail(breaker, 5)
    assert breaker.succeed(slow_good) is None
    assert breaker.snapshot.circuit == "open"
    clock.advance(60)
    probe = permit(breaker)
    assert breaker.fail(slow_bad, "late") is None
    assert breaker.succeed(probe) is not None


def test_a_rate_limit_keeps_callers_away_without_a_failure(breaker: Breaker, clock: FakeClock) -> None:
    breaker.limit(permit(breaker), 30)
    assert breaker.snapshot == Snapshot("closed", 0)
    assert breaker.refusal() == ("limited", 30.0)
    clock.advance(30)
    assert breaker.admit(lease_s=1).permit is not None


@pytest.mark.parametrize(("asked", "held"), [(None, 5.0), (1e9, 3600.0), (0.0, 0.0)])
def test_a_rate_limit_is_bounded(breaker: Breaker, asked: float | None, held: float) -> None:
    breaker.limit(permit(breaker), asked)
    assert (breaker.refusal() or ("", 0.0))[1] == held


def test_a_rate_limited_probe_gives_its_permit_back(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    breaker.limit(permit(breaker), 3)
    assert breaker.refusal() == ("limited", 3.0)
    clock.advance(3)
    assert breaker.succeed(permit(breaker)) is not None


def test_an_open_circuit_stays_open_over_a_restart_until_its_wall_time(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(20)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.refusal() == ("open", 40.0)
    clock.advance(40)
    assert again.succeed(permit(again)) is not None


def test_a_probe_under_way_at_a_restart_is_simply_due_again(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    permit(breaker)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.admit(lease_s=1).permit is not None


def test_a_wall_clock_set_back_does_not_keep_it_open_for_longer(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.set_wall(clock.now() - timedelta(days=400))
    assert breaker.refusal() == ("open", 60.0)
    assert Breaker(POLICY, clock, breaker.snapshot).refusal() == ("open", 60.0)


def test_failures_are_counted_on_over_a_restart(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 4)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert fail(again) is not None


def test_every_state_can_be_left() -> None:
    assert {before for before, _ in MOVES} == {"closed", "open", "half_open"}
