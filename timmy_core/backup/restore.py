"""Restoring: a backup is unpacked beside the home, looked at as a whole, and only then takes the home's place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from timmy_core.backup.check import check_home
from timmy_core.backup.model import DATABASE, Checked, Manifest, Restored
from timmy_core.backup.swap import put_aside_and_replace
from timmy_core.backup.unpack import unpack
from timmy_core.clock import Clock, new_id
from timmy_core.errors import BackupError, HomeInUseError
from timmy_core.events.files import sync_folder
from timmy_core.events.log import EventLog
from timmy_core.store.engine import Connection, Store
from timmy_core.store.lock import take
from timmy_core.store.snapshot import is_open

_SHOWN: Final = 3


def check_backup(file: Path, folder: Path, clock: Clock) -> Checked:
    """Look at a backup as a restore would, in a folder of its own that is gone afterwards.

    Raises:
        BackupError: the file is no whole backup.
    """
    with _beside(folder / "check") as staging:
        return check_home(staging, unpack(file, staging), clock)


def restore(file: Path, home: Path, clock: Clock, *, over: bool = False, anyway: bool = False) -> Restored:
    """Put a backup in place of a home; what was there before is kept beside it.

    At every moment the home is the old one or the new one, whole; what a try that was cut short left is removed by
    the next.

    Args:
        file: the backup.
        home: where it is to be.
        clock: the time.
        over: a home that is there already is put aside; otherwise it is a mistake.
        anyway: go on although the check found faults, as is right where they were there before the backup.

    Raises:
        BackupError: the file is no whole backup, the check found faults, or the home is not free.
        HomeInUseError: a process has the home open.
    """
    if file.resolve().is_relative_to(home.resolve()):
        message = f"the backup {file} lies in the home that it would replace; move it elsewhere first"
        raise BackupError(message)
    with _free(home, over=over), _beside(home) as staging:
        manifest = unpack(file, staging)
        checked = check_home(staging, manifest, clock)
        if checked.problems and not anyway:
            more = len(checked.problems) - _SHOWN
            found = "; ".join(checked.problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            message = f"the backup {file} does not hold: {found}. Take another one, or say --anyway to put it in place"
            raise BackupError(message)
        at = clock.now()
        _note(staging, manifest, clock, faults=len(checked.problems))
        aside = put_aside_and_replace(staging, home, f"{at:%Y%m%d-%H%M%S}")
    return Restored(home, checked, at, aside)


def _note(staging: Path, manifest: Manifest, clock: Clock, *, faults: int) -> None:
    """Say in the log that it was restored; whoever kept a cursor from before learns that it means nothing here."""
    store = Store.open(staging / DATABASE)
    try:
        name = new_id()

        def write(connection: Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('restored', ?)", (name,))

        store.write(write)
        data = {"backup": manifest.id, "made_at": manifest.made_at, "seq": manifest.seq, "faults": faults}
        EventLog(store, clock).append("log.restored", source="backup", data=data)
    finally:
        store.close()


@contextlib.contextmanager
def _free(home: Path, *, over: bool) -> Iterator[None]:
    """Hold a home that nobody uses, so that nobody begins to serve it meanwhile."""
    if not home.exists() or (home.is_dir() and not any(home.iterdir())):
        yield
        return
    if not home.is_dir():
        message = f"{home} is a file; name a folder that is not there yet"
        raise BackupError(message)
    if not over:
        message = (
            f"the home {home} is not empty; say --over to put it aside and have the backup in its place, "
            "or name another with --home"
        )
        raise BackupError(message)
    fd = os.open(home / "serve.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if not take(fd) or is_open(home / DATABASE):
            message = f"the home {home} is in use; end `timmy up` and all that has it open, then try again"
            raise HomeInUseError(message)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _beside(home: Path) -> Iterator[Path]:
    """Make a folder beside the home, held by this process, and remove it unless it was moved away."""
    start = f".{home.name}.restoring-"
    try:
        home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in home.parent.glob(f"{start}*"):
            _remove_unless_held(left)
        staging = home.with_name(start + new_id())
        staging.mkdir(mode=0o700)
        fd = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        message = f"{home.parent} cannot be written: {error.strerror}; give yourself the rights, or name another home"
        raise BackupError(message) from error
    try:
        take(fd)
        yield staging
        sync_folder(home.parent)
    finally:
        os.close(fd)
        shutil.rmtree(staging, ignore_errors=True)


def _remove_unless_held(folder: Path) -> None:
    """Remove what a restore left that was cut short; the kernel let go of it when its process died."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if take(fd):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(fd)
