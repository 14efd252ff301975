"""The background: every entry gets its vectors, once, whoever dies or changes what meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.waiting import until
from timmy_core.errors import EmbeddingError
from timmy_core.memory.conversing import local_scope
from timmy_core.memory.embed import Embeddings
from timmy_core.memory.embedding_rows import take_over
from timmy_core.memory.embedding_worker import EmbeddingStatus, EmbeddingWorker
from timmy_core.memory.model import NewEntry
from timmy_core.memory.rows import mark_rewritten
from timmy_core.store.engine import Connection
from timmy_core.testing import WordEmbedder

from .house import House, house

LONG = "\n\n".join(f"Paragraph {number} says something about topic{number}. " * 16 for number in range(12))
CHILD = Path(__file__).with_name("embedding_child.py")


class Room:
    """A house with its worker."""

    def __init__(self, home: House, embedder: WordEmbedder | None = None) -> None:
        self.home = home
        self.memory = home.memory
        self.embedder = embedder or WordEmbedder()
        self.embeddings = Embeddings(lambda: self.embedder)
        self.worker = EmbeddingWorker(home.store, self.embeddings)

    def turns(self, count: int, first: int = 0) -> list[int]:
        texts = (f"turn {number} is about topic{number}" for number in range(first, first + count))
        return [entry.seq for entry in self.memory.remember_many([NewEntry(text=text, session="s") for text in texts])]

    def rows(self, model: str = "words@1") -> dict[tuple[int, int], np.ndarray]:
        with self.home.store.read() as connection:
            query = "SELECT entry_seq, part, vector FROM memory_vectors WHERE model = ?"
            found = connection.execute(query, (model,)).fetchall()
        return {(seq, part): np.frombuffer(vector, "<f2") for seq, part, vector in found}

    def wholes(self, model: str = "words@1") -> set[int]:
        return {seq for seq, part in self.rows(model) if part == 0}

    def drained(self) -> None:
        self.worker.start()
        assert self.worker.wait(20), self.worker.status()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with house(tmp_path / "timmy.db") as home:
        made = Room(home)
        yield made
        made.embedder.gate.set()
        made.worker.close()


def state_is(room: Room, state: str) -> Callable[[], bool]:
    return lambda: room.worker.status().state == state


def test_every_entry_gets_a_vector_of_the_whole_and_a_turn_one_of_its_window(room: Room) -> None:
    seqs = room.turns(150)
    fact = room.memory.remember("Prefers dark mode.", kind="fact").seq
    room.drained()
    rows = room.rows()
    assert room.wholes() == {*seqs, fact}
    assert {seq for seq, part in rows if part == -1} == set(seqs[1:])
    wanted = room.embedder.embed(["turn 3 is about topic3", "turn 2 is about topic2\nturn 3 is about topic3"])
    assert np.abs(rows[seqs[3], 0] - wanted[0]).max() < 1e-3
    assert np.abs(rows[seqs[3], -1] - wanted[1]).max() < 1e-3
    assert room.worker.status().total == 151


def test_what_comes_later_is_embedded_too_also_from_another_store(room: Room) -> None:
    room.drained()
    room.turns(3)
    assert room.worker.wait(20)
    assert len(room.wholes()) == 3
    with house(room.home.store.path) as other:
        other.memory.remember("said by another process")
    until(lambda: len(room.wholes()) == 4, 5)


def test_a_document_has_vectors_of_its_passages_and_none_of_its_own(room: Room) -> None:
    entry = room.memory.remember(LONG, kind="document")
    assert entry.parts > 1
    room.drained()
    assert entry.seq not in room.wholes()
    assert len(room.wholes()) == entry.parts


def test_an_edited_entry_gets_new_vectors_and_so_does_the_turn_that_follows(room: Room) -> None:
    seqs = room.turns(3)
    room.drained()
    before = room.rows()
    entry = room.memory.get(seqs[0])
    room.memory.edit(entry.id, text="something else entirely", by="ann")
    until(lambda: room.worker.status().done == 3 and len(room.rows()) == len(before))
    after = room.rows()
    assert not np.array_equal(after[seqs[0], 0], before[seqs[0], 0])
    assert not np.array_equal(after[seqs[1], -1], before[seqs[1], -1])
    assert np.array_equal(after[seqs[2], -1], before[seqs[2], -1])


def test_what_is_forgotten_while_its_vectors_are_made_gets_none(room: Room) -> None:
    room.embedder.gate.clear()
    seqs = room.turns(3)
    room.worker.start()
    until(lambda: room.embedder.texts)
    room.memory.forget(seqs[1], by="ann")
    room.embedder.gate.set()
    assert room.worker.wait(20)
    rows = room.rows()
    assert {seq for seq, _ in rows} == {seqs[0], seqs[2]}
    wanted = room.embedder.embed(["turn 0 is about topic0\nturn 2 is about topic2"])[0]
    assert np.abs(rows[seqs[2], -1] - wanted).max() < 1e-3


def test_what_is_edited_while_its_vectors_are_made_gets_those_of_the_new_text(room: Room) -> None:
    room.embedder.gate.clear()
    entry = room.memory.remember("the old words")
    room.worker.start()
    until(lambda: room.embedder.texts)
    room.memory.edit(entry.id, text="the new words", by="ann")
    room.embedder.gate.set()
    assert room.worker.wait(20)
    assert np.abs(room.rows()[entry.seq, 0] - room.embedder.embed(["the new words"])[0]).max() < 1e-3


def test_another_model_embeds_everything_anew_and_the_old_vectors_go(room: Room) -> None:
    room.turns(100)
    room.drained()
    room.worker.close()
    other = Room(room.home, WordEmbedder("other"))
    other.drained()
    assert len(other.wholes("other@1")) == 100
    until(lambda: not room.rows())
    other.worker.close()


def test_a_new_model_goes_on_where_it_was_stopped(room: Room) -> None:
    seqs = room.turns(200)
    first = Room(room.home)
    first.embedder.gate.clear()
    first.worker.start()
    until(lambda: first.embedder.texts)
    first.embedder.gate.set()
    until(first.wholes)
    first.worker.close()
    done = first.wholes()
    assert done
    room.drained()
    assert room.wholes() == set(seqs)
    again = {f"turn {number} is about topic{number}" for number, seq in enumerate(seqs) if seq in done}
    assert not again & set(room.embedder.texts)


def test_only_one_of_two_embeds_and_the_other_goes_on_when_it_ends(room: Room) -> None:
    room.turns(10)
    room.drained()
    with house(room.home.store.path) as home:
        other = Room(home)
        other.worker.start()
        until(state_is(other, "elsewhere"))
        room.turns(10, first=10)
        assert room.worker.wait(20)
        assert other.embedder.texts == []
        room.worker.close()
        other.turns(10, first=20)
        until(lambda: len(other.wholes()) == 30)
        assert len(other.embedder.texts) <= 21
        other.worker.close()


def test_one_with_another_model_stops_when_it_is_overtaken(room: Room) -> None:
    room.worker.start()
    until(state_is(room, "idle"))
    room.home.store.write(lambda connection: take_over(connection, "new@2"))
    room.turns(1)
    until(state_is(room, "superseded"))
    assert room.rows() == {}
    assert "start this one again" in room.worker.status().problem


def test_a_failing_embedder_is_asked_again_and_says_what_is_wrong(room: Room) -> None:
    room.turns(5)
    room.embeddings.current()
    room.embedder.failure = EmbeddingError("the server is not there; start it")
    room.worker.start()
    until(state_is(room, "failing"))
    status = room.worker.status()
    assert (status.done, status.total) == (0, 5)
    assert status.problem == "the server is not there; start it"
    room.embedder.failure = None
    assert room.worker.wait(20)
    until(state_is(room, "idle"))
    assert room.worker.status().problem == ""


def test_a_text_that_is_refused_keeps_no_other_from_its_vector(room: Room) -> None:
    room.embedder.refuses = "topic7"
    seqs = room.turns(20)
    room.worker.start()
    until(lambda: len(room.wholes()) == 19)
    until(state_is(room, "idle"))
    assert room.wholes() == set(seqs) - {seqs[7]}


def test_what_may_not_leave_the_machine_is_not_sent_to_an_embedder_elsewhere(room: Room) -> None:
    far = Room(room.home, WordEmbedder("far", local=False))
    far.memory.remember_many(
        [
            NewEntry(text="a public word", session="s"),
            NewEntry(text="a secret word", session="s", metadata={"local_only": True}),
            NewEntry(text="another public word", session="s"),
            NewEntry(text="a secret that was said under local_only", session="s", scope=local_scope("timmy")),
        ]
    )
    far.worker.start()
    until(lambda: len(far.wholes("far@1")) == 2)
    until(state_is(far, "idle"))
    assert not any("secret" in text for text in far.embedder.texts)
    far.worker.close()


def test_without_a_model_nothing_happens_and_that_is_said(tmp_path: Path) -> None:
    def build() -> WordEmbedder:
        message = "no model; install one"
        raise EmbeddingError(message)

    with house(tmp_path / "timmy.db") as home:
        home.memory.remember("a word")
        worker = EmbeddingWorker(home.store, Embeddings(build))
        worker.start()
        until(lambda: worker.status().problem)
        assert worker.status() == EmbeddingStatus("off", None, 0, 0, None, "no model; install one")
        worker.close()


def test_closing_does_not_wait_for_all_that_is_left(room: Room) -> None:
    room.turns(2000)
    room.worker.start()
    until(lambda: room.embedder.texts)
    began = time.monotonic()
    room.worker.close()
    assert time.monotonic() - began < 20
    assert len(room.wholes()) < 2000


def test_closing_one_that_was_never_started_is_harmless(room: Room) -> None:
    room.worker.close()
    room.worker.start()
    assert room.worker._thread is None


def test_a_text_that_comes_again_is_not_embedded_again_until_something_is_forgotten(room: Room) -> None:
    entry = room.memory.remember("the same words")
    room.drained()
    asked = len(room.embedder.texts)
    lose(room, entry.seq)
    assert len(room.embedder.texts) == asked
    room.worker.forget([entry.seq])
    lose(room, entry.seq)
    assert len(room.embedder.texts) == asked + 1


def lose(room: Room, seq: int) -> None:
    """Take an entry's vectors away, as a change of it does, and wait for the new ones."""

    def take(connection: Connection) -> None:
        connection.execute("DELETE FROM memory_vectors WHERE entry_seq = ?", (seq,))
        mark_rewritten(connection)

    room.home.store.write(take)
    until(lambda: room.wholes() == {seq})


def test_a_document_that_became_short_is_found_by_a_vector_of_its_own(room: Room) -> None:
    entry = room.memory.remember(LONG, kind="document")
    room.drained()
    room.memory.edit(entry.id, text="short now", by="ann")
    until(lambda: room.wholes() == {entry.seq})


# Other processes -------------------------------------------------------------------------------------------------


def child(path: Path, pause_ms: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(pause_ms)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


def vectors(path: Path) -> dict[tuple[int, int], bytes]:
    """Return every vector by its entry and part, as another process sees them."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT entry_seq, part, vector FROM memory_vectors").fetchall()
    return {(seq, part): vector for seq, part, vector in rows}


def test_killed_again_and_again_it_loses_nothing_and_makes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "timmy.db"
    with house(path) as home:
        Room(home).turns(1500)
    seen: dict[tuple[int, int], bytes] = {}
    for _ in range(4):
        process = child(path, 1)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        known = len(seen)
        until(lambda known=known: len(vectors(path)) > known, "something more was embedded")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = vectors(path)
        assert seen.items() <= found.items()
        seen = found
    assert 0 < len(seen) < 2 * 1500
    with house(path) as home:
        room = Room(home)
        room.drained()
        assert len(room.rows()) == 2 * 1500 - 1
        room.worker.close()


def test_two_processes_share_the_work_without_doing_any_twice(tmp_path: Path) -> None:
    path = tmp_path / "timmy.db"
    with house(path) as home:
        room = Room(home)
        first, second = child(path, 0), child(path, 0)
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        room.turns(300)
        until(lambda: len(room.wholes()) == 300)
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=20)[0] for process in (first, second)]
    assert sorted(int(text) for text in said) == [0, 2 * 300 - 1]
