"""The explorer: what the events page and the command line ask of the log for one filter."""

from __future__ import annotations

import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, Final

from timmy_core.clock import Clock, SystemClock, from_us, iso, to_us
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.events.transfer import matching, write_events
from timmy_core.events.wanted import Wanted, provider_of
from timmy_core.store.duck import literal
from timmy_core.store.lake import Lake

if TYPE_CHECKING:
    import polars as pl

FACETS: Final[Mapping[str, str]] = {
    "family": "family",
    "type": "type",
    "agent": "agent_id",
    "source": "source",
    "provider": "provider",
    "task": "task_id",
}
MAX_HITS: Final = 10_000  # of a text search, the newest; more are neither counted nor charted
BUCKETS: Final = 90
KEPT: Final = 32  # counts that are remembered
KEEP_TIMES: Final = 20.0  # what took a second to count is good for twenty
_SCAN: Final = 1_000
_STEPS_S: Final = (
    0.001, 0.01, 0.1, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800, 2_419_200, 7_257_600, 29_030_400,
)  # fmt: skip
_INDEXED: Final = frozenset({"type", "family", "task_id", "agent_id", "trace_id", "text"})


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events match a filter."""

    over_time: pl.DataFrame  # as `Explorer.histogram` returns it
    facets: Mapping[str, list[tuple[str, int]]]
    sql: str  # what asks for the same over time; empty for a search by words


class Explorer:
    """Answers for one filter: the newest events, how many over time, and which values they have."""

    def __init__(self, log: EventLog, lake: Lake, clock: Clock | None = None) -> None:
        self._log = log
        self._lake = lake
        self._clock = clock or SystemClock()
        self._counting = threading.Lock()
        self._counts: OrderedDict[tuple[Wanted, str], tuple[float, Counts]] = OrderedDict()  # until when each is good

    def newest(self, wanted: Wanted, *, before: int | None = None, limit: int = 100) -> list[Event]:
        """Return the newest events that match, newest first; with `before` only those of a smaller seq.

        Raises:
            EventError: a filter is wrong.
        """
        if wanted.provider is None and wanted.described().keys() <= _INDEXED:
            return self._log.list(**wanted.listing(), before=before, limit=limit)
        if wanted.text is None:
            return self._by_columns(wanted, before, limit)
        return self._scanned(wanted, before, limit)

    def _by_columns(self, wanted: Wanted, before: int | None, limit: int) -> list[Event]:
        """Time, source and provider have no index in the table; the columns find the seqs sooner."""
        found = self._lake.page(before=before, since=wanted.since, until=wanted.until, limit=limit, **wanted.columns())
        return [self._log.get(seq) for seq in reversed(found["seq"].to_list())]

    def _scanned(self, wanted: Wanted, before: int | None, limit: int) -> list[Event]:
        found: list[Event] = []
        for _ in range(MAX_HITS // _SCAN):
            page = self._log.list(**wanted.listing(), before=before, limit=_SCAN)
            found += [event for event in page if wanted.takes(event)]
            if len(found) >= limit or len(page) < _SCAN:
                break
            before = page[-1].seq
        return found[:limit]

    # Counting ------------------------------------------------------------------------------------------------

    def counts(self, wanted: Wanted, *, by: str = "family") -> Counts:
        """Return `histogram`, `facets` and `query` together, for pages that are opened often and by many.

        In a long log counting takes seconds and changes little, so the same filter is counted anew only after twenty
        times as long as the counting took; in a short one that is at once.

        Raises:
            TimmyError: a filter is wrong, or the counting took too long.
        """
        with self._counting:
            began_s = self._clock.monotonic()
            good_until_s, known = self._counts.get((wanted, by), (0.0, None))
            if known is None or began_s > good_until_s:
                known = Counts(self.histogram(wanted, by=by), self.facets(wanted), self.query(wanted, by=by))
                ended_s = self._clock.monotonic()
                self._counts[wanted, by] = ended_s + KEEP_TIMES * (ended_s - began_s), known
            self._counts.move_to_end((wanted, by))
            if len(self._counts) > KEPT:
                self._counts.popitem(last=False)
            return known

    def histogram(self, wanted: Wanted, *, by: str = "family", buckets: int = BUCKETS) -> pl.DataFrame:
        """Return how many events there were over time: `start`, `end`, `key` and `events`, in equal steps.

        The steps are round and few. Of a text search, the newest 10,000 hits are counted.

        Raises:
            TimmyError: a filter is wrong, or the counting took too long.
        """
        import polars as pl

        if wanted.text is not None:
            return self._of_hits(wanted, by, buckets)
        start, width, steps = self._steps(wanted, buckets)
        since, until = from_us(start), from_us(start + width * steps)
        counted = self._lake.histogram(
            since, min(until, wanted.until or until), buckets=steps, by=by, **wanted.columns()
        )
        return counted.select(
            pl.col("bucket").cast(pl.Datetime("us", "UTC")).alias("start"),
            (pl.col("bucket") + pl.duration(microseconds=width)).cast(pl.Datetime("us", "UTC")).alias("end"),
            pl.col("key").cast(pl.String),
            pl.col("count").cast(pl.Int64).alias("events"),
        )

    def _steps(self, wanted: Wanted, buckets: int) -> tuple[int, int, int]:
        """Return where the steps begin, how long each is, and how many there are; times in microseconds."""
        since, until = wanted.since, wanted.until
        first, last = self._bounds(wanted) if since is None or until is None else (None, None)
        start = to_us(since) if since is not None else (first or 0)
        end = max(start + 1, to_us(until) if until is not None else (last or start) + 1)
        width = step_us(end - start, buckets)
        if since is None:
            start -= start % width
        if until is not None:
            # The counting cuts the stretch into equal parts by itself, so ours have to be the same.
            steps = max(1, (end - start) // width)
            return start, -(-(end - start) // steps), steps
        return start, width, -(-(end - start) // width)

    def _bounds(self, wanted: Wanted) -> tuple[int | None, int | None]:
        query = f"SELECT min(ts_us) AS first, max(ts_us) AS last FROM events{_where(wanted)}"  # noqa: S608 - see _where
        row: tuple[int | None, int | None] = self._lake.answer(query, limit=1).frame.row(0)
        return row

    def _of_hits(self, wanted: Wanted, by: str, buckets: int) -> pl.DataFrame:
        import polars as pl

        hits = self._hits(wanted)
        rows = [(event.ts, event.family if by == "family" else event.type) for event in hits]
        frame = pl.DataFrame(rows, schema={"ts": pl.Datetime("us", "UTC"), "key": pl.String}, orient="row")
        span = (max(ts for ts, _ in rows) - min(ts for ts, _ in rows)) // timedelta(microseconds=1) if rows else 0
        width = f"{step_us(span + 1, buckets)}us"
        counted = frame.group_by(pl.col("ts").dt.truncate(width).alias("start"), "key").agg(pl.len().alias("events"))
        return counted.select(
            "start", (pl.col("start").dt.offset_by(width)).alias("end"), "key", pl.col("events").cast(pl.Int64)
        ).sort("start", "key")

    def facets(self, wanted: Wanted, *, limit: int = 20) -> dict[str, list[tuple[str, int]]]:
        """Return the most frequent values of every facet with their counts; a facet ignores its own filter.

        Raises:
            TimmyError: a filter is wrong, or the counting took too long.
        """
        if wanted.text is not None:
            return self._facets_of_hits(wanted, limit)
        found: dict[str, list[tuple[str, int]]] = {}
        for name, column in FACETS.items():
            others = {key: value for key, value in wanted.columns().items() if key != column}
            counted = self._lake.facets(column, wanted.since, wanted.until, limit=limit, **others)
            found[name] = [(str(value), int(count)) for value, count in counted.rows()]
        return found

    def _facets_of_hits(self, wanted: Wanted, limit: int) -> dict[str, list[tuple[str, int]]]:
        hits = self._hits(wanted)
        values: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
        for event in hits:
            for name, column in FACETS.items():
                value = provider_of(event) if column == "provider" else getattr(event, column)
                if value:
                    values[name][value] += 1
        return {name: counted.most_common(limit) for name, counted in values.items()}

    def _hits(self, wanted: Wanted) -> list[Event]:
        return [event for event in self._log.list(**wanted.listing(), limit=MAX_HITS) if wanted.takes(event)]

    # Taking it further ---------------------------------------------------------------------------------------

    def query(self, wanted: Wanted, *, by: str = "family", buckets: int = BUCKETS) -> str:
        """Return the SQL that counts what `histogram` counts, for `Timmy.sql`; empty for a search by words.

        Raises:
            TimmyError: a filter is wrong, or the counting took too long.
        """
        if wanted.text is not None:
            return ""
        start, width, steps = self._steps(wanted, buckets)
        bounds = replace(wanted, since=from_us(start), until=wanted.until or from_us(start + width * steps))
        return (
            f"SELECT make_timestamptz({start} + (ts_us - {start}) // {width} * {width}) AS start,\n"
            f"       {by} AS key,\n"
            "       count(*) AS events\n"
            f"FROM events{_where(bounds)}\n"
            "GROUP BY ALL\n"
            "ORDER BY ALL"
        )

    def frame(self, wanted: Wanted, *, limit: int = 10_000) -> pl.DataFrame:
        """Return the newest events that match as a frame, oldest first.

        Raises:
            TimmyError: a filter is wrong.
        """
        import polars as pl

        if wanted.text is None:
            return self._lake.frame("events", since=wanted.since, until=wanted.until, limit=limit, **wanted.columns())
        rows = [
            (e.seq, e.ts, e.type, e.family, e.source, e.task_id, e.agent_id, e.trace_id, json.dumps(e.data), e.id)
            for e in reversed(self.newest(wanted, limit=limit))
        ]
        names = ("seq", "ts", "type", "family", "source", "task_id", "agent_id", "trace_id", "data", "id")
        kinds: dict[str, Any] = {"seq": pl.Int64, "ts": pl.Datetime("us", "UTC")}
        return pl.DataFrame(rows, schema={name: kinds.get(name, pl.String) for name in names}, orient="row")

    def export(self, wanted: Wanted, format_: str, out: IO[bytes], *, limit: int | None = None) -> int:
        """Write what matches into a binary file, oldest first, and return how many events that were.

        Args:
            wanted: the filter.
            format_: jsonl, csv or parquet.
            out: where to.
            limit: only so many, the newest.

        Raises:
            EventError: the format is not known, or a filter is wrong.
        """
        return write_events(matching(self._log, wanted, limit=limit), format_, out)


def step_us(span_us: int, buckets: int) -> int:
    """Return the shortest round step, in microseconds, that cuts a span into at most `buckets` pieces, or so."""
    wanted = span_us / buckets / 1_000_000
    seconds = next((step for step in _STEPS_S if step >= wanted), _STEPS_S[-1])
    return int(seconds * 1_000_000)


def _where(wanted: Wanted) -> str:
    """Return the filter as it stands in SQL; values are quoted, names are ours."""
    conditions = [f"{column} = {literal(value)}" for column, value in wanted.columns().items()]
    for sign, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            conditions.append(f"ts_us {sign} {to_us(moment)}  /* {iso(moment)} */")
    return "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
