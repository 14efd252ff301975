"""One circuit in a few words: what the breaker's tests do over and over."""

from __future__ import annotations

from random import Random
from typing import Final

from timmy_core.router.breaker import Admission, Breaker, Permit, Policy, Transition

POLICY: Final = Policy(failure_threshold=5, reset_timeout_s=60.0)


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - chance for jitter, and the same in every run


def permit(breaker: Breaker, *, early: bool = False) -> Permit:
    given = breaker.admit(lease_s=10, early=early).permit
    assert given is not None
    return given


def fail(breaker: Breaker, times: int = 1, error_class: str = "server_error") -> Transition | None:
    move = None
    for _ in range(times):
        move = breaker.fail(permit(breaker), "down", error_class=error_class)
    return move


def succeed(breaker: Breaker, times: int = 1, *, slow: bool = False) -> Transition | None:
    move = None
    for _ in range(times):
        move = breaker.succeed(permit(breaker), slow=slow)
    return move


def refused(admission: Admission) -> tuple[str | None, float]:
    assert admission.permit is None
    return admission.refusal, admission.retry_in_s
