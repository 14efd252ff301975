"""The text index inside its file: a table of words for so many rows each, and how they are asked.

FTS5 keeps the words and the numbers of rows only (contentless, `detail=none`). The newest shard is asked first, and
taking a row out rewrites one shard.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from timmy_core.errors import StoreError
from timmy_core.store.engine import Connection

SHARD: int = 500_000  # rows in a shard
MAX_WORDS: Final = 50

_TOKENIZER: Final = "tokenize = 'unicode61 remove_diacritics 2'"


class Tokens:
    """Turns what a person typed into a question to FTS5, with the tokenizer that the index itself uses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def match(self, words: str) -> str:
        """Return the question: every token quoted, so that no character has a meaning of its own."""
        pieces = words.split()
        if len(words) > MAX_WORDS * 100 or len(pieces) > MAX_WORDS:
            message = f"the text to search for is too long; at most {MAX_WORDS} words fit"
            raise StoreError(message)
        asked: dict[str, None] = {}
        with self._lock:
            for piece in pieces:
                tokens = self._split(piece)
                stars = ["", "*" if piece.endswith("*") else ""]
                for token, star in zip(tokens, [stars[0]] * (len(tokens) - 1) + stars[1:], strict=False):
                    asked[f'"{token}"{star}'] = None
        if not asked or len(asked) > MAX_WORDS:
            what = "at most 50 words fit" if asked else "it needs at least one letter or digit"
            message = f"the text {words[:80]!r} cannot be searched for: {what}"
            raise StoreError(message)
        return " AND ".join(asked)

    def _split(self, piece: str) -> list[str]:
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.execute(f"CREATE VIRTUAL TABLE asked USING fts5 (words, {_TOKENIZER})")
            self._connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab (asked, instance)")
        # Half a surrogate pair is no text, and SQLite refuses it.
        text = piece.encode(errors="replace").decode()
        self._connection.execute("INSERT INTO asked (rowid, words) VALUES (1, ?)", (text,))
        try:
            return [row[0] for row in self._connection.execute("SELECT term FROM tokens ORDER BY offset")]
        finally:
            self._connection.execute("DELETE FROM asked")

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what is done inside, or undo it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read_state(connection: Connection) -> tuple[int, str, int, bytes] | None:
    """Return (format, epoch, last row, its mark), or None for an empty file."""
    row: tuple[int, str, int, bytes] | None = connection.execute(
        "SELECT format, epoch, seq, mark FROM state"
    ).fetchone()
    return row


def last_indexed(connection: Connection) -> int:
    """Return the number of the last row that is indexed."""
    state = read_state(connection)
    return state[2] if state else 0


def _shard(seq: int) -> int:
    return (seq - 1) // SHARD


def add_rows(connection: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Index the rows that follow, but for those that were taken out before they came."""
    first, last = rows[0][0], rows[-1][0]
    skipped = {row[0] for row in connection.execute("SELECT seq FROM removed WHERE seq BETWEEN ? AND ?", (first, last))}
    for shard, members in itertools.groupby(rows, lambda row: _shard(row[0])):
        table = _table(connection, shard)
        connection.executemany(
            f"INSERT INTO {table} (rowid, words) VALUES (?, ?)",  # noqa: S608 - a name and a number
            [row for row in members if row[1] and row[0] not in skipped],
        )
        if _shard(last + 1) != shard:
            # Full, and never added to again: one segment is the quickest to ask.
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608


def _table(connection: Connection, shard: int) -> str:
    name = f"text_{shard}"
    connection.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {name} USING fts5 "
        f"(words, content = '', columnsize = 0, detail = none, {_TOKENIZER})"
    )
    return name


def _tables(connection: Connection) -> set[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'")
    return {row[0] for row in found}


def remove_all(connection: Connection) -> None:
    """Begin anew."""
    for table in _tables(connection):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("DELETE FROM state")
    connection.execute("DELETE FROM removed")


def take_out(connection: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Take rows out, with every trace of their words; a row that is out already stays so."""
    indexed, tables = last_indexed(connection), _tables(connection)
    touched = set()
    for seq, text in rows:
        known = connection.execute("INSERT OR IGNORE INTO removed (seq) VALUES (?)", (seq,)).rowcount == 0
        table = f"text_{_shard(seq)}"
        if known or not text or seq > indexed or table not in tables:
            continue
        # FTS5 has nothing but its words, so it is told them again to take them out; twice would spoil the index.
        connection.execute(f"INSERT INTO {table} ({table}, rowid, words) VALUES ('delete', ?, ?)", (seq, text))  # noqa: S608
        touched.add(table)
    for table in touched:
        # Until its segments are merged, a word that was taken out still stands in the older one.
        connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608


def find_rows(
    connection: Connection, match: str, low: int, high: int, limit: int, order: Literal["desc", "asc"]
) -> list[int]:
    """Ask shard by shard, beginning where the order begins, until there are enough."""
    first, last = _shard(low + 1), _shard(min(high - 1, last_indexed(connection)))
    shards = range(first, last + 1) if order == "asc" else range(last, first - 1, -1)
    found: list[int] = []
    for shard in shards:
        found += (
            row[0]
            for row in connection.execute(
                f"SELECT rowid FROM text_{shard} WHERE text_{shard} MATCH ? AND rowid > ? AND rowid < ? "  # noqa: S608
                f"ORDER BY rowid {order} LIMIT ?",
                (match, low, high, limit - len(found)),
            )
        )
        if len(found) >= limit:
            break
    return found


def row_holds(connection: Connection, match: str, seq: int) -> bool:
    """Whether a row holds every word."""
    shard = _shard(seq)
    query = f"SELECT 1 FROM text_{shard} WHERE text_{shard} MATCH ? AND rowid = ?"  # noqa: S608
    return seq <= last_indexed(connection) and connection.execute(query, (match, seq)).fetchone() is not None
