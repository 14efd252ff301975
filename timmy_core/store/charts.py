"""Aggregates of the log for charts: counted inside the lake, so that a page gets a few hundred rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from timmy_core.errors import QueryError
from timmy_core.store.duck import ask, literal
from timmy_core.store.frames import Filter, listed, microseconds
from timmy_core.store.hot import LogState

if TYPE_CHECKING:
    import duckdb
    import polars as pl

MAX_BUCKETS: Final = 2000
MAX_FACETS: Final = 1000
TOP: Final = 12  # how many values a chart tells apart
OTHER: Final = "(other)"
TIMEOUT_S: Final = 10.0
_FEW: Final = frozenset({"family", "type", "source"})  # columns that have few values anyhow
_TEXTS: Final = ("family", "type", "source", "task_id", "agent_id", "trace_id")

Asking = Callable[[float], AbstractContextManager["tuple[duckdb.DuckDBPyConnection, LogState]"]]


class Charts:
    """Counts and percentiles over the log; the answer's size follows the chart and not the log."""

    def __init__(self, asking: Asking, promoted: Mapping[str, str]) -> None:
        self._asking = asking
        self._texts = (*_TEXTS, *(name for name, kind in promoted.items() if kind == "text"))
        self._numbers = tuple(name for name, kind in promoted.items() if kind != "text")
        self._columns = (*self._texts, *self._numbers, "id", "seq")

    def histogram(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        buckets: int = 120,
        by: str = "family",
        **filters: Filter,
    ) -> pl.DataFrame:
        """Count events in `buckets` equal steps of time and by a column: rows of (bucket, key, count).

        `bucket` is the beginning of the step; steps without events have no row. Of a column with many values the 12
        most frequent are told apart and the rest is `(other)`; events without a value are left out. Without `since` or
        `until` it begins with the first event, or ends with the last.

        Raises:
            QueryError: a column is not known, or the number of buckets is out of range.
            StoreError: an archived segment is missing or damaged.
        """
        self._check(by, self._texts)
        if not 1 <= buckets <= MAX_BUCKETS:
            message = f"{buckets} buckets are out of range; expected 1 to {MAX_BUCKETS:,}"
            raise QueryError(message)
        with self._asking(TIMEOUT_S) as (connection, state):
            start, end = _bounds(connection, state, since, until)
            width = max(1, -(-(end - start) // buckets))
            rows = self._rows(state, start, end, {**filters}, by)
            steps = (
                f"SELECT (ts_us - {start}) // {width} AS step, {_read(by)} AS key, count(*) AS n {rows} GROUP BY ALL"
            )
            query = (
                f"WITH steps AS MATERIALIZED ({steps}), "  # noqa: S608 - names are checked, values are quoted
                f"most AS (SELECT key FROM steps GROUP BY key ORDER BY sum(n) DESC, key LIMIT {TOP}), "
                f"told AS (SELECT step, {_told(by)} AS key, n FROM steps) "
                f"SELECT make_timestamptz({start} + step * {width}) AS bucket, key, sum(n)::BIGINT AS count "
                "FROM told GROUP BY ALL ORDER BY bucket, key"
            )
            return ask(connection, query, limit=1_000_000, timeout_s=TIMEOUT_S).frame

    def facets(
        self,
        column: str,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int = 20,
        **filters: Filter,
    ) -> pl.DataFrame:
        """Return the most frequent values of a column with their counts: rows of (value, count).

        Raises:
            QueryError: a column is not known, or the limit is out of range.
            StoreError: an archived segment is missing or damaged.
        """
        self._check(column, self._texts)
        if not 1 <= limit <= MAX_FACETS:
            message = f"limit {limit} is out of range; expected 1 to {MAX_FACETS:,}"
            raise QueryError(message)
        with self._asking(TIMEOUT_S) as (connection, state):
            rows = self._rows(state, _us(since), _us(until), filters, column)
            counted = f"SELECT {_read(column)} AS value, count(*) AS n {rows} GROUP BY 1"
            value = "split_part(value, '.', 1)" if column == "family" else "value"
            query = (
                f"SELECT {value} AS value, sum(n)::BIGINT AS count FROM ({counted}) "  # noqa: S608 - names are checked
                f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {limit}"
            )
            return ask(connection, query, limit=limit, timeout_s=TIMEOUT_S).frame

    def percentiles(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        column: str = "latency_ms",
        by: str = "provider",
        limit: int = 100,
        **filters: Filter,
    ) -> pl.DataFrame:
        """Return how a number is spread: rows of (key, count, p50, p95, p99, max), the most frequent key first.

        The percentiles are in the column's own unit, and are values that occurred.

        Raises:
            QueryError: a column is not known.
            StoreError: an archived segment is missing or damaged.
        """
        self._check(column, self._numbers)
        self._check(by, self._texts)
        with self._asking(TIMEOUT_S) as (connection, state):
            rows = self._rows(state, _us(since), _us(until), filters, by, f"{column} IS NOT NULL")
            spread = f"quantile_disc({column}, [0.5, 0.95, 0.99])"
            inner = f"SELECT {by} AS key, count(*) AS n, {spread} AS q, max({column}) AS most {rows} GROUP BY 1"
            query = (
                f"SELECT key, n AS count, q[1] AS p50, q[2] AS p95, q[3] AS p99, most AS max FROM ({inner}) "  # noqa: S608
                f"ORDER BY n DESC, key LIMIT {limit:d}"
            )
            return ask(connection, query, limit=limit, timeout_s=TIMEOUT_S).frame

    def _check(self, column: str, known: Sequence[str]) -> None:
        if column not in known:
            message = f"the column {column!r} cannot be used here; expected one of {', '.join(known)}"
            raise QueryError(message)

    def _rows(
        self,
        state: LogState,
        since_us: int | None,
        until_us: int | None,
        filters: Mapping[str, Filter],
        by: str,
        *more: str,
    ) -> str:
        """Return FROM … WHERE … over the parts that the range of time needs, all of which are there."""
        seqs = listed(filters["seq"]) if "seq" in filters else None
        parts = state.within(since_us, until_us, seqs)
        state.require(parts)
        conditions = [*([] if by in _FEW else [f"{by} IS NOT NULL"]), *more]
        conditions += [f"ts_us {sign} {us}" for sign, us in ((">=", since_us), ("<", until_us)) if us is not None]
        for column, wanted in filters.items():
            self._check(column, self._columns)
            values = listed(wanted)
            conditions.append(f"{column} IN ({', '.join(map(literal, values))})" if values else "false")
        return f"FROM {state.source(parts)} WHERE {' AND '.join(conditions) or 'true'}"


def _read(by: str) -> str:
    """The column that is grouped by while many rows are read."""
    # A family is cut off its type; once for each type and step is far less often than for each event.
    return "type" if by == "family" else by


def _told(by: str) -> str:
    """What becomes of a key once it is counted: its family, itself, or one of the others."""
    if by == "family":
        return "split_part(key, '.', 1)"
    return "key" if by in _FEW else f"CASE WHEN key IN (FROM most) THEN key ELSE {literal(OTHER)} END"


def _bounds(
    connection: duckdb.DuckDBPyConnection, state: LogState, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    start, end = _us(since), _us(until)
    if start is None or end is None:
        hot = ask(connection, "SELECT min(ts), max(ts) FROM inside.hot", limit=1, timeout_s=TIMEOUT_S).frame.row(0)
        firsts = [part.first_ts for part in state.parts] + ([] if hot[0] is None else [hot[0]])
        lasts = [part.last_ts for part in state.parts] + ([] if hot[1] is None else [hot[1]])
        start = min(firsts, default=0) if start is None else start
        end = max(lasts, default=0) + 1 if end is None else end
    return start, max(end, start + 1)


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)
