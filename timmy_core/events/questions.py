"""Questions of the log: what happened lately, how often and by whom, how long tasks took, and how one request went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from timmy_core.clock import to_us
from timmy_core.errors import EventError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.events.segment import PROMOTED
from timmy_core.store.lake import Lake

if TYPE_CHECKING:
    import polars as pl

MAX_MINUTES: Final = 366 * 24 * 60
MAX_SPANS: Final = 10_000  # events of one trace
_SUMMARY_ROWS: Final = 1000

# The tasks that were created in the range; their later events count too, whenever they came.
_TASKS: Final = """
WITH tasks AS (
    SELECT
        task_id,
        arg_max(agent_id, seq) FILTER (type <> 'task.created' AND agent_id IS NOT NULL) AS agent_id,
        arg_max(type, seq) AS last_type,
        min(ts_us) FILTER (type = 'task.created') AS created,
        min(ts_us) FILTER (type = 'task.assigned') AS assigned,
        min(ts_us) FILTER (type = 'task.started') AS started,
        max(ts_us) FILTER (type IN ('task.completed', 'task.failed')) AS ended
    FROM events
    WHERE type IN ('task.created', 'task.bidding', 'task.assigned', 'task.started', 'task.completed', 'task.failed')
        AND task_id IS NOT NULL{since}
    GROUP BY task_id
)
SELECT
    task_id, agent_id, split_part(last_type, '.', 2) AS state,
    make_timestamptz(created) AS created_at, make_timestamptz(assigned) AS assigned_at,
    make_timestamptz(started) AS started_at, make_timestamptz(ended) AS ended_at,
    (assigned - created) / 1e6 AS to_assigned_s, (ended - coalesce(started, assigned)) / 1e6 AS working_s,
    (ended - created) / 1e6 AS total_s
FROM tasks WHERE created IS NOT NULL{until}
ORDER BY created DESC, task_id
"""

# An agent that never said it joined was there from its first event on.
_AGENTS: Final = """
WITH agents AS (
    SELECT
        agent_id,
        arg_max(type, seq) FILTER (type IN ('agent.joined', 'agent.left')) = 'agent.left' AS has_left,
        min(ts_us) FILTER (type = 'agent.joined') AS joined,
        max(ts_us) FILTER (type = 'agent.left') AS gone,
        min(ts_us) AS first, max(ts_us) AS last, count(*) AS events,
        count(DISTINCT task_id) FILTER (type = 'task.completed') AS completed,
        count(DISTINCT task_id) FILTER (type = 'task.failed') AS failed
    FROM events
    WHERE agent_id IS NOT NULL{since}{until}
    GROUP BY agent_id
)
SELECT
    agent_id, CASE WHEN has_left THEN 'left' ELSE 'present' END AS state,
    make_timestamptz(joined) AS joined_at, CASE WHEN has_left THEN make_timestamptz(gone) END AS left_at,
    make_timestamptz(last) AS last_seen_at, events, completed, failed,
    (CASE WHEN has_left THEN gone ELSE last END - coalesce(joined, first)) / 1e6 AS present_s
FROM agents
ORDER BY last DESC, agent_id
"""

# What an event ends -> (the type that began it, what both have in common); the nearest before it counts.
_BEGUN_BY: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "auction.closed": (("task.bidding", "task"),),
    "task.completed": (("task.started", "task"),),
    "task.failed": (("task.started", "task"),),
    "tool.completed": (("tool.called", "tool"),),
    "tool.failed": (("tool.called", "tool"),),
    "payment.settled": (("payment.initiated", "entry"),),
    "payment.failed": (("payment.initiated", "entry"),),
    "invoice.settled": (("invoice.created", "entry"),),
    "upgrade.tests_passed": (("upgrade.tests_started", "proposal"),),
    "upgrade.tests_failed": (("upgrade.tests_started", "proposal"),),
}
_BEGINS: Final[Mapping[str, tuple[str, ...]]] = {begin: (key,) for pairs in _BEGUN_BY.values() for begin, key in pairs}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the log got in a range of time; every mapping is value -> number of events, the most frequent first."""

    since: datetime
    until: datetime
    total: int
    by_type: Mapping[str, int]
    by_source: Mapping[str, int]
    by_agent: Mapping[str, int]
    by_task: Mapping[str, int]

    @property
    def by_family(self) -> Mapping[str, int]:
        """How many events each family has, the most frequent first."""
        families: dict[str, int] = {}
        for name, count in self.by_type.items():
            family = name.partition(".")[0]
            families[family] = families.get(family, 0) + count
        return dict(sorted(families.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class Span:
    """One event of a trace as a bar: when it began, in ms after the trace's beginning, and how long it took.

    An event is written when what it tells of is over, so its bar ends at its `ts`. `duration_ms` is what the event
    says of it, or else the time since the event that began it, such as `task.started`; None where neither is there.
    """

    event: Event
    begin_ms: float
    duration_ms: float | None
    provider: str | None
    model: str | None
    failed: bool

    @property
    def end_ms(self) -> float:
        """When it was over, in ms after the trace's beginning."""
        return self.begin_ms + (self.duration_ms or 0.0)


class Questions:
    """Asks the log and its archive; made by `Timmy`, and safe to use from any thread."""

    def __init__(self, log: EventLog, lake: Lake) -> None:
        self._log = log
        self._lake = lake

    def summary(self, minutes: float = 60) -> Summary:
        """Count the events of the last minutes, by type, source, agent and task (the 1,000 most frequent of each).

        Raises:
            EventError: the number of minutes is out of range.
        """
        since, until = self._range(minutes)
        counted = [
            dict(self._lake.facets(column, since, limit=_SUMMARY_ROWS).iter_rows())
            for column in ("type", "source", "agent_id", "task_id")
        ]
        return Summary(since, until, sum(counted[0].values()), *counted)

    def recent(self, minutes: float = 60, *, limit: int = 100, where: str | None = None) -> pl.DataFrame:
        """Return the newest events of the last minutes, oldest first, as `timmy.frame("events")` does.

        Raises:
            EventError: the number of minutes is out of range.
        """
        return self._lake.frame("events", since=self._range(minutes)[0], limit=limit, where=where)

    def count(
        self,
        by: Literal["type", "family", "agent_id", "task_id", "source", "provider", "model", "error_type"],
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = 100,
    ) -> pl.DataFrame:
        """Return how many events each value of a column has: rows of (value, count), the most frequent first."""
        return self._lake.facets(by, since, until, limit=limit)

    def lifecycles(
        self,
        of: Literal["task", "agent"] = "task",
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = 1000,
    ) -> pl.DataFrame:
        """Return how long each task took from created to assigned to ended, or how long each agent was there.

        Of tasks those that were created in the range, the newest first: task_id, agent_id, state, created_at,
        assigned_at, started_at, ended_at, to_assigned_s, working_s, total_s. Of agents those with an event in the
        range, the last seen first: agent_id, state, joined_at, left_at, last_seen_at, events, completed, failed,
        present_s. What did not happen is null.

        Raises:
            EventError: it is asked of something else.
        """
        forms = {"task": (_TASKS, "ts_us", "created"), "agent": (_AGENTS, "ts_us", "ts_us")}
        if of not in forms:
            message = f"there are no lifecycles of {of!r}; expected task or agent"
            raise EventError(message)
        form, begin, end = forms[of]
        query = form.format(since=_bound(begin, ">=", since), until=_bound(end, "<", until))
        return self._lake.answer(query, limit=limit).frame

    def trace(self, trace_id: str) -> list[Span]:
        """Return the events of one request as bars, in the order they began; an empty list where there are none."""
        events = self._log.list(trace_id=trace_id, limit=MAX_SPANS, order="asc")
        bars = _with_durations(events)
        begins = [to_us(event.ts) / 1000 - (duration or 0.0) for event, duration in bars]
        zero = min(begins, default=0.0)
        spans = [
            Span(
                event,
                round(begin - zero, 3),
                duration,
                _text(event, "provider"),
                _text(event, "model"),
                event.type.endswith((".failed", ".error", ".unanswered")),
            )
            for (event, duration), begin in zip(bars, begins, strict=True)
        ]
        # Of those that begin together, what takes no time comes first, then what takes longest and so holds the others.
        return sorted(spans, key=lambda one: (one.begin_ms, one.duration_ms is not None, -one.end_ms, one.event.seq))

    def _range(self, minutes: float) -> tuple[datetime, datetime]:
        if not 0 < minutes <= MAX_MINUTES:
            message = f"{minutes} minutes are out of range; expected more than 0, at most {MAX_MINUTES:,}"
            raise EventError(message)
        now = self._log.clock.now()
        return now - timedelta(minutes=minutes), now


def _bound(column: str, sign: str, moment: datetime | None) -> str:
    if moment is None:
        return ""
    try:
        return f" AND {column} {sign} {to_us(moment)}"
    except ValueError as error:
        raise EventError(str(error)) from None


def _with_durations(events: Sequence[Event]) -> list[tuple[Event, float | None]]:
    """Return each event of a trace with how long it took, so far as that is known."""
    begun: dict[tuple[str, object], Event] = {}
    bars: list[tuple[Event, float | None]] = []
    for event in events:
        duration = _duration_ms(event)
        for begin, key in _BEGUN_BY.get(event.type, ()):
            shared = _part(event, key)
            first = begun.get((begin, shared)) if shared is not None else None
            if duration is None and first is not None:
                duration = max(0.0, (to_us(event.ts) - to_us(first.ts)) / 1000)
        bars.append((event, duration))
        for key in _BEGINS.get(event.type, ()):
            begun[event.type, _part(event, key)] = event
    return bars


def _part(event: Event, key: str) -> object:
    """Return what an event and the one that began it have in common."""
    return event.task_id if key == "task" else (event.data or {}).get(key)


def _duration_ms(event: Event) -> float | None:
    for name in ("duration_ms", "took_ms", *PROMOTED["latency_ms"][1]):
        value = (event.data or {}).get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None


def _text(event: Event, column: str) -> str | None:
    names = PROMOTED[column][1]
    return next((value for name in names if isinstance(value := (event.data or {}).get(name), str)), None)
