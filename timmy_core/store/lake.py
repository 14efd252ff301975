"""The lake: every table of the home as frames and in SQL, the log's archive included; read-only and bounded."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from timmy_core.errors import QueryError, StoreClosedError, StoreError
from timmy_core.store.charts import Charts
from timmy_core.store.duck import Duck, Result, ask, check_timeout, literal, translated
from timmy_core.store.frames import (
    MAX_ROWS,
    Filter,
    FrameSpec,
    Selection,
    check_limit,
    condition_times,
    listed,
    microseconds,
    read_frame,
    time_column,
)  # fmt: skip
from timmy_core.store.guard import Guard, check_text
from timmy_core.store.hot import LogState, LogTables, Part, Promotion
from timmy_core.store.mirror import Mirror
from timmy_core.store.readers import Readable
from timmy_core.store.wire import Origin
from timmy_core.store.workers import IDLE_S, Workers

if TYPE_CHECKING:
    import duckdb
    import polars as pl

__all__ = ["MAX_ROWS", "FrameSpec", "Lake", "Promotion", "Result"]

T = TypeVar("T")

LOG: Final = "events"  # the frame whose older rows may be in the archive only
TIMEOUT_S: Final = 10.0
QUICK_EVENTS: Final = 50_000  # so many events are looked through in the store within milliseconds
MEND_EVERY_S: Final = 60.0
_INDEXED: Final = frozenset({"task_id", "agent_id", "trace_id", "type", "seq", "id"})


class Lake:
    """Answers for every frame that a room declared; safe to use from any thread.

    The store itself answers what it can in milliseconds. For the rest DuckDB holds a copy in memory, which is made
    with the first such question and brought up to date with each. What holds a user's own SQL is answered by another
    process, because one value that grows without end knows neither DuckDB's bounds nor its interrupt.

    Args:
        store: where the tables are.
        specs: the frames; the one named `events` is the log.
        folder: where the log's archive is.
        promotion: what is taken from the data of events.
        mend: called when a segment cannot be read: makes it anew where it can, and says in words what it cannot.
        apart: whether other processes answer users' SQL; False inside such a process.
        idle_s: how long such a process waits for the next question before it ends.
    """

    def __init__(
        self,
        store: Readable,
        specs: Sequence[FrameSpec],
        *,
        folder: Path,
        promotion: Promotion,
        mend: Callable[[], Iterable[str]] | None = None,
        apart: bool = True,
        idle_s: float = IDLE_S,
    ) -> None:
        self._store = store
        self._specs = {spec.name: spec for spec in specs}
        self._folder = folder.absolute()
        self._promotion = promotion
        self._mend = mend
        self._mended_at_s = float("-inf")
        self._log = LogTables(store, self._folder, promotion)
        self._mirrors = {spec.name: Mirror(store, spec) for spec in specs if spec.name != LOG}
        self._syncing = threading.Lock()
        self._closed = threading.Event()
        self._opened: tuple[Duck, Guard] | None = None
        origin = Origin(store.path.absolute(), self._folder, tuple(specs), promotion)
        self._workers = Workers(origin, idle_s=idle_s) if apart else None
        charts = Charts(self._asking, promotion.kinds)
        self.histogram, self.facets, self.percentiles = charts.histogram, charts.facets, charts.percentiles

    # SQL -----------------------------------------------------------------------------------------------------

    def query(self, query: str, *, limit: int = 10_000, timeout_s: float = TIMEOUT_S) -> Result:
        """Answer anybody's question in DuckDB's SQL, and say whether there were more than `limit` rows.

        Raises:
            QueryError: it does more than read, is wrong, or takes too much time or memory.
            StoreError: an archived segment that it needs is missing or damaged.
        """
        workers = self._workers
        if workers is None:
            return self.answer(query, limit=limit, timeout_s=timeout_s)
        check_limit(limit)
        check_timeout(timeout_s)
        check_text(query)
        return self._mending(lambda: workers.query(query, limit=limit, timeout_s=timeout_s))

    def answer(self, query: str, *, limit: int = 10_000, timeout_s: float = TIMEOUT_S) -> Result:
        """Do as `query`, in this process; for questions of our own, whose text nobody else wrote."""
        check_limit(limit)

        def run() -> Result:
            with self._connected(timeout_s) as (connection, guard):
                deadline_s = time.monotonic() + timeout_s
                names = guard.tables(connection, query)
                self._begin(connection, names, timeout_s)
                rest_s = max(0.001, deadline_s - time.monotonic())
                return ask(connection, query, limit=limit, timeout_s=rest_s, given_s=timeout_s)

        return self._mending(run)

    # Frames --------------------------------------------------------------------------------------------------

    def frame(
        self,
        name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
        where: str | None = None,
        **filters: Filter,
    ) -> pl.DataFrame:
        """Return at most `limit` (up to 100,000) of the newest matching rows, oldest first.

        `since` is included, `until` is not; a filter names a column and the value, or the values, it has to have, and
        `where` is a condition in SQL over all the columns that the table has in `query`.

        Raises:
            QueryError: the frame or a column is not known, the limit is out of range, or the condition is wrong.
            StoreError: an archived segment is missing or damaged.
        """
        return self._frame(name, since, until, limit, filters, where=where)

    def page(
        self,
        *,
        before: int | None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
        **filters: Filter,
    ) -> pl.DataFrame:
        """Do as `frame` for the log, and only for events whose seq is smaller than `before`."""
        return self._frame(LOG, since, until, limit, filters, before=before)

    def _frame(
        self,
        name: str,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        filters: Mapping[str, Filter],
        *,
        where: str | None = None,
        before: int | None = None,
    ) -> pl.DataFrame:
        spec = self._specs.get(name)
        if spec is None:
            message = f"there is no frame {name!r}; expected one of {', '.join(sorted(self._specs))}"
            raise QueryError(message)
        check_limit(limit)
        spec.require(filters, also=tuple(self._promotion.kinds) if name == LOG else ())
        if where is None and before is None and (name != LOG or self._quick(since, until, filters)):
            frame = read_frame(self._store, spec, since=since, until=until, limit=limit, filters=filters)
            # The store has the newest events; only what it lacks sends us to the archive.
            if name != LOG or frame.height == limit or self._held()[1] == 0:
                return frame
        since_us, until_us = _us(since), _us(until)
        conditions = [
            *condition_times("ts_us" if name == LOG else f"epoch_us({time_column(spec)})", since_us, until_us),
            *([] if before is None else [f"seq < {before:d}"]),
            *_equals(filters),
        ]
        seqs = listed(filters["seq"]) if "seq" in filters else None
        selection = Selection(name, since_us, until_us, limit, conditions, where, seqs)
        workers = self._workers
        if where is None or workers is None:
            return self._mending(lambda: self.select(selection))
        check_text(where)
        return self._mending(lambda: workers.select(selection, TIMEOUT_S))

    def _quick(self, since: datetime | None, until: datetime | None, filters: Mapping[str, Filter]) -> bool:
        """Whether the store finds these events without looking through many others."""
        if set(filters) - set(self._specs[LOG].columns):
            return False
        head, base = self._held()
        if head - base <= QUICK_EVENTS:
            return True
        one = all(isinstance(value, (str, int)) for value in filters.values())
        return since is None and until is None and len(filters) <= 1 and _INDEXED.issuperset(filters) and one

    def _held(self) -> tuple[int, int]:
        """The newest event, and the last one that is in the archive only."""
        with self._store.read() as connection:
            row = connection.execute("SELECT (SELECT max(seq) FROM events), (SELECT seq FROM log_base)").fetchone()
        return row[0] or 0, row[1] or 0

    def select(self, wanted: Selection) -> pl.DataFrame:
        """Return rows of a frame from DuckDB, in this process."""
        spec = self._specs[wanted.name]
        with self._connected(TIMEOUT_S) as (connection, guard):
            deadline_s = time.monotonic() + TIMEOUT_S
            names = guard.condition(connection, wanted.where) if wanted.where is not None else set()
            state = self._begin(connection, {spec.name, *names}, TIMEOUT_S, view=LOG in names)
            conditions = [*wanted.conditions, *([] if wanted.where is None else [f"({wanted.where}\n)"])]
            clause = f"WHERE {' AND '.join(conditions)}" if conditions else ""
            columns = ", ".join(spec.columns)
            if spec.name != LOG:
                # Rows stand in the order of their keys, as they came.
                newest = f"SELECT *, rowid AS place FROM {spec.name} {clause} ORDER BY place DESC LIMIT {wanted.limit}"  # noqa: S608
                query = f"SELECT {columns} FROM ({newest}) ORDER BY place"  # noqa: S608
                rest_s = max(0.001, deadline_s - time.monotonic())
                return ask(connection, query, limit=wanted.limit, timeout_s=rest_s, given_s=TIMEOUT_S).frame
            groups = state.newest_first(wanted.since_us, wanted.until_us, wanted.seqs)
            return _newest(connection, state, groups, columns, clause, wanted.limit, deadline_s)

    # Keeping up ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start DuckDB in this process, which the first question does otherwise."""
        self._open()

    def warm(self) -> None:
        """Make the copy of the log now and look at every archived file, so that the first question finds both."""

        def run() -> None:
            with self._connected(TIMEOUT_S) as (connection, _):
                state = self._begin(connection, {LOG}, float("inf"), view=False)
                if state.parts and state.missing(state.parts) is None:
                    # The engine keeps what it learns of where things stand in the files.
                    query = f"SELECT count(*) FROM {state.source(state.parts, hot=False)}"  # noqa: S608
                    ask(connection, query, limit=1, timeout_s=TIMEOUT_S)

        self._mending(run)

    def close(self) -> None:
        """Give the memory back; closing twice is harmless."""
        self._closed.set()
        if self._workers is not None:
            self._workers.close()
        with self._syncing:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()

    @contextlib.contextmanager
    def _asking(self, timeout_s: float = TIMEOUT_S) -> Iterator[tuple[duckdb.DuckDBPyConnection, LogState]]:
        """Yield a connection on which the log is up to date, and what it consists of; for our own questions."""
        with self._connected(timeout_s) as (connection, _):
            yield connection, self._begin(connection, {LOG}, timeout_s, view=False)

    @contextlib.contextmanager
    def _connected(self, timeout_s: float) -> Iterator[tuple[duckdb.DuckDBPyConnection, Guard]]:
        duck, guard = self._open()
        with duck.turn(timeout_s), duck.cursor() as connection:
            yield connection, guard

    def _open(self) -> tuple[Duck, Guard]:
        with self._syncing:
            if self._closed.is_set():
                raise StoreClosedError(self._closed_message())
            if self._opened is None:
                duck = Duck(self._folder)
                with duck.cursor() as connection, translated():
                    guard = Guard(connection)
                    self._log.create(connection)
                    for mirror in self._mirrors.values():
                        mirror.create(connection)
                self._opened = duck, guard
            return self._opened

    def _begin(
        self, connection: duckdb.DuckDBPyConnection, names: Collection[str], timeout_s: float, *, view: bool = True
    ) -> LogState:
        """Bring these tables up to date and begin to read: what the connection sees stays as it is from here on."""
        deadline_s = time.monotonic() + timeout_s
        if not self._syncing.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX)):
            raise QueryError(_filling(timeout_s))
        try:
            with translated():
                self._sync(names, deadline_s, timeout_s, view=view)
                connection.execute("BEGIN TRANSACTION READ ONLY")
                # It sees what there is at its first read, so that has to come while nobody else changes it.
                connection.execute("SELECT 1 FROM inside.hot LIMIT 1").fetchall()
            return self._log.state
        finally:
            self._syncing.release()

    def _sync(self, names: Collection[str], deadline_s: float, timeout_s: float, *, view: bool) -> None:
        if self._opened is None:
            raise StoreClosedError(self._closed_message())
        steps = [self._mirrors[name].step for name in names if name in self._mirrors]
        if LOG in names:
            steps.append(self._log.step)
        with self._opened[0].cursor() as connection:
            for step in steps:
                while step(connection):
                    if self._closed.is_set():
                        raise StoreClosedError(self._closed_message())
                    if time.monotonic() > deadline_s:
                        raise QueryError(_filling(timeout_s))
            if LOG in names and view:
                self._log.create_view(connection)

    def _closed_message(self) -> str:
        return f"the store {self._store.path} is closed; open it again"

    def _mending(self, run: Callable[[], T]) -> T:
        """Run, and where a segment cannot be read, mend it and run once more."""
        try:
            return run()
        except StoreError as error:
            if self._mend is None or isinstance(error, StoreClosedError):
                raise
            part = next((part for part in self._log.parts() if part.file in str(error)), None)
            if part is None:
                raise
            now_s = time.monotonic()
            if now_s - self._mended_at_s < MEND_EVERY_S:
                raise
            self._mended_at_s = now_s
            lost = [message for message in self._mend() if part.file in message]
            if lost:
                raise StoreError(lost[0]) from error
        return run()


def _newest(
    connection: duckdb.DuckDBPyConnection,
    state: LogState,
    groups: Iterable[tuple[tuple[Part, ...], bool]],
    columns: str,
    clause: str,
    limit: int,
    deadline_s: float,
) -> pl.DataFrame:
    """The newest matching events: first where they begin, from the narrow columns alone, then the whole rows."""
    import polars as pl

    pieces: list[pl.DataFrame] = []
    left = limit
    for parts, hot in groups:
        state.require(parts)
        source = state.source(parts, hot=hot)
        narrow = f"SELECT seq FROM {source} {clause} ORDER BY seq DESC LIMIT {left}"  # noqa: S608
        rest_s = max(0.001, deadline_s - time.monotonic())
        least = f"SELECT min(seq), count(*) FROM ({narrow})"  # noqa: S608
        found = ask(connection, least, limit=1, timeout_s=rest_s, given_s=TIMEOUT_S)
        first, count = found.frame.row(0)
        if count or not pieces:
            bound = f"{clause} AND" if clause else "WHERE"
            query = f"SELECT {columns} FROM {source} {bound} seq >= {first or 0} ORDER BY seq"  # noqa: S608
            rest_s = max(0.001, deadline_s - time.monotonic())
            pieces.append(ask(connection, query, limit=left, timeout_s=rest_s, given_s=TIMEOUT_S).frame)
        left -= count
        if not left:
            break
    return pl.concat(reversed(pieces))


def _equals(filters: Mapping[str, Filter]) -> list[str]:
    return [
        f"{column} IN ({', '.join(map(literal, listed(wanted)))})" if listed(wanted) else "false"
        for column, wanted in filters.items()
    ]


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def _filling(timeout_s: float) -> str:
    return f"the copy of the tables in memory was not complete after {timeout_s:g} s; it goes on with the next query"
