"""What was recorded of requests and attempts, in the form in which it can be replayed.

A request is put together again from its attempts: they share a trace, and are counted from 0. What every attempt at a
provider did is also kept by provider, in the order of time, for questions that it was not asked.
"""

from __future__ import annotations

import bisect
import collections
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from timmy_core.clock import from_us, to_us
from timmy_core.errors import ReplayError
from timmy_core.events.log import EventLog
from timmy_core.router.chat import ErrorClass
from timmy_core.store.engine import Store

MAX_REQUESTS: Final = 20_000
NEAR: Final = 8  # of so many attempts around a moment one is drawn
_HALF_S: Final = 60.0  # one that was so far away is drawn half as often as one of that very moment
_ROWS_A_REQUEST: Final = 4
_UNANSWERED_ROWS: Final = 10_000

# The wishes of callers stand in the events alone; of one that was pruned or redacted they are not known.
_ROWS: Final = """
SELECT id, ts, trace_id, agent_id, attempt, why, coalesce(streamed, 0), provider, model, outcome, error_class, message,
       latency_us, first_token_us, input_tokens, output_tokens, cached_tokens, cost_microusd,
       (SELECT data ->> '$."timmy.only"' FROM events WHERE seq = event_seq),
       (SELECT data ->> '$."timmy.local_only"' FROM events WHERE seq = event_seq)
FROM provider_metrics WHERE ts >= ? AND ts < ? ORDER BY ts DESC LIMIT ?"""

# They say something about the question, or about its caller; nothing about what another question would have got.
_OF_THE_QUESTION: Final = frozenset(
    {
        ErrorClass.CONTENT_FILTER,
        ErrorClass.CONTEXT_LENGTH,
        ErrorClass.BAD_REQUEST,
        ErrorClass.CANCELLED,
        ErrorClass.HEDGE_LOST,
    }
)


@dataclass(frozen=True, slots=True)
class Tried:
    """One recorded attempt; times are seconds since the recording began."""

    at_s: float  # when it began
    provider: str
    model: str
    outcome: str
    error_class: str | None
    message: str
    why: str
    streamed: bool
    latency_s: float
    first_token_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_microusd: int | None

    @property
    def ended_s(self) -> float:
        """When it ended."""
        return self.at_s + self.latency_s

    @property
    def tokens(self) -> int:
        """How many tokens were counted."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def telling(self) -> bool:
        """Whether it says what the provider would have done with another question of that moment."""
        return self.outcome in ("completed", "failed") and self.error_class not in _OF_THE_QUESTION


@dataclass(slots=True)
class Asked:
    """One recorded request with its attempts in their order; without any, nobody could be asked."""

    at_s: float
    trace_id: str
    agent_id: str | None
    streamed: bool
    tries: list[Tried] = field(default_factory=list)
    only: str = ""  # the provider that its caller wanted and no other
    local_only: bool = False

    @property
    def answered(self) -> bool:
        """Whether a model answered."""
        return any(tried.outcome == "completed" for tried in self.tries)

    @property
    def given_up(self) -> bool:
        """Whether its caller went away before it was known what becomes of it."""
        return not self.answered and any(tried.error_class == ErrorClass.CANCELLED for tried in self.tries)

    @property
    def latency_s(self) -> float:
        """How long it took from its first attempt to the end of its last."""
        return max((tried.ended_s for tried in self.tries), default=self.at_s) - self.at_s

    @property
    def first_token_s(self) -> float | None:
        """How long it took to the first token of its answer; None where it was not streamed or not answered."""
        ends = (
            tried.at_s + tried.first_token_s - self.at_s
            for tried in self.tries
            if tried.outcome == "completed" and tried.first_token_s is not None
        )
        return next(ends, None) if self.streamed else None

    @property
    def cost_microusd(self) -> int | None:
        """What its attempts cost together; None where that is not known of one."""
        total = 0
        for tried in self.tries:
            if tried.cost_microusd is None:
                return None
            total += tried.cost_microusd
        return total

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """How many tokens question and answer had, where somebody counted them."""
        best = sorted(self.tries, key=lambda tried: tried.outcome == "completed", reverse=True)
        question = next((tried.input_tokens for tried in best if tried.input_tokens), None)
        return question, next((tried.output_tokens for tried in best if tried.outcome == "completed"), None)


class Record:
    """What one provider's model did, in the order of time."""

    def __init__(self, tries: Iterable[Tried]) -> None:
        self.tries = sorted(tries, key=lambda tried: tried.at_s)
        self._times = [tried.at_s for tried in self.tries]
        priced = [tried for tried in self.tries if tried.cost_microusd is not None and tried.tokens]
        tokens = sum(tried.tokens for tried in priced)
        self._microusd_a_token = sum(tried.cost_microusd or 0 for tried in priced) / tokens if tokens else None

    def cost(self, tokens: int) -> int | None:
        """Return what so many tokens cost at the average of then; None where no cost was recorded."""
        rate = self._microusd_a_token
        return None if rate is None else math.ceil(rate * tokens)

    def near(self, at_s: float, chance: Random) -> Tried | None:
        """Return one of the attempts around a moment, by chance and the sooner the nearer it is; None without any."""
        place = bisect.bisect_left(self._times, at_s)
        around = self.tries[max(0, place - NEAR) : place + NEAR]
        if not around:
            return None
        around.sort(key=lambda tried: abs(tried.at_s - at_s))
        nearest = around[:NEAR]
        weights = [_HALF_S / (_HALF_S + abs(tried.at_s - at_s)) for tried in nearest]
        return chance.choices(nearest, weights)[0]


@dataclass(frozen=True, slots=True)
class Recording:
    """The requests of a time, oldest first, and what every provider's model did in it.

    Args:
        since: the moment from which all seconds count.
        until: its end.
        requests: as they came.
        records: by (provider, model).
        given_up: how many requests were left out because their callers went away.
        complete: whether there were no more requests than could be read; otherwise it begins later than asked for.
    """

    since: datetime
    until: datetime
    requests: Sequence[Asked] = ()
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    given_up: int = 0
    complete: bool = True

    def record(self, provider: str, model: str) -> Record | None:
        """Return what is recorded of a model, or of the provider's most used one where that one was never asked."""
        found = self.records.get((provider, model))
        if found is not None:
            return found
        others = [record for (name, _), record in self.records.items() if name == provider]
        return max(others, key=lambda record: len(record.tries), default=None)


def read_recording(
    store: Store, events: EventLog, *, since: datetime, until: datetime, limit: int = MAX_REQUESTS
) -> Recording:
    """Read the newest requests of a time.

    Raises:
        ReplayError: the time or the limit makes no sense.
    """
    if since >= until:
        message = f"the recording would end ({until.isoformat()}) before it begins ({since.isoformat()}); exchange them"
        raise ReplayError(message)
    if not 1 <= limit <= MAX_REQUESTS:
        message = f"limit is {limit}; expected 1 to {MAX_REQUESTS:,} requests"
        raise ReplayError(message)
    rows_most = limit * _ROWS_A_REQUEST
    with store.read() as connection:
        rows = connection.execute(_ROWS, (to_us(since), to_us(until), rows_most)).fetchall()
    complete = len(rows) < rows_most
    if not complete:
        # The oldest of these may lack its first attempts, and those before it are not here at all.
        since = from_us(rows[-1][1])
    zero = to_us(since)
    tries = sorted(((row, _tried(row, zero)) for row in rows), key=lambda pair: (pair[1].at_s, pair[0][4]))
    requests = [*_requests(tries), *_unasked(events, since, until)]
    requests.sort(key=lambda asked: asked.at_s)
    kept = [asked for asked in requests if not asked.given_up]
    return Recording(
        since,
        until,
        kept[-limit:],
        _records(tried for _, tried in tries),
        len(requests) - len(kept),
        complete=complete and len(kept) <= limit,
    )


def _tried(row: Sequence[Any], zero_us: int) -> Tried:
    latency_us, first_us = row[12], row[13]
    return Tried(
        at_s=(row[1] - latency_us - zero_us) / 1e6,
        provider=row[7],
        model=row[8],
        outcome=row[9],
        error_class=row[10],
        message=row[11],
        why=row[5],
        streamed=bool(row[6]),
        latency_s=latency_us / 1e6,
        first_token_s=None if first_us is None else first_us / 1e6,
        input_tokens=row[14],
        output_tokens=row[15],
        cached_tokens=row[16],
        cost_microusd=row[17],
    )


def _requests(tries: Iterable[tuple[Sequence[Any], Tried]]) -> Iterable[Asked]:
    """Put requests together; one trace may hold several, one after the other or side by side."""
    open_: collections.defaultdict[str, list[Asked]] = collections.defaultdict(list)
    found: list[Asked] = []
    for row, tried in tries:
        trace, number = row[2], row[4]
        of_trace = open_[trace]
        if number == 0:
            only = tried.provider if row[18] else ""
            of_trace.append(Asked(tried.at_s, trace, row[3], tried.streamed, [tried], only, bool(row[19])))
            found.append(of_trace[-1])
            continue
        fits = [asked for asked in of_trace if len(asked.tries) == number]
        # The first attempt of a request that began before this time is not here; such a rest is none.
        if fits:
            fits[-1].tries.append(tried)
    return found


def _unasked(events: EventLog, since: datetime, until: datetime) -> Iterable[Asked]:
    """Yield the requests for which nobody could be asked: they left no attempt, only that nobody answered."""
    for event in events.list(type="llm.unanswered", since=since, until=until, limit=_UNANSWERED_ROWS):
        data = event.data or {}
        attempts = data.get("timmy.attempts") or ()
        if not any(attempt.get("timmy.outcome") != "skipped" for attempt in attempts):
            began = event.ts - timedelta(milliseconds=float(data.get("timmy.latency_ms") or 0.0))
            yield Asked((began - since).total_seconds(), event.trace_id or "", event.agent_id, streamed=False)


def _records(tries: Iterable[Tried]) -> dict[tuple[str, str], Record]:
    by_model: collections.defaultdict[tuple[str, str], list[Tried]] = collections.defaultdict(list)
    for tried in tries:
        if tried.telling:
            by_model[tried.provider, tried.model].append(tried)
    return {key: Record(found) for key, found in by_model.items()}
