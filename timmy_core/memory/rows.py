"""Entries as rows: the columns, and how one becomes the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from timmy_core.clock import from_us
from timmy_core.errors import EntryNotFoundError
from timmy_core.memory.model import Entry
from timmy_core.store.engine import Connection

SELECT: Final = """
SELECT entry.seq, entry.id, entry.kind, entry.state, entry.scope, entry.agent_id, entry.session, entry.task_id,
    entry.trace_id, entry.source, entry.speaker, entry.subject, entry.text, entry.metadata, entry.importance,
    entry.created_at, entry.changed_at, entry.valid_from, entry.valid_to, entry.closed_by, entry.seen, entry.seen_at,
    (SELECT document.id FROM memory_entries AS document WHERE document.seq = entry.parent_seq),
    entry.place, entry.start, entry.parts,
    (SELECT json_group_array(model) FROM
        (SELECT DISTINCT model FROM memory_vectors WHERE entry_seq = entry.seq ORDER BY model))
FROM memory_entries AS entry
"""
# Each scope that there is, by jumps through the index instead of a look at every entry.
SCOPES: Final = """
WITH RECURSIVE known (scope) AS (
    SELECT min(scope) FROM memory_entries
    UNION ALL
    SELECT (SELECT min(scope) FROM memory_entries WHERE scope > known.scope) FROM known WHERE known.scope IS NOT NULL
)
SELECT scope FROM known WHERE scope IS NOT NULL
"""
# Entries asked for in one statement.
AT_ONCE: Final = 500


def to_entry(row: Sequence[Any]) -> Entry:
    """Return a row of `SELECT` as an entry."""
    (
        seq, id_, kind, state, scope, agent_id, session, task_id, trace_id, source, speaker, subject, text, metadata,
        importance, created_at, changed_at, valid_from, valid_to, closed_by, seen, seen_at, parent, place, start,
        parts, models,
    ) = row  # fmt: skip
    return Entry(
        seq, id_, kind, state, scope, agent_id, session, task_id, trace_id, source, speaker, subject, text,
        json.loads(metadata), importance, from_us(created_at), from_us(changed_at), from_us(valid_from),
        None if valid_to is None else from_us(valid_to), closed_by, seen, from_us(seen_at), parent, place, start,
        parts, tuple(json.loads(models)),
    )  # fmt: skip


def find(connection: Connection, key: int | str) -> Entry | None:
    """Return the entry with a seq (a number) or an id (text)."""
    column = "seq" if isinstance(key, int) else "id"
    row = connection.execute(f"{SELECT} WHERE entry.{column} = ?", (key,)).fetchone()
    return to_entry(row) if row else None


def fetch(connection: Connection, key: int | str) -> Entry:
    """Do as `find`.

    Raises:
        EntryNotFoundError: there is none.
    """
    entry = find(connection, key)
    if entry is None:
        message = f"no entry has the {'seq' if isinstance(key, int) else 'id'} {key!r}: never remembered, or forgotten"
        raise EntryNotFoundError(message)
    return entry


def fetch_many(connection: Connection, seqs: Sequence[int]) -> dict[int, Entry]:
    """Return the entries of these seqs that there are."""
    found: dict[int, Entry] = {}
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        rows = connection.execute(f"{SELECT} WHERE entry.seq IN ({', '.join('?' * len(some))})", list(some))
        found |= {row[0]: to_entry(row) for row in rows}
    return found


def mark_rewritten(connection: Connection) -> None:
    """Note that rows were changed or deleted, so that whoever copied them copies anew."""
    connection.execute(
        "INSERT INTO memory_state (key, value) VALUES ('rewritten', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
    )
