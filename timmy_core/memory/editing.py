"""Changing an entry: words, passages and vectors follow, and nothing of the former text is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from timmy_core.clock import Clock, to_us
from timmy_core.errors import EntryConflictError, EntryError
from timmy_core.memory import checks
from timmy_core.memory.entries import put_passages
from timmy_core.memory.intervals import settle
from timmy_core.memory.journal import Journal
from timmy_core.memory.model import Entry
from timmy_core.memory.rows import fetch, mark_rewritten
from timmy_core.memory.split import passages
from timmy_core.memory.words import Words, about, beside, words_of
from timmy_core.store.engine import Connection, Store

_SHOWN: Final = frozenset({"text", "speaker", "subject", "metadata"})  # what words were made of
_PASSED_ON: Final = ("speaker", "subject", "metadata", "about", "importance", "changed_at", "valid_from", "valid_to")
_CLASH: Final = """
SELECT id FROM memory_entries WHERE scope = ? AND content_hash = ? AND seq <> ? AND valid_to IS NULL AND ? IS NULL
"""


@dataclass(frozen=True, slots=True)
class Edited:
    """An entry as it is now, and whether former words of it have to be erased."""

    entry: Entry
    reworded: bool


class Editing:
    """Changes entries."""

    def __init__(self, store: Store, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock

    def edit(self, key: int | str, changes: Mapping[str, Any], by: str) -> Edited:
        """Change fields of an entry."""
        checks.check_reason("by", by)
        if not changes:
            message = "nothing to change was given; name text, speaker, subject, metadata, importance or valid_…"
            raise EntryError(message)
        return self._store.write(lambda connection: self._edit(connection, key, changes, by))

    def _edit(self, connection: Connection, key: int | str, changes: Mapping[str, Any], by: str) -> Edited:
        entry = fetch(connection, key)
        if entry.parent is not None:
            message = f"{entry.id!r} is a passage of the document {entry.parent!r}; edit that one"
            raise EntryError(message)
        now = to_us(self._clock.now())
        row = _changed(entry, changes) | {"changed_at": now}
        clash = connection.execute(_CLASH, (entry.scope, row["content_hash"], entry.seq, row["valid_to"])).fetchone()
        if clash is not None:
            message = f"the entry {clash[0]!r} of the same scope says the very same; forget one of the two"
            raise EntryConflictError(message)
        with words_of(connection) as words:
            _rewrite(connection, words, entry, row)
        mark_rewritten(connection)
        changed = fetch(connection, entry.seq)
        closed = settle(connection, changed, ()) if (entry.kind, entry.state) == ("fact", "stored") else []
        reworded = not _SHOWN.isdisjoint(changes)
        if reworded:
            connection.execute(
                # One that is to be forgotten stays so. A later time tells whoever erases just now that there is more.
                "INSERT INTO memory_erasures (entry_seq, stage, reason, asked_by, at) "
                "VALUES (?, 'removed', 'edited', ?, ?) ON CONFLICT (entry_seq) "
                "DO UPDATE SET at = max(excluded.at, at + 1) WHERE stage = 'removed'",
                (entry.seq, by, now),
            )
        changed = fetch(connection, entry.seq)
        self._journal.say(connection, "memory.edited", changed, {"fields": sorted(changes), "by": by})
        self._journal.closed(connection, closed, by)
        return Edited(changed, reworded)


def _changed(entry: Entry, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an entry with its changes, once they are checked."""
    speaker, subject = changes.get("speaker", entry.speaker), changes.get("subject", entry.subject)
    for name, value in (("speaker", speaker), ("subject", subject)):
        checks.check_field(name, value)
    if subject is not None and entry.kind != "fact":
        message = f"subject is for facts, and {entry.id!r} is a {entry.kind}"
        raise EntryError(message)
    text = checks.check_text(changes.get("text", entry.text), entry.kind)
    metadata = changes.get("metadata", entry.metadata)
    importance = changes.get("importance", entry.importance)
    checks.check_importance(importance)
    valid_from = checks.check_time("valid_from", changes.get("valid_from", entry.valid_from))
    ends = changes.get("valid_to", entry.valid_to)
    valid_to = None if ends is None else checks.check_time("valid_to", ends)
    if "valid_from" in changes or "valid_to" in changes:
        checks.check_range(valid_from, valid_to)
    subject = checks.check_subject(subject)
    return {
        "speaker": speaker, "subject": subject, "text": text, "metadata": checks.check_metadata(metadata),
        "about": about(entry.created_at, speaker, subject, metadata), "importance": float(importance),
        "valid_from": valid_from, "valid_to": valid_to, "closed_by": entry.closed_by if valid_to else None,
        "content_hash": checks.content_hash(entry.kind, speaker, entry.session, text),
    }  # fmt: skip


def _rewrite(connection: Connection, words: Words, entry: Entry, row: dict[str, Any]) -> None:
    """Bring the changed columns into the row, and into all that was made from it."""
    query = "SELECT seq FROM memory_entries WHERE parent_seq = ?"
    parts = [part[0] for part in connection.execute(query, (entry.seq,))]
    neighbours = beside(connection, entry.seq)
    words.out([entry.seq, *parts, *neighbours])
    if row["text"] == entry.text:
        _update(connection, entry.seq, row)
        for part in parts:
            _update(connection, part, {name: row[name] for name in _PASSED_ON})
        return
    # The window of the turn that follows holds this one's words too.
    drop_vectors(connection, [entry.seq, *parts, *(seq for seq in neighbours if seq > entry.seq)])
    connection.execute("DELETE FROM memory_entries WHERE parent_seq = ?", (entry.seq,))
    cut = passages(row["text"]) if entry.kind == "document" else []
    _update(connection, entry.seq, row | {"parts": len(cut)})
    put_passages(connection, words, entry.seq, row["content_hash"], cut)


def drop_vectors(connection: Connection, seqs: list[int]) -> None:
    """Remove the vectors of entries; those that are still there get new ones."""
    connection.executemany("DELETE FROM memory_vectors WHERE entry_seq = ?", [(seq,) for seq in seqs])


def _update(connection: Connection, seq: int, row: Mapping[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in row)
    connection.execute(f"UPDATE memory_entries SET {names} WHERE seq = ?", (*row.values(), seq))  # noqa: S608
