"""The files of an index: a graph, whose each row is, and a manifest with the hashes of both.

A generation is written aside, flushed and renamed; the manifest names the one that counts. The graph's library knows
no checksum, and a flipped bit in its file crashes the process that follows it, so nothing is opened before its hash was
found right. The one change ever made to a file is wiping rows of what was forgotten: should a process die in the middle
of that, the hash is wrong and the index is built anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

from timmy_core.memory.index.block import GONE
from timmy_core.memory.index.kernel import Numbers

FORMAT: Final = 1
HEADER: Final = 8  # bytes before the first vector in the graph's file: its rows, and the bytes of one
KEY: Final = np.dtype([("entry", "<i8"), ("part", "<i4")])
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation holds, and how to tell that it does."""

    scope: str
    model: str
    dimensions: int
    generation: int
    rows: int
    position: int  # of the last change that it holds
    graph_hash: str
    keys_hash: str
    token: str  # also in the database, so that neither is taken for another's after a restore
    format: int = FORMAT

    @property
    def graph_name(self) -> str:
        """The file of the graph, in the index's folder."""
        return f"idx-{self.generation}.usearch"

    @property
    def keys_name(self) -> str:
        """The file that says whose each row is."""
        return f"idx-{self.generation}.keys"


class Folder:
    """The folder of one scope and model.

    Args:
        root: where the folders of all are.
        scope: whose vectors these are.
        model: the embedding model.
    """

    def __init__(self, root: Path, scope: str, model: str) -> None:
        self.scope, self.model = scope, model
        name = blake2b(f"{scope}\0{model}".encode(errors="replace"), digest_size=12).hexdigest()
        self.path = root / name
        self.key = f"memory index {name}"  # of the token, in the database

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None where there is no sound one."""
        return read_manifest(self.path)

    def identity(self) -> tuple[int, int] | None:
        """Return what changes when another manifest takes the name."""
        try:
            found = (self.path / _MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def verified(self, manifest: Manifest) -> bool:
        """Whether both files are there and are what the manifest says."""
        try:
            graph, keys = self.path / manifest.graph_name, self.path / manifest.keys_name
            return (
                keys.stat().st_size == manifest.rows * KEY.itemsize
                and hash_of(keys) == manifest.keys_hash
                and hash_of(graph) == manifest.graph_hash
                and _shape(graph) == (manifest.rows, 2 * manifest.dimensions)
            )
        except OSError:
            return False

    def keys(self, manifest: Manifest) -> Any:
        """Return the entry and the part of each row."""
        return np.fromfile(self.path / manifest.keys_name, KEY)

    @contextlib.contextmanager
    def locked(self, *, alone: bool) -> Iterator[None]:
        """Keep the files as they are, or change them alone; the kernel gives the lock back when a process dies."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    def publish(self, manifest: Manifest) -> None:
        """Let a manifest count from now on; its files are on the disk already."""
        body = asdict(manifest)
        text = json.dumps({**body, "check": _check(body)}, indent=1)
        aside = self.path / f"{_MANIFEST}.tmp"
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self.path / _MANIFEST)
        sync_folder(self.path)

    def tidy(self, kept: Manifest | None) -> None:
        """Remove every file but the lock and those of one generation; who has them open may go on using them."""
        names = {"lock"} | ({_MANIFEST, kept.graph_name, kept.keys_name} if kept else set())
        for path in self.path.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)

    def wipe(self, manifest: Manifest, rows: Numbers) -> Manifest:
        """Overwrite some rows in both files and return the manifest that fits them. The files are locked alone.

        A row of zeros is as far from every question as can be, so the graph's ways around it stay as they were.
        """
        keys = np.memmap(self.path / manifest.keys_name, KEY, "r+", shape=(manifest.rows,))
        shape = (manifest.rows, manifest.dimensions)
        vectors = np.memmap(self.path / manifest.graph_name, np.uint16, "r+", offset=HEADER, shape=shape)
        vectors[rows] = 0
        keys["entry"][rows] = GONE
        vectors.flush()
        keys.flush()
        return sealed(self.path, manifest)


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of a folder, or None where there is none, a damaged one, or one of another version."""
    try:
        body = json.loads((path / _MANIFEST).read_bytes())
        check = body.pop("check")
        manifest = Manifest(**body)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return manifest if check == _check(body) and manifest.format == FORMAT else None


def sealed(folder: Path, manifest: Manifest) -> Manifest:
    """Return the manifest with the hashes that the files have now, and a token of its own."""
    return Manifest(
        **{
            **asdict(manifest),
            "graph_hash": hash_of(folder / manifest.graph_name),
            "keys_hash": hash_of(folder / manifest.keys_name),
            "token": secrets.token_hex(16),
        }
    )


def hash_of(path: Path) -> str:
    """Return the XXH3 of a file: it finds what a disk does to it, at the speed of memory."""
    import xxhash

    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            mapped.madvise(mmap.MADV_SEQUENTIAL)
            return xxhash.xxh3_128_hexdigest(mapped)


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check(body: dict[str, Any]) -> str:
    return blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()


def _shape(graph: Path) -> tuple[int, int]:
    with graph.open("rb") as file:
        rows, width = np.frombuffer(file.read(HEADER), "<u4").tolist()
    return rows, width
