"""DuckDB in memory, locked down: it can read one folder and nothing else, and every question has its end."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import QueryError, StoreClosedError

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_log = logging.getLogger(__name__)

MEMORY: Final = "1GiB"
MAX_THREADS: Final = 4
MAX_RESULT_BYTES: Final = 256 << 20
MAX_TIMEOUT_S: Final = 600.0
AT_ONCE: Final = 8  # questions at the same time; more wait for their turn
TOO_LARGE: Final = f"the query needs more than the {MEMORY} of memory that it may have; narrow it or aggregate earlier"
RESULT_TOO_LARGE: Final = f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB; take fewer rows or columns"
_BATCH: Final = 10_000
_STOP_S: Final = 30.0
_LOOK_S: Final = 0.05
_CLOSED: Final = "the store is closed; open it again"
_DECIMAL_OF_HUGE: Final = 38  # the digits that a sum of whole numbers is declared with


@dataclass(frozen=True, slots=True)
class Result:
    """What a query gave: at most as many rows as were asked for, and whether there were more."""

    frame: pl.DataFrame
    truncated: bool
    seconds: float


class Duck:
    """One DuckDB of this process; `cursor` hands out a connection for one thread."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            "python_enable_replacements": "false",  # or a query could name the caller's variables
            "python_scan_all_frames": "false",
            "allow_persistent_secrets": "false",
            "allow_community_extensions": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._root = duckdb.connect(":memory:", config=config)
        self._engine_error = duckdb.Error
        self._free = threading.Condition()
        self._open: list[duckdb.DuckDBPyConnection] = []
        self._closed = False
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        for setting in (
            "SET GLOBAL TimeZone = 'UTC'",
            f"SET memory_limit = '{MEMORY}'",
            f"SET threads = {min(MAX_THREADS, os.cpu_count() or 1)}",
            "SET temp_directory = ''",
            "SET parquet_metadata_cache = true",
            f"SET allowed_directories = [{literal(f'{folder}/')}]",
            "SET enable_external_access = false",
            "CREATE SCHEMA inside",
            "SET lock_configuration = true",
        ):
            self._root.execute(setting)

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection of its own; whatever it has open ends with it.

        Raises:
            StoreClosedError: it was closed.
        """
        with self._free:
            if self._closed:
                raise StoreClosedError(_CLOSED)
            cursor = self._root.cursor()
            self._open.append(cursor)
        try:
            yield cursor
        except (QueryError, OSError, self._engine_error) as error:
            if self._closed:
                raise StoreClosedError(_CLOSED) from error
            raise
        finally:
            with self._free:
                cursor.close()
                self._open.remove(cursor)
                self._free.notify_all()

    @contextlib.contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Wait for one's turn, so that many questions cannot take all memory.

        Raises:
            QueryError: the timeout is out of range, or it ran out first.
        """
        check_timeout(timeout_s)
        if not self._turns.acquire(timeout=timeout_s):
            message = f"{AT_ONCE} queries are running already and none ended within {timeout_s:g} s; try again"
            raise QueryError(message)
        try:
            yield
        finally:
            self._turns.release()

    def close(self) -> None:
        """Stop what runs still and give everything back; the engine must not end under a running query."""
        with self._free:
            self._closed = True
            for _ in range(int(_STOP_S / _LOOK_S)):
                # Between two steps of its work there is nothing to interrupt, so it is tried again.
                for cursor in self._open:
                    cursor.interrupt()
                if self._free.wait_for(lambda: not self._open, _LOOK_S):
                    break
            else:
                _log.error("%d queries did not end within %g s and keep their memory", len(self._open), _STOP_S)
                return
            self._root.close()


def check_timeout(timeout_s: float) -> None:
    """Check how long a question may take.

    Raises:
        QueryError: it is out of range.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        message = f"timeout_s {timeout_s} is out of range; expected more than 0, at most {MAX_TIMEOUT_S:g} seconds"
        raise QueryError(message)


def too_long(timeout_s: float) -> str:
    """Say that a query was stopped for the time it took."""
    return (
        f"the query took longer than {timeout_s:g} s and was stopped; "
        "narrow it, for instance with a range of ts, or give it more with timeout_s"
    )


@contextlib.contextmanager
def translated(timeout_s: float = 0.0) -> Iterator[None]:
    """Say DuckDB's errors in the house's words.

    Raises:
        QueryError: what was inside failed.
    """
    import duckdb

    try:
        yield
    except duckdb.InterruptException as error:
        raise QueryError(too_long(timeout_s)) from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise QueryError(TOO_LARGE) from error
    except OSError as error:
        # What ends while rows are handed over comes through Arrow, which knows one class for all.
        if "INTERRUPT Error" in str(error):
            raise QueryError(too_long(timeout_s)) from error
        raise QueryError(TOO_LARGE if "Out of Memory" in str(error) else f"the query failed: {error}") from error
    except duckdb.Error as error:
        said = str(error).partition("\n\nLINE ")[0].partition("Error: ")
        message = f"the query was refused: {(said[2] or said[0]).strip()}"
        raise QueryError(message) from error


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, *, limit: int, timeout_s: float, given_s: float | None = None
) -> Result:
    """Run one question and return at most `limit` rows; the query is checked already, or our own.

    `timeout_s` is what is left of the `given_s` that messages name.

    Raises:
        QueryError: it is wrong, too slow or too large.
    """
    import pyarrow as pa

    began_s = time.monotonic()
    watch = threading.Timer(timeout_s, connection.interrupt)
    watch.daemon = True
    watch.start()
    try:
        with translated(timeout_s if given_s is None else given_s):
            # One row more than asked for tells whether there are more.
            reader = connection.sql(query).limit(limit + 1).to_arrow_reader(_BATCH)
            batches: list[Any] = []
            size = 0
            for batch in reader:
                batches.append(batch)
                size += batch.nbytes
                if size > MAX_RESULT_BYTES:
                    raise QueryError(RESULT_TOO_LARGE)
            table = pa.Table.from_batches(batches, reader.schema)
    finally:
        watch.cancel()
        # Past this point no interrupt can come any more, so none can hit whoever asks next.
        watch.join()
    frame = _to_polars(table.slice(0, limit))
    return Result(frame, table.num_rows > limit, time.monotonic() - began_s)


def _to_polars(table: Any) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_interval(field.type):
            table = table.set_column(index, field.name, _durations(field.name, table.column(index)))
        elif pa.types.is_decimal(field.type) and (field.type.precision, field.type.scale) == (_DECIMAL_OF_HUGE, 0):
            # Sums of whole numbers come as numbers of 128 bits; they nearly always fit, and charts want plain ones.
            with contextlib.suppress(pa.ArrowInvalid):
                table = table.set_column(index, field.name, table.column(index).cast(pa.int64()))
    try:
        frame = pl.from_arrow(table)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, TypeError, ValueError) as error:
        message = f"a column of the result is of a kind that frames cannot hold ({error}); cast it to VARCHAR"
        raise QueryError(message) from error
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _durations(name: str, column: Any) -> Any:
    import pyarrow as pa

    values = column.to_pylist()
    if any(value is not None and value.months for value in values):
        message = f"the column {name!r} holds months, which have no fixed length; cast it to VARCHAR"
        raise QueryError(message)
    us = [None if value is None else value.days * 86_400_000_000 + value.nanoseconds // 1000 for value in values]
    return pa.array(us, pa.duration("us"))


def literal(value: str | float) -> str:
    """Return a value as it stands in SQL.

    Raises:
        QueryError: it is a text that SQL cannot carry.
    """
    if isinstance(value, str):
        if "\0" in value:
            message = "a value to look for holds a zero byte, which no text here has"
            raise QueryError(message)
        return "'" + value.replace("'", "''") + "'"
    return repr(value) if isinstance(value, float) else str(int(value))
