"""Reading an SQLite file that is not ours, such as the log of an earlier system: read-only, and never a live store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import StoreError

_BATCH: Final = 1000
_MAGIC: Final = b"SQLite format 3\x00"


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as SQLite files do.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; name a file that exists and is yours"
        raise StoreError(message) from error


def read_table(
    path: Path, table: str, columns: Sequence[str], *, not_this: Path
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield (row number, values of the columns) of one table in the order of its rows; a column it lacks is None.

    Args:
        path: the SQLite file.
        table: the table's name.
        columns: the wanted columns.
        not_this: the store that is open; it is never opened a second time, which could drop its locks.

    Raises:
        StoreError: the file is the open store or not SQLite, or lacks the table.
    """
    if not_this.exists() and path.exists() and path.samefile(not_this):
        message = f"{path} is this home's own store; name the file of another log"
        raise StoreError(message)
    if not is_sqlite(path):
        message = f"{path} is not an SQLite file; expected one with a table {table}"
        raise StoreError(message)
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise _refused(path, error) from error
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        yield from _rows(connection, path, table, columns)
    except sqlite3.Error as error:
        raise _refused(path, error) from error
    finally:
        connection.close()


def _rows(
    connection: sqlite3.Connection, path: Path, table: str, columns: Sequence[str]
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    found = {row[1] for row in connection.execute("SELECT * FROM pragma_table_info(?)", (table,))}
    if not found:
        message = f"{path} has no table {table}; expected the earlier system's log"
        raise StoreError(message)
    wanted = ", ".join(f'"{name}"' if name in found else "NULL" for name in columns)
    # The names are the caller's own constants; nothing of the file enters the text.
    query = f'SELECT rowid, {wanted} FROM "{table}" WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}'  # noqa: S608
    last = -1
    while rows := connection.execute(query, (last,)).fetchall():
        yield from ((row[0], tuple(row[1:])) for row in rows)
        last = rows[-1][0]


def _refused(path: Path, error: sqlite3.Error) -> StoreError:
    message = f"{path} cannot be read as SQLite: {error}; check that it is whole and not being written"
    return StoreError(message)
