"""The words that entries are found by, kept in the transaction of the change itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from timmy_core.store.engine import Connection, Store

_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COLUMNS: Final = "own, previous, next, about, scope"
_OUT: Final = (
    f"INSERT INTO memory_words (memory_words, rowid, {_COLUMNS}) "  # noqa: S608 - names of our own
    f"SELECT 'delete', seq, {_COLUMNS} FROM memory_indexed WHERE seq = ?"
)
_IN: Final = f"INSERT INTO memory_words (rowid, {_COLUMNS}) SELECT seq, {_COLUMNS} FROM memory_indexed WHERE seq = ?"  # noqa: S608
_BESIDE: Final = """
SELECT (SELECT seq FROM memory_entries AS turn WHERE kind = 'conversation' AND state = 'stored'
        AND session IS NOT NULL AND scope = entry.scope AND session = entry.session AND seq < entry.seq
        ORDER BY seq DESC LIMIT 1),
    (SELECT seq FROM memory_entries AS turn WHERE kind = 'conversation' AND state = 'stored'
        AND session IS NOT NULL AND scope = entry.scope AND session = entry.session AND seq > entry.seq
        ORDER BY seq LIMIT 1)
FROM memory_entries AS entry
WHERE seq = ? AND kind = 'conversation' AND state = 'stored' AND session IS NOT NULL
"""
_PAGES: Final = 200  # that are rewritten in one transaction
_WORKED: Final = 2
_FEW: Final = 1_000  # entries by which the index grows at least, before it is brought into one piece again
_GROWN: Final = """
SELECT (SELECT coalesce(max(seq), 0) FROM memory_entries) - upto, upto
FROM (SELECT coalesce((SELECT CAST(value AS INTEGER) FROM memory_state WHERE key = 'words tidied'), 0) AS upto)
"""
_TIDIED: Final = "INSERT OR REPLACE INTO memory_state (key, value) VALUES ('words tidied', ?)"
_LAST: Final = """
SELECT max(seq) FROM memory_entries
WHERE kind = 'conversation' AND state = 'stored' AND session IS NOT NULL AND scope = ? AND session = ?
"""


class Words:
    """The words of some entries, while these are changed inside one transaction.

    FTS5 has to be told the former words to take them out, and reads them from the entries: so an entry, and the turns
    beside it, are taken out before anything is changed. Each goes in again at the end, once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._touched: set[int] = set()

    def out(self, seqs: Iterable[int]) -> None:
        """Take entries out; call it before they, or the turns beside them, change."""
        for seq in seqs:
            if seq not in self._touched:
                self._connection.execute(_OUT, (seq,))
                self._touched.add(seq)

    def new(self, seq: int) -> None:
        """Say that an entry was added."""
        self._touched.add(seq)

    def after_last_turn(self, scope: str, session: str) -> None:
        """Take the last turn of a session out, because another one is about to follow it."""
        last = self._connection.execute(_LAST, (scope, session)).fetchone()[0]
        if last is not None:
            self.out([last])

    def put(self) -> None:
        """Put everything that was touched, and is still there, in again."""
        for seq in sorted(self._touched):
            self._connection.execute(_IN, (seq,))


@contextlib.contextmanager
def words_of(connection: Connection) -> Iterator[Words]:
    """Yield the words to take out of; what was touched goes in again at the end."""
    words = Words(connection)
    yield words
    words.put()


def beside(connection: Connection, seq: int) -> list[int]:
    """Return the turns before and after a turn in its session; none for any other entry."""
    row = connection.execute(_BESIDE, (seq,)).fetchone() or ()
    return [number for number in row if number is not None]


def about(created_at: datetime, speaker: str | None, subject: str | None, metadata: Mapping[str, Any]) -> str:
    """Return what an entry is found by beside its text: day, month and year, speaker, subject and title."""
    date = f"{created_at.day} {_MONTHS[created_at.month - 1]} {created_at.year} {_DAYS[created_at.weekday()]}"
    title = metadata.get("title")
    return " ".join(part for part in (date, speaker, subject, title if isinstance(title, str) else None) if part)


def tidy(store: Store) -> int:
    """Bring the index of words into one piece where it grew by a tenth; return by how many entries it had grown.

    Each batch of entries leaves a piece of its own, and a search asks every piece for every word. Writers wait for some
    milliseconds at a time.

    Raises:
        StoreError: the database cannot be read or written.
    """
    with store.read() as connection:
        grown, before = connection.execute(_GROWN).fetchone()
    if grown < max(_FEW, before // 10):
        return 0
    rewrite(store)
    store.write(lambda connection: connection.execute(_TIDIED, (str(before + grown),)))
    return int(grown)


def rewrite(store: Store) -> None:
    """Rewrite the whole index in small steps, so that words that were taken out leave it.

    Raises:
        StoreError: the database cannot be written.
    """
    store.write_steps(_rewrite_some)


def _rewrite_some(connection: Connection) -> bool:
    before = connection.total_changes
    connection.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('merge', ?)", (-_PAGES,))
    # The insert itself counts as one; FTS5 documents this as the way to see whether anything was left to do.
    return connection.total_changes - before >= _WORKED
