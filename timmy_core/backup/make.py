"""Making a backup while Timmy runs: what is copied when, so that all of it fits together.

Heads are read before the database is copied, so none signs an event that the copy lacks. The archive is held alone
from there on until its files are copied, so they are those that the copy names; appending goes on meanwhile. Blobs
are named by their content and only come and go. A play node's file comes after the database, as a real node is later
than the book about it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Self

from timmy_core.backup.model import (
    DATABASE,
    FORMAT,
    HEAD_KEYS,
    HEADS,
    MANIFEST,
    SUFFIX,
    File,
    Made,
    Manifest,
    left_out,
)
from timmy_core.clock import iso, new_id
from timmy_core.errors import BackupError
from timmy_core.events.events import Events
from timmy_core.events.files import ASIDE, aside, make_folder, put_in_place, writing
from timmy_core.store.engine import Store
from timmy_core.store.readers import Readers
from timmy_core.store.snapshot import snapshot

_CHUNK: Final = 1 << 20
_PATIENCE_S: Final = 5.0  # a blob's row comes a moment before its file, and goes a moment after it
_LOOK_S: Final = 0.05
_LINES: Final = ".jsonl"
_STRAY_S: Final = 86_400.0

Progress = Callable[[str], None]


def back_up(store: Store, events: Events, home: Path, target: Path, tell: Progress = lambda _: None) -> Made:
    """Write a backup of a home to one file, which is there whole or not at all; the log says that it was made.

    Args:
        store: the open store of the home.
        events: its log.
        home: the home.
        target: the file to be, outside of the home.
        tell: called with what is copied now, in words.

    Raises:
        BackupError: the place will not do, or something is there already.
        StoreFullError: the disk is full; nothing is left of the try.
        StoreError: something cannot be read or written.
    """
    begun = time.monotonic()
    _check_target(target, home)
    _clear_strays(target.parent)
    with writing(target):
        with _Tar(target) as tar:
            manifest = _Making(store, events, home, tar, tell).run()
        put_in_place(target)
    made = Made(target, manifest, target.stat().st_size, time.monotonic() - begun)
    data = {"backup": manifest.id, "seq": manifest.seq, "bytes": made.bytes, "files": len(manifest.files),
            "missing": len(manifest.missing)}  # fmt: skip
    events.append("log.backed_up", source="backup", data=data)
    return made


def default_name(events: Events) -> str:
    """Return how a backup that is made now is called."""
    return f"timmy-{events.clock.now():%Y%m%d-%H%M%S}{SUFFIX}"


class _Tar:
    """The archive that is being written, aside; every file's digest is taken as it passes."""

    def __init__(self, target: Path) -> None:
        import pyarrow as pa

        self._path = aside(target)
        # Created here for its mode: it holds every secret of the home.
        os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        self._packed = pa.CompressedOutputStream(pa.OSFile(str(self._path), "wb"), "zstd")
        self._tar = tarfile.open(fileobj=self._packed, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed below
        self.files: list[File] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._tar.close()
        finally:
            self._packed.close()
        if kind is None:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def add(self, path: str, file: BinaryIO, size: int, mtime: float) -> None:
        """Add `size` bytes under a path."""
        info = tarfile.TarInfo(path)
        info.size, info.mtime, info.mode = size, int(mtime), 0o600
        hashing = _Hashing(file)
        self._tar.addfile(info, hashing)
        self.files.append(File(path, size, hashing.digest.hexdigest()))


class _Hashing(io.RawIOBase):
    """A file that is read, and hashed as it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.blake2b(digest_size=32)

    def read(self, size: int = -1, /) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        return content


class _Making:
    """One backup as it is made."""

    def __init__(self, store: Store, events: Events, home: Path, tar: _Tar, tell: Progress) -> None:
        self._store, self._events, self._home, self._tar, self._tell = store, events, home, tar, tell
        self._gone: list[str] = []
        self._missing: list[str] = []

    def run(self) -> Manifest:
        """Copy everything and return what it was."""
        made_at = self._events.clock.now()
        heads = self._heads()
        with self._events.archive.exclusive():
            self._tell("the database")
            with self._copied() as copy:
                segments, blobs, epoch, last = _contents(copy)
                self._file(copy, DATABASE)
            self._tell(f"{len(segments):,} archive segments")
            self._archive(segments)
        for name, content in heads.items():
            self._tar.add(name, io.BytesIO(content), len(content), made_at.timestamp())
        self._tell(f"{len(blobs):,} blobs")
        for digest in blobs:
            self._blob(digest)
        self._tell("settings, keys and the rest")
        self._rest()
        manifest = Manifest(
            FORMAT, new_id(), version("timmy-workbench"), iso(made_at), str(self._home), epoch, last[0],
            last[1].hex(), tuple(self._tar.files), tuple(self._gone), tuple(self._missing),
        )  # fmt: skip
        content = manifest.encoded()
        self._tar.add(MANIFEST, io.BytesIO(content), len(content), made_at.timestamp())
        return manifest

    @contextlib.contextmanager
    def _copied(self) -> Iterator[Path]:
        """Copy the database, in the home, where only its owner looks; what a crash left is overwritten by the next.

        One at a time does so, because the archive is held alone meanwhile.
        """
        folder = self._home / "cache"
        make_folder(folder)
        copy = folder / "backup.db"

        def clear() -> None:
            for path in folder.glob("backup.db*"):
                path.unlink(missing_ok=True)

        clear()
        try:
            snapshot(self._store, copy)
            yield copy
        finally:
            clear()

    def _heads(self) -> dict[str, bytes]:
        """The signed heads and their keys; the whole lines only, and no key without a head."""
        lines = self._events.heads.lines()
        if not lines:
            return {}
        found = {HEADS: b"".join(line + b"\n" for line in lines)}
        for name in HEAD_KEYS:
            path = self._home / name
            if path.exists():
                found[name] = path.read_bytes()
            else:
                self._missing.append(name)
        return found

    def _archive(self, segments: list[str]) -> None:
        folder = self._events.archive.folder
        for name in segments:
            if (folder / name).exists():
                self._file(folder / name, f"archive/{name}")
            else:
                self._missing.append(f"archive/{name}")
        # Hashes of ids and segments that nobody knows any more: small, or perhaps the only copy of something.
        others = folder.iterdir() if folder.is_dir() else ()
        for path in sorted(others):
            if path.suffix in (".ids", ".unknown") and path.is_file():
                self._file(path, f"archive/{path.name}")

    def _blob(self, digest: str) -> None:
        path = self._events.blobs.folder / digest[:2] / digest
        name = f"blobs/{digest[:2]}/{digest}"
        deadline = time.monotonic() + _PATIENCE_S
        while not self._try_file(path, name):
            if self._events.blobs.find(digest) is None:
                self._gone.append(digest)
                return
            if time.monotonic() >= deadline:
                self._missing.append(name)
                return
            time.sleep(_LOOK_S)

    def _rest(self) -> None:
        for folder, folders, names in os.walk(self._home):
            here = Path(folder).relative_to(self._home)
            folders[:] = sorted(name for name in folders if not left_out(PurePosixPath(here.as_posix(), name)))
            for name in sorted(names):
                inside = PurePosixPath(here.as_posix(), name)
                path = Path(folder) / name
                # A pipe or a socket is no file; what vanished meanwhile was being replaced or removed.
                if not left_out(inside) and path.is_file():
                    self._try_file(path, str(inside))

    def _try_file(self, path: Path, name: str) -> bool:
        try:
            self._file(path, name)
        except FileNotFoundError:
            return False
        return True

    def _file(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            size = state.st_size
            if path.suffix == _LINES:
                size = _whole_lines(file, size)
            self._tar.add(name, file, size, state.st_mtime)


def _contents(copy: Path) -> tuple[list[str], list[str], str, tuple[int, bytes]]:
    """Return what a copy of the database names: segments, blobs, the log's epoch, and its last event."""
    readers = Readers(copy)
    try:
        with readers.read() as connection:
            segments = connection.execute("SELECT file FROM segments ORDER BY first_seq").fetchall()
            blobs = connection.execute("SELECT digest FROM blobs ORDER BY digest").fetchall()
            epoch = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
            last = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            last = last or connection.execute("SELECT seq, hash FROM log_base").fetchone()
    finally:
        readers.close()
    return [row[0] for row in segments], [row[0] for row in blobs], epoch, last


def _clear_strays(folder: Path) -> None:
    """Remove what backups that were killed left half written; a young one may still be on its way."""
    for path in folder.glob(f"timmy-*{SUFFIX}{ASIDE}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STRAY_S:
                path.unlink()


def _whole_lines(file: BinaryIO, size: int) -> int:
    """Return how many bytes are whole lines; who writes the file may be in the middle of one."""
    end = size
    while end:
        begin = max(0, end - _CHUNK)
        file.seek(begin)
        at = file.read(end - begin).rfind(b"\n")
        if at >= 0:
            end = begin + at + 1
            break
        end = begin
    file.seek(0)
    return end


def _check_target(target: Path, home: Path) -> None:
    problem = ""
    if target.exists():
        problem = f"{target} exists already; name another file"
    elif not target.parent.is_dir():
        problem = f"the folder {target.parent} does not exist; make it, or name another file"
    elif target.parent.resolve().is_relative_to(home.resolve()):
        problem = f"{target} lies inside the home and would be lost with it; name a file on another disk"
    if problem:
        raise BackupError(problem)
