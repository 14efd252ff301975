"""What was said in the sessions: questions and answers as rows, and on which memories an answer stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import from_us
from timmy_core.store.engine import Connection
from timmy_core.store.frames import FrameSpec
from timmy_core.swarm.recall import Memo

# A question without a model's answer is left out: models expect the two sides to take turns.
_ANSWERED: Final = """
SELECT role, content, trace_id FROM turns AS turn
WHERE session = ? AND offline = 0 AND EXISTS (
    SELECT 1 FROM turns AS answer
    WHERE answer.session = turn.session AND answer.trace_id = turn.trace_id
    AND answer.role = 'assistant' AND answer.offline = 0
)
ORDER BY id DESC LIMIT ?
"""
_LATEST: Final = """
SELECT id, session, role, content, provider, model, offline, trace_id, ts FROM turns
WHERE session = ? ORDER BY id DESC LIMIT ?
"""

TURNS_FRAME: Final = FrameSpec(
    name="turns",
    source="turns",
    columns={
        "id": ("id", "int"),
        "ts": ("ts", "time"),
        "session": ("session", "text"),
        "role": ("role", "text"),
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "offline": ("offline", "bool"),
        "trace_id": ("trace_id", "text"),
        "characters": ("length(content)", "int"),
    },
    time="ts",
    key="id",
    grows=True,
)
RECALLS_FRAME: Final = FrameSpec(
    name="recalls",
    source="recalls",
    columns={
        "id": ("id", "int"),
        "ts": ("ts", "time"),
        "session": ("session", "text"),
        "trace_id": ("trace_id", "text"),
        "place": ("place", "int"),
        "entry_id": ("entry_id", "text"),
        "score": ("score", "float"),
    },
    time="ts",
    key="id",
    grows=True,
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said in a session, by the user or by Timmy; `memories` are those that an answer stood on."""

    id: int
    session: str
    role: str
    content: str
    provider: str | None
    model: str | None
    offline: bool
    trace_id: str
    ts: datetime
    memories: tuple[Memo, ...] = ()


def answered(connection: Connection, session: str, limit: int) -> list[tuple[str, str, str]]:
    """Return role, content and trace of the latest turns that a model answered, newest first."""
    return connection.execute(_ANSWERED, (session, limit)).fetchall()


def latest(connection: Connection, session: str, limit: int) -> list[Turn]:
    """Return the latest turns, oldest first, without their memories."""
    return [_turn(row) for row in reversed(connection.execute(_LATEST, (session, limit)).fetchall())]


def put_question(connection: Connection, session: str, text: str, trace_id: str, ts: int) -> None:
    """Keep what was asked."""
    connection.execute(
        "INSERT INTO turns (session, role, content, trace_id, ts) VALUES (?, 'user', ?, ?, ?)",
        (session, text, trace_id, ts),
    )


def put_answer(connection: Connection, session: str, answer: Any, trace_id: str, ts: int) -> None:
    """Keep what was answered."""
    connection.execute(
        "INSERT INTO turns (session, role, content, provider, model, offline, trace_id, ts) "
        "VALUES (?, 'assistant', ?, ?, ?, ?, ?, ?)",
        (session, answer.text, answer.provider, answer.model, answer.offline, trace_id, ts),
    )


def put_recalls(connection: Connection, session: str, trace_id: str, memories: Sequence[Memo], ts: int) -> None:
    """Keep on which memories an answer stood."""
    connection.executemany(
        "INSERT INTO recalls (session, trace_id, place, entry_id, score, ts) VALUES (?, ?, ?, ?, ?, ?)",
        [(session, trace_id, place, memo.id, memo.score, ts) for place, memo in enumerate(memories)],
    )


def recalls(connection: Connection, traces: Sequence[str]) -> Mapping[str, list[tuple[str, float | None]]]:
    """Return by trace the ids and scores of the memories that its answer stood on."""
    found: dict[str, list[tuple[str, float | None]]] = {}
    query = "SELECT entry_id, score FROM recalls WHERE trace_id = ? ORDER BY place"
    for trace_id in traces:
        rows = connection.execute(query, (trace_id,)).fetchall()
        if rows:
            found[trace_id] = rows
    return found


def _turn(row: Sequence[Any]) -> Turn:
    id_, session, role, content, provider, model, offline, trace_id, ts_us = row
    return Turn(id_, session, role, content, provider, model, bool(offline), trace_id, from_us(ts_us))
