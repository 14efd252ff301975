"""Facts: one holds of a subject at a time, what is contradicted ends and stays, candidates wait for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timmy_core.errors import EntryError
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Entry, NewEntry
from timmy_core.testing import FakeClock

from .house import House


def day(number: int) -> datetime:
    return datetime(2025, 1, number, tzinfo=UTC)


@pytest.fixture
def tell(memory: Memory) -> Any:
    def remember(text: str, **given: Any) -> Entry:
        return memory.remember(text, **{"kind": "fact", "subject": "home town", **given})

    return remember


def texts(entries: Any) -> list[str]:
    return [entry.text for entry in entries]


def test_a_newer_fact_of_the_same_subject_ends_the_older_and_keeps_it(
    memory: Memory, home: House, clock: FakeClock, tell: Any
) -> None:
    old = tell("lives in Bern")
    clock.advance(60)
    new = tell("lives in Basel", subject="Home  Town", trace_id="r")
    ended = memory.get(old.id)
    assert (ended.text, ended.valid_to, ended.closed_by) == ("lives in Bern", new.valid_from, new.id)
    assert texts(memory.facts()) == ["lives in Basel"]
    assert texts(memory.facts(valid_at=old.valid_from)) == ["lives in Bern"]
    assert texts(memory.facts(valid_at=None)) == ["lives in Basel", "lives in Bern"]
    assert home.said("memory.closed") == [{"entry": old.id, "replaced_by": new.id, "by": "memory"}]
    assert home.events.list(type="memory.closed")[0].trace_id == "r"
    assert home.found("bern") == [old.seq]


def test_another_subject_another_scope_or_none_at_all_ends_nothing(memory: Memory, tell: Any) -> None:
    tell("lives in Bern")
    tell("lives in Basel", agent_id="echo")
    tell("was born in Chur", subject="birthplace")
    tell("lives in a flat", subject=None)
    assert len(memory.facts()) == 4


def test_a_fact_that_held_before_is_remembered_anew(memory: Memory, clock: FakeClock, tell: Any) -> None:
    first = tell("lives in Bern")
    for place in ("Basel", "Bern"):
        clock.advance(60)
        last = tell(f"lives in {place}")
    assert last.id != first.id
    assert texts(memory.facts()) == ["lives in Bern"]
    assert [fact.closed_by is None for fact in memory.facts(valid_at=None)] == [True, False, False]


def test_an_older_fact_that_is_remembered_later_ends_where_the_newer_one_begins(memory: Memory, tell: Any) -> None:
    new = tell("lives in Basel", valid_from=day(20))
    middle = tell("lives in Bern", valid_from=day(10))
    oldest = tell("lives in Chur", valid_from=day(1))
    assert [memory.get(one.id).valid_to for one in (oldest, middle, new)] == [day(10), day(20), None]
    assert (middle.valid_to, middle.closed_by) == (day(20), new.id)
    assert [texts(memory.facts(valid_at=day(n))) for n in (5, 15, 25)] == [
        ["lives in Chur"], ["lives in Bern"], ["lives in Basel"],
    ]  # fmt: skip


def test_a_correction_from_the_same_moment_leaves_the_wrong_one_no_time(memory: Memory, tell: Any) -> None:
    wrong = tell("lives in Bern", valid_from=day(1))
    tell("lives in Basel", valid_from=day(1))
    assert memory.get(wrong.id).valid_to == day(1)
    assert texts(memory.facts(valid_at=day(1))) == ["lives in Basel"]


def test_at_no_moment_do_two_facts_of_one_subject_hold(memory: Memory, tell: Any) -> None:
    import random

    chance = random.Random(5)  # noqa: S311 - a seed, not a secret
    for number in range(60):
        first = chance.randint(1, 28)
        last = day(first) + timedelta(days=chance.randint(1, 9)) if chance.random() < 0.3 else None
        tell(f"fact {number}", valid_from=day(first), valid_to=last)
    assert all(len(memory.facts(valid_at=day(n) + timedelta(hours=1))) <= 1 for n in range(1, 29))
    assert len(memory.facts(valid_at=None)) == 60


def test_a_fact_replaces_those_that_it_names(memory: Memory, tell: Any) -> None:
    old = [tell(text, subject=None) for text in ("has a cat", "has a dog")]
    new = tell("has no pets any more", subject=None, replaces=[fact.id for fact in old])
    assert texts(memory.facts()) == ["has no pets any more"]
    assert {memory.get(fact.id).closed_by for fact in old} == {new.id}
    with pytest.raises(EntryError, match="cannot be replaced"):
        tell("elsewhere", subject=None, agent_id="echo", replaces=new.id)
    assert memory.count() == 3


def test_a_person_ends_a_fact(memory: Memory, home: House, clock: FakeClock, tell: Any) -> None:
    fact, other = tell("lives in Bern"), tell("moved", subject=None)
    clock.advance(9)
    ended = memory.close_fact(fact.id, by="ann")
    assert (ended.valid_to, ended.closed_by) == (clock.now(), None)
    assert memory.close_fact(fact.id, at=clock.now() + timedelta(1), by="ann") == ended
    assert memory.close_fact(other.id, replaced_by=fact.id, by="ann").closed_by == fact.id
    assert [said["by"] for said in home.said("memory.closed")] == ["ann", "ann"]
    turn = memory.remember("a turn")
    with pytest.raises(EntryError, match="is no fact"):
        memory.close_fact(turn.id, by="ann")


def test_a_fact_that_ended_holds_again_when_it_is_edited_so(memory: Memory, clock: FakeClock, tell: Any) -> None:
    old = tell("lives in Bern")
    clock.advance(60)
    new = tell("lives in Basel")
    # What says otherwise still stands, and so the older one still ends there.
    assert memory.edit(old.id, valid_to=None, by="ann").valid_to == new.valid_from
    memory.forget(new.id, by="ann")
    reopened = memory.edit(old.id, valid_to=None, by="ann")
    assert (reopened.valid_to, reopened.closed_by) == (None, None)
    assert texts(memory.facts()) == ["lives in Bern"]


def test_an_edit_of_the_subject_ends_what_it_contradicts(memory: Memory, clock: FakeClock, tell: Any) -> None:
    old = tell("lives in Bern")
    clock.advance(60)
    new = tell("lives in Basel", subject="town")
    memory.edit(new.id, subject="home town", by="ann")
    assert memory.get(old.id).closed_by == new.id


# Candidates ------------------------------------------------------------------------------------------------------


@pytest.fixture
def candidate(clock: FakeClock, tell: Any) -> Any:
    tell("lives in Bern")
    clock.advance(60)
    return tell("lives in Basel", proposed=True, source="extraction", trace_id="r")


def test_a_candidate_is_neither_a_fact_nor_found_nor_does_it_end_anything(
    memory: Memory, home: House, candidate: Entry
) -> None:
    assert texts(memory.facts()) == ["lives in Bern"]
    assert texts(memory.candidates()) == ["lives in Basel"]
    assert home.found("basel") == []
    assert candidate.state == "proposed"
    home.check_words()


def test_a_confirmed_candidate_is_a_fact_like_any_other(memory: Memory, home: House, candidate: Entry) -> None:
    fact = memory.confirm(candidate.id, by="ann")
    assert memory.confirm(candidate.id, by="ann") == fact
    assert (fact.state, texts(memory.facts()), memory.candidates()) == ("stored", ["lives in Basel"], [])
    assert home.found("basel") == [candidate.seq]
    assert home.said("memory.confirmed") == [{"entry": candidate.id, "by": "ann"}]
    assert len(home.said("memory.closed")) == 1
    home.check_words()


def test_a_rejected_candidate_is_not_proposed_again(memory: Memory, home: House, candidate: Entry, tell: Any) -> None:
    assert memory.reject(candidate.id, by="ann").state == "rejected"
    again = tell("lives in Basel", proposed=True)
    assert (again.id, again.state, memory.candidates()) == (candidate.id, "rejected", [])
    assert home.found("basel") == []
    with pytest.raises(EntryError, match="is no candidate"):
        memory.reject(memory.facts()[0].id, by="ann")


def test_what_a_person_says_outright_needs_no_confirmation(
    memory: Memory, home: House, candidate: Entry, tell: Any
) -> None:
    memory.reject(candidate.id, by="ann")
    fact = tell("lives in Basel")
    assert (fact.id, fact.state, texts(memory.facts())) == (candidate.id, "stored", ["lives in Basel"])
    assert home.found("basel") == [candidate.seq]
    home.check_words()


def test_a_candidate_that_is_a_fact_already_is_none(memory: Memory, home: House, tell: Any) -> None:
    fact = tell("lives in Bern")
    assert tell("lives in Bern", proposed=True) == fact
    assert (memory.candidates(), len(home.said("memory.stored"))) == ([], 1)


# Likeness --------------------------------------------------------------------------------------------------------


def test_facts_that_say_the_same_in_nearly_the_same_words_are_shown_as_duplicates(memory: Memory) -> None:
    memory.remember_many(
        [
            NewEntry(text, "fact")
            for text in (
                "The user prefers dark mode", "User prefers the dark mode.", "The user prefers light mode",
                "Ann plays the cello", "User never prefers dark mode",
            )
        ]
    )  # fmt: skip
    (pair,) = memory.duplicates()
    assert (pair.older.text, pair.newer.text) == ("The user prefers dark mode", "User prefers the dark mode.")
    assert pair.likeness == 1.0


def test_facts_that_differ_in_a_value_or_a_denial_are_shown_as_contradictions(memory: Memory) -> None:
    for text in ("Ann's favourite colour is green", "Ann's favourite colour is blue", "Ann plays the cello on Sunday"):
        memory.remember(text, kind="fact")
    memory.remember("Ann does not play the cello on Sunday", kind="fact")
    memory.remember("Ann's favourite colour is red", kind="fact", agent_id="echo")
    found = {(pair.older.text, pair.newer.text): pair.reason for pair in memory.contradictions()}
    assert found == {
        ("Ann plays the cello on Sunday", "Ann does not play the cello on Sunday"): "one denies what the other says",
        ("Ann's favourite colour is green", "Ann's favourite colour is blue"): "green or blue",
    }
    assert len(memory.contradictions(limit=1)) == 1
    with pytest.raises(EntryError):
        memory.contradictions(limit=0)


def test_what_has_ended_contradicts_nothing(memory: Memory) -> None:
    old = memory.remember("Ann's favourite colour is green", kind="fact")
    memory.remember("Ann's favourite colour is blue", kind="fact", replaces=old.id)
    assert list(memory.contradictions()) == []
