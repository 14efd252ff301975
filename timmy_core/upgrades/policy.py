"""The policy: what risk a change has, how many people it needs, and when it may land without any."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from timmy_core.errors import ApprovalError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades.model import FileChange, Kind, Proposal, Risk, RiskLevel
from timmy_core.upgrades.paths import PathSet
from timmy_core.upgrades.risk import Classes, assess

_VERSION: Final = 1
# What of the section says who has to agree to what; where things lie is no part of it.
_KEYS: Final = frozenset(
    {
        "branch", "test_command", "base_tests", "sandbox", "test_paths", "protected_paths", "high_paths", "low_paths",
        "high_lines", "low_lines", "high_kinds", "quorum", "auto_approve", "auto_approve_h", "expiry_h",
    }
)  # fmt: skip


class UpgradePolicy:
    """What the settings say about risk and agreement.

    Args:
        settings: the section `[upgrades]`.
        people: how many people have a PIN; nobody can ask for more approvals than there are people.
    """

    def __init__(self, settings: UpgradeSettings, people: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._people = people
        self._classes = Classes(
            PathSet(settings.test_paths),
            PathSet(settings.protected_paths),
            PathSet(settings.high_paths),
            PathSet(settings.low_paths),
            settings.high_lines,
            settings.low_lines,
            frozenset(settings.high_kinds),
        )

    def assess(self, files: Sequence[FileChange], *, kind: Kind, quarantined: bool) -> Risk:
        """Return the risk of a change, with every reason."""
        return assess(files, kind=kind, quarantined=quarantined, classes=self._classes)

    def protected(self, path: str) -> bool:
        """Whether a person has to look at each change of this path."""
        return self._classes.is_protected(path)

    def quorum(self, level: RiskLevel) -> int:
        """Return how many people have to approve: what the settings say, and never more than there are, but one."""
        wanted = self._settings.quorum[level]
        return wanted if self._people is None else max(1, min(wanted, self._people()))

    def digest(self) -> str:
        """Return a digest of the policy: an approval that was given under another one does not count."""
        said = self._settings.model_dump(mode="json", include=set(_KEYS))
        return hashlib.sha256(_canonical({"version": _VERSION, **said})).hexdigest()

    def needs_consent(self, proposal: Proposal) -> str:
        """Say what whoever approves has to agree to beside the change, or nothing."""
        if proposal.tests is None or proposal.tests.level == "bubblewrap":
            return ""
        return (
            f"its tests ran at the level {proposal.tests.level}, which shuts them in less well than bubblewrap: "
            "what they did may reach further than this result"
        )

    def check_consent(self, proposal: Proposal, *, given: bool) -> None:
        """Refuse an approval that agrees to the change alone where there is more to agree to.

        Raises:
            ApprovalError: consent is needed, and was not given.
        """
        needed = self.needs_consent(proposal)
        if needed and not given:
            message = f"{needed}; say that you agree to that, too (`consent`), or test it where bubblewrap works"
            raise ApprovalError(message)

    def why_not_automatic(self, proposal: Proposal, noticed_at: datetime | None, now: datetime) -> str:
        """Say why a proposal may not be approved without a person now; nothing where it may."""
        wait = timedelta(hours=self._settings.auto_approve_h)
        tests = proposal.tests
        problems = (
            (not self._settings.auto_approve, "automatic approval is off"),
            (proposal.state != "awaiting_approval", f"it is {proposal.state}, not awaiting approval"),
            (proposal.quarantined, "the same change was rolled back before"),
            (proposal.risk != "low", f"its risk is {proposal.risk}, not low"),
            (any(self.protected(path) for path in proposal.paths), "it touches protected paths"),
            (tests is None or not tests.passed, "its tests have not passed"),
            (tests is not None and tests.level != "bubblewrap", "its tests ran below bubblewrap"),
            (tests is not None and (tests.base is None or not tests.base.passed), "the base's tests have not passed"),
            (bool(proposal.approvals), "a person has decided already"),
            (noticed_at is None, "nobody was told of it yet"),
            (noticed_at is not None and now < noticed_at + wait, "the time to object is not over"),
            (now >= proposal.expires_at, "it has expired"),
        )
        return next((words for holds, words in problems if holds), "")


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
