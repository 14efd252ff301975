"""What the providers did in a time, read from the rows that were written with the attempts' events."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from timmy_core.clock import to_us
from timmy_core.errors import RouterError
from timmy_core.events.log import MAX_LIST, EventLog
from timmy_core.events.model import Event, iso
from timmy_core.router.attempt import FAULTS
from timmy_core.store.engine import Store

By = Literal["model", "provider", "agent"]

MAX_ROWS: Final = 100_000
"""The newest attempts that one report looks at; `complete` says whether that was all of them."""

_DAY: Final = timedelta(days=1)
_KEYS: Final[dict[str, str]] = {
    "model": "provider, model, ''",
    "provider": "provider, '', ''",
    "agent": "'', '', coalesce(agent_id, '')",
}
# The index on ts says between which ids they lie; read in the order of ids they stand beside each other on the disk.
_BOUNDS: Final = """
SELECT coalesce(min(id), 0), coalesce(max(id), -1), count(*) FROM (
    SELECT id FROM provider_metrics WHERE ts >= :since AND ts < :until ORDER BY ts DESC LIMIT :rows
)"""
_ROWS: Final = "SELECT * FROM provider_metrics WHERE id BETWEEN :first AND :last AND ts >= :since AND ts < :until"
_FAULT: Final = ", ".join(f"'{kind}'" for kind in sorted(FAULTS))


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


def read_report(store: Store, since: datetime | None, until: datetime, by: By) -> Report:
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
    with store.read() as connection:
        # One transaction, so that every statement sees the same rows; bounded, because it holds up the checkpoints.
        connection.execute("BEGIN")
        try:
            first, last, rows = connection.execute(_BOUNDS, asked).fetchone()
            asked |= {"first": first, "last": last}
            sums = connection.execute(_sums(by), asked).fetchall()
            latencies = connection.execute(_percentiles(by, "latency_us"), asked).fetchall()
            firsts = connection.execute(_percentiles(by, "first_token_us"), asked).fetchall()
            errors = connection.execute(_errors(by), asked).fetchall()
        finally:
            connection.execute("COMMIT")
    lines = _lines(sums, latencies, firsts, errors)
    return Report(since, until, by, lines, sum(line.attempts for line in lines), complete=rows < MAX_ROWS)


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


# What enters the text comes from the tables above only; times and bounds are bound.
def _sums(by: By) -> str:
    return f"""
SELECT {_KEYS[by]}, count(*), sum(outcome = 'completed'), sum(outcome = 'failed'), sum(outcome = 'cancelled'),
       sum(why = 'retry'), sum(why = 'hedge'), sum(outcome = 'failed' AND error_class IN ({_FAULT})),
       coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cached_tokens), 0),
       coalesce(sum(cache_write_tokens), 0), coalesce(sum(reasoning_tokens), 0), sum(estimated),
       coalesce(sum(cost_microusd), 0), sum(cost_microusd IS NULL),
       coalesce(sum(output_tokens) FILTER (WHERE outcome = 'completed'), 0),
       coalesce(sum(latency_us) FILTER (WHERE outcome = 'completed' AND output_tokens IS NOT NULL), 0)
FROM ({_ROWS}) GROUP BY 1, 2, 3"""  # noqa: S608


def _percentiles(by: By, column: str) -> str:
    ranks = ", ".join(f"min({column}) FILTER (WHERE place * 100 >= {percent} * many)" for percent in (50, 95, 99))
    return f"""
SELECT a, b, c, {ranks} FROM (
    SELECT a, b, c, {column}, row_number() OVER (PARTITION BY a, b, c ORDER BY {column}) AS place,
           count(*) OVER (PARTITION BY a, b, c) AS many
    FROM (SELECT {_as(by)}, {column} FROM ({_ROWS}) WHERE outcome = 'completed' AND {column} IS NOT NULL)
) GROUP BY a, b, c"""  # noqa: S608


def _errors(by: By) -> str:
    return f"""
SELECT {_KEYS[by]}, error_class, count(*) FROM ({_ROWS}) WHERE error_class IS NOT NULL
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 4"""  # noqa: S608


def _as(by: By) -> str:
    keys = {
        "model": "provider AS a, model AS b, '' AS c",
        "provider": "provider AS a, '' AS b, '' AS c",
        "agent": "'' AS a, '' AS b, coalesce(agent_id, '') AS c",
    }
    return keys[by]


_Rows = Sequence[tuple[Any, ...]]


def _lines(sums: _Rows, latencies: _Rows, firsts: _Rows, errors: _Rows) -> tuple[Line, ...]:
    kinds: defaultdict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for *key, kind, count in errors:
        kinds[tuple(key)][kind] = count
    whole = {row[:3]: row[3:] for row in latencies}
    first = {row[:3]: row[3:] for row in firsts}
    nothing = (None, None, None)
    lines = [_line(row, whole.get(row[:3], nothing), first.get(row[:3], nothing), kinds[row[:3]]) for row in sums]
    return tuple(sorted(lines, key=lambda line: (-line.cost_microusd, -line.attempts, line.provider, line.model)))


def _line(row: tuple[Any, ...], whole: Sequence[Any], first: Sequence[Any], errors: Mapping[str, int]) -> Line:
    completed, faults, answered_us = row[4], row[9], row[19]
    p50, p95, p99, first_p50, first_p95, first_p99 = (None if us is None else us / 1000 for us in (*whole, *first))
    return Line(
        provider=row[0],
        model=row[1],
        agent_id=row[2],
        attempts=row[3],
        completed=completed,
        failed=row[5],
        cancelled=row[6],
        retries=row[7],
        hedges=row[8],
        availability=completed / (completed + faults) if completed + faults else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        first_token_p50_ms=first_p50,
        first_token_p95_ms=first_p95,
        first_token_p99_ms=first_p99,
        tokens_per_s=row[18] * 1e6 / answered_us if answered_us else None,
        input_tokens=row[10],
        output_tokens=row[11],
        cached_tokens=row[12],
        cache_write_tokens=row[13],
        reasoning_tokens=row[14],
        estimated=row[15],
        cost_microusd=row[16],
        unpriced=row[17],
        errors=errors,
    )


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
