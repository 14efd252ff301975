"""When facts hold: of one subject in one scope, one fact at a time; what is replaced ends, and is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from timmy_core.clock import to_us
from timmy_core.errors import EntryError
from timmy_core.memory.model import Entry
from timmy_core.memory.rows import fetch, mark_rewritten
from timmy_core.store.engine import Connection

_FACT: Final = "kind = 'fact' AND state = 'stored' AND scope = ? AND subject = ? AND seq <> ?"
# The facts about the subject that hold when the new one begins, or that would begin at the same moment.
_OLDER: Final = f"""
SELECT seq, id FROM memory_entries
WHERE {_FACT} AND valid_from <= ? AND (valid_to IS NULL OR valid_to > ?)
"""  # noqa: S608 - conditions of our own
_NEWER: Final = f"""
SELECT valid_from, id FROM memory_entries WHERE {_FACT} AND valid_from > ? ORDER BY valid_from, seq LIMIT 1
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Closed:
    """A fact that was ended: its seq and id, and the seq of the entry that took its place (its own if none did)."""

    seq: int
    id: str
    cause: int


def settle(connection: Connection, fact: Entry, replaces: Sequence[str]) -> list[Closed]:
    """Let a fact take its place in time, and return those that it ended.

    What it replaces by name, and what says something else of the same subject, holds until it begins. A fact that is
    remembered after the one that followed it in truth ends where that one begins.
    """
    begins = to_us(fact.valid_from)
    closed = [_replaced(connection, fact, key) for key in dict.fromkeys(replaces)]
    if fact.subject is not None and _holds(fact):
        named = (fact.scope, fact.subject, fact.seq)
        later = connection.execute(_NEWER, (*named, begins)).fetchone()
        if later is not None:
            end(connection, Closed(fact.seq, fact.id, fact.seq), *later)
        older = connection.execute(_OLDER, (*named, begins, begins)).fetchall()
        closed += [Closed(seq, id_, fact.seq) for seq, id_ in older]
    return [one for one in closed if end(connection, one, begins, fact.id)]


def _holds(fact: Entry) -> bool:
    """Whether it holds at all: not so where it was replaced at the very moment that it began."""
    return fact.valid_to is None or fact.valid_to > fact.valid_from


def _replaced(connection: Connection, fact: Entry, key: str) -> Closed:
    old = fetch(connection, key)
    if old.kind != "fact" or old.scope != fact.scope or old.seq == fact.seq:
        message = f"{key!r} cannot be replaced: it is not another fact of the scope {fact.scope!r}"
        raise EntryError(message)
    return Closed(old.seq, old.id, fact.seq)


def end(connection: Connection, closed: Closed, at: int, replaced_by: str | None) -> bool:
    """Let a fact hold until a moment, and no longer; one that ended before stays as it is, and that is False."""
    changed = connection.execute(
        "UPDATE memory_entries SET valid_to = max(valid_from, ?), closed_by = ? "
        "WHERE seq = ? AND (valid_to IS NULL OR valid_to > ?)",
        (at, replaced_by, closed.seq, at),
    ).rowcount
    if changed:
        mark_rewritten(connection)
    return bool(changed)
