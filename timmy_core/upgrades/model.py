"""What the upgrade queue speaks of: proposals, their changes, test results, approvals and diffs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

State = Literal[
    "proposed",
    "testing",
    "awaiting_approval",
    "test_failed",
    "approved",
    "queued",
    "applying",
    "applied",
    "confirmed",
    "rejected",
    "expired",
    "conflict",
    "stale",
    "blocked_dirty",
    "failed",
    "rolled_back",
]
Shown = Literal["proposed", "approved", "rejected", "expired", "applied", "failed"]
Kind = Literal["diff", "files", "branch"]
RiskLevel = Literal["low", "normal", "high"]
DecisionKind = Literal["approve", "reject"]
Level = Literal["bubblewrap", "namespaces", "limits"]  # how well the tests were shut in, best first
FileStatus = Literal["added", "changed", "removed"]
Mode = Literal["in_place", "releases"]

STATES: Final[tuple[State, ...]] = get_args(State)
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

# Says how far long work is: what is being done, and how much of it (0 to 1) where that is known.
Progress: TypeAlias = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of a proposal; the modes are git's, such as `100644`, and empty where there was or is no file."""

    path: str
    status: FileStatus
    added: int
    removed: int
    binary: bool
    old_mode: str
    new_mode: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """The merge that would land: commit and tree, and the commit of the branch that it stands on."""

    sha: str
    tree: str
    base: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One run of tests over the candidate.

    Args:
        passed: whether it counts as green.
        collected: how many tests reported.
        failed: ids of tests that failed, a bounded number of them.
        missing: ids that had to be there and were not.
        exit: how the command ended; negative for a signal.
        output: the end of what it wrote, bounded, with secrets masked.
        took_s: how long it ran.
    """

    passed: bool
    collected: int
    failed: tuple[str, ...]
    missing: tuple[str, ...]
    exit: int
    output: str
    took_s: float


@dataclass(frozen=True, slots=True)
class TestResult:
    """Both runs over one tree: with its own tests, and with the base's tests and configuration.

    Args:
        tree: the tree that was tested.
        passed: both runs are green.
        own: the run with the proposal's own tests.
        base: the run with the tests of the branch as it was; None where the branch has none.
        level: how well the tests were shut in.
        took_s: how long both took.
        digest: hex over all of the above; an approval binds to it.
        at: when they ended.
    """

    __test__ = False  # not a class of tests, whatever its name begins with

    tree: str
    passed: bool
    own: Run
    base: Run | None
    level: Level
    took_s: float
    digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says yes or no to; the signature covers all of it."""

    proposal_id: str
    decision: DecisionKind
    by: str
    head: str
    base: str
    tree: str
    tests_digest: str
    policy_digest: str
    nonce: str
    expires_at: datetime
    reason: str = ""
    urgent: bool = False  # one person decided where the policy asks for more


@dataclass(frozen=True, slots=True)
class Approval:
    """A decision that was signed, and so also a rejection; `signature` is hex, empty where nothing could be signed."""

    id: str
    proposal_id: str
    decision: DecisionKind
    by: str
    head: str
    base: str
    tree: str
    tests_digest: str
    policy_digest: str
    nonce: str
    expires_at: datetime
    signature: str
    at: datetime
    reason: str = ""
    urgent: bool = False

    @property
    def decided(self) -> Decision:
        """The part that the signature covers."""
        return Decision(
            self.proposal_id, self.decision, self.by, self.head, self.base, self.tree, self.tests_digest,
            self.policy_digest, self.nonce, self.expires_at, self.reason, self.urgent,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Risk:
    """How much care a proposal needs, why, and which of its paths are protected."""

    level: RiskLevel
    reasons: tuple[str, ...]
    protected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that somebody proposed, and how far it came."""

    id: str
    description: str
    proposed_by: str
    kind: Kind
    repo: str
    branch: str
    base: str
    head: str
    patch_id: str
    files: tuple[FileChange, ...]
    added: int
    removed: int
    state: State
    shown: Shown
    risk: RiskLevel
    risk_reasons: tuple[str, ...]
    candidate: Candidate | None
    tests: TestResult | None
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    applied_at: datetime | None
    applied_sha: str | None
    rolled_back_sha: str | None
    trace_id: str
    task_id: str | None
    agent_id: str | None
    problem: str | None
    quarantined: bool
    approvals: tuple[Approval, ...]

    @property
    def paths(self) -> frozenset[str]:
        """The paths that it touches."""
        return frozenset(change.path for change in self.files)

    @property
    def seen(self) -> str:
        """What stands on the page, as one word; `approve(seen=…)` refuses when it is another by then."""
        candidate, tests = self.candidate, self.tests
        tree, base = (candidate.tree, candidate.base) if candidate else ("", "")
        return ".".join((self.head, base, tree, tests.digest if tests else "", self.risk))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a diff; a number is None on the side where the line is not."""

    sign: Literal[" ", "+", "-"]
    text: str
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class Hunk:
    """Neighbouring lines that changed, with some around them."""

    old_start: int
    new_start: int
    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file's diff; `cut` where it was too long to show whole."""

    change: FileChange
    hunks: tuple[Hunk, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """What a proposal would change, bounded; `against` is the commit it is compared with."""

    proposal_id: str
    against: str
    to: str
    files: tuple[FileDiff, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some proposals, newest first; `cursor` brings the next ones, None when there are no more."""

    proposals: tuple[Proposal, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What lies between two commits."""

    files: tuple[FileChange, ...]
    added: int
    removed: int
    patch_id: str


@dataclass(frozen=True, slots=True)
class Head:
    """A proposal as git keeps it: the commit of the branch it was made on, its own, and what lies between."""

    base: str
    sha: str
    change: Change


@dataclass(frozen=True, slots=True)
class Boot:
    """What a service runs out of, in mode `releases`, and what ran before.

    Args:
        current: the release that `current` leads to; empty before the first.
        previous: the one before it, to go back to.
        confirmed: whether the current one was found well.
        boots: how often it was started since it was put in place.
        left: a release that was gone back from, as long as the branch still holds what it brought.
        kept: the release that was gone back to then.
    """

    current: str = ""
    previous: str = ""
    confirmed: bool = True
    boots: int = 0
    left: str = ""
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that recovery did, or what it found and a person has to look at."""

    proposal_id: str
    done: bool
    message: str
