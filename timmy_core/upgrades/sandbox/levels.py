"""The sandbox: finds out by trying how well this machine can shut a command in, and runs jobs there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from timmy_core.errors import SandboxError
from timmy_core.upgrades.model import LEVELS, Level
from timmy_core.upgrades.sandbox.job import Bounds, Job, Outcome
from timmy_core.upgrades.sandbox.runner import Watched
from timmy_core.upgrades.sandbox.view import View, view_of
from timmy_core.upgrades.sandbox.walls import Room, nobody, program, this_python

FOLDERS: Final = "timmy-trial-"  # what the folders of runs are called in the temporary folder
_OLD_S: Final = 2 * 86_400
_TRY: Final = Bounds(
    time_s=20.0, memory_bytes=512 << 20, processes=64, disk_bytes=16 << 20, output_bytes=1 << 20, report_bytes=1 << 20
)
# Asks from inside whether the wall holds: a file that anybody may read, the network, the files under test, the user.
_PROBE: Final = """
import json, os, socket, sys
secret, tree, report = sys.argv[1:]
def can(what):
    try:
        what()
    except OSError:
        return False
    return True
def reach():
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.connect(("192.0.2.1", 9))
found = {
    "secrets are in reach": can(lambda: open(secret).read()),
    "the network is in reach": can(reach),
    "the files under test can be changed": can(lambda: open(os.path.join(tree, "made"), "w")),
    "the tests run as root": os.getuid() == 0 and open("/proc/self/uid_map").read().split()[1] == "0",
}
open(report, "w").write(json.dumps([words for words, holds in found.items() if holds]))
"""
Stopped = Callable[[], bool]


def never() -> bool:
    """Nobody stops it."""
    return False


@dataclass(frozen=True, slots=True)
class Reached:
    """A level that was tried: `missing` says what does not hold there, `refused` why it cannot be used at all."""

    level: Level
    held: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    refused: str = ""


class Sandbox:
    """Runs commands of changes that nobody has approved; safe to use from any thread.

    Args:
        python: the interpreter that test commands use; this process's own if None.
        readable: what they may see beside the system and the interpreter.
        hidden: what they must not see, such as the home with its keys.
        least: the worst level at which anything is run.
        only: use this level and no other.
    """

    def __init__(
        self,
        *,
        python: Path | None = None,
        readable: Sequence[Path] = (),
        hidden: Sequence[Path] = (),
        least: Level = "limits",
        only: Level | None = None,
    ) -> None:
        self.python = python.expanduser().absolute() if python else this_python()
        self._readable = tuple(readable)
        self._hidden = tuple(hidden)
        self._levels = (only,) if only else LEVELS[: LEVELS.index(least) + 1]
        self._lock = threading.Lock()
        self._found: Reached | None = None
        self.tried: tuple[Reached, ...] = ()

    @property
    def known(self) -> Reached | None:
        """What was found, or None as long as nobody asked; reading it runs nothing."""
        return self._found

    def find(self) -> Reached:
        """Return the best level that works here, found by running something at each.

        Raises:
            SandboxError: none does; the message says why for each.
        """
        with self._lock:
            if self._found is None:
                _sweep_folders(time.time())
                self._found = self._try_all()
            return self._found

    def _try_all(self) -> Reached:
        tried: list[Reached] = []
        for level in self._levels:
            tried.append(self.attempt(level))
            if not tried[-1].refused:
                self.tried = tuple(tried)
                return tried[-1]
        self.tried = tuple(tried)
        reasons = "; ".join(f"{one.level}: {one.refused}" for one in tried)
        message = f"tests cannot be shut in on this machine, so none are run ({reasons}); install bubblewrap"
        raise SandboxError(message)

    def attempt(self, level: Level) -> Reached:
        """Try one level, and say what holds there."""
        with _folder() as folder:
            secret = folder / "secret"
            secret.write_text("only a test of the wall", encoding="utf-8")
            secret.chmod(0o644)
            tree = folder / "tree"
            tree.mkdir(mode=0o755)
            command = (str(self.python), "-c", _PROBE, str(secret), "{tree}", "{report}")
            try:
                outcome = self._run_at(level, Job(command, tree), _TRY, never)
            except SandboxError as error:
                return Reached(level, refused=str(error))
        try:
            missing = json.loads(outcome.report)
        except ValueError:
            said = outcome.output.strip()[-300:]
            return Reached(level, refused=f"a first command did not do its work there ({said or outcome.ended})")
        if missing and level != "limits":
            return Reached(level, outcome.held, tuple(missing), f"it does not hold: {', '.join(missing)}")
        return Reached(level, outcome.held, tuple(missing))

    def run(self, job: Job, bounds: Bounds, *, stopped: Stopped = never) -> Outcome:
        """Run a job at the best level, and return how it ended; nothing of it is left then.

        Raises:
            SandboxError: no level works here, or the command could not be started.
        """
        return self._run_at(self.find().level, job, bounds, stopped)

    def _run_at(self, level: Level, job: Job, bounds: Bounds, stopped: Stopped) -> Outcome:
        view = self._view()
        with _folder() as folder:
            plain = level == "limits"
            tree = self._apart(job.tree, folder) if plain else job.tree
            _show(tree)
            scratch = folder / "scratch"
            scratch.mkdir(mode=0o700)
            user = nobody()
            if plain and user:
                os.chown(scratch, *user)
            heard, told = os.pipe()
            room = Room(tree, scratch, told)
            try:
                words = program(level, job, bounds, view, room, python=self.python)
            except BaseException:
                os.close(heard)
                os.close(told)
                raise
            return Watched(words, bounds, room, heard, measured=plain).wait(level, stopped)

    def _apart(self, tree: Path, folder: Path) -> Path:
        """Copy the files to where another user can get at them, and where nothing else is to be lost."""
        return Path(shutil.copytree(tree, folder / "tree", symlinks=True))

    def _view(self) -> View:
        return view_of(self.python, self._readable, self._hidden)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of this run's own that other users may pass through, removed whatever is in it."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDERS))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _open_up(folder)
        shutil.rmtree(folder)


def _sweep_folders(now_s: float) -> None:
    """Remove the folders of processes that were killed: no run takes as long as these are old."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        with contextlib.suppress(OSError):
            seen = folder.lstat()
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and now_s - seen.st_mtime > _OLD_S:
                _remove(folder)


def _open_up(folder: Path) -> None:
    """Make folders that a run closed to everybody removable again."""
    for place, names, _ in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o700)


def _show(tree: Path) -> None:
    """Let the user that tests run as read the files, and nobody change them by the way."""
    if nobody() is None:
        return
    for folder, names, files in os.walk(tree):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            mode = path.lstat().st_mode
            if path.is_symlink():
                continue
            wanted = (mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0)) & ~0o022
            if wanted != mode:
                path.chmod(wanted & 0o7777)
        names.sort()
