"""Forgetting: no byte of what was forgotten is left in any file, and what stays is an event without the text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from timmy_core.errors import EntryError, EntryNotFoundError, StoreError
from timmy_core.memory import forget as forgetting
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.settings import Settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

from .house import House, held_in, house


def test_no_byte_of_a_forgotten_entry_is_left_in_any_file(tmp_path: Path) -> None:
    with house(tmp_path / "timmy.db") as home:
        home.memory.remember_many([NewEntry(f"filler number {n} of many", session="s") for n in range(300)])
        entry = home.memory.remember("the Wombat77 digs", session="s", speaker="Zaphodine", metadata={"k": "Vogonish"})
        home.memory.remember("what follows it", session="s")
        home.memory.remember_many([NewEntry(f"more filler {n}", session="s") for n in range(300)])
        home.store.write(
            lambda c: c.execute("INSERT INTO memory_vectors VALUES (?, 'm', 0, ?)", (entry.seq, b"VECTORBYTES"))
        )
        done = home.memory.forget(entry.id, reason="private", by="ann")
        assert (done.entries, done.passages, done.erased) == (1, 0, True)
        for word in ("wombat77", "wombat", "zaphodin", "vogonish", "vectorbytes"):
            assert held_in(tmp_path, word) == []
        assert home.found("wombat77") == []
        home.check_words()
    assert held_in(tmp_path, "wombat77") == []


def test_what_stays_is_an_event_without_the_text(memory: Memory, home: House) -> None:
    entry = memory.remember("the wombat digs")
    memory.forget(entry.id, reason="private", by="ann")
    assert home.said("memory.forgotten") == [{"entries": [entry.id], "count": 1, "reason": "private", "by": "ann"}]
    assert all("wombat" not in str(event.data) for event in home.events.list())
    for key in (entry.id, entry.seq):
        with pytest.raises(EntryNotFoundError):
            memory.get(key)
    with pytest.raises(EntryNotFoundError):
        memory.forget(entry.id, by="ann")


def test_all_that_match_are_forgotten_in_many_transactions(
    memory: Memory, home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "CHUNK", 3)
    memory.remember_many([NewEntry(f"turn {n}", session="s" if n % 2 else "t") for n in range(20)])
    done = memory.forget(where={"session": "s"}, by="ann")
    assert (done.entries, memory.count(session="s"), memory.count(session="t")) == (10, 0, 10)
    said = home.said("memory.forgotten")
    assert [one["count"] for one in said] == [3, 3, 3, 1]
    home.check_words()
    assert memory.forget(where={"session": "s"}, by="ann").entries == 0
    assert home.said("memory.forgotten") == said


def test_the_turns_beside_a_forgotten_one_become_neighbours(memory: Memory, home: House) -> None:
    turns = [memory.remember(text, session="s") for text in ("apple", "pear", "plum", "fig")]
    home.store.write(
        lambda c: c.executemany("INSERT INTO memory_vectors VALUES (?, 'm', -1, x'00')", [(t.seq,) for t in turns])
    )
    memory.forget(where={"id": [turns[1].id, turns[2].id]}, by="ann")
    assert (home.found("next : fig"), home.found("previous : apple")) == ([turns[0].seq], [turns[3].seq])
    assert [entry.embedding for entry in memory.at([turn.seq for turn in turns])] == [("m",), ()]
    home.check_words()


def test_a_document_goes_with_its_passages_and_a_passage_does_not_go_alone(tmp_path: Path) -> None:
    with house(tmp_path / "timmy.db") as home:
        document = home.memory.remember("The platypus lays eggs. " * 300, kind="document")
        passage = home.memory.passages(document.id)[2]
        with pytest.raises(EntryError, match="is a passage of the document"):
            home.memory.forget(passage.id, by="ann")
        done = home.memory.forget(where={"kind": "document"}, by="ann")
        assert (done.entries, done.passages) == (1, document.parts)
        assert (home.memory.sizes().passages, held_in(tmp_path, "platypus")) == (0, [])
        home.check_words()


def test_a_number_is_never_used_again(memory: Memory) -> None:
    first = memory.remember("one")
    memory.forget(first.id, by="ann")
    assert memory.remember("one").seq > first.seq


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({}, "say what to forget"),
        ({"key": "a", "where": {"session": "s"}}, "say what to forget"),
        ({"where": {}}, "would forget everything"),
        ({"where": {"session": None}}, "session needs str"),
        ({"where": {"colour": "red"}}, "'colour' is no filter"),
        ({"key": "a", "reason": ""}, "reason has to be"),
    ],
)
def test_it_has_to_be_clear_what_to_forget(memory: Memory, what: dict[str, object], words: str) -> None:
    memory.remember("kept")
    with pytest.raises(EntryError, match=words):
        memory.forget(**what, by="ann")
    assert memory.count() == 1


class Index:
    """Something that keeps what it made of entries in a file of its own."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []
        self.fails = False

    def forget(self, seqs: Sequence[int], /) -> None:
        if self.fails:
            message = "the disk is full"
            raise OSError(message)
        self.told.append(list(seqs))


def test_whoever_keeps_something_of_it_is_told_until_he_could(memory: Memory) -> None:
    index = Index()
    memory.forgetters.append(index)
    first, second = memory.remember("one"), memory.remember("two")
    index.fails = True
    with pytest.raises(OSError, match="full"):
        memory.forget(first.id, by="ann")
    index.fails = False
    memory.mend()
    assert index.told == [[first.seq]]
    memory.edit(second.id, text="zwei", by="ann")
    memory.mend()
    assert index.told == [[first.seq], [second.seq]]


def test_while_others_read_a_copy_it_says_so_and_the_next_start_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with house(tmp_path / "timmy.db") as home:
        entry = home.memory.remember("the wombat digs")
        monkeypatch.setattr(home.store, "empty_wal", lambda: False)
        assert not home.memory.forget(entry.id, by="ann").erased
        assert home.memory.count() == 0
    with house(tmp_path / "timmy.db") as home:
        assert held_in(tmp_path, "wombat") == []
        with home.store.read() as connection:
            assert connection.execute("SELECT count(*) FROM memory_erasures").fetchone() == (0,)


def test_a_document_that_was_edited_while_it_was_to_go_goes_with_its_new_passages(
    memory: Memory, home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = memory.remember("One sentence of it. " * 300, kind="document")
    remove = memory._forgetting._remove

    def edit_first() -> None:
        memory.edit(document.id, text="Another sentence of it. " * 300, by="bob")
        remove()

    monkeypatch.setattr(memory._forgetting, "_remove", edit_first)
    memory.forget(document.id, by="ann")
    assert (memory.count(), memory.sizes().passages, home.found("sentence")) == (0, 0, [])
    home.check_words()


def test_the_index_of_words_is_checked_against_the_entries(memory: Memory, home: House) -> None:
    entry = memory.remember("the wombat digs")
    home.store.write(lambda c: c.execute("UPDATE memory_entries SET text = 'changed behind its back'"))
    with pytest.raises(StoreError, match="damaged"):
        home.check_words()
    home.store.write(lambda c: c.execute("INSERT INTO memory_words (memory_words) VALUES ('rebuild')"))
    assert home.found("changed") == [entry.seq]


def test_what_was_forgotten_goes_from_the_turns_of_its_session_too(tmp_path: Path) -> None:
    provider = ScriptedProvider("local", "a wombat digs", "a wombat digs", "fine")
    settings = Settings.model_validate({"home": tmp_path, "providers": ()})
    timmy = Timmy(settings, providers=[provider])
    try:
        for question in ("who digs?", "who digs again?", "thanks"):
            timmy.ask_sync(question, session="s")
        turn = timmy.history("s")[1]
        entry = timmy.memory.remember(
            turn.content, session="s", agent_id="timmy", speaker="timmy", trace_id=turn.trace_id, scope="agent:timmy"
        )
        assert timmy.memory.forget(entry.id, by="ann").erased
        said = [turn.content for turn in timmy.history("s")]
        assert said == ["who digs?", "[forgotten]", "who digs again?", "[forgotten]", "thanks", "fine"]
        assert held_in(tmp_path, "wombat") == []
    finally:
        timmy.shutdown()


def test_redacting_the_events_of_a_trace_leaves_the_memory_and_forgetting_it_is_one_call(
    memory: Memory, home: House
) -> None:
    entry = memory.remember("the wombat digs", trace_id="r")
    assert home.events.redact(where={"trace_id": "r"}, reason="asked", by="ann").count == 1
    assert memory.count(trace_id="r") == 1
    assert memory.forget(where={"trace_id": "r"}, by="ann").entries == 1
    assert home.said("memory.forgotten")[0]["entries"] == [entry.id]
