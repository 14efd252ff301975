"""The candidate: the merge that would land, made and tested before anybody is asked."""

from __future__ import annotations

from timmy_core.errors import MergeConflictError, UpgradeError, UpgradeStateError
from timmy_core.upgrades.doors import Base, Trials, Workspace
from timmy_core.upgrades.model import Candidate, Progress, Proposal, TestResult
from timmy_core.upgrades.packing import pack_result
from timmy_core.upgrades.queue_rows import Rows, candidate_columns
from timmy_core.upgrades.states import TESTABLE


class Testing:
    """Makes candidates and has them tested; a tree that was tested is not tested again."""

    __test__ = False  # not a class of tests, whatever its name begins with

    def __init__(self, rows: Rows, workspace: Workspace, trials: Trials) -> None:
        self._rows = rows
        self._workspace = workspace
        self._trials = trials

    def test(self, proposal_id: str, progress: Progress, *, anew: bool = False) -> Proposal:
        """Make a proposal's candidate on the branch as it is, and test it; `anew` forgets earlier results.

        Raises:
            UpgradeStateError: its tests run already, or it was decided.
            SandboxError: the tests could not be run.
        """
        with self._workspace.testing(proposal_id) as mine:
            proposal = self._rows.get(proposal_id)
            if not mine or proposal.state not in TESTABLE:
                what = "its tests are running" if not mine else f"it is {proposal.state.replace('_', ' ')}"
                message = f"{proposal_id} cannot be tested now: {what}"
                raise UpgradeStateError(message)
            progress("merging it with the branch", None)
            try:
                candidate = self.candidate(proposal, self._workspace.tip())
            except MergeConflictError as error:
                told = {"problem": str(error)}
                return self._rows.move(
                    proposal_id, (proposal.state,), "conflict", "upgrade.conflict", told, problem=str(error)
                )
            return self._run(proposal, candidate, progress, anew=anew)

    def _run(self, proposal: Proposal, candidate: Candidate, progress: Progress, *, anew: bool) -> Proposal:
        self._workspace.keep("candidate", {proposal.id: candidate.sha})
        self._rows.move(
            proposal.id, (proposal.state,), "testing", "upgrade.tests_started",
            {"candidate": candidate.sha, "base": candidate.base}, tests=None, problem=None,
            **candidate_columns(candidate),
        )  # fmt: skip
        try:
            result = self.result(candidate, progress, anew=anew)
        except UpgradeError as error:
            told = {"problem": str(error)}
            self._rows.move(proposal.id, ("testing",), "failed", "upgrade.tests_failed", told, problem=str(error))
            raise
        except BaseException as error:
            # Stopped from outside: it is as if nobody had begun.
            problem = f"the tests were stopped ({type(error).__name__}); run them again"
            told = {"problem": problem}
            self._rows.move(proposal.id, ("testing",), "proposed", "upgrade.tests_failed", told, problem=problem)
            raise
        told_result = {
            "tree": result.tree, "level": result.level, "took_s": round(result.took_s, 3), "digest": result.digest,
        }  # fmt: skip
        packed = pack_result(result)
        if result.passed:
            return self._rows.move(
                proposal.id, ("testing",), "awaiting_approval", "upgrade.tests_passed", told_result, tests=packed
            )
        return self._rows.move(
            proposal.id, ("testing",), "test_failed", "upgrade.tests_failed", told_result, tests=packed,
            problem=summary(result),
        )  # fmt: skip

    def candidate(self, proposal: Proposal, onto: str) -> Candidate:
        """Make the merge of a proposal with a commit; the same again is the same commit.

        Raises:
            MergeConflictError: both sides touch the same lines.
        """
        title = proposal.description.split("\n", 1)[0]
        message = f"{title}\n\nUpgrade {proposal.id}, proposed by {proposal.proposed_by}."
        return self._workspace.candidate(onto, proposal.head, message)

    def result(
        self, candidate: Candidate, progress: Progress, *, base: str | None = None, anew: bool = False
    ) -> TestResult:
        """Return what the tests say about a candidate's tree; only a green answer is remembered.

        Args:
            candidate: what to test.
            progress: told how far it is.
            base: whose tests have to pass as well; the candidate's own base if None.
            anew: run them even if they were green before.

        Raises:
            SandboxError: the tests could not be run.
        """
        at = base or candidate.base
        base_tree, recipe = self._workspace.tree(at), self._trials.recipe
        known = None if anew else self._rows.result(candidate.tree, base_tree, recipe)
        if known is not None and known.passed:
            progress("tested before", 1.0)
            return known
        theirs = Base(base_tree, self._workspace.touched(at, candidate.sha), lambda: self._workspace.export(at))
        with self._workspace.export(candidate.sha) as own:
            result = self._trials.run(own, theirs, tree=candidate.tree, progress=progress)
        self._rows.keep_result(result, base_tree, recipe)
        return result


def summary(result: TestResult) -> str:
    """Return in one line why a result is red."""
    for name, run in (("its own tests", result.own), ("the branch's tests", result.base)):
        if run is not None and not run.passed:
            named = ", ".join((*run.failed, *run.missing)[:3]) or f"exit {run.exit}"
            return f"{name} are red: {named}"
    return "the tests are red"
