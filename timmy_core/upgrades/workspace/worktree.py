"""The work tree that a person works in: looked at before anything lands, written only where it is as git has it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from timmy_core.errors import DirtyTreeError, RecoveryError, UpgradeBusyError
from timmy_core.upgrades.workspace.diff import Entry, entries
from timmy_core.upgrades.workspace.git import ZERO, Git, sha

LOCK_PATIENCE_S: Final = 10.0  # how long a person's own `git commit` is waited for
_TOKEN: Final = b"timmy-upgrades\n"
_POLL_S: Final = 0.02
_NAMED: Final = 5
_UNDERWAY: Final = {
    "MERGE_HEAD": "a merge", "CHERRY_PICK_HEAD": "a cherry-pick", "REVERT_HEAD": "a revert", "BISECT_LOG": "a bisect",
    "rebase-merge": "a rebase", "rebase-apply": "a rebase", "sequencer": "a cherry-pick or revert",
}  # fmt: skip


class WorkTree:
    """The repository's own work tree and its index; everything here needs the applier's lock."""

    def __init__(self, git: Git, ref: str, top: Path) -> None:
        self._git = git
        self._ref = ref
        self._top = top
        self._lock = git.dir / "index.lock"
        self._index = git.dir / "index"
        self._next = git.dir / "timmy-upgrades.index"  # beside the index, so that it can take its place
        self._env = {"GIT_INDEX_FILE": str(self._next)}
        self._stuck = False

    def head(self) -> str:
        """Return the full ref that is checked out, or nothing for a detached one."""
        return self._git.run("symbolic-ref", "-q", "HEAD", ok=(0, 1)).text

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold git's own lock on the index: nobody commits, adds or checks out meanwhile.

        Raises:
            UpgradeBusyError: somebody else holds it.
        """
        # Written first and linked then, so that no kill leaves a lock without the word that it is ours.
        mark = self._lock.with_name("timmy-upgrades.lock")
        mark.write_bytes(_TOKEN)
        _sync(mark)
        until = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                os.link(mark, self._lock)
            except FileExistsError:
                if time.monotonic() >= until:
                    text = (
                        f"git itself is at work: {self._lock} is held for more than {LOCK_PATIENCE_S:g} s; "
                        "end that command, or remove the file if no git runs any more"
                    )
                    raise UpgradeBusyError(text) from None
                time.sleep(_POLL_S)
            else:
                break
        self._stuck = False
        try:
            yield
        finally:
            # Half written, the lock stays: it keeps people's hands off until `finish`, and says that it is needed.
            if not self._stuck:
                self._drop_next()
                self.unlock()

    @contextlib.contextmanager
    def unfinished_on_error(self) -> Iterator[None]:
        """Keep the lock when files could not all be written, a full disk for instance."""
        try:
            yield
        except DirtyTreeError:
            raise
        except BaseException:
            self._stuck = True
            raise

    def unlock(self) -> bool:
        """Remove the index's lock if it is ours; return whether it was."""
        with contextlib.suppress(FileNotFoundError):
            if self._lock.read_bytes() == _TOKEN:
                self._lock.unlink()
                return True
        return False

    def _drop_next(self) -> None:
        for name in (self._next, self._next.with_name(self._next.name + ".lock")):
            name.unlink(missing_ok=True)

    def _copy_index(self) -> None:
        self._drop_next()
        if self._index.exists():
            # With its time: git looks into files that are as young as the index, and a younger copy would hide edits.
            shutil.copy2(self._index, self._next)

    # Before --------------------------------------------------------------------------------------------------

    def check(self, old: str, new: str) -> None:
        """Check that the work tree is exactly `old`, and that nothing stands where `new` puts a file.

        Raises:
            DirtyTreeError: says what is in the way and what to do.
        """
        self._check_head()
        self._copy_index()
        # Files that were only touched are noted as the same again; nobody's index is written.
        self._git.run_in(self._top, "update-index", "-q", "--refresh", env=self._env, ok=(0, 1))
        self._check_clean()
        touched = entries(self._git, old, new)
        self._check_flags(touched)
        gone = {entry.path for entry in touched if entry.status == "removed"}
        for entry in touched:
            if entry.status == "added":
                self._check_free(entry.path, gone)
        self._check_same([entry for entry in touched if entry.status != "added"])

    def _check_head(self) -> None:
        head = self.head()
        if head != self._ref:
            at = f"{head} is checked out" if head else "no branch is checked out"
            text = (
                f"{at} in {self._top}; run `git switch {self._ref.removeprefix('refs/heads/')}` there, then apply again"
            )
            raise DirtyTreeError(text)
        for name, what in _UNDERWAY.items():
            if (self._git.dir / name).exists():
                text = f"{what} is under way in {self._top}; finish or abort it, then apply again"
                raise DirtyTreeError(text)

    def _check_clean(self) -> None:
        asked = ("status", "--porcelain=v2", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
        changed = [_status_path(item) for item in self._git.run_in(self._top, *asked, env=self._env).items]
        if changed:
            text = (
                f"{self._top} has changes that are not committed: {_some(changed)}; "
                "commit or stash them, then apply again"
            )
            raise DirtyTreeError(text)

    def _check_flags(self, touched: Sequence[Entry]) -> None:
        """Refuse files that git was told not to look at: it would write over edits in them."""
        paths = {entry.path for entry in touched}
        hidden = []
        for item in self._git.run_in(self._top, "ls-files", "-z", "-v", env=self._env).items:
            tag, path = item[:1], item[2:].decode(errors="surrogateescape")
            if path in paths and tag != b"H":
                hidden.append(path)
        if hidden:
            text = (
                f"git was told not to look at {_some(hidden)} (assume-unchanged or a sparse checkout); "
                "run `git update-index --no-assume-unchanged --no-skip-worktree` on them, then apply again"
            )
            raise DirtyTreeError(text)

    def _check_free(self, path: str, gone: set[str]) -> None:
        """Check that nothing, not even an ignored file, stands where a file is to be added."""
        place = self._top
        parts = path.split("/")
        for number, part in enumerate(parts, 1):
            place /= part
            if not os.path.lexists(place):
                return
            is_folder = place.is_dir() and not place.is_symlink()
            name = "/".join(parts[:number])
            if number < len(parts) and (is_folder or name in gone):
                continue
            if number == len(parts) and is_folder and not self._others(name, gone):
                continue
            text = f"{name} is in the way in {self._top}, and git does not keep it; move it away, then apply again"
            raise DirtyTreeError(text)

    def _others(self, folder: str, gone: set[str]) -> bool:
        """Whether a folder holds anything but files that are removed anyhow."""
        for where, folders, files in os.walk(self._top / folder):
            names = [*files, *(name for name in folders if (Path(where) / name).is_symlink())]
            if any((Path(where) / name).relative_to(self._top).as_posix() not in gone for name in names):
                return True
        return False

    def _check_same(self, touched: Sequence[Entry]) -> None:
        """Compare every file that will be written with what git has, by its content and not by its time."""
        found = self._ids([entry.path for entry in touched])
        edited = [entry.path for entry in touched if found[entry.path] != entry.old]
        if edited:
            text = f"{_some(edited)} in {self._top} is not what git has; commit or stash it, then apply again"
            raise DirtyTreeError(text)

    def _ids(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the ids that the work tree's files have as git would keep them; empty for what is no plain file."""
        plain = [path for path in paths if self._is_plain(path)]
        names = "".join(f"{path}\n" for path in plain).encode(errors="surrogateescape")
        out = self._git.run_in(self._top, "hash-object", "--stdin-paths", stdin=names, env=self._env) if plain else None
        ids = dict(zip(plain, out.text.split(), strict=True)) if out else {}
        return {path: ids.get(path, "") for path in paths}

    def _is_plain(self, path: str) -> bool:
        place = self._top / path
        if place.is_symlink() or not place.is_file():
            return False
        return not any(parent.is_symlink() for parent in place.parents if parent.is_relative_to(self._top))

    # After ---------------------------------------------------------------------------------------------------

    def write(self, old: str, new: str) -> None:
        """Bring index and files from `old` to `new`; every file that differs from both stays, and is refused.

        Raises:
            DirtyTreeError: somebody edited a file since it was looked at; nothing was written.
        """
        asked = ("read-tree", "-m", "-u", sha(old), sha(new))
        out = self._git.run_in(self._top, *asked, env=self._env, ok=(0, 1, 128))
        if out.code:
            text = (
                f"{self._top} was edited while the upgrade landed: {out.stderr.strip()[-300:]}; commit it, apply again"
            )
            raise DirtyTreeError(text)
        self._settle(entries(self._git, old, new))

    def finish(self, old: str, new: str) -> None:
        """Bring index and files to `new` after a kill on the way; the same again changes nothing.

        Raises:
            RecoveryError: a file is neither old nor new, so a person edited it since; nothing was written over.
        """
        if not self.unlock() and self._lock.exists():
            text = f"git itself is at work: {self._lock} is held; remove the file if no git runs any more"
            raise UpgradeBusyError(text)
        with self.locked():
            self._copy_index()
            touched = entries(self._git, old, new)
            self._check_ours(touched)
            info = b"".join(_index_line(entry) for entry in touched)
            self._git.run_in(self._top, "update-index", "-z", "--add", "--index-info", stdin=info, env=self._env)
            for entry in touched:
                if entry.status == "removed":
                    (self._top / entry.path).unlink(missing_ok=True)
                    self._drop_folders(Path(entry.path).parent)
            names = "".join(f"{entry.path}\0" for entry in touched if entry.status != "removed").encode()
            if names:
                asked = ("checkout-index", "-f", "-q", "-u", "-z", "--stdin")
                self._git.run_in(self._top, *asked, stdin=names, env=self._env)
            self._settle(touched)

    def _drop_folders(self, folder: Path) -> None:
        """Remove folders that were left empty, as git does."""
        while folder != Path():
            try:
                (self._top / folder).rmdir()
            except OSError:
                return
            folder = folder.parent

    def _check_ours(self, touched: Sequence[Entry]) -> None:
        ids = self._ids([entry.path for entry in touched])
        alien = [entry.path for entry in touched if not self._is_ours(entry, ids[entry.path])]
        if alien:
            text = (
                f"{_some(alien)} in {self._top} is neither what it was before the upgrade nor after it, so somebody "
                "edited it since the crash; save it elsewhere, run `git checkout` on it, then recover again"
            )
            raise RecoveryError(text)

    def _is_ours(self, entry: Entry, found: str) -> bool:
        place = self._top / entry.path
        if found in {entry.old, entry.new} or not os.path.lexists(place):
            return True
        if not found:
            return place.is_dir() and not place.is_symlink()  # git refuses below where it is not empty
        if entry.new == ZERO:
            return False
        # Git writes a file from its beginning, so what a kill left is the beginning of the new one.
        return self._git.run("cat-file", "blob", entry.new).stdout.startswith(place.read_bytes())

    def _settle(self, touched: Sequence[Entry]) -> None:
        """Make files durable, then put the new index into its place; the lock is held all the while."""
        for entry in touched:
            place = self._top / entry.path
            if entry.status != "removed" and place.is_file() and not place.is_symlink():
                _sync(place)
        for folder in {(self._top / entry.path).parent for entry in touched}:
            if folder.is_dir():
                _sync(folder)
        _sync(self._next)
        self._next.replace(self._index)
        _sync(self._index.parent)

    def unfinished(self, old: str, new: str) -> bool:
        """Whether a landing from `old` to `new` stopped on its way: our lock is there, or the index is still the old.

        The index follows the files, and the lock goes last; so once both are through, edits are a person's own.
        """
        with contextlib.suppress(FileNotFoundError):
            if self._lock.read_bytes() == _TOKEN:
                return True
        touched = {entry.path for entry in entries(self._git, old, new)}
        asked = ("diff-index", "--cached", "--name-only", "-z", "--no-renames", sha(old))
        differing = self._git.run_in(self._top, *asked).items
        return not touched & {path.decode(errors="surrogateescape") for path in differing}

    def sweep(self) -> list[str]:
        """Remove what a killed landing left beside the index; return what that was."""
        self._drop_next()
        return [f"removed a lock of ours, {self._lock}"] if self.unlock() else []


def _status_path(item: bytes) -> str:
    """Return the path of a line of `status --porcelain=v2`, which stands last after 8 or 10 fields."""
    fields = {b"1": 8, b"u": 10}.get(item[:1], 1)
    return item.split(b" ", fields)[-1].decode(errors="replace")


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(repr(path)[1:-1] for path in paths[:_NAMED])
    return shown if len(paths) <= _NAMED else f"{shown} and {len(paths) - _NAMED} more"


def _index_line(entry: Entry) -> bytes:
    if entry.status == "removed":
        return f"0 {ZERO}\t{entry.path}\0".encode()
    return f"{entry.new_mode} {entry.new}\t{entry.path}\0".encode()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
