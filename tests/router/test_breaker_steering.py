"""What else moves a circuit or keeps callers away: pauses, early probes, a hand, another policy and a restart."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from timmy_core.router.breaker import MOVES, Breaker, Policy, Snapshot, Transition
from timmy_core.testing import FakeClock

from .circuit import POLICY, fail, permit, refused, seeded, succeed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(POLICY, clock)


# Being left alone.


def test_a_rate_limit_keeps_callers_away_without_a_failure(breaker: Breaker, clock: FakeClock) -> None:
    breaker.limit(permit(breaker), 30)
    assert breaker.snapshot == Snapshot("closed", 0, limited_until=clock.now() + timedelta(seconds=30))
    assert breaker.refusal() == breaker.refusal(early=True) == ("limited", 30.0)
    clock.advance(30)
    succeed(breaker)
    assert breaker.snapshot == Snapshot()


def test_an_answer_to_a_call_from_before_does_not_end_the_pause(breaker: Breaker, clock: FakeClock) -> None:
    before = permit(breaker)
    breaker.limit(permit(breaker), 30)
    breaker.succeed(before)
    assert breaker.refusal() == ("limited", 30.0)
    breaker.limit(before, 10)  # nor does a shorter one
    assert breaker.refusal() == ("limited", 30.0)


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
    assert succeed(breaker, 2) is not None


def test_closing_does_not_end_a_pause_that_a_late_answer_asked_for(breaker: Breaker, clock: FakeClock) -> None:
    late = permit(breaker)
    fail(breaker, 5)
    clock.advance(60)
    succeed(breaker)
    probe = permit(breaker)
    breaker.limit(late, 30)
    assert breaker.succeed(probe) is not None
    assert breaker.refusal() == ("limited", 30.0)


# Probes before their time.


def test_who_has_nobody_else_may_probe_once_a_second(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    assert refused(breaker.admit(lease_s=10, early=True)) == ("open", 1.0)
    clock.advance(1)
    assert breaker.refusal(early=True) is None
    assert refused(breaker.admit(lease_s=10)) == ("open", 59.0)
    admission = breaker.admit(lease_s=10, early=True)
    assert admission.transition == Transition("open", "half_open", "nobody else can be asked; one call may try")
    assert refused(breaker.admit(lease_s=10, early=True)) == ("probing", 10.0)


def test_an_early_probe_that_fails_does_not_lengthen_the_opening(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    until = breaker.snapshot.open_until
    for _ in range(59):
        clock.advance(1)
        move = breaker.fail(permit(breaker, early=True), "down")
        assert move is not None
        assert (move.after, move.open_until, breaker.snapshot.reset_s) == ("open", until, 60)
    clock.advance(1)
    breaker.fail(permit(breaker), "down")  # this one was due
    assert breaker.snapshot.reset_s == 120


def test_early_probes_that_are_answered_close_it_and_the_second_need_not_be_early(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 5)
    clock.advance(1)
    breaker.succeed(permit(breaker, early=True))
    assert succeed(breaker) is not None
    assert breaker.snapshot == Snapshot()


def test_a_cancelled_early_probe_leaves_it_to_those_who_have_nobody_else(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(1)
    breaker.release(permit(breaker, early=True))
    assert refused(breaker.admit(lease_s=10)) == ("open", 59.0)
    assert refused(breaker.admit(lease_s=10, early=True)) == ("open", 1.0)
    clock.advance(1)
    assert breaker.admit(lease_s=10, early=True).permit is not None


def test_early_probes_are_a_little_less_than_a_second_apart(clock: FakeClock) -> None:
    breaker = Breaker(POLICY, clock, random=seeded(1))
    fail(breaker, 5)
    for _ in range(50):
        wait_s = breaker.admit(lease_s=1, early=True).retry_in_s
        assert 0.8 <= wait_s <= 0.9
        clock.advance(wait_s)
        early = breaker.admit(lease_s=1, early=True).permit
        if early is not None:
            breaker.fail(early, "down")


def test_nobody_probes_early_what_asked_to_be_left_alone(breaker: Breaker, clock: FakeClock) -> None:
    limited = permit(breaker)
    breaker.limit(limited, 30)
    for _ in range(5):
        breaker.fail(limited, "down")
    clock.advance(10)
    assert refused(breaker.admit(lease_s=1, early=True)) == ("limited", 20.0)


# By hand.


def test_an_isolated_circuit_lets_nobody_through_ever(breaker: Breaker, clock: FakeClock) -> None:
    late = permit(breaker)
    assert breaker.isolate("isolated by ada") == Transition("closed", "open", "isolated by ada")
    assert breaker.snapshot == Snapshot("open", 0, isolated=True)
    clock.advance(1e6)
    for early in (False, True):
        assert refused(breaker.admit(lease_s=1, early=early)) == ("isolated", math.inf)
    assert breaker.succeed(late) is None
    assert breaker.fail(late, "down") is None
    assert breaker.isolate("again") is None
    assert breaker.snapshot.isolated


def test_isolation_wins_over_an_open_circuit_and_over_a_probe(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    assert breaker.isolate("by hand") == Transition("open", "open", "by hand")
    breaker.close_by_hand()
    fail(breaker, 5)
    clock.advance(60)
    probe = permit(breaker)
    move = breaker.isolate("by hand")
    assert move is not None
    assert move.before == "half_open"
    assert breaker.succeed(probe) is None
    assert breaker.snapshot.isolated


def test_a_hand_closes_whatever_keeps_callers_away(breaker: Breaker, clock: FakeClock) -> None:
    breaker.limit(permit(breaker), 30)
    assert breaker.close_by_hand() is None
    assert breaker.refusal() is None
    fail(breaker, 5)
    assert breaker.close_by_hand("closed by ada") == Transition("open", "closed", "closed by ada")
    assert breaker.snapshot == Snapshot()
    assert fail(breaker, 4) is None
    assert breaker.close_by_hand() is None
    assert breaker.snapshot == Snapshot()
    assert fail(breaker, 4) is None
    breaker.isolate("by hand")
    assert breaker.close_by_hand() == Transition("open", "closed", "closed by hand")
    assert succeed(breaker) is None


def test_another_policy_shortens_an_opening_that_is_longer_than_it_allows(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    breaker.follow(Policy(reset_timeout_s=10, max_reset_s=20))
    assert refused(breaker.admit(lease_s=1)) == ("open", 20.0)
    assert breaker.snapshot.open_until == clock.now() + timedelta(seconds=20)
    breaker.follow(Policy(reset_timeout_s=600))
    assert refused(breaker.admit(lease_s=1)) == ("open", 20.0)


def test_another_policy_counts_from_where_the_circuit_stands(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.follow(Policy(failure_threshold=2))
    assert breaker.snapshot.circuit == "closed"
    assert fail(breaker) is not None


# Over a restart.


def test_an_open_circuit_stays_open_over_a_restart_until_its_wall_time(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(20)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.refusal() == ("open", 40.0)
    assert again.snapshot == breaker.snapshot
    clock.advance(40)
    assert succeed(again, 2) is not None


def test_a_probe_under_way_at_a_restart_is_simply_due_again(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    permit(breaker)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.admit(lease_s=1).permit is not None


def test_the_doubled_reset_time_survives_a_restart(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    fail(breaker)
    again = Breaker(POLICY, clock, breaker.snapshot)
    clock.advance(120)
    fail(again)
    assert again.snapshot.reset_s == 240


def test_isolation_survives_a_restart(breaker: Breaker, clock: FakeClock) -> None:
    breaker.isolate("by hand")
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.refusal() == ("isolated", math.inf)
    assert again.snapshot == breaker.snapshot
    assert again.close_by_hand() is not None


def test_a_pause_survives_a_restart_and_is_bounded_there_too(breaker: Breaker, clock: FakeClock) -> None:
    breaker.limit(permit(breaker), 30)
    clock.advance(10)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert again.refusal() == ("limited", 20.0)
    assert again.snapshot == breaker.snapshot
    clock.set_wall(clock.now() - timedelta(days=400))
    assert Breaker(POLICY, clock, breaker.snapshot).refusal() == ("limited", 3600.0)
    clock.set_wall(clock.now() + timedelta(days=800))
    assert Breaker(POLICY, clock, breaker.snapshot).snapshot == Snapshot()


def test_a_wall_clock_set_back_does_not_keep_it_open_for_longer(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.set_wall(clock.now() - timedelta(days=400))
    assert breaker.refusal() == ("open", 60.0)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert 60 <= (again.refusal() or ("", 0.0))[1] <= 66
    assert again.snapshot.open_until is not None
    assert again.snapshot.open_until - clock.now() <= timedelta(seconds=66)


@pytest.mark.parametrize("reset_s", [0.0, 1e9])
def test_a_restart_never_takes_over_more_than_the_policy_allows(clock: FakeClock, reset_s: float) -> None:
    kept = Snapshot("open", 5, clock.now() + timedelta(days=9), reset_s=reset_s)
    again = Breaker(POLICY, clock, kept)
    assert (again.refusal() or ("", 0.0))[1] <= 600
    assert 60 <= again.snapshot.reset_s <= 600


def test_failures_are_counted_on_over_a_restart(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 4)
    again = Breaker(POLICY, clock, breaker.snapshot)
    assert fail(again) is not None


# The table and the numbers.


def test_every_state_can_be_left() -> None:
    assert {before for before, _ in MOVES} == {"closed", "open", "half_open"}


def test_the_snapshot_is_made_once_for_one_state(breaker: Breaker) -> None:
    before = breaker.snapshot
    succeed(breaker, 25)
    assert breaker.snapshot is before
    fail(breaker)
    assert breaker.snapshot is not before


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("failure_threshold", 0, "at least 1"),
        ("certain_threshold", 0, "at least 1"),
        ("window", 0, "at least 1"),
        ("successes_to_close", 0, "at least 1"),
        ("reset_timeout_s", -1, "a number from 0 to 86400"),
        ("max_reset_s", math.nan, "a number from 0 to 86400"),
        ("early_probe_s", math.inf, "a number from 0 to 86400"),
        ("failure_rate", 1.5, "a number from 1e-06 to 1"),
        ("jitter", 1, "a number from 0 to 0.4"),
    ],
)
def test_a_policy_with_a_number_that_makes_no_sense_is_refused(name: str, value: float, expected: str) -> None:
    numbers: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"the breaker's {name} is {value}; expected {expected}"):
        Policy(**numbers)
