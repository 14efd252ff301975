"""A person decides: bound to exactly what was shown, signed, and counted until there are enough."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from timmy_core.clock import Clock
from timmy_core.errors import ApprovalError, UpgradeStateError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Connection
from timmy_core.upgrades.doors import Approvals, Policy, Workspace
from timmy_core.upgrades.model import Approval, Decision, DecisionKind, Proposal
from timmy_core.upgrades.propose import MAX_NAME, checked_text
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.states import REJECTABLE

MAX_REASON: Final = 2_000
_SEEN: Final = ("the change itself", "the branch below it", "the merge that would land", "the tests", "the risk")


class Deciding:
    """Takes decisions in, and says later whether they still hold."""

    def __init__(
        self, rows: Rows, workspace: Workspace, policy: Policy, approvals: Approvals, settings: UpgradeSettings,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._rows = rows
        self._workspace = workspace
        self._policy = policy
        self._approvals = approvals
        self._settings = settings
        self._clock = clock

    def approve(self, proposal_id: str, *, by: str, pin: str, seen: str | None, urgent: bool) -> Proposal:
        """Take in one person's yes; with enough of them the proposal is approved.

        Raises:
            ApprovalError: who asks may not, decided before, or saw something else than there is now.
            PinError: the PIN is wrong.
        """
        by = checked_text("by", by, MAX_NAME)
        proposal = self._rows.get(proposal_id)
        self._check_may(proposal, by)
        if seen is not None and seen != proposal.seen:
            raise _moved(seen, proposal.seen)
        approval = self._approvals.seal(self._decision(proposal, "approve", by, "", urgent=urgent), pin=pin)
        return self.take(approval)

    def take(self, approval: Approval) -> Proposal:
        """Write a signed yes, if everything is still as it was when it was signed.

        Raises:
            ApprovalError: it is not.
        """

        def run(connection: Connection) -> Proposal:
            proposal = self._rows.read_in(connection, approval.proposal_id)
            if proposal.state != "awaiting_approval" or not self._bound(proposal, approval):
                message = f"{proposal.id} changed while it was decided ({proposal.state}); look at it again"
                raise ApprovalError(message)
            self._rows.add_approval(connection, approval)
            return self._counted(connection, self._rows.read_in(connection, proposal.id), approval)

        return self._rows.write(run)

    def _counted(self, connection: Connection, proposal: Proposal, approval: Approval) -> Proposal:
        quorum = self._policy.quorum(proposal.risk)
        given = self._given(proposal)
        told = {"by": approval.by, "approvals": len(given), "quorum": quorum, "tree": approval.tree}
        if approval.urgent and len(given) < quorum:
            self._rows.tell(connection, proposal, "upgrade.bypassed", {"by": approval.by, "quorum": quorum})
        if len(given) < quorum and not approval.urgent:
            self._rows.tell(connection, proposal, "upgrade.approved", told)
            return proposal
        return self._rows.move_in(
            connection, proposal.id, ("awaiting_approval",), "approved", "upgrade.approved", told,
            decided_at=self._rows.now_us(), problem=None,
        )  # fmt: skip

    def _check_may(self, proposal: Proposal, by: str) -> None:
        if proposal.state != "awaiting_approval":
            message = f"{proposal.id} cannot be approved: {_why_not(proposal)}"
            raise UpgradeStateError(message)
        if by.casefold() in {name.casefold() for name in (proposal.proposed_by, proposal.agent_id) if name}:
            message = f"{by} proposed {proposal.id} and may not approve it; let somebody else look at it"
            raise ApprovalError(message)
        if any(each.by.casefold() == by.casefold() for each in self._given(proposal)):
            message = f"{by} approved {proposal.id} already; the policy asks for somebody else as well"
            raise ApprovalError(message)
        if proposal.expires_at <= self._clock.now():
            message = f"{proposal.id} ran out at {proposal.expires_at:%Y-%m-%d %H:%M} UTC; propose it again"
            raise ApprovalError(message)

    def reject(self, proposal_id: str, *, by: str, reason: str, pin: str) -> Proposal:
        """Turn a proposal down; its refs are given up, and no branch is touched.

        Raises:
            UpgradeStateError: it was decided, landed or ran out already.
            PinError: the PIN is wrong.
        """
        by = checked_text("by", by, MAX_NAME)
        why = checked_text("reason", reason, MAX_REASON, lines=True)
        proposal = self._rows.get(proposal_id)
        if proposal.state not in REJECTABLE:
            message = f"{proposal_id} is {proposal.state.replace('_', ' ')}, so it cannot be rejected any more"
            raise UpgradeStateError(message)
        approval = self._approvals.seal(self._decision(proposal, "reject", by, why, urgent=False), pin=pin)

        def run(connection: Connection) -> Proposal:
            self._rows.add_approval(connection, approval)
            return self._rows.move_in(
                connection, proposal_id, REJECTABLE, "rejected", "upgrade.rejected", {"by": by, "reason": why},
                decided_at=self._rows.now_us(), problem=why,
            )  # fmt: skip

        done = self._rows.write(run)
        self._workspace.forget(proposal_id)
        return done

    def _decision(self, proposal: Proposal, decision: DecisionKind, by: str, reason: str, *, urgent: bool) -> Decision:
        candidate, tests = proposal.candidate, proposal.tests
        return Decision(
            proposal_id=proposal.id,
            decision=decision,
            by=by,
            head=proposal.head,
            base=candidate.base if candidate else proposal.base,
            tree=candidate.tree if candidate else "",
            tests_digest=tests.digest if tests else "",
            policy_digest=self._policy.digest(),
            nonce=secrets.token_hex(16),
            expires_at=self._clock.now() + timedelta(hours=self._settings.expiry_h),
            reason=reason,
            urgent=urgent,
        )

    # Later ---------------------------------------------------------------------------------------------------

    def _bound(self, proposal: Proposal, approval: Approval) -> bool:
        """Whether a decision is about this very head, merge and test result, under this policy."""
        candidate, tests = proposal.candidate, proposal.tests
        if candidate is None or tests is None or not tests.passed or tests.tree != candidate.tree:
            return False
        now = (proposal.id, proposal.head, candidate.base, candidate.tree, tests.digest, self._policy.digest())
        then = (
            approval.proposal_id, approval.head, approval.base, approval.tree, approval.tests_digest,
            approval.policy_digest,
        )  # fmt: skip
        return now == then

    def _given(self, proposal: Proposal) -> list[Approval]:
        """Return one approval a person that is about what there is now."""
        found = {
            each.by.casefold(): each
            for each in proposal.approvals
            if each.decision == "approve" and self._bound(proposal, each)
        }
        return list(found.values())

    def problem(self, proposal: Proposal) -> str | None:
        """Say why a proposal's approvals do not suffice to let it land, or nothing."""
        now = self._clock.now()
        held = [each for each in self._given(proposal) if each.expires_at > now and self._approvals.verify(each)]
        quorum = self._policy.quorum(proposal.risk)
        if len(held) >= quorum or any(each.urgent for each in held):
            return None
        return (
            f"{len(held)} of {quorum} approvals hold: the others ran out, were given under another policy "
            "or for another test result, or are not signed with this home's key; test and approve it anew"
        )


def _why_not(proposal: Proposal) -> str:
    words = {
        "proposed": "its tests have not run yet",
        "testing": "its tests are running",
        "test_failed": "its tests are red, and what is red cannot be approved",
        "conflict": "it conflicts with the branch",
        "stale": "the branch moved below it; test it anew",
        "failed": "it failed; test it anew",
    }
    return words.get(proposal.state, f"it is {proposal.state.replace('_', ' ')} already")


def _moved(seen: str, now: str) -> ApprovalError:
    pairs = list(zip(seen.split("."), now.split("."), strict=False))
    changed = [name for name, (then, there) in zip(_SEEN, pairs, strict=False) if then != there]
    what = ", ".join(changed) or "what was shown"
    message = f"{what} changed since it was shown; look at it again and decide then"
    return ApprovalError(message)
