"""Remembering: entry, words and event in one transaction; the same text is kept once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.errors import EntryConflictError
from timmy_core.memory import checks
from timmy_core.memory.checks import Checked, passage_hash
from timmy_core.memory.intervals import settle
from timmy_core.memory.journal import Journal
from timmy_core.memory.model import Entry, NewEntry, State
from timmy_core.memory.rows import fetch, mark_rewritten
from timmy_core.memory.split import passages
from timmy_core.memory.words import Words, about, words_of
from timmy_core.store.engine import Connection, Store

_NAMES: Final = (
    "id", "kind", "state", "scope", "agent_id", "session", "task_id", "trace_id", "source", "speaker", "subject",
    "text", "metadata", "about", "importance", "created_at", "changed_at", "valid_from", "valid_to", "seen_at",
    "content_hash", "parts",
)  # fmt: skip
_INSERT: Final = f"INSERT INTO memory_entries ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608
# A passage takes over what its document has, but for its text and its place.
_PASSAGE: Final = """
INSERT INTO memory_entries (id, kind, state, scope, agent_id, session, task_id, trace_id, source, speaker, subject,
    text, metadata, about, importance, created_at, changed_at, valid_from, valid_to, seen_at, content_hash,
    parent_seq, place, start)
SELECT ?, kind, state, scope, agent_id, session, task_id, trace_id, source, speaker, subject,
    ?, metadata, about, importance, created_at, changed_at, valid_from, valid_to, seen_at, ?, seq, ?, ?
FROM memory_entries WHERE seq = ?
"""
_SAME: Final = """
SELECT seq FROM memory_entries WHERE scope = ? AND content_hash = ? AND (valid_to IS NULL OR valid_to > ?)
ORDER BY seq DESC LIMIT 1
"""


class Entries:
    """Writes new entries."""

    def __init__(self, store: Store, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock

    def remember(self, entries: Sequence[NewEntry]) -> list[Entry]:
        """Remember all of them in one transaction, or none."""
        checked = [checks.check(entry, self._clock) for entry in entries]
        return self._store.write(lambda connection: self._put_all(connection, checked))

    async def aremember(self, entries: Sequence[NewEntry]) -> list[Entry]:
        """Do as `remember`, without blocking the event loop."""
        checked = [checks.check(entry, self._clock) for entry in entries]
        return await self._store.awrite(lambda connection: self._put_all(connection, checked))

    def remember_in(self, connection: Connection, entry: NewEntry) -> Entry:
        """Remember inside somebody's own transaction."""
        return self._put_all(connection, [checks.check(entry, self._clock)])[0]

    def _put_all(self, connection: Connection, entries: Sequence[Checked]) -> list[Entry]:
        with words_of(connection) as words:
            return [self._put(connection, words, entry) for entry in entries]

    def _put(self, connection: Connection, words: Words, entry: Checked) -> Entry:
        known = self._sent_before(connection, entry)
        if known is not None:
            return known
        same = connection.execute(_SAME, (entry.scope, entry.content_hash, entry.valid_from)).fetchone()
        if same is not None:
            return self._again(connection, words, fetch(connection, same[0]), entry)
        return self._add(connection, words, entry)

    @staticmethod
    def _sent_before(connection: Connection, entry: Checked) -> Entry | None:
        """Return the entry that has the id already: this one, sent again after its acknowledgement was lost."""
        if entry.new.id is None:
            return None
        query = "SELECT seq, scope, content_hash FROM memory_entries WHERE id = ?"
        known = connection.execute(query, (entry.id,)).fetchone()
        if known is None:
            return None
        if known[1:] != (entry.scope, entry.content_hash):
            message = f"the id {entry.id!r} belongs to an entry with other content; a new entry needs a new id"
            raise EntryConflictError(message)
        return fetch(connection, known[0])

    def _add(self, connection: Connection, words: Words, entry: Checked) -> Entry:
        new, now = entry.new, to_us(self._clock.now())
        state: State = "proposed" if new.proposed else "stored"
        cut = passages(entry.text) if new.kind == "document" else []
        if new.kind == "conversation" and new.session is not None:
            words.after_last_turn(entry.scope, new.session)
        found = about(from_us(entry.created_at), new.speaker, entry.subject, new.metadata)
        values = (
            entry.id, new.kind, state, entry.scope, new.agent_id, new.session, new.task_id, new.trace_id, new.source,
            new.speaker, entry.subject, entry.text, entry.metadata, found, new.importance, entry.created_at, now,
            entry.valid_from, entry.valid_to, entry.created_at, entry.content_hash, len(cut),
        )  # fmt: skip
        seq = connection.execute(_INSERT, values).lastrowid or 0
        words.new(seq)
        put_passages(connection, words, seq, entry.content_hash, cut)
        kept = _as_entry(seq, entry, state, now, len(cut))
        closed = settle(connection, kept, new.replaces) if new.kind == "fact" and state == "stored" else []
        if kept.subject is not None:
            kept = fetch(connection, seq)  # which may have been given its end
        self._journal.stored(connection, kept, again=False)
        self._journal.closed(connection, closed)
        return kept

    def _again(self, connection: Connection, words: Words, known: Entry, entry: Checked) -> Entry:
        """Count the very same text once more; a candidate that is now remembered outright becomes a fact."""
        if entry.new.proposed and known.state != "proposed":
            return known
        connection.execute(
            "UPDATE memory_entries SET seen = seen + 1, seen_at = max(seen_at, ?) WHERE seq = ?",
            (entry.created_at, known.seq),
        )
        if entry.subject is not None and known.subject is None:
            words.out([known.seq])
            found = about(known.created_at, known.speaker, entry.subject, known.metadata)
            values = (entry.subject, found, known.seq)
            connection.execute("UPDATE memory_entries SET subject = ?, about = ? WHERE seq = ?", values)
            mark_rewritten(connection)
        if not entry.new.proposed:
            store(connection, words, known, to_us(self._clock.now()))
        fact = fetch(connection, known.seq)
        closed = settle(connection, fact, entry.new.replaces) if (fact.kind, fact.state) == ("fact", "stored") else []
        found_again = fetch(connection, known.seq)
        self._journal.stored(connection, found_again, again=True)
        self._journal.closed(connection, closed)
        return found_again


def store(connection: Connection, words: Words, entry: Entry, now: int) -> None:
    """Let a candidate be found, as what is stored is; anything else stays as it is."""
    if entry.state == "stored":
        return
    words.out([entry.seq])
    connection.execute("UPDATE memory_entries SET state = 'stored', changed_at = ? WHERE seq = ?", (now, entry.seq))
    mark_rewritten(connection)


def put_passages(
    connection: Connection, words: Words, seq: int, document: bytes, cut: Sequence[tuple[int, str]]
) -> None:
    """Add the passages of a document, given by where each begins and its text."""
    for place, (start, text) in enumerate(cut):
        values = (new_id(), text, passage_hash(document, place, text), place, start, seq)
        words.new(connection.execute(_PASSAGE, values).lastrowid or 0)


def _as_entry(seq: int, entry: Checked, state: State, now: int, parts: int) -> Entry:
    """Return what was just written, without reading it again."""
    new, created_at = entry.new, from_us(entry.created_at)
    return Entry(
        seq, entry.id, new.kind, state, entry.scope, new.agent_id, new.session, new.task_id, new.trace_id, new.source,
        new.speaker, entry.subject, entry.text, dict(new.metadata), float(new.importance), created_at, from_us(now),
        from_us(entry.valid_from), None if entry.valid_to is None else from_us(entry.valid_to), None, 1, created_at,
        parts=parts,
    )  # fmt: skip
