"""Two releases side by side: the new one is made whole, then one rename of `current` makes it the one that runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from timmy_core.errors import UpgradeError
from timmy_core.upgrades.model import Boot
from timmy_core.upgrades.workspace.git import Git, sha
from timmy_core.upgrades.workspace.objects import put_tree

_HEALTH_CHARS: Final = 500


class Releases:
    """The folder of releases; a service starts out of `current` and calls `boot` first.

    Args:
        git: the repository.
        folder: where releases lie.
        keep: how many stay when one was confirmed; the current one and the one before it always do.
        max_boots: starts of a release that nobody confirmed before the one before it runs again.
    """

    def __init__(self, git: Git, folder: Path, *, keep: int, max_boots: int) -> None:
        self._keep, self._max_boots = keep, max_boots
        self._git = git
        self.folder = folder
        self.current = folder / "current"
        self._state = folder / "state.json"

    def state(self) -> Boot:
        """Return what runs; the link is what counts, the file only remembers the rest."""
        at = self.current.readlink().name if self.current.is_symlink() else ""
        try:
            kept = Boot(**json.loads(self._state.read_bytes()))
        except FileNotFoundError:
            kept = Boot()
        except (ValueError, TypeError) as error:
            message = f"{self._state} is damaged ({error}); remove it, and the current release counts as confirmed"
            raise UpgradeError(message) from error
        if kept.current == at:
            return kept
        # Killed between the file and the link: what the file tells of did not happen yet.
        if kept.confirmed and at:
            return Boot(at, kept.current, confirmed=False, boots=self._max_boots)
        return Boot(at, left=kept.left, kept=kept.kept)

    def install(self, commit: str) -> None:
        """Make a release of a commit and let `current` lead to it; the same again changes nothing."""
        self._make(commit)
        before = self.state()
        if before.current == commit:
            return
        first = not before.current
        self._put(Boot(commit, before.current, confirmed=first, left=before.left, kept=before.kept))

    def _make(self, commit: str) -> None:
        target = self.folder / sha(commit)
        if target.is_dir():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        making = self.folder / f".{commit}.part"
        shutil.rmtree(making, ignore_errors=True)
        put_tree(self._git, commit, making)
        os.sync()
        making.replace(target)

    def _put(self, boot: Boot) -> None:
        """Tell the file, then move the link; a kill in between is seen by `state`."""
        self._remember(boot)
        link = self.folder / ".current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(boot.current, target_is_directory=True)
        link.replace(self.current)

    def _remember(self, boot: Boot) -> None:
        part = self.folder / ".state.new"
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(boot), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._state)

    def boot(self) -> Boot:
        """Count one start of the service; after too many of an unconfirmed release, go back to the one before.

        The service calls it before anything else, so that a release which cannot even start is left again.
        """
        now = self.state()
        if now.confirmed or not now.current:
            return now
        if now.boots >= self._max_boots and now.previous:
            return self.revert()
        counted = replace(now, boots=now.boots + 1)
        self._remember(counted)
        return counted

    def confirm(self) -> Boot:
        """Say that the current release is well."""
        now = replace(self.state(), confirmed=True, boots=0)
        self._remember(now)
        self._tidy(now)
        return now

    def revert(self) -> Boot:
        """Go back to the release before.

        Raises:
            UpgradeError: there is none.
        """
        now = self.state()
        if not now.previous or not (self.folder / now.previous).is_dir():
            message = f"there is no release before {now.current[:12] or 'the first'} in {self.folder} to go back to"
            raise UpgradeError(message)
        back = Boot(now.previous, now.current, confirmed=True, left=now.current, kept=now.previous)
        self._put(back)
        return back

    def settled(self) -> None:
        """Note that the branch holds nothing any more of the release that was left."""
        now = self.state()
        if now.left:
            self._remember(replace(now, left="", kept=""))

    def _tidy(self, now: Boot) -> None:
        """Remove old releases, but never the two that count."""
        made = [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        whole = sorted((path for path in made if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime)
        for path in whole[: -self._keep]:
            if path.name not in {now.current, now.previous}:
                shutil.rmtree(path)

    def sweep(self) -> list[str]:
        """Remove what a kill left half made; return what that was."""
        done = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if path.name.startswith(".") and path.name.endswith((".part", ".index", ".index.lock", ".new")):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    done.append(f"removed {path.name}, half of a release")
        return done


def healthy(command: Sequence[str], folder: Path, timeout_s: float) -> str | None:
    """Run the health check; None is well, else what went wrong, in words."""
    try:
        done = subprocess.run(  # noqa: S603 - the owner's own command, out of the settings
            list(command), cwd=folder, timeout=timeout_s, capture_output=True, check=False, stdin=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the health check did not end within {timeout_s:g} s"
    except OSError as error:
        return f"the health check could not be started: {error.strerror}"
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_HEALTH_CHARS:]
        return f"the health check ended with {done.returncode}: {said or 'it said nothing'}"
    return None
