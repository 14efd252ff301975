"""What a backup holds, what is left out of it, and how its list of contents is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from timmy_core.errors import BackupError

FORMAT: Final = 1
SUFFIX: Final = ".tar.zst"
MANIFEST: Final = "manifest.json"
DATABASE: Final = "timmy.db"
HEADS: Final = "heads.jsonl"
HEAD_KEYS: Final = ("heads.key", "heads.pub")
MAX_MANIFEST_BYTES: Final = 256 << 20

# What is made anew, can be fetched or built again, or means nothing to another process.
LEFT_OUT: Final[Mapping[str, str]] = {
    "memory-index": "the memory's index; built anew from the database",
    "timmy.text.db*": "the log's text index; filled anew from the log",
    "models": "installed models; `timmy memory model install` fetches them",
    "releases": "checked-out releases; made anew from the repository",
    "cache": "what is kept to save time",
    "serve.lock": "who serves the home",
    "seal.lock": "who seals",
    "timmy.db-*": "the write-ahead log; what it holds is in the copy of the database",
    "timmy.db.*": "the lock and the doorbell",
    "*.tmp": "files that are being written",
}
_TREES: Final = ("archive", "blobs")  # copied as the database's copy names them


@dataclass(frozen=True, slots=True)
class File:
    """One file of a backup: its path in the home, its size, and the BLAKE2b-256 of its bytes in hex."""

    path: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list of contents, which comes last: a backup without one is not whole.

    Attributes:
        seq, head_hash: where the log ended.
        gone: blobs that ran out or were redacted while the backup was made.
        missing: files that the database names and that were not there, when the backup was made already.
    """

    format: int
    id: str
    version: str
    made_at: str
    home: str
    epoch: str
    seq: int
    head_hash: str
    files: tuple[File, ...]
    gone: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def encoded(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made."""

    path: Path
    manifest: Manifest
    bytes: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at a backup found: `problems` are wrong, `notes` only worth knowing."""

    manifest: Manifest
    events: int
    blobs: int
    segments: int
    transfers: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """A home that was restored; `aside` is where the one lies that was there before."""

    home: Path
    checked: Checked
    at: datetime
    aside: Path | None


def decode(content: bytes) -> Manifest:
    """Read a list of contents.

    Raises:
        BackupError: it is none, or of a later version.
    """
    try:
        found: dict[str, Any] = json.loads(content)
        if found["format"] != FORMAT:
            message = f"the backup has format {found['format']!r}, this version reads {FORMAT}; upgrade timmy-workbench"
            raise BackupError(message)
        named = {field.name for field in fields(Manifest)}
        given = {name: value for name, value in found.items() if name in named}
        files = tuple(File(str(one["path"]), int(one["bytes"]), str(one["digest"])) for one in given.pop("files"))
        for name in ("gone", "missing"):
            given[name] = tuple(map(str, given.get(name, ())))
        return Manifest(**given, files=files)
    except (ValueError, KeyError, TypeError) as error:
        message = f"the backup's {MANIFEST} cannot be read ({error}); take another backup"
        raise BackupError(message) from error


def left_out(path: PurePosixPath) -> bool:
    """Whether a file of the home is no part of a backup, or comes into it another way."""
    if path.parts[0] in _TREES or str(path) in (DATABASE, HEADS, *HEAD_KEYS):
        return True
    return any(PurePosixPath(part).match(pattern) for part in path.parts for pattern in LEFT_OUT)


def safe(path: str) -> PurePosixPath:
    """Return a path that stays inside the home.

    Raises:
        BackupError: it does not.
    """
    pure = PurePosixPath(path)
    wrong = not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path
    if wrong or str(pure) != path:
        message = f"the backup names the file {path[:200]!r}, which would lie outside of the home; do not trust it"
        raise BackupError(message)
    return pure
