"""The repository as the queue sees it: objects, the branch, the work tree and the releases behind one door."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.errors import BaseMovedError, DirtyTreeError, GitError
from timmy_core.store.lock import flocked
from timmy_core.upgrades.model import Boot, Candidate, Diff, Head, Mode
from timmy_core.upgrades.workspace import diff as differ
from timmy_core.upgrades.workspace.git import Git, sha
from timmy_core.upgrades.workspace.objects import Objects, put_tree
from timmy_core.upgrades.workspace.releases import Releases, healthy
from timmy_core.upgrades.workspace.worktree import WorkTree

STALE_S: Final = 2.0  # git holds a ref's lock for milliseconds; one that stays this long lost its owner
_POLL_S: Final = 0.05


class Repository:
    """One repository and the branch that proposals land on.

    Args:
        repo: the top folder of the repository.
        branch: the branch's name.
        clock: dates proposals.
        mode: `in_place`, or `releases` for a service that runs out of a folder of releases.
        releases: that folder.
        release_keep: how many releases stay.
        max_boots: how often a release may start without a confirmation.
        health: the command that says whether a landed upgrade is well; empty where there is none.
        health_timeout_s: how long it may take.
        scratch: where exports are put; the system's folder for temporary files if None.
    """

    def __init__(
        self,
        repo: Path,
        branch: str,
        clock: Clock,
        *,
        mode: Mode = "in_place",
        releases: Path | None = None,
        release_keep: int = 5,
        max_boots: int = 3,
        health: Sequence[str] = (),
        health_timeout_s: float = 60.0,
        scratch: Path | None = None,
    ) -> None:
        self._git = Git(repo)
        self._objects = Objects(self._git, branch, clock)
        self.repo, self.branch, self.mode = self._git.repo, branch, mode
        self.ref = f"refs/heads/{branch}"
        self._tree = WorkTree(self._git, self.ref, self._git.top) if self._git.top else None
        folder = releases or self._git.common.parent / "releases"
        in_releases = mode == "releases"
        self.releases = Releases(self._git, folder, keep=release_keep, max_boots=max_boots) if in_releases else None
        self._health, self._health_timeout_s = tuple(health), health_timeout_s
        self._scratch = scratch or Path(tempfile.gettempdir())
        # Exports of this repository are known by their name, so that those of a killed process can be found.
        mark = hashlib.sha256(str(self._git.common).encode()).hexdigest()[:12]
        self._prefix = f"timmy-upgrade-{mark}-"
        if not self._git.has_ref(self.ref):
            message = f"there is no branch {branch!r} in {repo}; make it, or name another as `branch` in [upgrades]"
            raise GitError(message)

    # Objects -------------------------------------------------------------------------------------------------

    def tip(self) -> str:
        """Return the commit that the branch is at."""
        return self._objects.tip()

    def head_of_diff(self, proposal_id: str, diff: str, message: str) -> Head:
        """Make a proposal's commit of a diff."""
        return self._objects.head_of_diff(proposal_id, diff, message)

    def head_of_files(self, proposal_id: str, files: Mapping[str, str | bytes | None], message: str) -> Head:
        """Make a proposal's commit of whole files; None removes one."""
        return self._objects.head_of_files(proposal_id, files, message)

    def head_of_branch(self, proposal_id: str, branch: str, message: str) -> Head:
        """Take what a branch holds now as a proposal's commit."""
        return self._objects.head_of_branch(proposal_id, branch, message)

    def touched(self, old: str, new: str) -> frozenset[str]:
        """Return the paths that differ between two commits."""
        return frozenset(entry.path for entry in differ.entries(self._git, old, new))

    def same_patch(self, first: tuple[str, str], second: tuple[str, str]) -> bool:
        """Whether the same files go from the same contents to the same contents between two pairs of commits."""
        return differ.entries(self._git, *first) == differ.entries(self._git, *second)

    def candidate(self, base: str, head: str, message: str) -> Candidate:
        """Make the merge that would land on `base`."""
        return self._objects.candidate(base, head, message)

    def undo(self, landed: str, onto: str, message: str) -> Candidate:
        """Make the commit on `onto` that takes back what `landed` brought."""
        return self._objects.undo(landed, onto, message)

    def tree(self, commit: str) -> str:
        """Return a commit's tree."""
        return self._git.tree(commit)

    def has(self, ancestor: str, commit: str) -> bool:
        """Whether a commit stands on another, or is it."""
        return self._git.has(ancestor, commit)

    def diff(self, proposal_id: str, base: str, to: str) -> Diff:
        """Return what people read, bounded."""
        return differ.diff(self._git, proposal_id, base, to)

    def paths(self, commit: str) -> list[str]:
        """Return every path of a commit."""
        return differ.paths(self._git, commit)

    def text(self, commit: str, path: str) -> str | None:
        """Return a file as it is in a commit; None where that cannot be shown."""
        return differ.text(self._git, commit, path)

    def keep(self, name: str, commits: Mapping[str, str]) -> None:
        """Keep each proposal's commit from being collected."""
        self._objects.keep(name, commits)

    def forget(self, proposal_id: str) -> None:
        """Give up `refs/upgrades/<id>` and nothing else."""
        self._objects.forget(proposal_id)

    def kept(self) -> set[str]:
        """Return the ids of all proposals that have refs here."""
        return self._objects.kept()

    @contextlib.contextmanager
    def export(self, commit: str) -> Iterator[Path]:
        """Put a commit's plain files into a folder of its own, which is gone afterwards."""
        room = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self._scratch))
        room.chmod(0o755)
        try:
            # Whoever sweeps leaves a folder alone whose lock is held.
            with flocked(room / "lock", 0.0):
                put_tree(self._git, commit, room / "tree")
                yield room / "tree"
        finally:
            shutil.rmtree(room, ignore_errors=True)

    # Locks ---------------------------------------------------------------------------------------------------

    def exclusive(self, patience_s: float) -> contextlib.AbstractContextManager[None]:
        """Hold the one place of whoever applies, over all processes."""
        return self._git.exclusive(patience_s)

    @contextlib.contextmanager
    def testing(self, proposal_id: str) -> Iterator[bool]:
        """Hold the one place of whoever tests a proposal; yields False where somebody else holds it."""
        path = self._git.own / f"testing-{proposal_id}.lock"
        with flocked(path, 0.0) as fd:
            try:
                yield fd is not None
            finally:
                if fd is not None:
                    path.unlink(missing_ok=True)

    # Landing -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def landing(self, old: str, new: str, message: str) -> Iterator[Landing]:
        """Check that `new` can land, and hold the index until it did.

        Raises:
            DirtyTreeError: something is in the way; says what to do.
            BaseMovedError: the branch is not at `old` any more.
        """
        tree = self._here()
        with tree.locked() if tree else contextlib.nullcontext():
            now = self.tip()
            if now != old:
                raise _moved(self.ref, old, now)
            if tree is not None:
                tree.check(old, new)
            yield Landing(self._git, self.ref, old, new, message, tree, self._publish)

    def _here(self) -> WorkTree | None:
        """Return the work tree that has to follow the branch.

        Raises:
            DirtyTreeError: the branch is checked out in another work tree, which would be left behind.
        """
        elsewhere = self._elsewhere()
        if elsewhere:
            text = (
                f"{self.branch} is checked out in {elsewhere} too; "
                "run `git worktree remove` or switch to another branch there, then apply again"
            )
            raise DirtyTreeError(text)
        if self._tree is None:
            return None
        # A service that runs out of releases does not need the branch checked out anywhere.
        return None if self.mode == "releases" and self._tree.head() != self.ref else self._tree

    def _elsewhere(self) -> str | None:
        place = ""
        for item in self._git.run("worktree", "list", "--porcelain", "-z").items:
            key, _, value = item.decode(errors="replace").partition(" ")
            place = value if key == "worktree" else place
            own = self._git.top if self._git.top is not None else self._git.common
            if (key, value) == ("branch", self.ref) and Path(place).resolve() != own.resolve():
                return place
        return None

    def _publish(self, commit: str) -> None:
        if self.releases is not None:
            self.releases.install(commit)

    def finish(self, old: str, new: str) -> None:
        """After a kill behind the commit point: bring the work tree and the release to where the branch is."""
        now = self.tip()
        tree = self._here()
        if tree is not None and tree.unfinished(old, new):
            tree.finish(old, now)
        self._publish(now)

    def sweep(self) -> list[str]:
        """Remove what killed processes left; needs `exclusive`."""
        done = self._tree.sweep() if self._tree is not None else []
        done += self.releases.sweep() if self.releases is not None else []
        common = self._git.common
        locks = [common / f"{self.ref}.lock", common / "HEAD.lock", common / "packed-refs.lock"]
        for lock in _abandoned([*locks, *(common / "refs/upgrades").rglob("*.lock")]):
            lock.unlink(missing_ok=True)
            done.append(f"removed {lock.relative_to(common)}, which a killed git left")
        for path in self._git.own.iterdir():
            if path.is_dir() and path.name.startswith(("index-", "blobs-")) and _old(path):
                shutil.rmtree(path, ignore_errors=True)
        for path in self._scratch.glob(f"{self._prefix}*"):
            with flocked(path / "lock", 0.0) if path.is_dir() else contextlib.nullcontext() as fd:
                if fd is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    done.append(f"removed {path.name}, which a killed test left")
        return done

    # Health --------------------------------------------------------------------------------------------------

    @property
    def checked(self) -> bool:
        """Whether there is a health check."""
        return bool(self._health)

    def healthy(self) -> str | None:
        """Ask the health check; None is well, else what it said."""
        if not self._health:
            return None
        folder = self.releases.current if self.releases is not None else self.repo
        return healthy(self._health, folder, self._health_timeout_s)

    def confirm(self) -> None:
        """Say that what was released last is well."""
        if self.releases is not None:
            self.releases.confirm()

    def revert(self) -> None:
        """Let the release before run again, at once; the branch follows by a commit."""
        if self.releases is not None:
            self.releases.revert()

    def boot(self) -> str:
        """Count one start of the service; return the release that was left because it never started well, if any."""
        if self.releases is None:
            return ""
        before = self.releases.state().current
        return before if self.releases.boot().current != before else ""

    def release(self) -> Boot:
        """Return what the service runs out of; nothing in particular where it does not run out of releases."""
        return self.releases.state() if self.releases is not None else Boot()

    def settled(self) -> None:
        """Say that the branch holds nothing any more of a release that was left."""
        if self.releases is not None:
            self.releases.settled()

    def state(self) -> Mapping[str, Any]:
        """Return what is checked out and released, for people to look at."""
        boot = dataclasses.asdict(self.releases.state()) if self.releases is not None else {}
        head = self._tree.head() if self._tree is not None else ""
        return {"repo": str(self.repo), "branch": self.branch, "tip": self.tip(), "checked_out": head, **boot}


class Landing:
    """One move of the branch, checked and ready."""

    def __init__(
        self,
        git: Git,
        ref: str,
        old: str,
        new: str,
        message: str,
        tree: WorkTree | None,
        publish: Callable[[str], None],
    ) -> None:
        self._git, self._ref, self._tree, self._publish = git, ref, tree, publish
        self._old, self._new, self._message = sha(old), sha(new), message

    def swap(self) -> None:
        """Move the branch by compare-and-swap: the one commit point of every upgrade.

        Raises:
            BaseMovedError: the branch is not where it was.
            GitError: git refused for another reason.
        """
        asked = ("update-ref", "-m", self._message, "--create-reflog", self._ref)
        out = self._git.run(*asked, self._new, self._old, ok=(0, 1, 128))
        if out.code:
            now = self._git.resolve(self._ref)
            if now != self._old:
                raise _moved(self._ref, self._old, now)
            text = f"{self._ref} could not be moved: {out.stderr.strip()[-300:]}"
            raise GitError(text)

    def write(self) -> None:
        """Bring the work tree and the release to where the branch is.

        Raises:
            DirtyTreeError: a person was faster; the branch was given back, nothing landed.
        """
        if self._tree is not None:
            try:
                with self._tree.unfinished_on_error():
                    self._tree.write(self._old, self._new)
            except DirtyTreeError:
                asked = ("update-ref", "-m", "given back: the work tree was edited", self._ref, self._old, self._new)
                self._git.run(*asked)
                raise
        self._publish(self._new)


def _moved(ref: str, old: str, now: str) -> BaseMovedError:
    text = (
        f"{ref} moved from {old[:12]} to {now[:12]} meanwhile; the proposal is built and tested anew on what is there"
    )
    return BaseMovedError(text)


def _abandoned(locks: Iterable[Path]) -> list[Path]:
    """Return the locks of git's that stay the same for longer than any git would hold them."""
    before = {lock: mark for lock in locks if (mark := _mark(lock)) is not None}
    until = time.monotonic() + STALE_S
    while before and time.monotonic() < until:
        time.sleep(_POLL_S)
        before = {lock: mark for lock, mark in before.items() if _mark(lock) == mark}
    return list(before)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _old(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > 3600  # noqa: PLR2004 - an hour, far longer than git may take
    return False
