"""Making a proposal: git objects of its own first, then its row and event in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import ProposalError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades.doors import Policy, Workspace
from timmy_core.upgrades.model import Head, Kind, Proposal
from timmy_core.upgrades.packing import pack_files
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.states import PENDING

MAX_DESCRIPTION: Final = 4_000
MAX_NAME: Final = 100
MAX_PENDING: Final = 1_000  # more than anybody can decide; whoever proposes that many is running wild

Files = Mapping[str, str | bytes | None]


class Proposing:
    """Takes proposals in."""

    def __init__(
        self, rows: Rows, workspace: Workspace, policy: Policy, settings: UpgradeSettings, clock: Clock
    ) -> None:
        self._rows = rows
        self._workspace = workspace
        self._policy = policy
        self._settings = settings
        self._clock = clock

    def propose(
        self,
        description: str,
        change: str | Files,
        kind: Kind,
        proposed_by: str,
        *,
        agent_id: str | None,
        task_id: str | None,
        trace_id: str | None,
    ) -> Proposal:
        """Make a proposal.

        Raises:
            ProposalError: says what is wrong with it; nothing was kept.
        """
        words = checked_text("description", description, MAX_DESCRIPTION, lines=True)
        by = checked_text("proposed_by", proposed_by, MAX_NAME)
        if self._rows.count(PENDING) >= MAX_PENDING:
            message = f"{MAX_PENDING:,} proposals wait for a decision already; decide or reject some first"
            raise ProposalError(message)
        proposal_id = new_id()
        try:
            head = self._head(proposal_id, change, kind, f"{words}\n\nUpgrade {proposal_id}, proposed by {by}.")
            return self._write(proposal_id, words, by, kind, head, (agent_id, task_id, trace_id or new_id()))
        except BaseException:
            self._workspace.forget(proposal_id)
            raise

    def _head(self, proposal_id: str, change: str | Files, kind: Kind, message: str) -> Head:
        if kind == "files":
            if isinstance(change, str):
                text = "files have to be a mapping of paths to contents; give a text as diff"
                raise ProposalError(text)
            return self._workspace.head_of_files(proposal_id, change, message)
        if not isinstance(change, str) or not change.strip():
            text = f"{kind} has to be text that is not empty, not {type(change).__name__}"
            raise ProposalError(text)
        if kind == "diff":
            return self._workspace.head_of_diff(proposal_id, change, message)
        return self._workspace.head_of_branch(proposal_id, change, message)

    def _write(
        self, proposal_id: str, words: str, by: str, kind: Kind, head: Head, ids: tuple[str | None, str | None, str]
    ) -> Proposal:
        found = head.change
        quarantined = self._rows.is_quarantined(found.patch_id)
        risk = self._policy.assess(found.files, kind=kind, quarantined=quarantined)
        now = self._clock.now()
        columns = {
            "id": proposal_id,
            "description": words,
            "proposed_by": by,
            "kind": kind,
            "repo": str(self._workspace.repo),
            "branch": self._workspace.branch,
            "base": head.base,
            "head": head.sha,
            "patch_id": found.patch_id,
            "files": pack_files(found.files),
            "added": found.added,
            "removed": found.removed,
            "state": "proposed",
            "risk": risk.level,
            "risk_reasons": json.dumps(risk.reasons),
            "created_at": to_us(now),
            "expires_at": to_us(now + timedelta(hours=self._settings.expiry_h)),
            "changed_at": to_us(now),
            "agent_id": ids[0],
            "task_id": ids[1],
            "trace_id": ids[2],
        }
        told = {
            "description": words.split("\n", 1)[0][:200],
            "by": by,
            "kind": kind,
            "base": head.base,
            "head": head.sha,
            "files": len(found.files),
            "added": found.added,
            "removed": found.removed,
            "risk": risk.level,
        }
        return self._rows.insert(columns, told)


def checked_text(name: str, text: str, most: int, *, lines: bool = False) -> str:
    """Return a text that people will read, without blanks around it.

    Raises:
        ProposalError: it is empty, too long or has characters that cannot be seen.
    """
    if not isinstance(text, str):
        message = f"{name} has to be text, not {type(text).__name__}"
        raise ProposalError(message)
    kept = text.strip()
    seen = kept.replace("\n", "").replace("\t", "") if lines else kept
    if not kept or len(kept) > most or not seen.isprintable():
        message = f"{name} has to be 1 to {most:,} printable characters, not {kept[:40]!r}"
        raise ProposalError(message)
    return kept
