"""What the tests of the queue share: a scratch repository, and a queue on it whose tests and keys are plain doubles."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from timmy_core.clock import Clock, SystemClock, new_id
from timmy_core.errors import PinError
from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.upgrades.doors import Base, Trials
from timmy_core.upgrades.model import Approval, Decision, Mode, Progress, Proposal, Run, TestResult
from timmy_core.upgrades.policy import UpgradePolicy
from timmy_core.upgrades.queue import Upgrades
from timmy_core.upgrades.workspace.repository import Repository

PIN = "2468-1357"
Verdict = Callable[[Path], bool]


def git(repo: Path, *args: str, check: bool = True, stdin: str | None = None) -> str:
    """Run git as a person does, with a name and without anybody's configuration."""
    done = subprocess.run(
        ["git", "-C", str(repo), "-c", "user.name=ann", "-c", "user.email=ann@example.org", *args],
        check=False, capture_output=True, text=True, input=stdin,
        env={"PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(repo)},
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def make_repo(path: Path, files: int = 6) -> Path:
    """Make a repository with a branch `main` and some small files."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    for number in range(files):
        place = path / "src" / f"part{number % 20}" / f"f{number}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"line {line} of {number}\n" for line in range(12)), encoding="utf-8")
    (path / "README.md").write_text("# a scratch repository\n", encoding="utf-8")
    (path / ".gitignore").write_text("*.log\nbuild/\n", encoding="utf-8")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "first")
    return path


def always(_export: Path) -> bool:
    return True


class LookingTrials:
    """Answers by looking at the exported files, and remembers which trees it was asked about."""

    recipe = "looking"

    def __init__(self, verdict: Verdict = always, clock: Clock | None = None) -> None:
        self.verdict = verdict
        self.trees: list[str] = []
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()

    def run(self, export: Path, base: Base, *, tree: str, progress: Progress) -> TestResult:
        assert (tree == base.tree) == (not base.changed)
        progress("looking", 0.5)
        with self._lock:
            self.trees.append(tree)
        passed = self.verdict(export)
        run = Run(passed, 1, () if passed else ("test_it",), (), 0 if passed else 1, "", 0.01)
        digest = hashlib.sha256(f"{tree}{passed}".encode()).hexdigest()
        return TestResult(tree, passed, run, run, "limits", 0.01, digest, self._clock.now())


class PlainApprovals:
    """Signs with a digest of what is signed: enough to see that every field is covered."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def check_pin(self, pin: str, *, by: str) -> None:
        if pin != PIN:
            message = f"the PIN of {by} is wrong"
            raise PinError(message)

    def seal(self, decision: Decision, *, pin: str) -> Approval:
        self.check_pin(pin, by=decision.by)
        return Approval(id=new_id(), signature=_seal(decision), at=self._clock.now(), **asdict(decision))

    def verify(self, approval: Approval) -> bool:
        return approval.signature == _seal(approval.decided)


def _seal(decision: Decision) -> str:
    return hashlib.sha256(repr(decision).encode()).hexdigest()


class House:
    """A queue on a repository, with everything of it at hand."""

    def __init__(
        self, folder: Path, repo: Path, *, clock: Clock | None = None, verdict: Verdict = always,
        mode: Mode = "in_place", health: tuple[str, ...] = (), trials: Trials | None = None, **settings: object,
    ) -> None:  # fmt: skip
        self.clock = clock or SystemClock()
        self.repo = repo
        self.store = Store.open(folder / "timmy.db")
        self.log = EventLog(self.store, self.clock)
        self.settings = UpgradeSettings.model_validate({"repo": repo, "protected_paths": ("locked/**",), **settings})
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        self.workspace = Repository(
            repo,
            "main",
            self.clock,
            mode=mode,
            releases=folder / "releases",
            health=health,
            scratch=scratch,
            release_keep=self.settings.release_keep,
            max_boots=self.settings.max_boots,
        )
        self.trials = LookingTrials(verdict, self.clock)  # unless others were given
        self.approvals = PlainApprovals(self.clock)
        self.policy = UpgradePolicy(self.settings)
        self.queue = Upgrades(
            self.store,
            self.log,
            self.clock,
            self.settings,
            self.workspace,
            trials or self.trials,
            self.approvals,
            self.policy,
        )

    def propose(self, path: str = "src/new.py", content: str | bytes | None = "x = 1\n", **more: str) -> Proposal:
        given = {"description": f"change {path}", "proposed_by": "timmy", **more}
        return self.queue.propose(files={path: content}, **given)

    def approved(self, path: str = "src/new.py", content: str | bytes | None = "x = 1\n") -> Proposal:
        made = self.propose(path, content)
        shown = self.queue.test(made.id)
        assert shown.state == "awaiting_approval", shown.problem
        done = self.queue.approve(made.id, by="ann", pin=PIN, seen=shown.seen)
        if done.state == "awaiting_approval":
            done = self.queue.approve(made.id, by="ben", pin=PIN, seen=shown.seen)
        assert done.state == "approved"
        return done

    def applied(self, path: str = "src/new.py", content: str | bytes | None = "x = 1\n") -> Proposal:
        done = self.queue.apply(self.approved(path, content).id)
        assert done.state == "applied", done.problem
        return done

    def types(self, proposal: Proposal) -> list[str]:
        return [event.type.removeprefix("upgrade.") for event in self.queue.history(proposal.id)]

    def close(self) -> None:
        self.store.close()


def snapshot(repo: Path) -> dict[str, bytes]:
    """Return every file of a work tree, git's own left out."""
    return {
        path.relative_to(repo).as_posix(): path.read_bytes()
        for path in repo.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repo).parts
    }


def is_exactly(repo: Path, commit: str) -> bool:
    """Whether branch, index and work tree are that commit, to the byte."""
    if git(repo, "rev-parse", "main").strip() != commit or git(repo, "status", "--porcelain").strip():
        return False
    listed = [item.split("\t", 1) for item in git(repo, "ls-tree", "-r", "-z", commit).split("\0") if item]
    held = {path: meta.split()[2] for meta, path in listed}
    found = snapshot(repo)
    blobs = git(repo, "hash-object", "--stdin-paths", stdin="".join(f"{path}\n" for path in found)).split()
    return held == dict(zip(found, blobs, strict=True))


def copy_repo(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target
