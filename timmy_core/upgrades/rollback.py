"""Taking back: a new commit that undoes one proposal, landed like any other; history is never rewound."""

from __future__ import annotations

from timmy_core.errors import BaseMovedError, DirtyTreeError, UpgradeStateError
from timmy_core.upgrades.candidate import Testing, summary
from timmy_core.upgrades.doors import Workspace
from timmy_core.upgrades.model import Candidate, Progress, Proposal
from timmy_core.upgrades.queue_rows import OpenLanding, Rows
from timmy_core.upgrades.recover import Recovering
from timmy_core.upgrades.states import LANDED

_MAX_MOVES = 5


class RollingBack:
    """Takes applied proposals back."""

    def __init__(self, rows: Rows, workspace: Workspace, testing: Testing, recovering: Recovering) -> None:
        self._rows = rows
        self._workspace = workspace
        self._testing = testing
        self._recovering = recovering

    def rollback(
        self, proposal_id: str, by: str, progress: Progress, *, patience_s: float, untested: bool, reason: str = ""
    ) -> Proposal:
        """Take a proposal back; its patch is quarantined from then on.

        Raises:
            UpgradeStateError: it is not applied, or the branch without it fails its tests.
            MergeConflictError: later changes stand on it.
            DirtyTreeError: the work tree is in the way; says what to do.
        """
        with self._workspace.exclusive(patience_s):
            self._recovering.mend()
            for left in range(_MAX_MOVES, -1, -1):
                proposal = self._rows.get(proposal_id)
                if proposal.state == "rolled_back":
                    return proposal
                if proposal.state not in LANDED or proposal.applied_sha is None:
                    message = f"{proposal_id} is {proposal.state.replace('_', ' ')}; only what landed can be taken back"
                    raise UpgradeStateError(message)
                tip = self._workspace.tip()
                back = self._back(proposal, proposal.applied_sha, tip, reason)
                if not untested:
                    self._check(proposal.applied_sha, tip, back, progress)
                try:
                    self._land(proposal, tip, back, by, reason)
                except BaseMovedError:
                    if not left:
                        raise
                else:
                    break
        return self._rows.get(proposal_id)

    def _back(self, proposal: Proposal, landed: str, tip: str, reason: str) -> Candidate:
        title = proposal.description.split("\n", 1)[0]
        why = f" {reason}" if reason else ""
        message = f"Take back: {title}\n\nUpgrade {proposal.id} ({landed[:12]}) is undone.{why}"
        return self._workspace.undo(landed, tip, message)

    def _check(self, landed: str, tip: str, back: Candidate, progress: Progress) -> None:
        """Test what the branch will be, unless it is what it was before the proposal."""
        if tip == landed:
            return
        progress("testing the branch without it", None)
        result = self._testing.result(back, progress, base=tip)
        if not result.passed:
            message = (
                f"without {landed[:12]}, {summary(result)}; later changes may need it: "
                "take those back first, or take it back untested"
            )
            raise UpgradeStateError(message)

    def _land(self, proposal: Proposal, tip: str, back: Candidate, by: str, reason: str) -> None:
        self._workspace.keep("rollback", {proposal.id: back.sha})
        own = ((proposal.id, back.sha),)
        with self._workspace.landing(tip, back.sha, f"take back upgrade {proposal.id}") as landing:
            open_ = OpenLanding(self._rows.begin("rollback", tip, back.sha, own), "rollback", tip, back.sha, own)
            try:
                landing.swap()
                landing.write()
            except BaseMovedError as error:
                self._rows.end(open_, "moved", "applied", "upgrade.recovered", {"outcome": str(error)})
                raise
            except DirtyTreeError as error:
                self._rows.end(open_, "given back", "applied", "upgrade.blocked", {"problem": str(error)})
                raise
            told = {"by": by, **({"reason": reason} if reason else {})}
            self._rows.end(open_, "rolled back", "rolled_back", "upgrade.rolled_back", told)
