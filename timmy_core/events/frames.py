"""What the log shows as frames beside the events themselves, and what the lake has to know of its archive."""

from __future__ import annotations

from typing import Final

from timmy_core.events.segment import PROMOTED
from timmy_core.store.lake import FrameSpec, Promotion

PROMOTION: Final = Promotion(PROMOTED)

EVENTS_FRAME: Final = FrameSpec(
    name="events",
    source="events",
    columns={
        "seq": ("seq", "int"),
        "ts": ("ts", "time"),
        "type": ("event_type", "text"),
        "family": ("substr(event_type, 1, instr(event_type, '.') - 1)", "text"),
        "source": ("source", "text"),
        "task_id": ("task_id", "text"),
        "agent_id": ("agent_id", "text"),
        "trace_id": ("trace_id", "text"),
        "data": ("data", "text"),
        "id": ("id", "text"),
    },
    time="ts",
    key="seq",
)

SEGMENTS_FRAME: Final = FrameSpec(
    name="segments",
    source="segments",
    columns={
        "first_seq": ("first_seq", "int"),
        "last_seq": ("last_seq", "int"),
        "file": ("file", "text"),
        "digest": ("digest", "text"),
        "first_ts": ("first_ts", "time"),
        "last_ts": ("last_ts", "time"),
        "bytes": ("bytes", "int"),
        "sealed_at": ("sealed_at", "time"),
    },
    time="sealed_at",
    key="first_seq",
)

REDACTIONS_FRAME: Final = FrameSpec(
    name="redactions",
    source="(SELECT * FROM redactions ORDER BY at DESC, seq DESC LIMIT 100000)",
    columns={
        "seq": ("seq", "int"),
        "state": ("state", "text"),
        "reason": ("reason", "text"),
        "asked_by": ("asked_by", "text"),
        "asked_at": ("at", "time"),
    },
    time="at",
    key="seq",
)
