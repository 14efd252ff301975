"""The room's frame: what is remembered, for pages and SQL."""

from __future__ import annotations

from typing import Final

from timmy_core.store.frames import FrameSpec

SHOWN_CHARS: Final = 1_000  # of a text; `Memory.get` has the whole

MEMORY_FRAME: Final = FrameSpec(
    name="memory",
    source="memory_entries",
    columns={
        "seq": ("seq", "int"),
        "ts": ("created_at", "time"),
        "id": ("id", "text"),
        "kind": ("kind", "text"),
        "state": ("state", "text"),
        "scope": ("scope", "text"),
        "agent_id": ("agent_id", "text"),
        "session": ("session", "text"),
        "task_id": ("task_id", "text"),
        "trace_id": ("trace_id", "text"),
        "source": ("source", "text"),
        "speaker": ("speaker", "text"),
        "subject": ("subject", "text"),
        "text": (f"substr(text, 1, {SHOWN_CHARS})", "text"),
        "characters": ("length(text)", "int"),
        "importance": ("importance", "float"),
        "valid_from": ("valid_from", "time"),
        "valid_to": ("valid_to", "time"),
        "closed_by": ("closed_by", "text"),
        "parent_seq": ("parent_seq", "int"),
        "parts": ("parts", "int"),
    },
    time="created_at",
    key="seq",
    grows=True,
    rewritten="SELECT value FROM memory_state WHERE key = 'rewritten'",
)
