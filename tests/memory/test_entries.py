"""Remembering, reading and editing: an entry is kept as it was given, once, and its words are found at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import EntryConflictError, EntryError, EntryNotFoundError
from timmy_core.memory import memory as face
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry, scope_token
from timmy_core.testing import FakeClock

from .house import House, held_in, house

LONG_AGO = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


def test_an_entry_comes_back_as_it_was_given(memory: Memory, clock: FakeClock) -> None:
    given: dict[str, Any] = {
        "kind": "fact", "agent_id": "echo", "session": "s1", "task_id": "t1", "trace_id": "r1", "source": "cli",
        "speaker": "Ann", "subject": "Favourite  Colour", "metadata": {"topic": "taste", "n": [1, None]},
        "importance": 0.9, "created_at": LONG_AGO, "valid_from": LONG_AGO, "id": "mine",
    }  # fmt: skip
    entry = memory.remember("Ann's favourite colour is blue.\n", **given)
    assert memory.get("mine") == memory.get(entry.seq) == entry
    assert (entry.text, entry.subject, entry.scope) == (
        "Ann's favourite colour is blue.\n",
        "favourite colour",
        "agent:echo",
    )
    assert {name: getattr(entry, name) for name in given if name != "subject"} == {
        name: value for name, value in given.items() if name != "subject"
    }
    assert (entry.state, entry.valid_to, entry.seen, entry.changed_at) == ("stored", None, 1, clock.now())
    assert entry.as_dict()["created_at"] == "2023-05-08T13:56:00.000000Z"


def test_the_scope_follows_from_agent_then_session_and_is_shared_without_either(memory: Memory) -> None:
    scopes = [
        memory.remember("a", agent_id="echo", session="s").scope,
        memory.remember("b", session="s").scope,
        memory.remember("c").scope,
        memory.remember("d", agent_id="echo", scope="shared").scope,
    ]
    assert scopes == ["agent:echo", "session:s", "shared", "shared"]


def test_the_same_text_is_kept_once_within_its_scope(memory: Memory, home: House, clock: FakeClock) -> None:
    first = memory.remember("Tea,  please.", agent_id="echo")
    clock.advance(60)
    again = memory.remember(" Tea, please.\n", agent_id="echo")
    assert (again.id, again.text, again.seen) == (first.id, "Tea,  please.", 2)
    assert (again.created_at, again.seen_at) == (first.created_at, clock.now())
    other = [
        memory.remember("Tea, please.", agent_id="zed"),
        memory.remember("Tea, please.", kind="fact", agent_id="echo"),
    ]
    assert len({first.id, *(entry.id for entry in other)}) == 3
    assert [said["again"] for said in home.said("memory.stored")] == [False, True, False, False]


def test_an_accent_typed_in_two_ways_is_the_same_text(memory: Memory) -> None:
    assert memory.remember("Caf\u00e9").id == memory.remember("Cafe\u0301").id


def test_the_same_turn_in_two_sessions_is_two_entries(memory: Memory) -> None:
    first, second = (memory.remember("yes", agent_id="echo", session=name) for name in ("a", "b"))
    assert first.id != second.id


def test_the_same_id_again_returns_the_first_and_other_content_is_refused(memory: Memory, home: House) -> None:
    first = memory.remember("one", id="a")
    assert memory.remember("one", id="a") == first
    with pytest.raises(EntryConflictError, match="'a' belongs to an entry with other content"):
        memory.remember("two", id="a")
    assert len(home.said("memory.stored")) == 1


def test_the_event_is_written_with_the_entry_and_without_its_text(memory: Memory, home: House) -> None:
    entry = memory.remember("my secret plan", agent_id="echo", session="s", task_id="t", trace_id="r")
    (event,) = home.events.list(family="memory")
    assert (event.type, event.source, event.agent_id, event.task_id, event.trace_id) == (
        "memory.stored", "memory", "echo", "t", "r",
    )  # fmt: skip
    assert event.data == {
        "entry": entry.id, "kind": "conversation", "state": "stored", "scope": "agent:echo", "session": "s",
        "characters": 14, "passages": 0, "again": False,
    }  # fmt: skip


def test_when_one_of_many_is_refused_none_is_kept(memory: Memory, home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.remember("taken", id="a")
    with pytest.raises(EntryConflictError):
        memory.remember_many([NewEntry("fine"), NewEntry("other", id="a")])
    assert (memory.count(), home.found("fine"), len(home.said("memory.stored"))) == (1, [], 1)
    monkeypatch.setattr(face, "MAX_MANY", 1)
    with pytest.raises(EntryError, match="at most 1 at a time"):
        memory.remember_many([NewEntry("a"), NewEntry("b")])


def test_an_entry_may_commit_with_somebody_elses_state(memory: Memory, home: House) -> None:
    def run(connection: Any) -> None:
        memory.remember_in(connection, NewEntry("kept with it"))
        message = "undone"
        raise ValueError(message)

    with pytest.raises(ValueError, match="undone"):
        home.store.write(run)
    assert (memory.count(), home.found("kept"), home.events.head()[0]) == (0, [], 0)


async def test_remembering_is_awaited_too(memory: Memory) -> None:
    (entry,) = await memory.aremember([NewEntry("from a coroutine")])
    assert memory.get(entry.id) == entry


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": "  \n"}, "the text is empty"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "x" * 100_001}, "kind='document'"),
        ({"text": "x", "kind": "note"}, "expected one of conversation, fact, document"),
        ({"text": "x", "scope": "planet:mars"}, "expected 'shared', 'agent:<id>' or 'session:<name>'"),
        ({"text": "x", "scope": "agent:"}, "expected 'shared'"),
        ({"text": "x", "importance": 1.5}, "from 0 to 1"),
        ({"text": "x", "importance": float("nan")}, "from 0 to 1"),
        ({"text": "x", "metadata": {"a": object()}}, "the metadata cannot be kept"),
        ({"text": "x", "metadata": {"a": "b" * 20_000}}, "at most 16,384"),
        ({"text": "x", "created_at": datetime(2026, 1, 1)}, "add one"),  # noqa: DTZ001 - the very fault
        ({"text": "x", "valid_to": datetime(2020, 1, 1, tzinfo=UTC)}, "valid_to has to come after valid_from"),
        ({"text": "x", "session": "a\nb"}, "session has to be text"),
        ({"text": "x", "source": ""}, "source"),
        ({"text": "x", "subject": "s"}, "subject is for facts"),
        ({"text": "x", "proposed": True}, "proposed is for facts"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(memory: Memory, given: dict[str, Any], words: str) -> None:
    with pytest.raises(EntryError, match=words):
        memory.remember(**given)
    assert memory.count() == 0


def test_zero_characters_do_not_cut_a_text(memory: Memory, home: House) -> None:
    entry = memory.remember("before\x00after")
    assert memory.get(entry.id).text == "before\ufffdafter"
    assert home.found("after") == [entry.seq]


# Words -----------------------------------------------------------------------------------------------------------


def test_an_exact_match_is_found_however_many_newer_entries_there_are(memory: Memory, home: House) -> None:
    wanted = memory.remember("the boiler's serial number is QX-7741", kind="fact")
    memory.remember_many([NewEntry(f"newer entry number {n}", kind="fact") for n in range(500)])
    assert home.found("QX 7741") == [wanted.seq]
    assert memory.list(limit=10, id=wanted.id).entries == (wanted,)


def test_a_turn_is_found_by_the_words_of_the_turns_beside_it(memory: Memory, home: House) -> None:
    asked = memory.remember("where did you go on holiday?", session="s")
    answered = memory.remember("to the lake", session="s")
    assert home.found("previous : holiday") == [answered.seq]
    assert home.found("next : lake") == [asked.seq]
    elsewhere = memory.remember("nothing of that", session="other")
    thanked = memory.remember("lovely!", session="s")
    assert home.found("next : lovely") == [answered.seq]
    assert home.found("previous : lake") == [thanked.seq]
    assert home.found(f"scope : {scope_token('session:other')}") == [elsewhere.seq]
    assert memory.around(answered.id) == [memory.get(asked.id), thanked]
    home.check_words()


def test_facts_and_turns_of_no_session_have_no_neighbours(memory: Memory, home: House) -> None:
    memory.remember("first")
    memory.remember("second")
    memory.remember("a fact", kind="fact", session="s")
    memory.remember("a turn", session="s")
    assert home.found("{previous next} : (first OR second OR fact OR turn)") == []


def test_an_entry_is_found_by_its_date_and_its_speaker(memory: Memory, home: House) -> None:
    entry = memory.remember("I painted a sunrise", speaker="Melanie", created_at=LONG_AGO, metadata={"title": "Arts"})
    assert home.found("about : (may AND 2023 AND melanie AND arts)") == [entry.seq]


def test_scopes_whose_names_nearly_agree_have_different_words(memory: Memory, home: House) -> None:
    names = ["agent:walk", "agent:walked", "agent:walks", "agent:Walk", "session:walk", "agent:w\u00e4lk", "shared"]
    entries = {name: memory.remember("x", scope=name).seq for name in names}
    assert {name: home.found(f"scope : {scope_token(name)}") for name in names} == {
        name: [seq] for name, seq in entries.items()
    }


# Lists -----------------------------------------------------------------------------------------------------------


def test_lists_are_newest_first_and_go_on_where_the_cursor_says(memory: Memory) -> None:
    memory.remember_many([NewEntry(str(n)) for n in range(7)])
    first = memory.list(limit=3)
    second = memory.list(limit=3, cursor=first.cursor)
    last = memory.list(limit=3, cursor=second.cursor)
    assert [[entry.text for entry in page] for page in (first, second, last)] == [
        ["6", "5", "4"], ["3", "2", "1"], ["0"],
    ]  # fmt: skip
    assert last.cursor is None


def test_filters_select_by_every_field(memory: Memory, clock: FakeClock) -> None:
    memory.remember("a", kind="fact", agent_id="echo", metadata={"n": 1, "b": True, 'odd" key': None})
    clock.advance(10)
    moment = clock.now()
    memory.remember("b", session="s", speaker="Ann", metadata={"n": "1"})
    memory.remember("c", session="s", task_id="t", trace_id="r", valid_to=moment + timedelta(seconds=5))

    def texts(**filters: Any) -> list[str]:
        assert memory.count(**filters) == len(memory.list(**filters))
        return [entry.text for entry in memory.list(**filters)][::-1]

    assert texts(kind="fact") == texts(agent_id="echo") == texts(until=moment) == ["a"]
    assert texts(kind=["fact", "conversation"]) == texts(kind=None) == ["a", "b", "c"]
    assert texts(scope="session:s") == texts(session="s") == texts(since=moment) == ["b", "c"]
    assert texts(speaker="Ann") == texts(metadata={"n": "1"}) == ["b"]
    assert texts(metadata={"n": 1}) == texts(metadata={"b": True}) == texts(metadata={'odd" key': None}) == ["a"]
    assert texts(metadata={"n": True}) == texts(metadata={"b": 1}) == []
    assert texts(task_id="t") == texts(trace_id="r") == ["c"]
    assert texts(valid_at=moment + timedelta(seconds=5)) == ["a", "b"]
    assert texts(seq=[1, 3], id=[memory.get(3).id]) == ["c"]


@pytest.mark.parametrize("filters", [{"colour": "x"}, {"kind": 5}, {"since": "today"}, {"metadata": []}, {"limit": 0}])
def test_filters_that_make_no_sense_are_errors(memory: Memory, filters: dict[str, Any]) -> None:
    with pytest.raises(EntryError):
        memory.list(**filters)


def test_how_much_is_remembered_is_counted(memory: Memory) -> None:
    memory.remember("a", kind="fact")
    memory.remember("b", kind="fact", proposed=True)
    memory.remember("c. " * 2000, kind="document", agent_id="echo")
    sizes = memory.sizes()
    assert (sizes.entries, sizes.kinds, sizes.states) == (3, {"fact": 2, "document": 1}, {"stored": 2, "proposed": 1})
    assert (sizes.scopes, sizes.vectors) == ({"shared": 2, "agent:echo": 1}, {})
    assert sizes.passages == memory.list(kind="document").entries[0].parts > 3


# Editing ---------------------------------------------------------------------------------------------------------


def test_an_edit_changes_what_is_given_and_leaves_the_rest(memory: Memory, home: House, clock: FakeClock) -> None:
    entry = memory.remember("likes tee", kind="fact", speaker="Ann", metadata={"a": 1}, importance=0.2)
    clock.advance(5)
    changed = memory.edit(entry.id, text="likes tea", importance=1, by="ann")
    assert (changed.seq, changed.text, changed.importance) == (entry.seq, "likes tea", 1.0)
    assert (changed.speaker, changed.metadata, changed.created_at) == ("Ann", {"a": 1}, entry.created_at)
    assert (changed.changed_at, memory.edit(entry.id, speaker=None, by="ann").speaker) == (clock.now(), None)
    assert (home.found("tea"), home.found("tee"), home.found("ann")) == ([entry.seq], [], [])
    assert home.said("memory.edited") == [
        {"entry": entry.id, "fields": ["importance", "text"], "by": "ann"},
        {"entry": entry.id, "fields": ["speaker"], "by": "ann"},
    ]
    home.check_words()


def test_nothing_of_the_former_text_is_left_after_an_edit(tmp_path: Path) -> None:
    with house(tmp_path / "timmy.db") as home:
        home.memory.remember("before it", session="s")
        entry = home.memory.remember("the pin is QUOKKA4711", session="s")
        home.memory.remember("after it", session="s")
        home.memory.edit(entry.id, text="the pin was removed", by="ann")
        assert held_in(tmp_path, "quokka4711") == []
        assert home.found("previous : pin") == [entry.seq + 1]
        home.check_words()


def test_an_edit_drops_the_vectors_of_the_entry_and_of_the_turn_that_follows(memory: Memory, home: House) -> None:
    seqs = [memory.remember(text, session="s").seq for text in ("a", "b", "c")]
    rows = [(seq, "m", part, b"\0\0") for seq in seqs for part in (0, -1)]
    home.store.write(lambda c: c.executemany("INSERT INTO memory_vectors VALUES (?, ?, ?, ?)", rows))
    assert memory.get(seqs[0]).embedding == ("m",)
    memory.edit(seqs[1], importance=1, by="ann")
    assert memory.sizes().vectors == {"m": 3}
    memory.edit(seqs[1], text="new", by="ann")
    assert [entry.embedding for entry in memory.at(seqs)] == [("m",), (), ()]
    with home.store.read() as connection:
        changes = connection.execute("SELECT entry_seq FROM memory_changes ORDER BY number").fetchall()
    assert changes == [(seqs[0],), (seqs[1],), (seqs[2],)]


def test_edits_that_cannot_be_are_refused(memory: Memory) -> None:
    first, second = memory.remember("one"), memory.remember("two")
    with pytest.raises(EntryConflictError, match="says the very same"):
        memory.edit(second.id, text="one", by="ann")
    for changes in ({}, {"text": ""}, {"importance": 2}, {"subject": "s"}, {"valid_to": LONG_AGO}):
        with pytest.raises(EntryError):
            memory.edit(first.id, by="ann", **changes)
    with pytest.raises(EntryError, match="by has to be"):
        memory.edit(first.id, text="x", by=" ")
    with pytest.raises(EntryNotFoundError, match="never remembered, or forgotten"):
        memory.edit("nobody", text="x", by="ann")
    assert memory.get(first.id) == first


# Frames ----------------------------------------------------------------------------------------------------------


def test_what_changes_after_all_is_seen_in_sql_too(tmp_path: Path) -> None:
    from timmy_core.settings import Settings
    from timmy_core.timmy import Timmy

    timmy = Timmy(Settings.model_validate({"home": tmp_path, "providers": ()}))
    try:
        entries = [timmy.memory.remember(text) for text in ("one", "two", "three")]
        query = "SELECT string_agg(text, ' ' ORDER BY seq) FROM memory"
        assert timmy.sql(query).item() == "one two three"
        timmy.memory.edit(entries[1].id, text="zwei", by="ann")
        timmy.memory.forget(entries[0].id, by="ann")
        timmy.memory.remember("four")
        assert timmy.sql(query).item() == "zwei three four"
        assert timmy.frame("memory")["text"].to_list() == ["zwei", "three", "four"]
    finally:
        timmy.shutdown()
