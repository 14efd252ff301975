"""What landed is confirmed by a health check, or taken back; a release that does not start well is left by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from timmy_core.errors import UpgradeError, UpgradeStateError
from timmy_core.upgrades.doors import Workspace
from timmy_core.upgrades.model import Finding, Proposal
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.rollback import RollingBack

PATIENCE_S: Final = 60.0
BY: Final = "health check"
_MANY: Final = 500

_log = logging.getLogger(__name__)


def quiet(_what: str, _done: float | None) -> None:
    """Tell nobody how far it is."""


class Confirming:
    """Asks the health check behind each landing, and at each start out of a release that nobody confirmed yet."""

    def __init__(self, rows: Rows, workspace: Workspace, rolling: RollingBack) -> None:
        self._rows = rows
        self._workspace = workspace
        self._rolling = rolling

    def landed(self, ids: Sequence[str]) -> None:
        """Ask the health check about what landed just now, if there is one."""
        landed = [each for each in ids if self._rows.get(each).state == "applied"]
        if landed and self._workspace.checked:
            self._settle(landed)

    def confirm(self, proposal_id: str) -> Proposal:
        """Ask the health check about an applied proposal: it is confirmed, or everything since is taken back.

        Raises:
            UpgradeStateError: it is not applied.
        """
        proposal = self._rows.get(proposal_id)
        if proposal.state != "applied":
            message = f"{proposal_id} is {proposal.state.replace('_', ' ')}; only what was applied can be confirmed"
            raise UpgradeStateError(message)
        self._settle([proposal_id])
        return self._rows.get(proposal_id)

    def _settle(self, ids: Sequence[str]) -> None:
        problem = self._workspace.healthy()
        if problem is None:
            self._workspace.confirm()
            self._confirmed(ids)
            return
        # The release before runs again at once; the branch follows by one commit a proposal, the last one first.
        self._workspace.revert()
        self._take_back(list(reversed(ids)), problem)
        self._workspace.settled()

    def _confirmed(self, ids: Sequence[str]) -> None:
        for each in ids:
            self._rows.move(each, ("applied",), "confirmed", "upgrade.confirmed", {})

    def _take_back(self, ids: Sequence[str], reason: str) -> None:
        for each in ids:
            self._rolling.rollback(each, BY, quiet, patience_s=PATIENCE_S, untested=True, reason=reason)

    # Starts --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Count a start of the service; after too many without a confirmation the release before is current again."""
        left = self._workspace.boot()
        if left:
            _log.warning("release %s never started well; the one before it runs from the next start", left[:12])

    def started(self) -> list[Finding]:
        """Confirm the release that the service was started out of, or leave it; the branch follows. Once a start.

        Without a health check, that the service came this far counts as one.
        """
        release = self._workspace.release()
        if release.current and not release.confirmed:
            problem = self._workspace.healthy()
            if problem is None:
                self._workspace.confirm()
                held = self._applied_in(release.current, "")
                self._confirmed(held)
                return [Finding("", done=True, message=f"confirmed: release {release.current[:12]} started well")]
            try:
                self._workspace.revert()
            except UpgradeError as error:
                return [Finding("", done=False, message=f"{problem}; and {error}")]
            release = self._workspace.release()
        if not release.left:
            return []
        gone = self._applied_in(release.left, release.kept)
        reason = f"release {release.left[:12]} did not start well"
        self._take_back(gone, reason)
        self._workspace.settled()
        return [Finding(each, done=True, message=f"taken back: {reason}") for each in gone]

    def _applied_in(self, release: str, but_not: str) -> list[str]:
        """Return the applied proposals that a release holds, and another one does not, the last one first."""
        found = [
            (one.applied_at, one.id)
            for one in self._rows.page(("applied",), _MANY, None).proposals
            if one.applied_at is not None
            and one.applied_sha is not None
            and self._workspace.has(one.applied_sha, release)
            and not (but_not and self._workspace.has(one.applied_sha, but_not))
        ]
        return [proposal_id for _, proposal_id in sorted(found, reverse=True)]
