"""What the tests of approval share: a proposal and a decision to make others of."""

from __future__ import annotations

from datetime import timedelta

from timmy_core.testing import FakeClock
from timmy_core.upgrades.model import Decision, FileChange, Proposal, Run, TestResult

PIN = "blue-heron-41"
OTHER = "9041-7733-x"


def change(path: str, *, added: int = 1, removed: int = 0, status: str = "changed", **more: object) -> FileChange:
    whole = {"binary": False, "old_mode": "100644", "new_mode": "100644"} | more
    return FileChange(path, status, added, removed, **whole)  # type: ignore[arg-type]


def result_of(clock: FakeClock, *, level: str = "bubblewrap", passed: bool = True) -> TestResult:
    run = Run(passed, 3, (), (), 0 if passed else 1, "", 1.0)
    return TestResult("t" * 40, passed, run, run, level, 2.0, "d" * 64, clock.now())  # type: ignore[arg-type]


def proposal(clock: FakeClock, **more: object) -> Proposal:
    whole: dict[str, object] = {
        "id": "p1", "description": "a better text", "proposed_by": "timmy", "kind": "diff", "repo": "/r",
        "branch": "main", "base": "b" * 40, "head": "h" * 40, "patch_id": "i" * 40,
        "files": (change("docs/a.md"),), "added": 1, "removed": 0, "state": "awaiting_approval", "shown": "proposed",
        "risk": "low", "risk_reasons": ("1 line",), "candidate": None, "tests": result_of(clock),
        "created_at": clock.now(), "expires_at": clock.now() + timedelta(days=7), "decided_at": None,
        "applied_at": None, "applied_sha": None, "rolled_back_sha": None, "trace_id": "trace-1", "task_id": None,
        "agent_id": "timmy", "problem": None, "quarantined": False, "approvals": (),
    }  # fmt: skip
    return Proposal(**(whole | more))  # type: ignore[arg-type]


def decision(clock: FakeClock, **more: object) -> Decision:
    whole: dict[str, object] = {
        "proposal_id": "p1", "decision": "approve", "by": "ann", "head": "h" * 40, "base": "b" * 40, "tree": "t" * 40,
        "tests_digest": "d" * 64, "policy_digest": "e" * 64, "nonce": "n" * 32,
        "expires_at": clock.now() + timedelta(hours=1),
    }  # fmt: skip
    return Decision(**(whole | more))  # type: ignore[arg-type]
