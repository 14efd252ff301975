"""Frames: what pages and explorers read, as polars frames of bounded length; each room declares its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from timmy_core.clock import to_us
from timmy_core.errors import StoreError
from timmy_core.store.engine import Store

if TYPE_CHECKING:
    import polars as pl

MAX_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """A named view of the store: where its rows come from, and the columns with their kinds.

    Args:
        name: what `Timmy.frame` calls it.
        source: a table, or a join, that stands after FROM.
        columns: name -> (SQL expression, kind); kind is text, int, float, bool or time (µs since 1970, UTC).
        time: the expression that `since` and `until` compare with.
        key: the expression that orders rows, newest last.
    """

    name: str
    source: str
    columns: Mapping[str, tuple[str, str]]
    time: str
    key: str


class Lake:
    """Reads frames from the store; a frame holds the newest rows that match, oldest first."""

    def __init__(self, store: Store, specs: Sequence[FrameSpec]) -> None:
        self._store = store
        self._specs = {spec.name: spec for spec in specs}

    def frame(
        self,
        name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
        **filters: str | int | bool | Sequence[str],
    ) -> pl.DataFrame:
        """Return at most `limit` (up to 100,000) of the newest matching rows, oldest first.

        `since` is included, `until` is not; a filter names a column and the value, or the values, it has to have.

        Raises:
            StoreError: the frame or a column is not known, or the limit is out of range.
        """
        spec = self._specs.get(name)
        if spec is None:
            message = f"there is no frame {name!r}; expected one of {', '.join(sorted(self._specs))}"
            raise StoreError(message)
        if not 1 <= limit <= MAX_ROWS:
            message = f"limit {limit} is out of range; expected 1 to {MAX_ROWS:,}"
            raise StoreError(message)
        where, values = _where(spec, since, until, filters)
        expressions = ", ".join(expression for expression, _ in spec.columns.values())
        # Nothing of the caller's enters the text: names come from the spec, values are bound.
        query = f"SELECT {expressions} FROM {spec.source} {where} ORDER BY {spec.key} DESC LIMIT {limit:d}"  # noqa: S608
        with self._store.read() as connection:
            rows = connection.execute(query, values).fetchall()
        return _to_polars(spec, rows)


def _where(
    spec: FrameSpec, since: datetime | None, until: datetime | None, filters: Mapping[str, Any]
) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for comparison, moment in ((">=", since), ("<", until)):
        if moment is not None:
            clauses.append(f"{spec.time} {comparison} ?")
            values.append(_us(moment))
    for column, wanted in filters.items():
        if column not in spec.columns:
            message = f"frame {spec.name!r} has no column {column!r}; expected one of {', '.join(spec.columns)}"
            raise StoreError(message)
        several = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
        clauses.append(f"{spec.columns[column][0]} IN ({', '.join('?' * len(several))})")
        values += several
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), values


def _us(moment: datetime) -> int:
    try:
        return to_us(moment)
    except ValueError as error:
        raise StoreError(str(error)) from None


def _to_polars(spec: FrameSpec, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    import polars as pl

    kinds: dict[str, Any] = {
        "text": pl.String,
        "int": pl.Int64,
        "float": pl.Float64,
        "bool": pl.Int64,
        "time": pl.Int64,
    }
    schema = {column: kinds[kind] for column, (_, kind) in spec.columns.items()}
    frame = pl.DataFrame(rows[::-1], schema=schema, orient="row")
    times = [column for column, (_, kind) in spec.columns.items() if kind == "time"]
    flags = [column for column, (_, kind) in spec.columns.items() if kind == "bool"]
    return frame.with_columns(
        *(pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for column in times),
        *(pl.col(column).cast(pl.Boolean) for column in flags),
    )
