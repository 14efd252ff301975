"""After a kill: every intent is finished or undone, by what the branch says; a second time there is nothing to do."""

from __future__ import annotations

from typing import Final

from timmy_core.errors import RecoveryError, UpgradeBusyError, UpgradeError, UpgradeStateError
from timmy_core.upgrades.doors import Workspace
from timmy_core.upgrades.model import Finding
from timmy_core.upgrades.queue_rows import OpenLanding, Rows

PATIENCE_S: Final = 5.0
_MAX_TESTING: Final = 500
_YOUNG_MS: Final = 3_600_000


class Recovering:
    """Mends what a killed process left."""

    def __init__(self, rows: Rows, workspace: Workspace) -> None:
        self._rows = rows
        self._workspace = workspace

    def recover(self) -> list[Finding]:
        """Mend everything, and say what was done; what needs a person is said too, and nothing of it touched."""
        try:
            with self._workspace.exclusive(PATIENCE_S):
                found = [self._landing(landing) for landing in self._rows.open_landings()]
                if all(finding.done for finding in found):
                    found += [Finding("", done=True, message=words) for words in self._workspace.sweep()]
        except UpgradeBusyError:
            # Whoever holds the place is alive, and mended everything before it began.
            found = []
        return [*found, *self._tests(), *self._refs()]

    def mend(self) -> None:
        """Mend what is in the way of applying; needs the applier's lock.

        Raises:
            RecoveryError: a person has to look at something first.
        """
        for landing in self._rows.open_landings():
            finding = self._landing(landing)
            if not finding.done:
                raise RecoveryError(finding.message)
        self._workspace.sweep()

    def _landing(self, landing: OpenLanding) -> Finding:
        first = landing.proposals[0][0] if landing.proposals else ""
        tip = self._workspace.tip()
        if not self._workspace.has(landing.new, tip):
            self._workspace.sweep()
            self._rows.end(landing, "undone", "queued", "upgrade.recovered", {"outcome": "undone"})
            return Finding(first, done=True, message=f"undone: the branch had not moved to {landing.new[:12]} yet")
        try:
            self._workspace.finish(landing.old, landing.new)
        except UpgradeError as error:
            return Finding(first, done=False, message=str(error))
        if landing.kind == "apply":
            self._rows.end(landing, "finished", "applied", "upgrade.applied", {"recovered": True})
        else:
            self._rows.end(landing, "finished", "rolled_back", "upgrade.rolled_back", {"recovered": True})
        return Finding(first, done=True, message=f"finished: the branch had moved to {landing.new[:12]} already")

    def _tests(self) -> list[Finding]:
        """Give back proposals whose tests died with their process."""
        found = []
        for proposal in self._rows.page(("testing",), _MAX_TESTING, None).proposals:
            with self._workspace.testing(proposal.id) as mine:
                if not mine:
                    continue
                problem = "its tests were cut off by a crash; run them again"
                told = {"outcome": "tests cut off"}
                try:
                    self._rows.move(proposal.id, ("testing",), "proposed", "upgrade.recovered", told, problem=problem)
                except UpgradeStateError:
                    continue  # it was rejected meanwhile
                found.append(Finding(proposal.id, done=True, message=problem))
        return found

    def _refs(self) -> list[Finding]:
        """Give up refs of proposals that were never written: whoever made them was killed in between."""
        known = self._rows.ids()
        # An id begins with its time in ms; one that is young may be on its way into its row.
        before = f"{self._rows.now_us() // 1000 - _YOUNG_MS:012x}"
        found = []
        for proposal_id in sorted(self._workspace.kept() - known):
            if proposal_id < before:
                self._workspace.forget(proposal_id)
                found.append(Finding(proposal_id, done=True, message="given up: it was never written down"))
        return found
