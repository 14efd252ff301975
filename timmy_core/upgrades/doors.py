"""What the queue needs of others, as protocols: git, the tests, the policy and whoever holds the keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from timmy_core.upgrades.model import (
    Approval,
    Boot,
    Candidate,
    Decision,
    Diff,
    FileChange,
    Head,
    Kind,
    Progress,
    Risk,
    RiskLevel,
    TestResult,
)


@dataclass(frozen=True, slots=True)
class Base:
    """The branch as it is, beside a tree that is tested.

    Args:
        tree: the id of its tree in git.
        changed: every path in which the tested tree differs from it.
        export: puts its plain files into a folder; called only where they are needed, as that takes most of the time.
    """

    tree: str
    changed: frozenset[str]
    export: Callable[[], AbstractContextManager[Path]]


class Trials(Protocol):
    """Runs the tests of a tree, shut in."""

    @property
    def recipe(self) -> str:
        """A digest of how tests are run (command, limits); a result counts only for the recipe it was made with."""
        ...

    def run(self, export: Path, base: Base, *, tree: str, progress: Progress) -> TestResult:
        """Test the plain files in `export`, which are those of `tree`, also with the tests of the base."""
        ...


class Policy(Protocol):
    """Says how much care a change needs."""

    def assess(self, files: Sequence[FileChange], *, kind: Kind, quarantined: bool) -> Risk:
        """Return the risk of a change."""
        ...

    def quorum(self, level: RiskLevel) -> int:
        """Return how many people have to approve."""
        ...

    def protected(self, path: str) -> bool:
        """Whether changes to a path need a person's eyes each time."""
        ...

    def digest(self) -> str:
        """Return a digest of the policy; an approval binds to it."""
        ...


class Approvals(Protocol):
    """Checks PINs, and signs and checks decisions."""

    def check_pin(self, pin: str, *, by: str) -> None:
        """Check a PIN, counting wrong ones; raises `PinError`."""
        ...

    def seal(self, decision: Decision, *, pin: str) -> Approval:
        """Check the PIN and sign a decision."""
        ...

    def verify(self, approval: Approval) -> bool:
        """Whether the signature is of this home's key and covers every field."""
        ...


class Landing(Protocol):
    """One move of the branch from `old` to `new`; the branch cannot be committed to by others meanwhile."""

    def swap(self) -> None:
        """Move the branch by compare-and-swap: the one commit point; raises `BaseMovedError`."""
        ...

    def write(self) -> None:
        """Bring the work tree and the release to where the branch is."""
        ...


class Workspace(Protocol):
    """The repository; the only door through which git is run."""

    @property
    def repo(self) -> Path:
        """The repository's folder."""
        ...

    @property
    def branch(self) -> str:
        """The name of the branch that proposals land on."""
        ...

    @property
    def mode(self) -> str:
        """Where a landing becomes visible: `in_place` or `releases`."""
        ...

    def exclusive(self, patience_s: float) -> AbstractContextManager[None]:
        """Hold the one place of whoever applies, over all processes; raises `UpgradeBusyError`."""
        ...

    def testing(self, proposal_id: str) -> AbstractContextManager[bool]:
        """Hold the one place of whoever tests a proposal; yields False where somebody else holds it."""
        ...

    def tip(self) -> str:
        """Return the commit that the branch is at."""
        ...

    def head_of_diff(self, proposal_id: str, diff: str, message: str) -> Head:
        """Make a proposal's commit of a diff."""
        ...

    def head_of_files(self, proposal_id: str, files: Mapping[str, str | bytes | None], message: str) -> Head:
        """Make a proposal's commit of whole files; None removes one."""
        ...

    def head_of_branch(self, proposal_id: str, branch: str, message: str) -> Head:
        """Take a branch's present commit as a proposal's."""
        ...

    def touched(self, old: str, new: str) -> frozenset[str]:
        """Return the paths that differ between two commits."""
        ...

    def same_patch(self, first: tuple[str, str], second: tuple[str, str]) -> bool:
        """Whether the same files go from the same contents to the same contents between two pairs of commits."""
        ...

    def candidate(self, base: str, head: str, message: str) -> Candidate:
        """Make the merge that would land on `base`; raises `MergeConflictError`."""
        ...

    def undo(self, landed: str, onto: str, message: str) -> Candidate:
        """Make the commit on `onto` that takes back what `landed` brought; raises `MergeConflictError`."""
        ...

    def tree(self, commit: str) -> str:
        """Return a commit's tree."""
        ...

    def has(self, ancestor: str, commit: str) -> bool:
        """Whether a commit stands on another, or is it."""
        ...

    def export(self, commit: str) -> AbstractContextManager[Path]:
        """Put a commit's plain files into a folder of its own, which is gone afterwards."""
        ...

    def diff(self, proposal_id: str, base: str, to: str) -> Diff:
        """Return what people read, bounded."""
        ...

    def paths(self, commit: str) -> Sequence[str]:
        """Return every path of a commit."""
        ...

    def text(self, commit: str, path: str) -> str | None:
        """Return a file as it is in a commit; None where that cannot be shown."""
        ...

    def keep(self, name: str, commits: Mapping[str, str]) -> None:
        """Keep each proposal's commit from being collected, under `refs/upgrades/<id>/<name>`, all or none."""
        ...

    def kept(self) -> set[str]:
        """Return the ids of all proposals that have refs here."""
        ...

    def forget(self, proposal_id: str) -> None:
        """Give up `refs/upgrades/<id>` and nothing else."""
        ...

    def landing(self, old: str, new: str, message: str) -> AbstractContextManager[Landing]:
        """Check that `new` can land, and hold the place until it did; raises `DirtyTreeError` and says what to do."""
        ...

    def finish(self, old: str, new: str) -> None:
        """After a kill: bring the work tree and the release to where the branch is, or raise `DirtyTreeError`."""
        ...

    def sweep(self) -> list[str]:
        """Remove what killed processes left: locks of ours, exports, private indexes; needs `exclusive`."""
        ...

    @property
    def checked(self) -> bool:
        """Whether there is a health check."""
        ...

    def healthy(self) -> str | None:
        """Ask the health check; None is well, else what it said."""
        ...

    def confirm(self) -> None:
        """Say that what was released last is well."""
        ...

    def revert(self) -> None:
        """Let the release before run again."""
        ...

    def boot(self) -> str:
        """Count one start of the service; return the release that was left because it never started well, if any."""
        ...

    def release(self) -> Boot:
        """Return what the service runs out of; nothing in particular where it does not run out of releases."""
        ...

    def settled(self) -> None:
        """Say that the branch holds nothing any more of a release that was left."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what is checked out and released, for people to look at."""
        ...
