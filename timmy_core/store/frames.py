"""Frames: what pages and explorers read, as polars frames of bounded length; each room declares its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from timmy_core.clock import to_us
from timmy_core.errors import QueryError
from timmy_core.store.readers import Readable

if TYPE_CHECKING:
    import polars as pl

MAX_ROWS: Final = 100_000

Filter = str | int | bool | Sequence[str] | Sequence[int]


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """A named view of the store: where its rows come from, and the columns with their kinds.

    Args:
        name: what `Timmy.frame` calls it, and the table's name in `Timmy.sql`.
        source: a table, or a join, that stands after FROM.
        columns: name -> (SQL expression, kind); kind is text, int, float, bool or time (µs since 1970, UTC).
        time: the expression that `since` and `until` compare with.
        key: the expression that orders rows, newest last.
        grows: whether rows are only ever added, each with a larger `key`, which then is a whole number; questions
            in SQL read only what is new of such a table, and the whole of any other.
        rewritten: a question whose answer changes when rows of a table that grows were changed or deleted after all;
            such a table is then read anew.
    """

    name: str
    source: str
    columns: Mapping[str, tuple[str, str]]
    time: str
    key: str
    grows: bool = False
    rewritten: str = ""

    @property
    def expressions(self) -> str:
        """The columns as they stand after SELECT."""
        return ", ".join(expression for expression, _ in self.columns.values())

    def require(self, columns: Sequence[str] | Mapping[str, Any], also: Sequence[str] = ()) -> None:
        """Check that the columns exist, here or among `also`.

        Raises:
            QueryError: one does not.
        """
        known = (*self.columns, *(name for name in also if name not in self.columns))
        for column in columns:
            if column not in known:
                message = f"frame {self.name!r} has no column {column!r}; expected one of {', '.join(known)}"
                raise QueryError(message)


def check_limit(limit: int) -> None:
    """Check a number of rows.

    Raises:
        QueryError: it is out of range.
    """
    if not 1 <= limit <= MAX_ROWS:
        message = f"limit {limit} is out of range; expected 1 to {MAX_ROWS:,}"
        raise QueryError(message)


def read_frame(
    store: Readable,
    spec: FrameSpec,
    *,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    filters: Mapping[str, Filter],
) -> pl.DataFrame:
    """Return the newest matching rows straight from the store, oldest first."""
    where, values = _where(spec, since, until, filters)
    # Nothing of the caller's enters the text: names come from the spec, values are bound.
    query = f"SELECT {spec.expressions} FROM {spec.source} {where} ORDER BY {spec.key} DESC LIMIT {limit:d}"  # noqa: S608
    with store.read() as connection:
        rows = connection.execute(query, values).fetchall()
    rows.reverse()
    return to_polars(spec, rows)


def _where(
    spec: FrameSpec, since: datetime | None, until: datetime | None, filters: Mapping[str, Filter]
) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for comparison, moment in ((">=", since), ("<", until)):
        if moment is not None:
            clauses.append(f"{spec.time} {comparison} ?")
            values.append(microseconds(moment))
    for column, wanted in filters.items():
        several = listed(wanted)
        clauses.append(f"{spec.columns[column][0]} IN ({', '.join('?' * len(several))})")
        values += several
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), values


def listed(wanted: Filter) -> list[Any]:
    """Return a filter's value, or values, as a list."""
    return [wanted] if isinstance(wanted, (str, int)) else list(wanted)


def microseconds(moment: datetime) -> int:
    """Return an aware moment as the store keeps it.

    Raises:
        QueryError: it has no time zone.
    """
    try:
        return to_us(moment)
    except ValueError as error:
        raise QueryError(str(error)) from None


def to_polars(spec: FrameSpec, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Return rows as a frame with the spec's columns and their kinds."""
    import polars as pl

    kinds: dict[str, Any] = {
        "text": pl.String,
        "int": pl.Int64,
        "float": pl.Float64,
        "bool": pl.Int64,
        "time": pl.Int64,
    }
    schema = {column: kinds[kind] for column, (_, kind) in spec.columns.items()}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    times = [column for column, (_, kind) in spec.columns.items() if kind == "time"]
    flags = [column for column, (_, kind) in spec.columns.items() if kind == "bool"]
    return frame.with_columns(
        *(pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for column in times),
        *(pl.col(column).cast(pl.Boolean) for column in flags),
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a frame are wanted, in plain values, so that it can be handed to another process."""

    name: str
    since_us: int | None
    until_us: int | None
    limit: int
    conditions: Sequence[str]  # in SQL, and our own
    where: str | None  # one more condition, by whoever asks
    seqs: Sequence[int] | None  # those of the log that a filter names


def condition_times(column: str, since_us: int | None, until_us: int | None) -> list[str]:
    """Return a range of time as conditions in SQL over a column of whole numbers."""
    bounds = ((">=", since_us), ("<", until_us))
    return [f"{column} {sign} {moment:d}" for sign, moment in bounds if moment is not None]


def time_column(spec: FrameSpec) -> str:
    """Return the column of a frame that `since` and `until` compare with."""
    return next(name for name, (expression, kind) in spec.columns.items() if (expression, kind) == (spec.time, "time"))
