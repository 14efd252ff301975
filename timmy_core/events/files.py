"""Files that are whole or not there: written aside, made durable, then renamed into place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from timmy_core.errors import StoreError, StoreFullError

ASIDE: Final = ".tmp"  # what a file is called until it is whole
_CHUNK: Final = 1 << 20
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def make_folder(path: Path) -> None:
    """Create a folder, and those it lies in, that only their owner can enter, and make their names durable."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with writing(path):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def aside(path: Path) -> Path:
    """Return where a file is written before it gets its name."""
    return path.with_name(path.name + ASIDE)


def open_aside(path: Path) -> BinaryIO:
    """Begin the file aside, for its owner's eyes only."""
    return os.fdopen(os.open(aside(path), os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def put_in_place(path: Path) -> None:
    """Give the file that was written aside its name, durably; an older one of that name is replaced."""
    aside(path).replace(path)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or not at all, whenever the machine stops.

    Raises:
        StoreFullError: the disk is full; nothing was kept.
        StoreError: it could not be written.
    """
    with writing(path):
        with open_aside(path) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what went wrong in the house's words, and leave nothing half written beside `path`."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside(path).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if error.errno in _NO_ROOM:
            message = f"{path}: the disk is full; free some room and try again; nothing was changed"
            raise StoreFullError(message) from error
        message = f"{path} cannot be written: {error.strerror or error}; check the disk and the rights of the home"
        raise StoreError(message) from error


def digest_of(path: Path) -> str:
    """Return the BLAKE2b-256 of a file's bytes, in hex."""
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
