"""The sample as one small file, and a copy of it as a home of its own."""

from __future__ import annotations

import lzma
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Final

from timmy_core.errors import SettingsError
from timmy_core.testing.sample.config import REPO

NAME: Final = "sample.tar.xz"
MAX_BYTES: Final = 3_000_000
_KEPT: Final = ("timmy.db", "heads.jsonl", "heads.key", "heads.pub", "keys", "nodes", REPO)


def pack(home: Path, target: Path) -> int:
    """Write what a home has to keep into one file and return its size; nobody may have the home open.

    Raises:
        SettingsError: it has become too large to be kept with the program.
    """
    with (
        lzma.open(target, "wb", preset=9 | lzma.PRESET_EXTREME) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name in _KEPT:
            tar.add(home / name, name, filter=_plain)
    size = target.stat().st_size
    if size > MAX_BYTES:
        message = f"{target} has {size:,} bytes, more than {MAX_BYTES:,}; let less happen in the sample"
        raise SettingsError(message)
    return size


def unpack(packed: Path, home: Path) -> None:
    """Put the sample into an empty folder.

    Raises:
        SettingsError: the folder is not empty, or the file is not whole.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(home.iterdir()):
        message = f"{home} is not empty; name another folder for the demonstration"
        raise SettingsError(message)
    try:
        with lzma.open(packed) as file, tarfile.open(fileobj=file) as tar:
            tar.extractall(home, filter="data")
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        message = f"the sample {packed} cannot be unpacked: {error}; install timmy-workbench again"
        raise SettingsError(message) from error


def find_sample() -> Path:
    """Return the packed sample: `data/` of a checkout, `timmy_core/_data` of an installed package.

    Raises:
        SettingsError: it is not there.
    """
    package = Path(__file__).resolve().parents[2]
    places = (package.parent / "data" / NAME, package / "_data" / NAME)
    for place in places:
        if place.is_file():
            return place
    message = f"the sample was found neither at {places[0]} nor at {places[1]}; install timmy-workbench again"
    raise SettingsError(message)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who made it, and when."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    info.mode = 0o700 if info.isdir() else 0o600
    return info


def ends(home: Path) -> datetime:
    """Return when the sample of a home ends: the time of its last event."""
    from timmy_core.clock import SystemClock
    from timmy_core.events.log import EventLog
    from timmy_core.store.engine import Store

    store = Store.open(home / "timmy.db")
    try:
        return EventLog(store, SystemClock()).list(limit=1)[0].ts
    finally:
        store.close()
