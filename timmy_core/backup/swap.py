"""Putting one folder in the place of another: in one step where the system can, so that neither is ever missing."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from timmy_core.errors import BackupError
from timmy_core.events.files import sync_folder

_HERE: Final = -100  # AT_FDCWD: paths as they are
_EXCHANGE: Final = 2  # RENAME_EXCHANGE
_CANNOT: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP})


def put_aside_and_replace(staging: Path, home: Path, stamp: str) -> Path | None:
    """Give a finished folder the home's name, and return where the old home is now; None where there was none.

    Raises:
        BackupError: the system refuses; the home is as it was.
    """
    try:
        if not home.exists() or not any(home.iterdir()):
            staging.rename(home)
            return None
        aside = _unused(home.with_name(f"{home.name}.before-{stamp}"))
        # Named so before the exchange: whatever stops us, no clean-up takes the old home for what a restore left.
        staging.rename(aside)
        if not _exchange(aside, home):
            spare = _unused(home.with_name(f"{home.name}.old-{stamp}"))
            home.rename(spare)
            aside.rename(home)
            spare.rename(aside)
        sync_folder(home.parent)
    except OSError as error:
        message = (
            f"{home} cannot be replaced: {error.strerror}; if it is a mount or on another disk than {home.parent}, "
            "restore into a folder inside of it, or beside it, and move that"
        )
        raise BackupError(message) from error
    return aside


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code))


def _unused(path: Path) -> Path:
    """Return the path, or one like it that nothing has."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found
