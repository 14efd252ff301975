"""The log inside the lake: a table of the events that are not archived yet, and the Parquet files of those that are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import StoreError
from timmy_core.store.duck import literal
from timmy_core.store.readers import Readable

if TYPE_CHECKING:
    import duckdb

BATCH: Final = 20_000  # events in one short read

KINDS: Final = {"text": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "time": "TIMESTAMPTZ"}
_KEPT: Final = ("seq", "id", "event_type", "source", "task_id", "agent_id", "trace_id", "data", "ts", "v")
_WHOLE: Final = {"seq": "BIGINT", "ts": "BIGINT", "v": "INTEGER"}
_BATCH_NAME: Final = "fresh"

# What a query sees: name -> expression over a stored row. `ts_us` is the stored number; a range of it lets whole
# parts of the archive be skipped, which a range of `ts` does not.
_SHOWN: Final = {
    "seq": "seq",
    "ts": "make_timestamptz(ts)",
    "ts_us": "ts",
    "event_type": "event_type",
    "type": "event_type",
    "family": "split_part(event_type, '.', 1)",
    "source": "source",
    "task_id": "task_id",
    "agent_id": "agent_id",
    "trace_id": "trace_id",
    "data": "data",
    "id": "id",
    "v": "v",
}

_READ_SEGMENTS: Final = "SELECT first_seq, last_seq, file, first_ts, last_ts FROM segments ORDER BY first_seq"
_READ_ERASED: Final = "SELECT seq FROM redactions WHERE seq > ?"
_READ_ERASING: Final = "SELECT seq FROM redactions WHERE state = 'pending' AND seq <= ?"
_READ_EVENTS: Final = f"SELECT {', '.join(_KEPT)} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608


# How a value is taken from data, given as JSON text, where it is of the right kind; anything else is null.
_TAKEN: Final = {
    "text": """CASE WHEN starts_with({0}, '"') THEN {0}->>'$' END""",
    "int": r"CASE WHEN regexp_full_match({0}, '-?\d+') THEN TRY_CAST({0} AS BIGINT) END",
    "float": r"CASE WHEN regexp_matches({0}, '^-?\d') AND abs(TRY_CAST({0} AS DOUBLE)) < 9223372036854775808.0 "
    "THEN TRY_CAST({0} AS DOUBLE) END",
}


@dataclass(frozen=True, slots=True)
class Promotion:
    """The columns that are taken from an event's data: column -> its kind, and the names it may have there."""

    columns: Mapping[str, tuple[str, Sequence[str]]]

    @property
    def kinds(self) -> Mapping[str, str]:
        """Column -> its kind: text, int or float."""
        return {column: kind for column, (kind, _) in self.columns.items()}

    def held(self) -> str:
        """Return the expression that reads every name from the column `data`, which is parsed once."""
        names = dict.fromkeys(name for _, names in self.columns.values() for name in names)
        return f"json_transform(data, {literal(json.dumps(dict.fromkeys(names, 'JSON')))})"

    def expressions(self) -> str:
        """Return the columns, taken from what `held` read under the name `held`."""
        return ", ".join(
            f"coalesce({', '.join(_TAKEN[kind].format(_field(name)) for name in names)}, NULL) AS {column}"
            for column, (kind, names) in self.columns.items()
        )


def _field(name: str) -> str:
    return f'(held."{name}"::VARCHAR)'


@dataclass(frozen=True, slots=True)
class Part:
    """A run of archived events."""

    first_seq: int
    last_seq: int
    file: str
    first_ts: int
    last_ts: int

    def may_hold(self, since_us: int | None, until_us: int | None) -> bool:
        """Whether an event from this range of time may be here."""
        return (since_us is None or self.last_ts >= since_us) and (until_us is None or self.first_ts < until_us)

    def __str__(self) -> str:
        """Name it as messages do."""
        return f"{self.file} (events {self.first_seq:,} to {self.last_seq:,})"


@dataclass(frozen=True, slots=True)
class LogState:
    """What the lake's copy of the log consists of at one moment, and how to ask it."""

    folder: Path
    taken: tuple[str, ...]  # the columns that were taken from the data
    parts: tuple[Part, ...] = ()
    erasing: frozenset[int] = frozenset()  # archived events whose data is being removed from their files

    def missing(self, parts: Sequence[Part]) -> Part | None:
        """The first of these parts whose file is not there."""
        return next((part for part in parts if not (self.folder / part.file).is_file()), None)

    def require(self, parts: Sequence[Part]) -> None:
        """Check that the files are there.

        Raises:
            StoreError: one is missing.
        """
        lost = self.missing(parts)
        if lost is not None:
            message = f"the archive segment {lost} is missing; put it back from a backup, or see `timmy events verify`"
            raise StoreError(message)

    def source(self, parts: Sequence[Part], *, hot: bool = True) -> str:
        """Return what stands after FROM to read these parts, and the hot table, with all the columns shown."""
        selects = [f"SELECT {self._shown('{0}')} FROM inside.hot"] if hot else []  # noqa: S608 - our own names
        if parts:
            files = ", ".join(literal(str(self.folder / part.file)) for part in parts)
            erasing = any(part.first_seq <= seq <= part.last_seq for seq in self.erasing for part in parts)
            form = "CASE WHEN seq NOT IN (SELECT seq FROM inside.erasing) THEN {0} END" if erasing else "{0}"
            selects.append(f"SELECT {self._shown(form)} FROM read_parquet([{files}])")  # noqa: S608
        return f"({' UNION ALL '.join(selects)})"

    def _shown(self, form: str) -> str:
        shown = {**_SHOWN, **{name: form.format(name) for name in ("data", *self.taken)}}
        return ", ".join(f"{expression} AS {name}" for name, expression in shown.items())

    def within(self, since_us: int | None, until_us: int | None, seqs: Sequence[int] | None = None) -> tuple[Part, ...]:
        """The parts that may hold events from a range of time, or some of these seqs."""
        return tuple(
            part
            for part in self.parts
            if part.may_hold(since_us, until_us)
            and (seqs is None or any(part.first_seq <= seq <= part.last_seq for seq in seqs))
        )

    def newest_first(
        self, since_us: int | None, until_us: int | None, seqs: Sequence[int] | None
    ) -> Iterator[tuple[tuple[Part, ...], bool]]:
        """Yield what may hold such events, the newest first: the hot table, then ever larger groups of parts."""
        yield (), True
        wanted, size = self.within(since_us, until_us, seqs), 1
        while wanted:
            yield wanted[-size:], False
            wanted, size = wanted[:-size], 2 * size


@dataclass(frozen=True, slots=True)
class _Found:
    """What one short read of the store gave; all of it from the same moment."""

    parts: tuple[Part, ...]
    erased: frozenset[int]
    erasing: frozenset[int]
    rows: Sequence[tuple[Any, ...]]


class LogTables:
    """Keeps the lake's copy of the log; every method is called by one thread at a time."""

    def __init__(self, store: Readable, folder: Path, promotion: Promotion) -> None:
        self.state = LogState(folder, tuple(promotion.kinds))
        self._store = store
        self._promotion = promotion
        self._head = 0
        self._erased: frozenset[int] = frozenset()
        self._viewed: LogState | None = None

    def parts(self) -> tuple[Part, ...]:
        """The archived runs, as the store has them now."""
        with self._store.read() as connection:
            return tuple(Part(*row) for row in connection.execute(_READ_SEGMENTS))

    def create(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create the empty tables, and the view over them."""
        kinds = {name: _WHOLE.get(name, "VARCHAR") for name in _KEPT}
        kinds |= {name: KINDS[kind] for name, kind in self._promotion.kinds.items()}
        connection.execute(f"CREATE TABLE inside.hot ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})")
        connection.execute("CREATE TABLE inside.erasing (seq BIGINT)")
        self.create_view(connection)

    def create_view(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the view `events` what the log is now.

        Raises:
            StoreError: a file is missing, so that the whole log cannot be read.
        """
        self.state.require(self.state.parts)
        if self.state != self._viewed:
            source = self.state.source(self.state.parts)
            connection.execute(f"CREATE OR REPLACE VIEW events AS SELECT * FROM {source}")  # noqa: S608
            self._viewed = self.state

    def step(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Take over the next events, seals and redactions; False once nothing is left to take."""
        found = self._read()
        sealed = _sealed(found.parts)
        if (
            found.rows
            or sealed > _sealed(self.state.parts)
            or (found.erased, found.erasing)
            != (
                self._erased,
                self.state.erasing,
            )
        ):
            connection.execute("BEGIN")
            try:
                self._take(connection, found)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        self.state = replace(self.state, parts=found.parts, erasing=found.erasing)
        self._erased = found.erased
        self._head = found.rows[-1][0] if found.rows else max(self._head, sealed)
        return len(found.rows) == BATCH

    def _read(self) -> _Found:
        with self._store.read() as connection:
            connection.execute("BEGIN")
            parts = tuple(Part(*row) for row in connection.execute(_READ_SEGMENTS))
            sealed = _sealed(parts)
            found = _Found(
                parts,
                frozenset(seq for (seq,) in connection.execute(_READ_ERASED, (sealed,))),
                frozenset(seq for (seq,) in connection.execute(_READ_ERASING, (sealed,))),
                connection.execute(_READ_EVENTS, (max(self._head, sealed), BATCH)).fetchall(),
            )
            connection.execute("COMMIT")
        return found

    def _take(self, connection: duckdb.DuckDBPyConnection, found: _Found) -> None:
        sealed = _sealed(found.parts)
        if sealed > _sealed(self.state.parts):
            # Made anew rather than deleted from, because that gives the memory back.
            kept = f"SELECT * FROM inside.hot WHERE seq > {sealed}"  # noqa: S608
            connection.execute(f"CREATE OR REPLACE TABLE inside.hot AS {kept}")
        if found.rows:
            connection.register(_BATCH_NAME, _table(found.rows))
            held = f"SELECT *, {self._promotion.held()} AS held FROM fresh"  # noqa: S608
            taken = f"SELECT {', '.join(_KEPT)}, {self._promotion.expressions()} FROM ({held})"  # noqa: S608
            connection.execute(f"INSERT INTO inside.hot {taken}")
        fresh = found.erased - self._erased
        if fresh:
            nothing = ", ".join(f"{name} = NULL" for name in ("data", *self._promotion.kinds))
            connection.register(_BATCH_NAME, _seqs(fresh))
            connection.execute(f"UPDATE inside.hot SET {nothing} WHERE seq IN (SELECT seq FROM fresh)")  # noqa: S608
        if found.erasing != self.state.erasing:
            connection.register(_BATCH_NAME, _seqs(found.erasing))
            connection.execute("CREATE OR REPLACE TABLE inside.erasing AS SELECT seq FROM fresh")


def _table(rows: Sequence[tuple[Any, ...]]) -> Any:
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(values, pa.int64() if name in _WHOLE else pa.string())
            for name, values in zip(_KEPT, zip(*rows, strict=True), strict=True)
        }
    )


def _sealed(parts: Sequence[Part]) -> int:
    return parts[-1].last_seq if parts else 0


def _seqs(seqs: frozenset[int]) -> Any:
    import pyarrow as pa

    return pa.table({"seq": pa.array(sorted(seqs), pa.int64())})
