"""The queue as the rest of the house sees it: propose, look, test, decide, apply, roll back, recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from timmy_core.clock import Clock
from timmy_core.errors import ProposalError, UpgradeError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.upgrades.apply import Applying
from timmy_core.upgrades.candidate import Testing
from timmy_core.upgrades.confirming import PATIENCE_S, Confirming, quiet
from timmy_core.upgrades.deciding import Deciding
from timmy_core.upgrades.doors import Approvals, Policy, Trials, Workspace
from timmy_core.upgrades.history import History
from timmy_core.upgrades.model import STATES, Approval, Diff, Finding, Kind, Page, Progress, Proposal, State
from timmy_core.upgrades.propose import Files, Proposing
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.recover import Recovering
from timmy_core.upgrades.rollback import RollingBack
from timmy_core.upgrades.states import PENDING


class Upgrades:
    """Proposals to one repository; safe to use from any thread and from several processes.

    Every method blocks, and what it did is durable when it returns. Long work (tests, landing) runs in the caller's
    thread and tells `progress`.

    Args:
        store: where proposals are kept.
        events: told of every move, in the same transaction.
        clock: dates everything.
        settings: the section `[upgrades]`.
        workspace: the repository.
        trials: runs the tests.
        approvals: checks PINs and signs.
        policy: says how much care a change needs.
    """

    def __init__(
        self,
        store: Store,
        events: EventLog,
        clock: Clock,
        settings: UpgradeSettings,
        workspace: Workspace,
        trials: Trials,
        approvals: Approvals,
        policy: Policy,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._workspace = workspace
        self._approvals = approvals
        self._rows = Rows(store, events, clock)
        self._proposing = Proposing(self._rows, workspace, policy, settings, clock)
        self._testing = Testing(self._rows, workspace, trials)
        self._deciding = Deciding(self._rows, workspace, policy, approvals, settings, clock)
        self._recovering = Recovering(self._rows, workspace)
        self._rolling = RollingBack(self._rows, workspace, self._testing, self._recovering)
        self._confirming = Confirming(self._rows, workspace, self._rolling)
        self._applying = Applying(self._rows, workspace, policy, self._testing, self._deciding, self._recovering.mend)
        self._history = History(self._rows, workspace, events)

    # Proposing -----------------------------------------------------------------------------------------------

    def propose(
        self,
        *,
        description: str,
        diff: str | None = None,
        files: Files | None = None,
        branch: str | None = None,
        proposed_by: str,
        agent_id: str | None = None,
        task_id: str | None = None,
        trace_id: str | None = None,
    ) -> Proposal:
        """Make a proposal of a diff, of whole files (None removes one), or of what a branch holds now.

        Nothing is tested yet, and no branch, index or work tree is touched.

        Raises:
            ProposalError: says what is wrong with it; nothing was kept.
        """
        given: list[tuple[Kind, str | Files]] = []
        if diff is not None:
            given.append(("diff", diff))
        if files is not None:
            given.append(("files", files))
        if branch is not None:
            given.append(("branch", branch))
        if len(given) != 1:
            message = f"{len(given)} changes were given; give exactly one of diff, files and branch"
            raise ProposalError(message)
        kind, change = given[0]
        return self._proposing.propose(
            description, change, kind, proposed_by, agent_id=agent_id, task_id=task_id, trace_id=trace_id
        )

    # Looking -------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Proposal:  # noqa: A002 - the field's own name
        """Return a proposal.

        Raises:
            ProposalNotFoundError: there is none with that id.
        """
        return self._rows.get(id)

    def list(self, *, state: State | Sequence[State] | None = None, limit: int = 50, cursor: str | None = None) -> Page:
        """Return proposals, newest first; `cursor` is the one that the page before ended with.

        Raises:
            UpgradeError: a state is not known.
        """
        states = () if state is None else (state,) if isinstance(state, str) else tuple(state)
        unknown = [name for name in states if name not in STATES]
        if unknown:
            message = f"the state {unknown[0]!r} is not known; expected one of {', '.join(STATES)}"
            raise UpgradeError(message)
        return self._rows.page(states, limit, cursor)

    def pending(self) -> int:
        """Return how many proposals a person still has something to do with."""
        return self._rows.count(PENDING)

    def diff(self, id: str) -> Diff:  # noqa: A002
        """Return what a proposal would change, or changed, for people to read.

        Raises:
            ProposalNotFoundError: there is none with that id.
            UpgradeError: it was rejected or ran out long ago, and git has forgotten its lines.
        """
        proposal = self._rows.get(id)
        candidate = proposal.candidate
        old, new = (candidate.base, candidate.sha) if candidate else (proposal.base, proposal.head)
        return self._workspace.diff(id, old, new)

    def texts(self, id: str, path: str) -> tuple[str | None, str | None]:  # noqa: A002
        """Return one file of a proposal's diff before and after, whole; None where it is not, or is too long to show.

        Raises:
            ProposalNotFoundError: there is none with that id.
            UpgradeError: the proposal does not touch that path, or git has forgotten its lines.
        """
        proposal = self._rows.get(id)
        if path not in proposal.paths:
            message = f"{id} does not touch {path!r}; `Proposal.files` names what it touches"
            raise UpgradeError(message)
        candidate = proposal.candidate
        old, new = (candidate.base, candidate.sha) if candidate else (proposal.base, proposal.head)
        return self._workspace.text(old, path), self._workspace.text(new, path)

    def paths(self) -> Sequence[str]:
        """Return every path that the branch holds."""
        return self._workspace.paths(self._workspace.tip())

    def source(self, path: str) -> str | None:
        """Return a file as the branch has it; None where it is not there, is no text, or is too long."""
        return self._workspace.text(self._workspace.tip(), path)

    def find(self, file: Path) -> tuple[str, str] | None:
        """Return a file's path within the repository and its text on the branch; None where it is not there."""
        try:
            path = file.resolve().relative_to(self._workspace.repo.resolve()).as_posix()
        except ValueError:
            return None
        text = self._workspace.text(self._workspace.tip(), path)
        return None if text is None else (path, text)

    def history(self, id: str) -> Sequence[Event]:  # noqa: A002
        """Return a proposal's events, oldest first."""
        return self._history.of(id)

    def state(self) -> Mapping[str, Any]:
        """Return what is checked out and released."""
        return self._workspace.state()

    # Testing and deciding ------------------------------------------------------------------------------------

    def test(self, id: str, *, progress: Progress = quiet, anew: bool = False) -> Proposal:  # noqa: A002
        """Merge a proposal with the branch as it is and test that; `anew` runs tests again that were green.

        Raises:
            UpgradeStateError: its tests run already, or it was decided.
            SandboxError: the tests could not be run.
        """
        return self._testing.test(id, progress, anew=anew)

    def approve(self, id: str, *, by: str, pin: str, seen: str | None = None, urgent: bool = False) -> Proposal:  # noqa: A002
        """Say yes to exactly what was shown; `seen` is the `Proposal.seen` of the page.

        Args:
            id: the proposal.
            by: who decides; never who proposed.
            pin: that person's PIN.
            seen: what was on the page; None where nothing was shown before.
            urgent: let this one approval do where the policy asks for more; it is logged loudly.

        Raises:
            UpgradeStateError: its tests are not green, or it was decided already.
            ApprovalError: who asks may not decide, or saw something else.
            PinError: the PIN is wrong.
        """
        return self._deciding.approve(id, by=by, pin=pin, seen=seen, urgent=urgent)

    def take(self, approval: Approval) -> Proposal:
        """Take in an approval that was signed elsewhere, such as the policy's own for low risk.

        Raises:
            ApprovalError: it is about something else than there is now.
        """
        return self._deciding.take(approval)

    def reject(self, id: str, *, by: str, reason: str, pin: str) -> Proposal:  # noqa: A002
        """Say no, and why; `refs/upgrades/<id>` is given up, and no branch is touched.

        Raises:
            UpgradeStateError: it was decided, landed or ran out already.
            PinError: the PIN is wrong.
        """
        return self._deciding.reject(id, by=by, reason=reason, pin=pin)

    # Landing -------------------------------------------------------------------------------------------------

    def apply(self, id: str, *, progress: Progress = quiet, patience_s: float = PATIENCE_S) -> Proposal:  # noqa: A002
        """Land an approved proposal, and what stands in the queue before it; look at `state` for what came of it.

        Raises:
            UpgradeStateError: it is not approved.
            UpgradeBusyError: another process applies; it keeps its place in the queue.
            RecoveryError: an earlier landing has to be looked at by a person first.
        """
        if self._applying.enqueue(id).state == "queued":
            self._confirming.landed(self._applying.work(progress, patience_s, wanted=id))
        return self._rows.get(id)

    def enqueue(self, id: str) -> Proposal:  # noqa: A002
        """Give an approved proposal its place in the queue, for `work` to land; it waits for nothing.

        Raises:
            UpgradeStateError: it is not approved.
        """
        return self._applying.enqueue(id)

    def work(self, *, progress: Progress = quiet, patience_s: float = PATIENCE_S) -> Sequence[Proposal]:
        """Land everything that stands in the queue; return what left it.

        Raises:
            UpgradeBusyError: another process applies.
            RecoveryError: an earlier landing has to be looked at by a person first.
        """
        done = self._applying.work(progress, patience_s)
        self._confirming.landed(done)
        return [self._rows.get(each) for each in done]

    def confirm(self, id: str) -> Proposal:  # noqa: A002
        """Ask the health check about an applied proposal: it is confirmed, or everything since is taken back.

        Raises:
            UpgradeStateError: it is not applied.
        """
        return self._confirming.confirm(id)

    def rollback(
        self, id: str, *, by: str, pin: str, progress: Progress = quiet, untested: bool = False,  # noqa: A002
    ) -> Proposal:  # fmt: skip
        """Take an applied proposal back by a new commit; its patch is quarantined.

        Args:
            id: the proposal.
            by: who asks.
            pin: that person's PIN.
            progress: told how far it is.
            untested: do not test the branch without it first.

        Raises:
            UpgradeStateError: it is not applied, or the branch without it fails its tests.
            MergeConflictError: later changes stand on it.
            DirtyTreeError: the work tree is in the way; says what to do.
            PinError: the PIN is wrong.
        """
        self._approvals.check_pin(pin, by=by)
        return self._rolling.rollback(id, by, progress, patience_s=PATIENCE_S, untested=untested)

    # Keeping -------------------------------------------------------------------------------------------------

    def recover(self) -> Sequence[Finding]:
        """Finish or undo what a crash left, and say so; the same again finds nothing."""
        return self._recovering.recover()

    def begin(self) -> None:
        """Count one start of the service; one that runs out of releases calls it before anything else."""
        self._confirming.begin()

    def started(self) -> Sequence[Finding]:
        """Say that the service started, after `recover`: its release is confirmed by the health check, or left."""
        return self._confirming.started()

    def expire_due(self) -> Sequence[Proposal]:
        """Let proposals run out whose time has come."""
        return self._history.expire_due(self._clock.now())

    def prune(self, older_than: datetime | None = None) -> int:
        """Forget what ended before a moment (`history_days` ago if None); its events stay."""
        before = older_than or self._clock.now() - timedelta(days=self._settings.history_days)
        return self._history.prune(before)
