"""Landing: batches of what was approved, tested as one tree, and one compare-and-swap of the branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from timmy_core.errors import (
    BaseMovedError,
    DirtyTreeError,
    MergeConflictError,
    SandboxError,
    UpgradeStateError,
)
from timmy_core.upgrades.candidate import Testing, summary
from timmy_core.upgrades.deciding import Deciding
from timmy_core.upgrades.doors import Policy, Workspace
from timmy_core.upgrades.model import Candidate, Progress, Proposal, State
from timmy_core.upgrades.queue_rows import OpenLanding, Rows
from timmy_core.upgrades.states import LANDED

BATCH: Final = 5
MAX_ROUNDS: Final = 1_000  # of one call; each lands something, takes it out of the queue, or sees the branch move
MAX_MOVES: Final = 20  # how often the branch may move under one call before it gives up
_STARTABLE: Final[tuple[State, ...]] = ("approved", "blocked_dirty")

Chain = list[tuple[Proposal, Candidate]]
Moved = dict[str, frozenset[str] | None]  # what the branch changed since a commit; None where it does not stand on it


class Applying:
    """Lands what was approved, one process at a time."""

    def __init__(
        self, rows: Rows, workspace: Workspace, policy: Policy, testing: Testing, deciding: Deciding,
        mend: Callable[[], None],
    ) -> None:  # fmt: skip
        self._rows = rows
        self._workspace = workspace
        self._policy = policy
        self._testing = testing
        self._deciding = deciding
        self._mend = mend

    def enqueue(self, proposal_id: str) -> Proposal:
        """Give an approved proposal its place in the queue; one that has its place keeps it.

        Raises:
            UpgradeStateError: it is not approved.
        """
        proposal = self._rows.get(proposal_id)
        if proposal.state in {"queued", "applying", *LANDED}:
            return proposal
        if proposal.state not in _STARTABLE:
            message = (
                f"{proposal_id} is {proposal.state.replace('_', ' ')} and cannot be applied; "
                "only a proposal whose tests are green and that was approved can"
            )
            raise UpgradeStateError(message)
        return self._rows.move(
            proposal_id, _STARTABLE, "queued", "upgrade.queued", {}, queued_at=self._rows.now_us(), problem=None
        )

    def work(self, progress: Progress, patience_s: float, *, wanted: str | None = None) -> list[str]:
        """Land what stands in the queue, or until `wanted` left it; return the ids that left it.

        Raises:
            UpgradeBusyError: another process applies; the queue is as it was.
            RecoveryError: an earlier landing has to be looked at by a person first.
        """
        done: list[str] = []
        moves = 0
        with self._workspace.exclusive(patience_s):
            self._mend()
            for _ in range(MAX_ROUNDS):
                batch = self._rows.queued(BATCH)
                if not batch or (wanted is not None and self._rows.get(wanted).state != "queued"):
                    break
                try:
                    self._batch(batch, progress)
                except BaseMovedError:
                    moves += 1
                    if moves > MAX_MOVES:
                        raise
                done += [each.id for each in batch if self._rows.get(each.id).state != "queued"]
        return done

    # One batch -----------------------------------------------------------------------------------------------

    def _batch(self, batch: Sequence[Proposal], progress: Progress) -> None:
        """Land a batch as one; when its tests are red, each half by itself, down to the one that is to blame."""
        tip = self._workspace.tip()
        chain = self._chain(batch, tip)
        if not chain:
            return
        last = chain[-1][1]
        progress(f"testing {len(chain)} proposals together" if len(chain) > 1 else "testing", None)
        try:
            result = self._testing.result(last, progress, base=tip)
        except SandboxError as error:
            for proposal, _ in chain:
                self._leave(proposal, "failed", "upgrade.failed", str(error))
            raise
        if result.passed:
            self._land(tip, chain, progress)
        elif len(chain) == 1:
            self._leave(chain[0][0], "failed", "upgrade.failed", f"on the branch as it is now, {summary(result)}")
        else:
            half = len(chain) // 2
            for part in (chain[:half], chain[half:]):
                self._batch([proposal for proposal, _ in part], progress)

    def _chain(self, batch: Sequence[Proposal], tip: str) -> Chain:
        """Put the proposals of a batch on each other; one that does not fit leaves the queue, or waits for the next."""
        chain: Chain = []
        onto = tip
        moved: Moved = {}
        for proposal in batch:
            if self._rows.get(proposal.id).state != "queued" or self._overlaps(proposal, chain):
                continue
            problem = self._deciding.problem(proposal) or self._moved_under(proposal, tip, moved)
            if problem:
                self._leave(proposal, "stale", "upgrade.stale", problem)
                continue
            candidate = self._merged(proposal, onto)
            if candidate is not None:
                chain.append((proposal, candidate))
                onto = candidate.sha
        return chain

    def _overlaps(self, proposal: Proposal, chain: Chain) -> bool:
        """Whether a proposal ahead in the batch touches its files, or what needs a person's eyes each time."""
        return any(
            ahead.paths & proposal.paths or any(self._policy.protected(path) for path in ahead.paths)
            for ahead, _ in chain
        )

    def _moved_under(self, proposal: Proposal, tip: str, known: Moved) -> str | None:
        """Say why the approval does not hold on the branch as it is now, or nothing."""
        candidate = proposal.candidate
        if candidate is None or candidate.base == tip:
            return None
        # Most of a batch was approved on the same commit, so git is asked about it once.
        if candidate.base not in known:
            on_it = self._workspace.has(candidate.base, tip)
            known[candidate.base] = self._workspace.touched(candidate.base, tip) if on_it else None
        moved = known[candidate.base]
        if moved is None:
            return "the branch was rewound below the approved merge; test and approve it anew"
        same = sorted(moved & proposal.paths)
        if same:
            return f"the branch changed {same[0]} since the approval; test and approve it anew"
        protected = sorted(path for path in moved if self._policy.protected(path))
        if protected:
            return (
                f"the branch changed {protected[0]}, which is protected, since the approval; test and approve it anew"
            )
        return None

    def _merged(self, proposal: Proposal, onto: str) -> Candidate | None:
        """Make the merge that lands; None where it conflicts, or is not the patch that was approved."""
        approved = proposal.candidate
        try:
            candidate = self._testing.candidate(proposal, onto)
        except MergeConflictError as error:
            self._leave(proposal, "conflict", "upgrade.conflict", str(error))
            return None
        if approved is None or candidate.sha == approved.sha:
            return candidate
        if not self._workspace.same_patch((approved.base, approved.sha), (onto, candidate.sha)):
            problem = "on the branch as it is now it is another patch than the approved one; test and approve it anew"
            self._leave(proposal, "stale", "upgrade.stale", problem)
            return None
        return candidate

    def _leave(self, proposal: Proposal, to: State, event: str, problem: str) -> None:
        self._rows.move(proposal.id, ("queued",), to, event, {"problem": problem}, problem=problem)

    # One landing ---------------------------------------------------------------------------------------------

    def _land(self, tip: str, chain: Chain, progress: Progress) -> None:
        """Move the branch: intent, compare-and-swap, work tree, and the end of the intent."""
        progress("landing", None)
        new = chain[-1][1].sha
        self._workspace.keep("landing", {proposal.id: candidate.sha for proposal, candidate in chain})
        try:
            with self._workspace.landing(tip, new, f"upgrade {chain[-1][0].id}") as landing:
                own = tuple((proposal.id, candidate.sha) for proposal, candidate in chain)
                open_ = OpenLanding(self._rows.begin("apply", tip, new, own), "apply", tip, new, own)
                try:
                    landing.swap()
                    landing.write()
                except BaseMovedError as error:
                    self._rows.end(open_, "moved", "queued", "upgrade.recovered", {"outcome": str(error)})
                    raise
                except DirtyTreeError as error:
                    self._blocked(open_, str(error))
                    return
                self._rows.end(open_, "applied", "applied", "upgrade.applied", {"old": tip, "new": new})
        except DirtyTreeError as error:
            for proposal, _ in chain:
                self._leave(proposal, "blocked_dirty", "upgrade.blocked", str(error))

    def _blocked(self, landing: OpenLanding, problem: str) -> None:
        self._rows.end(landing, "given back", "blocked_dirty", "upgrade.blocked", {"problem": problem})
