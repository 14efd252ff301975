"""Forgetting: text, words and vectors leave the store and its files; that something was forgotten stays on record.

What is to go is noted first. A crash at any point leaves the note, and the next start finishes the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.clock import Clock, to_us
from timmy_core.errors import EntryError
from timmy_core.memory import checks
from timmy_core.memory.editing import drop_vectors
from timmy_core.memory.journal import Journal
from timmy_core.memory.model import Forgets, ForgetsToo, Forgotten, Gone
from timmy_core.memory.rows import fetch, mark_rewritten
from timmy_core.memory.selection import conditions
from timmy_core.memory.words import beside, rewrite, words_of
from timmy_core.store.engine import Connection, Store

CHUNK: int = 100  # entries that leave in one transaction; others wait so long
_NOTE: Final = """
INSERT INTO memory_erasures (entry_seq, stage, reason, asked_by, at)
SELECT entry.seq, 'noted', ?, ?, ? FROM memory_entries AS entry WHERE {where}
ON CONFLICT (entry_seq) DO UPDATE SET stage = 'noted', reason = excluded.reason, asked_by = excluded.asked_by,
    at = excluded.at
"""
# Passages go with their document, and before it.
_PASSAGES: Final = """
INSERT OR IGNORE INTO memory_erasures (entry_seq, stage, reason, asked_by, at)
SELECT passage.seq, 'noted', noted.reason, noted.asked_by, noted.at FROM memory_erasures AS noted
JOIN memory_entries AS passage ON passage.parent_seq = noted.entry_seq WHERE noted.stage = 'noted'
"""
_NEXT: Final = """
SELECT entry.seq, entry.id, entry.parent_seq IS NOT NULL, noted.reason, noted.asked_by
FROM memory_erasures AS noted JOIN memory_entries AS entry ON entry.seq = noted.entry_seq
WHERE noted.stage = 'noted' ORDER BY entry.parent_seq IS NULL, noted.at, noted.reason, noted.asked_by, entry.seq LIMIT ?
"""


class Forgetting:
    """Removes entries, and what was made from them."""

    def __init__(self, store: Store, journal: Journal, clock: Clock) -> None:
        self.forgetters: list[Forgets] = []
        self.copies: list[ForgetsToo] = []
        self._store = store
        self._journal = journal
        self._clock = clock

    def forget(self, key: int | str | None, where: Mapping[str, Any] | None, reason: str, by: str) -> Forgotten:
        """Remove one entry, or all that match; return when nothing of them is found."""
        checks.check_reason("reason", reason)
        checks.check_reason("by", by)
        if (key is None) == (where is None):
            message = "say what to forget: either its id, or where={…}"
            raise EntryError(message)
        if where is not None and not where:
            message = "where names no filter, which would forget everything; name one, such as where={'session': 's1'}"
            raise EntryError(message)
        clauses, values = conditions(where or {})
        clauses.append("entry.parent_seq IS NULL")
        asked = (reason, by, to_us(self._clock.now()))

        def note(connection: Connection) -> tuple[int, int]:
            if key is not None:
                self._note_one(connection, key, clauses, values)
            statement = _NOTE.format(where=" AND ".join(clauses))
            entries = connection.execute(statement, (*asked, *values)).rowcount
            return entries, connection.execute(_PASSAGES).rowcount

        entries, passages = self._store.write(note)
        if not entries:
            return Forgotten(0, 0, erased=True)
        self._remove()
        return Forgotten(entries, passages, self.erase())

    @staticmethod
    def _note_one(connection: Connection, key: int | str, clauses: list[str], values: list[Any]) -> None:
        entry = fetch(connection, key)
        if entry.parent is not None:
            message = f"{entry.id!r} is a passage of the document {entry.parent!r}; forget that one"
            raise EntryError(message)
        clauses.append("entry.seq = ?")
        values.append(entry.seq)

    def mend(self) -> None:
        """Finish what a crash left."""
        with self._store.read() as connection:
            waiting = connection.execute("SELECT EXISTS (SELECT 1 FROM memory_erasures)").fetchone()[0]
        if waiting:
            self._remove()
            self.erase()

    # Removing ------------------------------------------------------------------------------------------------

    def _remove(self) -> None:
        self._store.write_steps(self._remove_some)

    def _remove_some(self, connection: Connection) -> bool:
        """Take some entries out, with their words and vectors, and say so, in one transaction."""
        connection.execute(_PASSAGES)  # of a document that was edited since it was noted
        rows = connection.execute(_NEXT, (CHUNK,)).fetchall()
        # One event a request: what others asked for waits for the next transaction.
        rows = [row for row in rows if row[3:] == rows[0][3:]]
        if not rows:
            return False
        seqs = [row[0] for row in rows]
        going = set(seqs)
        with words_of(connection) as words:
            pairs = [(seq, other) for seq in seqs for other in beside(connection, seq) if other not in going]
            words.out([*seqs, *(other for _, other in pairs)])
            # The window of the turn that follows holds the words of the one that goes.
            drop_vectors(connection, [*seqs, *(other for seq, other in pairs if other > seq)])
            self._forget_copies(connection, [row[0] for row in rows if not row[2]])
            connection.executemany("DELETE FROM memory_entries WHERE seq = ?", [(seq,) for seq in seqs])
        connection.executemany(
            "UPDATE memory_erasures SET stage = 'removed' WHERE entry_seq = ?", [(seq,) for seq in seqs]
        )
        mark_rewritten(connection)
        ids = [id_ for _, id_, passage, *_ in rows if not passage]
        if ids:
            self._journal.forgotten(connection, ids, rows[0][3], rows[0][4])
        return True

    def _forget_copies(self, connection: Connection, seqs: Sequence[int]) -> None:
        if self.copies:
            query = "SELECT id, session, trace_id, text FROM memory_entries WHERE seq = ?"
            gone = [Gone(*connection.execute(query, (seq,)).fetchone()) for seq in seqs]
            for forget in self.copies:
                forget(connection, gone)

    # Erasing -------------------------------------------------------------------------------------------------

    def erase(self) -> bool:
        """Leave no byte of what was removed in any file; False while others read what holds a copy."""
        with self._store.read() as connection:
            query = "SELECT entry_seq, at FROM memory_erasures WHERE stage = 'removed'"
            removed = connection.execute(query).fetchall()
        if not removed:
            return True
        for forgetter in self.forgetters:
            forgetter.forget([seq for seq, _ in removed])
        # A word that was taken out still stands in the older part of the index, until that is rewritten.
        rewrite(self._store)
        if not self._store.empty_wal():
            return False
        self._store.write(lambda connection: _done(connection, removed))
        return True


def _done(connection: Connection, removed: Sequence[tuple[int, int]]) -> None:
    connection.executemany("DELETE FROM memory_erasures WHERE entry_seq = ? AND at = ? AND stage = 'removed'", removed)
