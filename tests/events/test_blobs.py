"""Blobs: whole or not there, checked as they are read, and gone when they have run out."""

from __future__ import annotations

import os
import stat
import time
from datetime import timedelta

import pytest

from timmy_core.errors import BlobNotFoundError, EventDataError, StoreError
from timmy_core.events import blobs as blobs_module
from timmy_core.events.blobs import Blobs, named_in
from timmy_core.events.events import Events
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock


@pytest.fixture
def blobs(store: Store, clock: FakeClock) -> Blobs:
    return Blobs(store, store.path.parent / "blobs", clock)


def files(blobs: Blobs) -> list[str]:
    return sorted(path.name for path in blobs.folder.rglob("*") if path.is_file())


def test_content_comes_back_by_its_digest_and_is_kept_once(blobs: Blobs, clock: FakeClock) -> None:
    import hashlib

    digest = blobs.put(b"picture", "image/png")
    assert digest == hashlib.blake2b(b"picture", digest_size=32).hexdigest()
    assert blobs.put(b"picture", "image/png") == digest
    assert blobs.get(digest) == b"picture"
    assert files(blobs) == [digest]
    path = blobs.folder / digest[:2] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = blobs.find(digest)
    assert known is not None
    assert (known.bytes, known.media_type, known.created_at, known.expires_at) == (7, "image/png", clock.now(), None)


def test_a_damaged_blob_is_said_and_put_right_by_the_same_content(blobs: Blobs) -> None:
    digest = blobs.put(b"picture")
    (blobs.folder / digest[:2] / digest).write_bytes(b"pictore")
    with pytest.raises(StoreError, match="is damaged"):
        blobs.get(digest)
    blobs.put(b"picture")
    assert blobs.get(digest) == b"picture"


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", ""])
def test_what_is_not_there_is_said(blobs: Blobs, digest: str) -> None:
    with pytest.raises(BlobNotFoundError):
        blobs.get(digest)
    assert blobs.find(digest) is None
    assert blobs.delete([digest]) == 0


def test_each_blob_has_its_own_expiry_and_the_longest_wish_counts(blobs: Blobs, clock: FakeClock) -> None:
    short, long, kept = (blobs.put(text, keep=keep) for text, keep in (
        (b"a", timedelta(days=1)), (b"b", timedelta(days=1)), (b"c", timedelta(days=1))))  # fmt: skip
    blobs.put(b"b", keep=timedelta(days=3))
    blobs.put(b"c")
    assert blobs.expire() == 0
    clock.advance(86_400)
    assert blobs.expire() == 1
    assert files(blobs) == sorted([long, kept])
    assert blobs.find(short) is None
    clock.advance(1e9)
    assert blobs.expire() == 1
    assert files(blobs) == [kept]


def test_what_a_crash_left_goes_once_it_is_old(blobs: Blobs) -> None:
    digest = blobs.put(b"kept")
    stray = blobs.folder / digest[:2] / ("f" * 64)
    half = stray.with_name(stray.name + ".tmp")
    for path in (stray, half):
        path.write_bytes(b"stray")
    assert blobs.expire() == 0
    for path in (stray, half):
        os.utime(path, (time.time() - 7200,) * 2)
    assert blobs.expire() == 2
    assert files(blobs) == [digest]


def test_a_blob_is_bounded(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "MAX_BLOB_BYTES", 10)
    with pytest.raises(EventDataError, match="at most 10 fit in a blob"):
        blobs.put(b"12345678901")


def test_large_data_goes_to_a_blob_only_where_it_was_asked_for(store: Store, clock: FakeClock) -> None:
    events = Events(store, clock)
    large = {"text": "x" * 300_000}
    with pytest.raises(EventDataError, match="large=True"):
        events.append("system.info", source="t", data=large)
    small = events.append("system.info", source="t", data={"text": "x"}, large=True)
    assert small.data == {"text": "x"}
    event = events.append("system.info", source="t", data=large, large=True, keep=timedelta(days=1))
    assert event.data is not None
    assert (event.data["bytes"], event.data["preview"][:12]) == (300_011, '{"text":"xxx')
    assert named_in(event.data) == event.data["blob"]
    assert events.content(event) == large
    assert events.content(small) == {"text": "x"}
    clock.advance(86_401)
    assert events.blobs.expire() == 1
    with pytest.raises(BlobNotFoundError, match="ran out"):
        events.content(event)
    assert events.verify().ok
