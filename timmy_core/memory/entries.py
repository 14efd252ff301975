"""Remembering and editing: entry, words and event in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.errors import EntryConflictError, EntryError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.memory import checks
from timmy_core.memory.checks import Checked
from timmy_core.memory.intervals import Closed, settle
from timmy_core.memory.model import Entry, NewEntry
from timmy_core.memory.rows import fetch, find, mark_rewritten
from timmy_core.memory.split import passages
from timmy_core.memory.words import Words, about, beside, words_of
from timmy_core.store.engine import Connection, Store

SOURCE: Final = "memory"
_NAMES: Final = (
    "id, kind, state, scope, agent_id, session, task_id, trace_id, source, speaker, subject, text, metadata, about, "
    "importance, created_at, changed_at, valid_from, valid_to, seen_at, content_hash, parts"
)
_INSERT: Final = f"INSERT INTO memory_entries ({_NAMES}) VALUES ({', '.join('?' * len(_NAMES.split(',')))})"  # noqa: S608
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
_PASSAGES: Final = "SELECT seq FROM memory_entries WHERE parent_seq = ?"


class Entries:
    """Writes entries."""

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store = store
        self._events = events
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
        known = self._known_id(connection, entry)
        if known is not None:
            return known
        same = connection.execute(_SAME, (entry.scope, entry.content_hash, entry.valid_from)).fetchone()
        if same is not None:
            return self._again(connection, words, fetch(connection, same[0]), entry)
        return self._add(connection, words, entry)

    @staticmethod
    def _known_id(connection: Connection, entry: Checked) -> Entry | None:
        """Return the entry that has the id already: this one, sent again after its acknowledgement was lost."""
        if entry.new.id is None:
            return None
        known = connection.execute(
            "SELECT seq, scope, content_hash FROM memory_entries WHERE id = ?", (entry.id,)
        ).fetchone()
        if known is None:
            return None
        if known[1:] != (entry.scope, entry.content_hash):
            message = f"the id {entry.id!r} belongs to an entry with other content; a new entry needs a new id"
            raise EntryConflictError(message)
        return fetch(connection, known[0])

    def _again(self, connection: Connection, words: Words, known: Entry, entry: Checked) -> Entry:
        """The very same text: count it, and take a candidate over if it is now remembered outright."""
        if entry.new.proposed and known.state != "proposed":
            return known
        connection.execute(
            "UPDATE memory_entries SET seen = seen + 1, seen_at = max(seen_at, ?) WHERE seq = ?",
            (entry.created_at, known.seq),
        )
        closed: list[Closed] = []
        if known.state != "stored" and not entry.new.proposed:
            closed = self.promote(connection, words, known.seq)
        elif known.kind == "fact" and (entry.subject is not None or entry.new.replaces):
            if entry.subject is not None and known.subject is None:
                words.out([known.seq])
                connection.execute(
                    "UPDATE memory_entries SET subject = ?, about = ? WHERE seq = ?",
                    (entry.subject, about(known.created_at, known.speaker, entry.subject, known.metadata), known.seq),
                )
                mark_rewritten(connection)
            closed = settle(connection, fetch(connection, known.seq), entry.new.replaces, to_us(self._clock.now()))
        found = fetch(connection, known.seq)
        self._stored(connection, found, closed, again=True)
        return found

    def _add(self, connection: Connection, words: Words, entry: Checked) -> Entry:
        new, now = entry.new, to_us(self._clock.now())
        state = "proposed" if new.proposed else "stored"
        cut = passages(entry.text) if new.kind == "document" else []
        if new.kind == "conversation" and new.session is not None:
            words.after_last_turn(entry.scope, new.session)
        found = about(from_us(entry.created_at), new.speaker, entry.subject, new.metadata)
        seq = connection.execute(
            _INSERT,
            (
                entry.id, new.kind, state, entry.scope, new.agent_id, new.session, new.task_id, new.trace_id,
                new.source, new.speaker, entry.subject, entry.text, entry.metadata, found, new.importance,
                entry.created_at, now, entry.valid_from, entry.valid_to, entry.created_at, entry.content_hash,
                len(cut),
            ),
        ).lastrowid or 0  # fmt: skip
        words.new(seq)
        put_passages(connection, words, seq, entry.content_hash, cut)
        closed: list[Closed] = []
        if new.kind == "fact" and state == "stored" and (entry.subject is not None or new.replaces):
            closed = settle(connection, fetch(connection, seq), new.replaces, now)
        kept = fetch(connection, seq) if entry.subject is not None else _as_entry(seq, entry, state, now, len(cut))
        self._stored(connection, kept, closed, again=False)
        return kept

    def promote(self, connection: Connection, words: Words, seq: int) -> list[Closed]:
        """Make a candidate a fact, and return what it closed."""
        now = to_us(self._clock.now())
        words.out([seq])
        connection.execute("UPDATE memory_entries SET state = 'stored', changed_at = ? WHERE seq = ?", (now, seq))
        mark_rewritten(connection)
        return settle(connection, fetch(connection, seq), (), now)

    # Events --------------------------------------------------------------------------------------------------

    def _stored(self, connection: Connection, entry: Entry, closed: Sequence[Closed], *, again: bool) -> None:
        data = {
            "entry": entry.id, "kind": entry.kind, "state": entry.state, "scope": entry.scope,
            "session": entry.session, "characters": len(entry.text), "passages": entry.parts, "again": again,
        }  # fmt: skip
        self.say(connection, "memory.stored", entry, data)
        self.say_closed(connection, closed, entry)

    def say(self, connection: Connection, type_: str, entry: Entry, data: Mapping[str, Any]) -> None:
        """Write an event about an entry, without its text."""
        event = NewEvent(type_, SOURCE, data, entry.task_id, entry.agent_id, entry.trace_id)
        self._events.append_in(connection, event)

    def say_closed(self, connection: Connection, closed: Sequence[Closed], newer: Entry | None, by: str = "") -> None:
        """Write one event for each fact that no longer holds."""
        for one in closed:
            entry = fetch(connection, one.seq)
            data = {"entry": entry.id, "replaced_by": entry.closed_by, "by": by or SOURCE}
            self.say(connection, "memory.closed", newer or entry, data)

    # Editing -------------------------------------------------------------------------------------------------

    def edit(self, key: int | str, changes: Mapping[str, Any], by: str) -> tuple[Entry, bool]:
        """Change fields of an entry; return it, and whether former words are left that have to be erased."""
        checks.check_reason("by", by)
        if not changes:
            message = "nothing to change was given; name one of text, speaker, subject, metadata, importance, valid_…"
            raise EntryError(message)
        return self._store.write(lambda connection: self._edit(connection, key, changes, by))

    def _edit(self, connection: Connection, key: int | str, changes: Mapping[str, Any], by: str) -> tuple[Entry, bool]:
        entry = fetch(connection, key)
        if entry.parent is not None:
            message = f"{entry.id!r} is a passage of the document {entry.parent!r}; edit that one"
            raise EntryError(message)
        row = _changed_row(entry, changes)
        reworded = any(name in changes for name in ("text", "speaker", "subject", "metadata"))
        clash = connection.execute(
            "SELECT id FROM memory_entries WHERE scope = ? AND content_hash = ? AND seq <> ? "
            "AND valid_to IS NULL AND ? IS NULL",
            (entry.scope, row["content_hash"], entry.seq, row["valid_to"]),
        ).fetchone()
        if clash is not None:
            message = f"the entry {clash[0]!r} of the same scope says the very same; forget one of the two"
            raise EntryConflictError(message)
        now = to_us(self._clock.now())
        with words_of(connection) as words:
            self._rewrite(connection, words, entry, row | {"changed_at": now})
            closed: list[Closed] = []
            if entry.kind == "fact" and entry.state == "stored" and {"subject", "valid_from", "valid_to"} & set(changes):
                closed = settle(connection, fetch(connection, entry.seq), (), now)
        if reworded:
            connection.execute(
                "INSERT OR REPLACE INTO memory_erasures (entry_seq, stage, reason, asked_by, at) "
                "VALUES (?, 'removed', 'edited', ?, ?)",
                (entry.seq, by, now),
            )
        mark_rewritten(connection)
        changed = fetch(connection, entry.seq)
        self.say(connection, "memory.edited", changed, {"entry": entry.id, "fields": sorted(changes), "by": by})
        self.say_closed(connection, closed, changed, by)
        return changed, reworded

    @staticmethod
    def _rewrite(connection: Connection, words: Words, entry: Entry, row: dict[str, Any]) -> None:
        """Bring the changed fields into the row, and what was made from them."""
        new_text = row["text"] != entry.text
        parts = [part[0] for part in connection.execute(_PASSAGES, (entry.seq,))]
        words.out([entry.seq, *parts, *(beside(connection, entry.seq) if new_text else ())])
        if new_text:
            connection.executemany("DELETE FROM memory_vectors WHERE entry_seq = ?", [(s,) for s in (entry.seq, *parts)])
            connection.executemany(
                "DELETE FROM memory_vectors WHERE entry_seq = ? AND part = -1",
                [(seq,) for seq in beside(connection, entry.seq)],
            )
        if parts:
            connection.execute("DELETE FROM memory_vectors WHERE entry_seq IN (SELECT seq FROM memory_entries WHERE parent_seq = ?)", (entry.seq,))
            connection.execute("DELETE FROM memory_entries WHERE parent_seq = ?", (entry.seq,))
        cut = passages(row["text"]) if entry.kind == "document" else []
        row = row | {"parts": len(cut)}
        names = ", ".join(f"{name} = ?" for name in row)
        connection.execute(f"UPDATE memory_entries SET {names} WHERE seq = ?", (*row.values(), entry.seq))  # noqa: S608
        put_passages(connection, words, entry.seq, row["content_hash"], cut)
