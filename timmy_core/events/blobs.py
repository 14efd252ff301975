"""Blobs: content too large for an event, in files that are named by what is in them, each with its own expiry."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from timmy_core.clock import Clock, from_us, to_us
from timmy_core.errors import BlobNotFoundError, EventDataError, StoreError
from timmy_core.events.files import ASIDE, make_folder, sync_folder, write_whole
from timmy_core.store.engine import Connection, Store

MAX_BLOB_BYTES: Final = 64 << 20
PREVIEW_CHARS: Final = 200
EXPIRED_AT_ONCE: Final = 1_000
_STRAY_S: Final = 3600.0  # a file this old without a row was left by a crash; a younger one may be on its way
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """What is known of a blob besides its content; it is kept for good where `expires_at` is None."""

    digest: str
    bytes: int
    media_type: str
    created_at: datetime
    expires_at: datetime | None


class Blobs:
    """Content-addressed files beside the store; the same content is kept once, until the latest expiry asked for."""

    def __init__(self, store: Store, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._store = store
        self._clock = clock

    def put(self, content: bytes, media_type: str = "application/octet-stream", keep: timedelta | None = None) -> str:
        """Keep content, for good or for so long, and return its digest once it is durable.

        Raises:
            EventDataError: it is too large.
            StoreFullError: the disk is full; nothing was kept.
        """
        if len(content) > MAX_BLOB_BYTES:
            message = f"the content is {len(content):,} bytes; at most {MAX_BLOB_BYTES:,} fit in a blob"
            raise EventDataError(message)
        digest = _digest(content)
        path = self._path(digest)
        make_folder(path.parent)
        now = to_us(self._clock.now())
        expires = None if keep is None else now + keep // timedelta(microseconds=1)
        # The row comes first, so that whoever clears strays never takes a file that is about to be named.
        self._store.write(lambda connection: _keep(connection, digest, len(content), media_type, now, expires))
        if not self._is_whole(digest):
            write_whole(path, content)
        return digest

    def put_in(self, connection: Connection, content: bytes, media_type: str) -> str:
        """Do as `put`, for good and inside somebody's own `store.write`, so that blob and event commit together.

        The file comes first: if the write is undone, it is a stray that `expire` clears. Everybody's writes wait for
        it meanwhile, so this is for what is rare.
        """
        digest = _digest(content)
        path = self._path(digest)
        if len(content) > MAX_BLOB_BYTES:
            message = f"the content is {len(content):,} bytes; at most {MAX_BLOB_BYTES:,} fit in a blob"
            raise EventDataError(message)
        make_folder(path.parent)
        if not self._is_whole(digest):
            write_whole(path, content)
        _keep(connection, digest, len(content), media_type, to_us(self._clock.now()), None)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content, checked against its digest.

        Raises:
            BlobNotFoundError: there is none: it was never kept, ran out or was redacted.
            StoreError: it is damaged or cannot be read.
        """
        _check_form(digest)
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            message = f"no blob has the digest {digest}; it was never kept, ran out, or was redacted"
            raise BlobNotFoundError(message) from None
        except OSError as error:
            message = f"the blob {digest} cannot be read: {error.strerror}; check the rights of the home"
            raise StoreError(message) from error
        if _digest(content) != digest:
            message = f"the blob {digest} is damaged: its bytes have another digest; put it back from a backup"
            raise StoreError(message)
        return content

    def find(self, digest: str) -> Blob | None:
        """Return what is known of a blob, or None."""
        with self._store.read() as connection:
            row = connection.execute(
                "SELECT digest, bytes, media_type, created_at, expires_at FROM blobs WHERE digest = ?", (digest,)
            ).fetchone()
        if row is None:
            return None
        return Blob(row[0], row[1], row[2], from_us(row[3]), None if row[4] is None else from_us(row[4]))

    def delete(self, digests: Iterable[str]) -> int:
        """Remove blobs, whoever else names them, and return how many there were."""
        wanted = [digest for digest in digests if _DIGEST.fullmatch(digest)]
        gone = 0
        for digest in wanted:
            path = self._path(digest)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                sync_folder(path.parent)
                gone += 1
        if wanted:
            self._store.write(
                lambda connection: connection.executemany(
                    "DELETE FROM blobs WHERE digest = ?", [(digest,) for digest in wanted]
                )
            )
        return gone

    def expire(self, stop: Callable[[], bool] | None = None) -> int:
        """Remove what has run out and what a crash left behind, and return how many files that were."""
        gone = 0
        while stop is None or not stop():
            now = to_us(self._clock.now())
            with self._store.read() as connection:
                rows = connection.execute(
                    "SELECT digest FROM blobs WHERE expires_at <= ? LIMIT ?", (now, EXPIRED_AT_ONCE)
                ).fetchall()
            if not rows:
                break
            gone += self.delete(row[0] for row in rows)
        return gone + self._clear_strays()

    def _clear_strays(self) -> int:
        gone = 0
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                known = not path.name.endswith(ASIDE) and self.find(path.name) is not None
                if not known and time.time() - path.stat().st_mtime > _STRAY_S:
                    path.unlink()
                    gone += 1
        return gone

    def _is_whole(self, digest: str) -> bool:
        try:
            self.get(digest)
        except StoreError:
            return False
        return True

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


def named_in(data: object) -> str | None:
    """Return the digest of the blob that an event's data names, or None."""
    digest = data.get("blob") if isinstance(data, dict) else None
    return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def _check_form(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        message = f"{digest[:80]!r} is no digest of a blob; expected 64 hex digits"
        raise BlobNotFoundError(message)


def _keep(connection: Connection, digest: str, size: int, media_type: str, now: int, expires: int | None) -> None:
    """Note a blob; kept again, it stays as long as the longer of the two."""
    connection.execute(
        "INSERT INTO blobs (digest, bytes, media_type, created_at, expires_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (digest) DO UPDATE SET expires_at = CASE WHEN blobs.expires_at IS NULL OR excluded.expires_at "
        "IS NULL THEN NULL ELSE max(blobs.expires_at, excluded.expires_at) END",
        (digest, size, media_type, now, expires),
    )
