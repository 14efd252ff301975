"""What the swarm shows as frames: its tasks, bids and agents."""

from __future__ import annotations

from typing import Final

from timmy_core.store.frames import FrameSpec

TASKS_FRAME: Final = FrameSpec(
    name="tasks",
    source="swarm_tasks",
    columns={
        "seq": ("seq", "int"),
        "ts": ("created_at", "time"),
        "id": ("id", "text"),
        "title": ("title", "text"),
        "state": ("state", "text"),
        "posted_by": ("posted_by", "text"),
        "agent": ("agent", "text"),
        "budget_msat": ("budget_msat", "int"),
        "bid_msat": ("bid_msat", "int"),
        "pay_state": ("pay_state", "text"),
        "payment_id": ("payment_id", "text"),
        "auction": ("auction", "int"),
        "attempts": ("attempts", "int"),
        "bidding_until": ("bidding_until", "time"),
        "deadline_at": ("deadline_at", "time"),
        "assigned_at": ("assigned_at", "time"),
        "started_at": ("started_at", "time"),
        "ended_at": ("ended_at", "time"),
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "problem": ("problem", "text"),
        "local_only": ("local_only", "bool"),
        "trace_id": ("trace_id", "text"),
    },
    time="created_at",
    key="seq",
)
BIDS_FRAME: Final = FrameSpec(
    name="bids",
    source="swarm_bids",
    columns={
        "seq": ("seq", "int"),
        "ts": ("at", "time"),
        "task_id": ("task_id", "text"),
        "auction": ("auction", "int"),
        "agent": ("agent", "text"),
        "amount_msat": ("amount_msat", "int"),
        "won": ("won", "bool"),
    },
    time="at",
    key="seq",
)
AGENTS_FRAME: Final = FrameSpec(
    name="agents",
    source="swarm_agents",
    columns={
        "seq": ("seq", "int"),
        "ts": ("joined_at", "time"),
        "name": ("name", "text"),
        "kind": ("kind", "text"),
        "status": ("status", "text"),
        "capabilities": ("capabilities", "text"),
        "wallet": ("wallet", "text"),
        "description": ("description", "text"),
        "seen_at": ("seen_at", "time"),
    },
    time="joined_at",
    key="seq",
)
SWARM_FRAMES: Final = (TASKS_FRAME, BIDS_FRAME, AGENTS_FRAME)
