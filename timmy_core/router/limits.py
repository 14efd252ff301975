"""How long things may take, how fast a stream has to flow, and how many calls there may be at once."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Final, Self

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ErrorClass
from timmy_core.router.policy import Policy
from timmy_core.settings import RouterSettings

_STEP_S: Final = 1.0  # how fine the sliding window of a stream's pace is


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request and of the traffic to one provider; times in seconds."""

    deadline_s: float = 60.0
    first_token_s: float = 20.0
    between_tokens_s: float = 15.0
    body_s: float = 60.0
    min_chars_per_s: float = 1.0
    pace_window_s: float = 15.0  # over so much time spent waiting the pace of a stream is measured
    slow_call_s: float | None = None
    retry_percent: int = 10
    backoff_s: float = 0.2  # before the first retry; doubles with each
    max_concurrency: int = 32
    max_waiting: int = 64
    hedge: bool = False
    policy: Policy = field(default_factory=Policy)

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Take the limits that were configured."""
        return cls(
            deadline_s=settings.deadline_s,
            first_token_s=settings.first_token_s,
            between_tokens_s=settings.between_tokens_s,
            body_s=settings.body_s,
            min_chars_per_s=settings.min_chars_per_s,
            slow_call_s=settings.slow_call_s,
            retry_percent=settings.retry_percent,
            max_concurrency=settings.max_concurrency,
            max_waiting=settings.max_waiting,
            hedge=settings.hedge,
            policy=Policy(
                failure_threshold=settings.failure_threshold,
                reset_timeout_s=settings.reset_timeout_s,
                max_reset_s=settings.max_reset_s,
                failure_rate=settings.failure_rate,
            ),
        )


class Pace:
    """Tells a stream that flows from one that drips.

    Only the time spent waiting for text counts: a slow reader does not make a provider slow, and what comes without
    text (a thought, the arguments of a tool call) is work that has no length in characters.
    """

    __slots__ = ("_chars", "_least", "_steps", "_total_chars", "_total_s", "_waited_s", "_window_s")

    def __init__(self, least_chars_per_s: float, window_s: float) -> None:
        self._least = least_chars_per_s
        self._window_s = window_s
        self._steps: collections.deque[tuple[float, int]] = collections.deque()
        self._waited_s = 0.0
        self._chars = 0
        self._total_s = 0.0
        self._total_chars = 0

    def drips(self, waited_s: float, chars: int) -> bool:
        """Take note of a piece, and return whether the last window brought too little."""
        self._waited_s += waited_s
        self._chars += chars
        return self._waited_s >= _STEP_S and self._close_step()

    def _close_step(self) -> bool:
        self._steps.append((self._waited_s, self._chars))
        self._total_s += self._waited_s
        self._total_chars += self._chars
        self._waited_s, self._chars = 0.0, 0
        # What is left is the shortest row of steps that fills the window.
        while self._total_s - self._steps[0][0] >= self._window_s:
            waited_s, chars = self._steps.popleft()
            self._total_s -= waited_s
            self._total_chars -= chars
        return self._total_s >= self._window_s and self._total_chars < self._least * self._total_s


class TooSlowError(ProviderError):
    """A provider did not keep a limit of time.

    Args:
        provider: its name.
        message: what did not come in which time.
        setting: the setting that would give it more time.
        fair: whether that says something about the provider; None where that depends on the time it was given.
    """

    def __init__(self, provider: str, message: str, setting: str, *, fair: bool | None = None) -> None:
        if setting == "first_token_s":
            setting = f'first_token_s of [[providers]] name = "{provider}", or deadline_s'
        advice = f"raise {setting} under [router], or choose a faster model"
        super().__init__(ErrorClass.TIMEOUT, message, advice=advice)
        self.fair = fair
