"""Tests a change before a person is asked: with its own tests, and with those of the branch as it is."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import Clock, SystemClock, iso
from timmy_core.errors import SandboxError
from timmy_core.events.files import make_folder, write_whole
from timmy_core.events.redactor import Redactor
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades import forgery
from timmy_core.upgrades.doors import Base
from timmy_core.upgrades.junit import Report, parse
from timmy_core.upgrades.model import Level, Progress, Run, TestResult
from timmy_core.upgrades.paths import PathSet
from timmy_core.upgrades.sandbox.job import Bounds, Ended, Job, Outcome
from timmy_core.upgrades.sandbox.levels import FOLDERS, Sandbox

_VERSION: Final = 2
MAX_NAMED: Final = 200  # ids that a result names
_MAX_KNOWN: Final = 50  # trees whose passing tests are remembered
_MB: Final = 1 << 20
_ATTRIBUTES: Final = ".gitattributes"
_LOST: Final = -9  # what stands as the exit of a command that did not end by itself

_ENDED: Final[Mapping[Ended, str]] = {
    "time": "It was ended: it took longer than test_s, {bounds.time_s:g} s.",
    "memory": "It was ended: it took more memory than test_memory_mb allows.",
    "processes": "It was ended: it started more processes than test_processes, {bounds.processes}.",
    "disk": "It was ended: it wrote more files than test_disk_mb allows.",
    "output": "It was ended: it printed more than {bounds.output_bytes} bytes.",
    "cancelled": "It was ended: Timmy was stopped meanwhile.",
    "lost": "It ended what watched over it, so nothing that it did counts.",
}

_Files = Callable[[], Path]


class Trials:
    """Runs the tests of trees, shut in; safe to use from any thread.

    Args:
        settings: the section `[upgrades]`.
        sandbox: where the tests run.
        clock: stamps results.
        cache: a folder in which it is remembered which tests a tree passes; memory alone if None.
    """

    def __init__(
        self, settings: UpgradeSettings, sandbox: Sandbox, *, clock: Clock | None = None, cache: Path | None = None
    ) -> None:
        self._settings = settings
        self._sandbox = sandbox
        self._clock = clock or SystemClock()
        self._cache = cache
        self._known: dict[str, frozenset[str]] = {}
        self._stopped = threading.Event()
        self._redactor = Redactor()
        self._tests = PathSet(settings.test_paths)
        self._bounds = Bounds(
            time_s=settings.test_s,
            memory_bytes=settings.test_memory_mb * _MB,
            processes=settings.test_processes,
            open_files=settings.test_files,
            disk_bytes=settings.test_disk_mb * _MB,
        )

    @property
    def recipe(self) -> str:
        """A digest of how tests are run; a result counts only for the recipe that it was made with."""
        said = {
            "version": _VERSION,
            "command": self._settings.test_command,
            "python": str(self._sandbox.python),
            "bounds": asdict(self._bounds),
            "copied": self._settings.writable_tree,
            "base_tests": self._settings.base_tests,
            "tests": self._settings.test_paths,
        }
        return _digest(said)

    def close(self) -> None:
        """End what runs; nothing is run afterwards."""
        self._stopped.set()

    def run(self, export: Path, base: Base, *, tree: str, progress: Progress) -> TestResult:
        """Test a tree.

        Args:
            export: its plain files.
            base: the branch as it is.
            tree: its name in git.
            progress: told what is being done, from this thread.

        Raises:
            SandboxError: tests cannot be shut in here, or the command cannot be started.
        """
        progress("finding out how well tests can be shut in", 0.0)
        level = self._sandbox.find().level
        with contextlib.ExitStack() as stack:
            # Written once at most, and only where a run needs it.
            files = functools.cache(lambda: stack.enter_context(base.export()))
            wanted = self._passing(base.tree, files, progress)
            progress("running its own tests", 0.4)
            outcome, report = self._attempt(export)
            own, own_passing = self._own(outcome, report), report.ids("passed")
            theirs: Run | None = None
            if wanted:
                changed = self._graded(export, base, files)
                if changed:
                    progress("running the base's tests over its source", 0.7)
                    with _folder() as folder:
                        forgery.with_base_tests(export, files(), changed, folder / "tree")
                        outcome, report = self._attempt(folder / "tree")
                theirs = self._base(outcome, report, wanted)
        passed = own.passed and (theirs is None or theirs.passed or self._settings.base_tests == "shown")
        if own.passed:
            self._remember(tree, own_passing)
        progress("done", 1.0)
        return self._result(tree, own, theirs, level, passed=passed)

    def _graded(self, export: Path, base: Base, files: _Files) -> list[str]:
        """Return the paths of tests and configuration in which a tree differs from the base."""
        # Attributes can change what files hold that git calls the same, so then the files themselves are compared.
        if any(Path(path).name == _ATTRIBUTES for path in base.changed):
            return forgery.grades_itself(export, files(), self._tests)
        return sorted(path for path in base.changed if path in self._tests)

    def _attempt(self, folder: Path) -> tuple[Outcome, Report]:
        job = Job(self._command(), folder, copied=self._settings.writable_tree)
        outcome = self._sandbox.run(job, self._bounds, stopped=self._stopped.is_set)
        if outcome.ended == "cancelled":
            message = "the tests were stopped before they ended; ask for them again"
            raise SandboxError(message)
        return outcome, parse(outcome.report) if outcome.ended == "exited" else Report(problem=self._why(outcome))

    def _command(self) -> tuple[str, ...]:
        python = str(self._sandbox.python)
        return tuple(word.replace("{python}", python) for word in self._settings.test_command)

    def _why(self, outcome: Outcome) -> str:
        return _ENDED.get(outcome.ended, "").format(bounds=self._bounds)

    # Verdicts ------------------------------------------------------------------------------------------------

    def _own(self, outcome: Outcome, report: Report) -> Run:
        """Judge the run with the change's own tests: it has to be green in every respect."""
        failed = report.ids("failed")
        problem = report.problem
        if not problem and not report.verdicts:
            problem = "No test ran, which proves nothing."
        if not problem and outcome.exit == 0 and failed:
            problem = "The command says that all is well, and its report that tests failed."
        if not problem and outcome.exit and not failed:
            problem = f"The command ended with {outcome.exit}, though its report names no test that failed."
        passed = not problem and not failed and outcome.exit == 0
        return self._run(outcome, report, problem, failed, frozenset(), passed=passed)

    def _base(self, outcome: Outcome, report: Report, wanted: frozenset[str]) -> Run:
        """Judge the run with the base's tests: each that passes on the base has to be there, and to pass."""
        failed = report.ids("failed") & wanted
        missing = wanted - report.ids("passed", "failed")
        problem = report.problem
        if missing and not problem:
            problem = f"Tests that the branch passes did not run: {len(missing)}."
        passed = not problem and not failed and not missing
        return self._run(outcome, report, problem, failed, missing, passed=passed)

    def _run(
        self,
        outcome: Outcome,
        report: Report,
        problem: str,
        failed: Iterable[str],
        missing: Iterable[str],
        *,
        passed: bool,
    ) -> Run:
        said = self._redactor.clean_text(outcome.output.strip())
        output = f"{said}\n\n{problem}".strip() if problem else said
        exit_ = outcome.exit if outcome.exit is not None else _LOST
        ids = [tuple(self._redactor.clean_text(id_) for id_ in sorted(some)[:MAX_NAMED]) for some in (failed, missing)]
        return Run(passed, len(report.verdicts), ids[0], ids[1], exit_, output, outcome.took_s)

    def _result(self, tree: str, own: Run, base: Run | None, level: Level, *, passed: bool) -> TestResult:
        took_s = own.took_s + (base.took_s if base and base.output is not own.output else 0.0)
        at = self._clock.now()
        said = {
            "recipe": self.recipe,
            "tree": tree,
            "passed": passed,
            "own": asdict(own),
            "base": asdict(base) if base else None,
            "level": level,
            "took_s": took_s,
            "at": iso(at),
        }
        return TestResult(tree, passed, own, base, level, took_s, _digest(said), at)

    # What the base passes ------------------------------------------------------------------------------------

    def _passing(self, tree: str, files: _Files, progress: Progress) -> frozenset[str]:
        """Return the tests that pass on the base, from an earlier run of the same tree where there was one."""
        known = self._recall(tree)
        if known is not None:
            return known
        progress("finding out which tests the branch passes", 0.1)
        _, report = self._attempt(files())
        return self._remember(tree, report.ids("passed"))

    def _recall(self, name: str) -> frozenset[str] | None:
        if name in self._known or self._cache is None:
            return self._known.get(name)
        try:
            found = json.loads(self._place(name).read_bytes())
        except (OSError, ValueError):
            return None  # it is only a memory; the tests can be run
        if not isinstance(found, list) or not all(isinstance(id_, str) for id_ in found):
            return None
        return self._keep(name, frozenset(found))

    def _remember(self, name: str, passing: frozenset[str]) -> frozenset[str]:
        if self._cache is not None and self._known.get(name) != passing:
            make_folder(self._cache)
            write_whole(self._place(name), json.dumps(sorted(passing)).encode())
            self._forget_oldest(self._cache)
        return self._keep(name, passing)

    def _keep(self, name: str, passing: frozenset[str]) -> frozenset[str]:
        self._known[name] = passing
        for old in list(self._known)[:-_MAX_KNOWN]:
            self._known.pop(old, None)
        return passing

    def _place(self, name: str) -> Path:
        return (self._cache or Path()) / f"{_digest({'recipe': self.recipe, 'tree': name})}.json"

    def _forget_oldest(self, folder: Path) -> None:
        found = sorted((path.stat().st_mtime, path) for path in folder.glob("*.json"))
        for _, path in found[:-_MAX_KNOWN]:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=FOLDERS))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
