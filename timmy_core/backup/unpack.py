"""Unpacking: every file is written durably and compared with the list of contents, which comes last."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from timmy_core.backup.model import MANIFEST, MAX_MANIFEST_BYTES, File, Manifest, decode, safe
from timmy_core.errors import BackupError
from timmy_core.events.files import make_folder, sync_folder, writing

_CHUNK: Final = 1 << 20
_SHOWN: Final = 3


def unpack(file: Path, folder: Path) -> Manifest:
    """Write the files of a backup into a folder and return the list of contents.

    Raises:
        BackupError: it is no backup, was cut short, or a file is not what the list says.
        StoreFullError: the disk is full.
    """
    found: dict[str, File] = {}
    content: bytes | None = None
    folders = {folder}
    with _reading(file) as tar:
        for member in tar:
            path = safe(member.name)
            packed = tar.extractfile(member) if member.isreg() else None
            if packed is None or content is not None or member.name in found:
                message = f"the backup {file} holds {member.name[:200]!r}, which no backup does; do not trust it"
                raise BackupError(message)
            if member.name == MANIFEST:
                content = packed.read(MAX_MANIFEST_BYTES)
                continue
            target = folder / path
            make_folder(target.parent)
            folders.add(target.parent)
            found[member.name] = _write(packed, target, member)
    if content is None:
        message = f"the backup {file} was cut short: its list of contents, which comes last, is missing; take another"
        raise BackupError(message)
    manifest = decode(content)
    _compare(file, manifest, found)
    for one in folders:
        sync_folder(one)
    return manifest


@contextmanager
def _reading(file: Path) -> Iterator[tarfile.TarFile]:
    import pyarrow as pa

    try:
        with (
            file.open("rb") as raw,
            pa.CompressedInputStream(raw, "zstd") as packed,
            tarfile.open(fileobj=packed, mode="r|") as tar,
        ):
            yield tar
    except FileNotFoundError:
        message = f"there is no file {file}; name a backup that `timmy backup` made"
        raise BackupError(message) from None
    except (OSError, EOFError, tarfile.TarError, pa.ArrowException) as error:
        message = f"the backup {file} cannot be read, or was cut short: {error}; take another one"
        raise BackupError(message) from error


def _write(packed: IO[bytes], target: Path, member: tarfile.TarInfo) -> File:
    digest, size = hashlib.blake2b(digest_size=32), 0
    with writing(target):
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            while chunk := _read(packed):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
            os.utime(file.fileno(), (member.mtime, member.mtime))
    return File(member.name, size, digest.hexdigest())


def _read(packed: IO[bytes]) -> bytes:
    """Read on; that the backup cannot be read is another thing than that the file cannot be written."""
    try:
        return packed.read(_CHUNK)
    except OSError as error:
        raise tarfile.ReadError(str(error)) from error


def _compare(file: Path, manifest: Manifest, found: dict[str, File]) -> None:
    listed = {one.path: one for one in manifest.files}
    wrong = sorted(path for path in listed.keys() | found.keys() if listed.get(path) != found.get(path))
    if wrong:
        names = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
        message = f"the backup {file} is damaged: {names} is not what was written into it; take another one"
        raise BackupError(message)
