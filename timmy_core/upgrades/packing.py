"""Proposals, test results and decisions as the store's columns hold them, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from timmy_core.clock import from_us, to_us
from timmy_core.upgrades.model import Approval, Candidate, FileChange, Proposal, Run, TestResult
from timmy_core.upgrades.states import SHOWN


def pack_files(files: Sequence[FileChange]) -> str:
    """Return files as JSON."""
    return json.dumps([asdict(change) for change in files], separators=(",", ":"))


def pack_result(result: TestResult) -> str:
    """Return a test result as JSON."""
    return json.dumps({**asdict(result), "at": to_us(result.at)}, separators=(",", ":"))


def unpack_result(text: str) -> TestResult:
    """Return a test result from JSON."""
    held: dict[str, Any] = json.loads(text)
    own, base = _run(held.pop("own")), held.pop("base")
    return TestResult(**{**held, "own": own, "base": None if base is None else _run(base), "at": from_us(held["at"])})


def _run(held: Mapping[str, Any]) -> Run:
    return Run(**{**held, "failed": tuple(held["failed"]), "missing": tuple(held["missing"])})


def approval_of(row: Sequence[Any]) -> Approval:
    """Return a decision from its row."""
    names = ("id", "proposal_id", "decision", "by", "head", "base", "tree", "tests_digest", "policy_digest", "nonce")
    first: dict[str, Any] = dict(zip(names, row, strict=False))
    expires_at, signature, at, reason, urgent = row[len(names) :]
    return Approval(
        **first, expires_at=from_us(expires_at), signature=signature, at=from_us(at), reason=reason, urgent=bool(urgent)
    )


def proposal_of(values: Mapping[str, Any], *, quarantined: bool, approvals: tuple[Approval, ...]) -> Proposal:
    """Return a proposal from its columns."""
    plain: dict[str, Any] = {
        name: values[name]
        for name in (
            "id", "description", "proposed_by", "kind", "repo", "branch", "base", "head", "patch_id", "added",
            "removed", "state", "risk", "applied_sha", "rolled_back_sha", "trace_id", "task_id", "agent_id", "problem",
        )
    }  # fmt: skip
    times: dict[str, Any] = {name: _moment(values[name]) for name in ("decided_at", "applied_at")}
    sha = values["candidate_sha"]
    candidate = (
        Candidate(sha, values["candidate_tree"], values["candidate_base"], from_us(values["candidate_at"]))
        if sha
        else None
    )
    return Proposal(
        **plain,
        **times,
        files=tuple(FileChange(**change) for change in json.loads(values["files"])),
        shown=SHOWN[values["state"]],
        risk_reasons=tuple(json.loads(values["risk_reasons"])),
        candidate=candidate,
        tests=unpack_result(values["tests"]) if values["tests"] else None,
        created_at=from_us(values["created_at"]),
        expires_at=from_us(values["expires_at"]),
        quarantined=quarantined,
        approvals=approvals,
    )


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
