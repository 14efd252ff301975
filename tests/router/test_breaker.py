"""One circuit: when it opens, whom it lets through while it is unsure, and how it closes again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timmy_core.router.breaker import Breaker, Policy, Snapshot, Transition
from timmy_core.testing import FakeClock

from .circuit import POLICY, fail, permit, refused, seeded, succeed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker(POLICY, clock)


# The two faults of the earlier system.


def test_one_first_failure_does_not_blacklist_a_provider_for_ever(breaker: Breaker, clock: FakeClock) -> None:
    assert fail(breaker) is None
    assert breaker.snapshot == Snapshot("closed", 1)
    assert breaker.admit(lease_s=1).permit is not None
    fail(breaker, 4)
    for _ in range(100):  # and whatever it does later, there is always a next time
        assert breaker.snapshot.open_until is not None
        clock.advance((breaker.snapshot.open_until - clock.now()).total_seconds())
        fail(breaker)
    clock.advance(600)
    assert breaker.admit(lease_s=1).permit is not None


def test_a_half_open_circuit_closes_and_stays_closed(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    assert succeed(breaker) is None
    assert breaker.snapshot.circuit == "half_open"
    assert succeed(breaker) == Transition("half_open", "closed", "2 probes were answered")
    assert breaker.snapshot == Snapshot("closed", 0)
    assert all(breaker.admit(lease_s=1).permit is not None for _ in range(40))
    assert fail(breaker, 4) is None


# What opens it.


def test_five_failures_in_a_row_open_it_for_a_minute(breaker: Breaker, clock: FakeClock) -> None:
    until = clock.now() + timedelta(seconds=60)
    assert fail(breaker, 5) == Transition("closed", "open", "5 failures in a row, the last: down", until)
    assert refused(breaker.admit(lease_s=1)) == ("open", 60.0)
    clock.advance(59.9)
    assert breaker.admit(lease_s=1).permit is None


@pytest.mark.parametrize("error_class", ["connection_refused", "timeout"])
def test_a_refused_port_and_silence_open_it_at_the_second_in_a_row(breaker: Breaker, error_class: str) -> None:
    assert fail(breaker, 1, error_class) is None
    move = fail(breaker, 1, error_class)
    assert move is not None
    assert move.after == "open"


def test_other_results_in_between_take_that_back(breaker: Breaker) -> None:
    fail(breaker, 1, "connection_refused")
    fail(breaker, 1, "server_error")
    assert fail(breaker, 1, "timeout") is None
    assert fail(breaker, 1, "connection_refused") is not None


def test_a_success_in_between_starts_the_count_again(breaker: Breaker) -> None:
    succeed(breaker, 20)
    fail(breaker, 4)
    succeed(breaker)
    assert fail(breaker, 4) is None
    assert breaker.snapshot == Snapshot("closed", 4)


def test_half_of_the_last_twenty_open_it_though_never_five_are_in_a_row(breaker: Breaker) -> None:
    succeed(breaker, 20)
    for _ in range(9):
        assert fail(breaker) is None
        succeed(breaker)
    move = fail(breaker)
    assert move is not None
    assert move.reason == "10 of the last 20 calls failed or were slow, the last: down"
    assert breaker.snapshot.failures == 1


def test_less_than_half_of_the_last_twenty_never_open_it(breaker: Breaker) -> None:
    succeed(breaker, 20)
    for _ in range(50):
        fail(breaker)
        assert succeed(breaker, 2) is None
    assert breaker.snapshot.circuit == "closed"


def test_fewer_than_five_results_say_nothing_about_a_rate(breaker: Breaker) -> None:
    succeed(breaker, 2)
    assert fail(breaker, 2) is None
    assert fail(breaker) is not None


def test_who_allows_more_failures_in_a_row_is_not_overruled_by_the_rate(clock: FakeClock) -> None:
    patient = Breaker(Policy(failure_threshold=12), clock)
    assert fail(patient, 11) is None
    assert fail(patient) is not None


def test_slow_answers_count_like_failures_among_the_last_twenty(breaker: Breaker) -> None:
    succeed(breaker, 2)
    assert succeed(breaker, 2, slow=True) is None
    assert breaker.snapshot.failures == 0
    move = succeed(breaker, slow=True)
    assert move is not None
    assert move.reason == "3 of the last 5 calls failed or were slow, the last was too slow"


def test_a_closed_circuit_has_forgotten_what_was_before_it_opened(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    succeed(breaker, 2)
    assert fail(breaker, 4) is None


# How it comes back.


def test_after_the_reset_time_exactly_one_caller_gets_through(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    admissions = [breaker.admit(lease_s=10) for _ in range(40)]
    assert [a.permit is not None for a in admissions] == [True] + [False] * 39
    assert admissions[0].transition == Transition("open", "half_open", "the reset time is over; one call may try")
    assert {a.refusal for a in admissions[1:]} == {"probing"}


def test_the_second_probe_too_is_one_at_a_time(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    first = permit(breaker)
    breaker.succeed(first)
    assert breaker.succeed(first) is None  # one permit reports one success
    assert breaker.snapshot.successes == 1
    admissions = [breaker.admit(lease_s=10) for _ in range(40)]
    assert sum(a.permit is not None for a in admissions) == 1
    assert breaker.succeed(first) is None
    assert breaker.snapshot.circuit == "half_open"


@pytest.mark.parametrize("good", [0, 1])
def test_a_failure_in_half_open_opens_it_again_for_twice_as_long(breaker: Breaker, clock: FakeClock, good: int) -> None:
    fail(breaker, 5)
    clock.advance(60)
    succeed(breaker, good)
    move = fail(breaker)
    assert move is not None
    assert (move.before, move.after, move.reason) == ("half_open", "open", "the probe failed: down")
    assert refused(breaker.admit(lease_s=1)) == ("open", 120.0)


def test_a_slow_answer_to_a_probe_opens_it_again(breaker: Breaker, clock: FakeClock) -> None:
    fail(breaker, 5)
    clock.advance(60)
    move = succeed(breaker, slow=True)
    assert move is not None
    assert (move.after, move.reason) == ("open", "the probe was answered too slowly")


def test_the_reset_time_doubles_up_to_ten_minutes_and_starts_again_on_closing(
    breaker: Breaker, clock: FakeClock
) -> None:
    fail(breaker, 5)
    waits = []
    for _ in range(6):
        wait_s = breaker.admit(lease_s=1).retry_in_s
        waits.append(wait_s)
        assert breaker.snapshot.reset_s == wait_s
        clock.advance(wait_s)
        fail(breaker)
    assert waits == [60, 120, 240, 480, 600, 600]
    clock.advance(600)
    succeed(breaker, 2)
    fail(breaker, 5)
    assert breaker.admit(lease_s=1).retry_in_s == 60


def test_jitter_spreads_the_resets_by_a_tenth_and_never_over_the_longest(clock: FakeClock) -> None:
    first: list[float] = []
    for seed in range(200):
        breaker = Breaker(POLICY, clock, random=seeded(seed))
        fail(breaker, 5)
        first.append(breaker.admit(lease_s=1).retry_in_s)
        for _ in range(6):
            wait_s = breaker.admit(lease_s=1).retry_in_s
            assert 0.9 * breaker.snapshot.reset_s <= wait_s <= min(1.1 * breaker.snapshot.reset_s, 600)
            clock.advance(wait_s)
            fail(breaker)
    assert min(first) < 56
    assert max(first) > 64
    assert all(54 <= wait_s <= 66 for wait_s in first)


def test_the_same_seed_gives_the_same_resets(clock: FakeClock) -> None:
    waits = []
    for _ in range(2):
        breaker = Breaker(POLICY, clock, random=seeded(7))
        fail(breaker, 5)
        waits.append(breaker.admit(lease_s=1).retry_in_s)
    assert waits[0] == waits[1] != 60


# Permits that do not come back as they should.


@pytest.mark.parametrize("early", [False, True])
def test_a_cancelled_probe_frees_its_permit_at_once(breaker: Breaker, clock: FakeClock, early: bool) -> None:
    fail(breaker, 5)
    clock.advance(60)
    breaker.release(permit(breaker))
    assert breaker.snapshot.circuit == "half_open"
    assert breaker.admit(lease_s=1, early=early).permit is not None


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
    assert breaker.snapshot.successes == 0


def test_results_of_an_earlier_generation_do_not_count(breaker: Breaker, clock: FakeClock) -> None:
    slow_good, slow_bad = permit(breaker), permit(breaker)
    fail(breaker, 5)
    assert breaker.succeed(slow_good) is None
    assert breaker.snapshot.circuit == "open"
    clock.advance(60)
    succeed(breaker)
    probe = permit(breaker)
    assert breaker.fail(slow_bad, "late") is None
    assert breaker.succeed(probe) is not None


def test_a_late_cancellation_does_not_free_the_permit_of_another(breaker: Breaker, clock: FakeClock) -> None:
    late = permit(breaker)
    fail(breaker, 5)
    clock.advance(60)
    permit(breaker)
    breaker.release(late)
    assert breaker.refusal() == ("probing", 10.0)
