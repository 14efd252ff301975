"""What the providers did in a time, read from the rows that were written with the attempts' events."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, get_args

from timmy_core.clock import iso, to_us
from timmy_core.errors import RouterError
from timmy_core.events.log import MAX_LIST, EventLog
from timmy_core.events.model import Event
from timmy_core.router.tallies import By, Key, Tallies, Tally
from timmy_core.store.engine import Store

__all__ = ["MAX_ROWS", "By", "Line", "Move", "Report", "percentile_ms", "read_report", "read_timeline"]

MAX_ROWS: Final = 100_000
"""The newest attempts that one report looks at; `complete` says whether that was all of them."""

_DAY: Final = timedelta(days=1)
# The index on ts says between which ids they lie; read in the order of ids they stand beside each other on the disk.
_BOUNDS: Final = """
SELECT coalesce(min(id), 0), coalesce(max(id), -1), count(*) FROM (
    SELECT id FROM provider_metrics WHERE ts >= :since AND ts < :until ORDER BY ts DESC LIMIT :rows
)"""


@dataclass(frozen=True, slots=True)
class Line:
    """What one of them did; what is not its key is empty. Times and speed are those of its answers."""

    provider: str
    model: str
    agent_id: str
    attempts: int
    completed: int
    failed: int
    cancelled: int
    retries: int
    hedges: int
    availability: float | None  # answers, of them and the failures that were the provider's fault
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    first_token_p50_ms: float | None  # of streams only
    first_token_p95_ms: float | None
    first_token_p99_ms: float | None
    tokens_per_s: float | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: int  # attempts whose tokens are by a rule of thumb
    cost_microusd: int  # of the attempts whose cost is known
    unpriced: int  # attempts whose cost is not
    errors: Mapping[str, int] = field(default_factory=dict)  # error class -> how often

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON can carry it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Report:
    """The lines of a time, the dearest first, then the busiest."""

    since: datetime
    until: datetime
    by: By
    lines: tuple[Line, ...]
    attempts: int
    complete: bool  # False: only the newest `MAX_ROWS` attempts of this time were looked at

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can carry it."""
        return {
            "since": iso(self.since),
            "until": iso(self.until),
            "by": self.by,
            "attempts": self.attempts,
            "complete": self.complete,
            "lines": [line.as_dict() for line in self.lines],
        }


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a circuit, as the log tells it."""

    at: datetime
    seq: int
    trace_id: str | None
    provider: str
    model: str
    before: str
    after: str
    reason: str
    failures: int
    open_until: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """Return the move as JSON can carry it."""
        until = None if self.open_until is None else iso(self.open_until)
        return {**dataclasses.asdict(self), "at": iso(self.at), "open_until": until}


def read_report(store: Store, tallies: Tallies, since: datetime | None, until: datetime, by: By) -> Report:
    """Read a report.

    Raises:
        RouterError: the time or `by` is wrong.
    """
    if by not in get_args(By):
        message = f"a report has no lines by {by!r}; expected one of {', '.join(get_args(By))}"
        raise RouterError(message)
    since = until - _DAY if since is None else since
    try:
        asked = {"since": to_us(since), "until": to_us(until), "rows": MAX_ROWS}
    except ValueError as error:
        raise RouterError(str(error)) from None
    if asked["since"] >= asked["until"]:
        message = f"the time from {iso(since)} to {iso(until)} is empty; since has to lie before until"
        raise RouterError(message)
    # Percentiles in SQL would sort all of it three times while the read holds up the checkpoints.
    with store.read() as connection:
        first, last, rows = connection.execute(_BOUNDS, asked).fetchone()
        found = tallies.read(connection, by, (first, last), (asked["since"], asked["until"]))
    lines = [_line(key, tally) for key, tally in found.items()]
    lines.sort(key=lambda line: (-line.cost_microusd, -line.attempts, line.provider, line.model, line.agent_id))
    attempts = sum(line.attempts for line in lines)
    return Report(since, until, by, tuple(lines), attempts, complete=rows < MAX_ROWS)


def _line(key: Key, tally: Tally) -> Line:
    latencies, first, completed = sorted(tally.latencies), sorted(tally.first), tally.outcomes["completed"]
    return Line(
        provider=key[0],
        model=key[1],
        agent_id=key[2],
        attempts=tally.outcomes.total(),
        completed=completed,
        failed=tally.outcomes["failed"],
        cancelled=tally.outcomes["cancelled"],
        retries=tally.whys["retry"],
        hedges=tally.whys["hedge"],
        availability=completed / (completed + tally.faults) if completed + tally.faults else None,
        p50_ms=percentile_ms(latencies, 50),
        p95_ms=percentile_ms(latencies, 95),
        p99_ms=percentile_ms(latencies, 99),
        first_token_p50_ms=percentile_ms(first, 50),
        first_token_p95_ms=percentile_ms(first, 95),
        first_token_p99_ms=percentile_ms(first, 99),
        tokens_per_s=tally.said * 1e6 / tally.took_us if tally.took_us else None,
        input_tokens=tally.tokens[0],
        output_tokens=tally.tokens[1],
        cached_tokens=tally.tokens[2],
        cache_write_tokens=tally.tokens[3],
        reasoning_tokens=tally.tokens[4],
        estimated=tally.estimated,
        cost_microusd=tally.cost,
        unpriced=tally.unpriced,
        errors=dict(tally.errors.most_common()),
    )


def read_timeline(events: EventLog, provider: str, since: datetime | None, limit: int) -> list[Move]:
    """Read the latest moves of a provider's circuits, oldest first; what was redacted is left out."""
    found = events.list(family="circuit", since=since, limit=MAX_LIST)
    own = [event for event in found if event.data is not None and event.data.get("provider") == provider]
    return [_move(event, event.data or {}) for event in reversed(own[: max(0, limit)])]


def percentile_ms(ordered: Sequence[int], percent: int) -> float | None:
    """Return a percentile of ordered microseconds in ms, by the nearest rank: a value that was really measured."""
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[rank - 1] / 1000


def _move(event: Event, data: Mapping[str, Any]) -> Move:
    until = data.get("open_until")
    return Move(
        at=event.ts,
        seq=event.seq,
        trace_id=event.trace_id,
        provider=str(data.get("provider", "")),
        model=str(data.get("model", "")),
        before=str(data.get("from", "")),
        after=str(data.get("to", "")),
        reason=str(data.get("reason", "")),
        failures=int(data.get("failures") or 0),
        open_until=None if not until else datetime.fromisoformat(until),
    )
