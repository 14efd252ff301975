"""What the embedding worker reads and writes: entries without vectors, their vectors, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from timmy_core.memory.parts import Turn, parts_of
from timmy_core.store.engine import Connection
from timmy_core.store.readers import Readable

STRETCH: Final = 20_000  # seqs that one read looks through, so that no read is long
_CURRENT: Final = "embedding.current"
_DELETED: Final = 2000  # vectors in one transaction

# A document that was split is found by its passages, so it needs no vector.
_WANTED: Final = "entry.parts = 0 AND entry.state <> 'rejected'"
# What was said under `local_only` stands in a scope of its own; other entries may say so in their metadata. Both are
# for embedders on machines of the owner's alone.
_MAY_LEAVE: Final = (
    "entry.scope NOT GLOB 'agent:*:local' AND coalesce(json_extract(entry.metadata, '$.local_only'), 0) = 0"
)
_LACKING: Final = f"""
SELECT entry.seq, entry.kind, entry.scope, entry.session, entry.speaker, entry.text, entry.content_hash
FROM memory_entries AS entry
WHERE entry.seq > :after AND entry.seq <= :until AND {_WANTED} AND (:local OR ({_MAY_LEAVE})) AND NOT EXISTS (
    SELECT 1 FROM memory_vectors AS vector WHERE vector.entry_seq = entry.seq AND vector.model = :model AND part = 0
) ORDER BY entry.seq LIMIT :limit
"""  # noqa: S608 - texts of our own
_PREVIOUS: Final = f"""
SELECT entry.seq, entry.speaker, entry.text, entry.content_hash FROM memory_entries AS entry
WHERE entry.kind = 'conversation' AND entry.state = 'stored' AND entry.session IS NOT NULL
AND entry.scope = ? AND entry.session = ? AND entry.seq < ?
AND (? OR ({_MAY_LEAVE}))
ORDER BY entry.seq DESC LIMIT 1
"""  # noqa: S608 - texts of our own
_HEADS: Final = """
SELECT coalesce((SELECT max(seq) FROM memory_entries), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM memory_state WHERE key = 'rewritten'), 0)
"""
_SET: Final = "INSERT OR REPLACE INTO memory_state (key, value) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a model is: every entry up to `through` was looked at, since entries were rewritten so many times."""

    through: int = 0
    rewritten: int = 0


@dataclass(frozen=True, slots=True)
class Lacking:
    """An entry that needs vectors, and the turn before it, each with the hash of what was read."""

    seq: int
    content_hash: bytes
    parts: tuple[tuple[int, str], ...]
    previous: tuple[int, bytes] | None


@dataclass(frozen=True, slots=True)
class Made:
    """The vectors of one entry: part -> f16, ready for the store."""

    entry: Lacking
    vectors: tuple[tuple[int, bytes], ...]


def heads(store: Readable) -> Cursor:
    """Return the last entry, and how many times entries were changed or removed."""
    with store.read() as connection:
        return Cursor(*connection.execute(_HEADS).fetchone())


def load(store: Readable, model: str) -> Cursor:
    """Return how far a model was; a new one begins at the first entry."""
    with store.read() as connection:
        row = connection.execute("SELECT value FROM memory_state WHERE key = ?", (_key(model),)).fetchone()
    if row is None:
        return Cursor(0, heads(store).rewritten)
    kept = json.loads(row[0])
    return Cursor(kept["through"], kept["rewritten"])


def lacking(store: Readable, model: str, cursor: Cursor, *, local: bool, limit: int) -> tuple[list[Lacking], Cursor]:
    """Return the next entries without vectors, and the cursor that holds once they have some.

    After a change all are looked at once more, which is quick where most have theirs: whatever took vectors away, or
    came between reading a text and writing its vector, is found so.
    """
    end = heads(store)
    after = cursor.through if cursor.rewritten == end.rewritten else 0
    until = min(after + STRETCH, end.through)
    values = {"model": model, "local": local, "limit": limit, "after": after, "until": until}
    with store.read() as connection:
        rows = connection.execute(_LACKING, values).fetchall()
        found = [_one(connection, row, local=local) for row in rows]
    return found, Cursor(rows[-1][0] if len(rows) == limit else max(until, after), end.rewritten)


def _one(connection: Connection, row: Sequence[Any], *, local: bool) -> Lacking:
    seq, kind, scope, session, speaker, text, content_hash = row
    before = None
    if kind == "conversation" and session is not None:
        before = connection.execute(_PREVIOUS, (scope, session, seq, local)).fetchone()
    previous = None if before is None else Turn(before[1], before[2])
    parts = tuple(parts_of(Turn(speaker, text), previous))
    return Lacking(seq, content_hash, parts, None if before is None else (before[0], before[3]))


def save(connection: Connection, model: str, made: Sequence[Made], cursor: Cursor, figures: dict[str, Any]) -> bool:
    """Write vectors and how far the model is now; False, and nothing, where another model took over.

    What was changed or forgotten while its vectors were made gets none here: they are about what is no more.
    """
    if not is_current(connection, model):
        return False
    for one in made:
        if _unchanged(connection, one.entry):
            rows = [(one.entry.seq, model, part, vector) for part, vector in one.vectors]
            # What is there already came from another process with the same model, and is the same.
            connection.executemany("INSERT OR IGNORE INTO memory_vectors VALUES (?, ?, ?, ?)", rows)
    kept = {"through": cursor.through, "rewritten": cursor.rewritten, **figures}
    connection.execute(_SET, (_key(model), json.dumps(kept)))
    return True


def _unchanged(connection: Connection, entry: Lacking) -> bool:
    read = [(entry.seq, entry.content_hash), *([entry.previous] if entry.previous else [])]
    query = "SELECT 1 FROM memory_entries WHERE seq = ? AND content_hash = ?"
    return all(connection.execute(query, one).fetchone() is not None for one in read)


def take_over(connection: Connection, model: str) -> None:
    """Say that this model is the one in use; whoever embeds with another one stops."""
    connection.execute(_SET, (_CURRENT, model))


def is_current(connection: Connection, model: str) -> bool:
    """Return whether no other process began to use another model."""
    row = connection.execute("SELECT value FROM memory_state WHERE key = ?", (_CURRENT,)).fetchone()
    return row is not None and row[0] == model


def delete_others(connection: Connection, model: str) -> bool:
    """Delete some vectors of models that are in use no more; False where there are none."""
    if not is_current(connection, model):
        return False
    query = "SELECT model FROM memory_vectors WHERE model <> ? LIMIT 1"
    row = connection.execute(query, (model,)).fetchone()
    if row is None:
        return False
    some = "SELECT entry_seq, model, part FROM memory_vectors WHERE model = ? LIMIT ?"
    connection.execute(
        f"DELETE FROM memory_vectors WHERE (entry_seq, model, part) IN ({some})",  # noqa: S608 - a text of our own
        (row[0], _DELETED),
    )
    connection.execute("DELETE FROM memory_state WHERE key = ?", (_key(row[0]),))
    return True


def counts(store: Readable, model: str) -> tuple[int, int, dict[str, Any]]:
    """Return how many entries have vectors of a model, how many are to have some, and its last figures."""
    with store.read() as connection:
        total = connection.execute(f"SELECT count(*) FROM memory_entries AS entry WHERE {_WANTED}").fetchone()[0]  # noqa: S608
        query = "SELECT count(*) FROM memory_vectors WHERE model = ? AND part = 0"
        done = connection.execute(query, (model,)).fetchone()[0]
        row = connection.execute("SELECT value FROM memory_state WHERE key = ?", (_key(model),)).fetchone()
    return min(done, total), total, json.loads(row[0]) if row else {}


def known_models(store: Readable) -> list[str]:
    """Return the models that made vectors here, the one in use first."""
    with store.read() as connection:
        rows = connection.execute("SELECT key FROM memory_state WHERE key GLOB ? ORDER BY key", (f"{_key('')}*",))
        found = [row[0].removeprefix(_key("")) for row in rows]
        return sorted(found, key=lambda model: not is_current(connection, model))


def _key(model: str) -> str:
    return f"embedding:{model}"
