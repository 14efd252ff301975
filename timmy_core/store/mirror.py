"""Mirrors: a room's table inside the lake, with the columns of its frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import StoreError
from timmy_core.store.frames import FrameSpec, to_polars
from timmy_core.store.hot import KINDS
from timmy_core.store.readers import Readable

if TYPE_CHECKING:
    import duckdb

BATCH: Final = 20_000
MAX_WHOLE: Final = 100_000  # rows of a table that is read whole each time


class Mirror:
    """Keeps one table up to date; every method is called by one thread at a time."""

    def __init__(self, store: Readable, spec: FrameSpec) -> None:
        self.spec = spec
        self._store = store
        self._last_key = -1
        self._erased: list[tuple[str | int, ...]] = []
        self._rows: Sequence[tuple[Any, ...]] | None = None

    def create(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create the empty table."""
        columns = ", ".join(f"{name} {KINDS[kind]}" for name, (_, kind) in self.spec.columns.items())
        connection.execute(f"CREATE TABLE {self.spec.name} ({columns})")

    def step(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Take over what is new; False once nothing is left to take."""
        return self._grow(connection) if self.spec.grows else self._replace(connection)

    def _grow(self, connection: duckdb.DuckDBPyConnection) -> bool:
        spec = self.spec
        query = (
            f"SELECT {spec.key}, {spec.expressions} FROM {spec.source} "  # noqa: S608 - the room's own declaration
            f"WHERE {spec.key} > ? ORDER BY {spec.key} LIMIT ?"
        )
        with self._store.read() as reader:
            erased = reader.execute("SELECT state, count(*) FROM redactions GROUP BY state ORDER BY state").fetchall()
            if spec.rewritten:
                erased += reader.execute(spec.rewritten).fetchall()
            if erased != self._erased:
                # A redaction may have taken words out of rows that were copied already, so all are copied anew.
                self._last_key = -1
            rows = reader.execute(query, (self._last_key, BATCH)).fetchall()
        if erased != self._erased:
            connection.execute(f"DELETE FROM {spec.name}")  # noqa: S608
            self._erased = erased
        if rows:
            connection.register("fresh", to_polars(spec, [row[1:] for row in rows]))
            connection.execute(f"INSERT INTO {spec.name} SELECT * FROM fresh")  # noqa: S608
            self._last_key = rows[-1][0]
        return len(rows) == BATCH

    def _replace(self, connection: duckdb.DuckDBPyConnection) -> bool:
        spec = self.spec
        query = f"SELECT {spec.expressions} FROM {spec.source} ORDER BY {spec.key} LIMIT ?"  # noqa: S608
        with self._store.read() as reader:
            rows = reader.execute(query, (MAX_WHOLE + 1,)).fetchall()
        if len(rows) > MAX_WHOLE:
            message = f"the table {spec.name!r} has more than {MAX_WHOLE:,} rows and cannot be asked in SQL"
            raise StoreError(message)
        if rows != self._rows:
            connection.register("fresh", to_polars(spec, rows))
            connection.execute(f"CREATE OR REPLACE TABLE {spec.name} AS SELECT * FROM fresh")  # noqa: S608
            self._rows = rows
        return False
