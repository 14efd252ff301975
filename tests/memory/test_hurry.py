"""Who is in a hurry gets no vector rather than wait for one; everybody else gets it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from timmy_core.errors import EmbeddingError
from timmy_core.memory.hurry import WORKERS, Hurrying, hurry

ONE = np.ones(3, np.float32)


class Slow:
    """An embedder that waits to be let go on, and remembers what it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.asked: list[tuple[str, bool]] = []
        self.problem = ""
        self.error: Exception | None = None

    def embed_query(self, text: str, *, local_only: bool = False) -> NDArray[np.float32] | None:
        self.asked.append((text, local_only))
        self.go.wait(10)
        if self.error is not None:
            raise self.error
        return ONE


@pytest.fixture
def slow() -> Iterator[Slow]:
    vectors = Slow()
    yield vectors
    vectors.go.set()


@pytest.fixture
def hurrying(slow: Slow) -> Iterator[Hurrying]:
    opened = Hurrying(slow)
    yield opened
    slow.go.set()
    opened.close()


def test_a_vector_that_comes_in_time_is_given(hurrying: Hurrying, slow: Slow) -> None:
    with hurry(5):
        assert hurrying.embed_query("a", local_only=True) is ONE
    assert slow.asked == [("a", True)]
    assert hurrying.problem == ""


def test_one_that_does_not_is_gone_without_and_the_reason_is_said(hurrying: Hurrying, slow: Slow) -> None:
    slow.go.clear()
    began = time.monotonic()
    with hurry(0.05):
        assert hurrying.embed_query("a") is None
    assert time.monotonic() - began < 20
    assert hurrying.problem == "its vector did not come in time"


def test_who_has_time_waits(hurrying: Hurrying, slow: Slow) -> None:
    slow.go.clear()
    threading.Timer(0.2, slow.go.set).start()
    assert hurrying.embed_query("a") is ONE


def test_hurry_ends_with_its_block_and_is_of_one_thread(hurrying: Hurrying, slow: Slow) -> None:
    slow.go.clear()
    threading.Timer(0.3, slow.go.set).start()
    found: list[object] = []
    with hurry(0.01):
        other = threading.Thread(target=lambda: found.append(hurrying.embed_query("other")))
        other.start()
        assert hurrying.embed_query("mine") is None
    other.join()
    assert found == [ONE]
    assert hurrying.embed_query("later") is ONE


def test_those_that_hang_do_not_pile_up(hurrying: Hurrying, slow: Slow) -> None:
    slow.go.clear()
    with hurry(0.01):
        for number in range(WORKERS + 5):
            assert hurrying.embed_query(str(number)) is None
    assert len(slow.asked) == WORKERS
    slow.go.set()
    deadline = time.monotonic() + 5
    with hurry(5):
        while hurrying.embed_query("again") is None:
            assert time.monotonic() < deadline


def test_an_error_is_handed_on(hurrying: Hurrying, slow: Slow) -> None:
    slow.error = EmbeddingError("broken")
    with hurry(5), pytest.raises(EmbeddingError, match="broken"):
        hurrying.embed_query("a")


def test_after_closing_nobody_is_asked(hurrying: Hurrying, slow: Slow) -> None:
    hurrying.close()
    with hurry(5):
        assert hurrying.embed_query("a") is None
    assert slow.asked == []
