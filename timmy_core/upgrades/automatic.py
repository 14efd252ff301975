"""Approves by itself what the policy lets through because somebody was told and nobody objected; off by default."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from timmy_core.clock import Clock, iso
from timmy_core.errors import ApprovalError, UpgradeStateError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades.approval import POLICY, Approvals
from timmy_core.upgrades.model import Approval, Decision, Page, Proposal, State
from timmy_core.upgrades.notices import Notices
from timmy_core.upgrades.policy import UpgradePolicy

_MANY: Final = 50

_log = logging.getLogger(__name__)


class Queue(Protocol):
    """What is needed of the queue."""

    def list(self, *, state: State, limit: int) -> Page:
        """Return proposals in a state."""
        ...

    def take(self, approval: Approval) -> Proposal:
        """Write a signed yes."""
        ...


class Automatic:
    """Says yes where a person could have said no; asked now and then by whoever serves.

    Args:
        settings: the section `[upgrades]`.
        approvals: signs.
        policy: says what may be approved.
        notices: knows who was told, and when.
        clock: the time.
    """

    def __init__(
        self, settings: UpgradeSettings, approvals: Approvals, policy: UpgradePolicy, notices: Notices, clock: Clock
    ) -> None:
        self._settings = settings
        self._approvals = approvals
        self._policy = policy
        self._notices = notices
        self._clock = clock

    def approve_due(self, queue: Queue) -> Sequence[Proposal]:
        """Approve what may be approved now, and return it; what was decided or changed meanwhile is left alone."""
        if not self._settings.auto_approve:
            return []
        done = []
        for proposal in queue.list(state="awaiting_approval", limit=_MANY).proposals:
            told_at = self._notices.delivered_at(proposal)
            if told_at is None or self._policy.why_not_automatic(proposal, told_at, self._clock.now()):
                continue
            try:
                done.append(queue.take(self._approvals.seal_automatic(self._decision(proposal, told_at))))
            except (ApprovalError, UpgradeStateError) as error:
                _log.info("proposal %s is not approved by itself: %s", proposal.id, error)
        return done

    def _decision(self, proposal: Proposal, told_at: datetime) -> Decision:
        candidate, tests = proposal.candidate, proposal.tests
        if candidate is None or tests is None:
            message = f"{proposal.id} has not been tested, so there is nothing to approve"
            raise ApprovalError(message)
        return Decision(
            proposal_id=proposal.id,
            decision="approve",
            by=POLICY,
            head=proposal.head,
            base=candidate.base,
            tree=candidate.tree,
            tests_digest=tests.digest,
            policy_digest=self._policy.digest(),
            nonce=secrets.token_hex(16),
            expires_at=self._clock.now() + timedelta(hours=self._settings.expiry_h),
            reason=f"nobody objected since {iso(told_at)}",
        )
