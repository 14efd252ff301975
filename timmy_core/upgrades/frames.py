"""What the upgrade queue shows as frames: its proposals, and who decided."""

from __future__ import annotations

from typing import Final

from timmy_core.store.frames import FrameSpec

UPGRADES_FRAME: Final = FrameSpec(
    name="upgrades",
    source="upgrade_proposals",
    columns={
        "created_at": ("created_at", "time"),
        "id": ("id", "text"),
        "description": ("description", "text"),
        "proposed_by": ("proposed_by", "text"),
        "kind": ("kind", "text"),
        "state": ("state", "text"),
        "risk": ("risk", "text"),
        "files": ("json_array_length(files)", "int"),
        "added": ("added", "int"),
        "removed": ("removed", "int"),
        "tests_passed": ("json_extract(tests, '$.passed')", "bool"),
        "tests_s": ("json_extract(tests, '$.took_s')", "float"),
        "expires_at": ("expires_at", "time"),
        "decided_at": ("decided_at", "time"),
        "applied_at": ("applied_at", "time"),
        "applied_sha": ("applied_sha", "text"),
        "rolled_back_sha": ("rolled_back_sha", "text"),
        "trace_id": ("trace_id", "text"),
        "agent_id": ("agent_id", "text"),
        "problem": ("problem", "text"),
    },
    time="created_at",
    key="seq",
)

DECISIONS_FRAME: Final = FrameSpec(
    name="upgrade_decisions",
    source="upgrade_approvals",
    columns={
        "decided_at": ("at", "time"),  # `at` and `by` mean something of their own in SQL
        "proposal_id": ("proposal_id", "text"),
        "decision": ("decision", "text"),
        "decided_by": ("by", "text"),
        "reason": ("reason", "text"),
        "urgent": ("urgent", "bool"),
        "tree": ("tree", "text"),
    },
    time="at",
    key="at",
)
