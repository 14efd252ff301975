"""Filters and scopes of a search: nothing outside them, and never fewer than there are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from timmy_core.errors import EntryError
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry, scope_token
from timmy_core.memory.search import Search

from .house import House
from .searching import MadeUp, search_in, texts

MANY = 3_000


@pytest.fixture
def search(home: House) -> Iterator[Search]:
    found = search_in(home)
    yield found
    found.close()


@pytest.fixture
def crowd(memory: Memory, home: House) -> None:
    """Many entries with the same words, of which a few have what the filters ask for."""
    start = home.clock.now() - timedelta(days=MANY)
    memory.remember_many(
        [
            NewEntry(
                f"common words about the number {number}",
                kind="fact" if number % 100 == 0 else "conversation",
                agent_id=f"a{number % 3}",
                session=f"s{number % 300}",
                task_id=f"t{number % 150}",
                metadata={"topic": "rare" if number % 200 == 0 else "usual"},
                created_at=start + timedelta(days=number),
            )
            for number in range(MANY)
        ]
    )


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize(
    ("filters", "there_are"),
    [
        ({"kind": "fact"}, 30),
        ({"kind": ["fact", "document"]}, 30),
        ({"task_id": "t7"}, 20),
        ({"metadata": {"topic": "rare"}}, 15),
        ({"metadata": {"topic": "usual"}}, 50),  # most of them, so the limit decides
        ({"scopes": ["agent:a1"], "session": "s1"}, 10),
        ({"scopes": ["agent:a0", "agent:a2"], "agent_id": "a2"}, 50),
        ({"kind": "fact", "task_id": "t0"}, 10),
        ({"kind": "document"}, 0),
    ],
)
@pytest.mark.parametrize("query", ["common words", "number", "common 7"])
def test_filters_never_return_fewer_than_there_are(
    search: Search, query: str, filters: dict[str, object], there_are: int
) -> None:
    found = search.search(query, limit=50, **filters)  # type: ignore[arg-type]
    assert len(found) == there_are
    assert len({match.entry.id for match in found}) == there_are


@pytest.mark.usefixtures("crowd")
def test_time_bounds_include_their_beginning_alone(search: Search, memory: Memory) -> None:
    entries = sorted(memory.list(limit=MANY), key=lambda entry: entry.created_at)
    since, until = entries[100].created_at, entries[110].created_at
    found = search.search("common", limit=50, since=since, until=until)
    assert {match.entry.id for match in found} == {entry.id for entry in entries[100:110]}


@pytest.mark.usefixtures("crowd")
def test_filters_hold_for_meaning_too(home: House, memory: Memory) -> None:
    near = {entry.seq: 0.9 for entry in memory.list(limit=MANY)}
    search = search_in(home, MadeUp(near))
    found = search.search("unheard of", limit=50, scopes=["agent:a1"], task_id="t7")
    assert len(found) == 20
    assert {match.entry.task_id for match in found} == {"t7"}
    search.close()


def test_closed_facts_among_many_do_not_hide_those_that_hold(search: Search, memory: Memory, home: House) -> None:
    for number in range(600):
        home.clock.advance(1)
        memory.remember(f"The home town is number {number}", kind="fact", subject="home town")
    assert texts(search.search("home town", limit=5)) == ["The home town is number 599"]


def test_what_held_at_a_moment_is_found_as_of_it(search: Search, memory: Memory, home: House) -> None:
    memory.remember("Lives in Bern", kind="fact", subject="town")
    home.clock.advance(10)
    then = home.clock.now()
    home.clock.advance(10)
    memory.remember("Lives in Rome", kind="fact", subject="town")
    assert texts(search.search("lives")) == ["Lives in Rome"]
    assert texts(search.search("lives", valid_at=then)) == ["Lives in Bern"]


# Scopes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def scoped(memory: Memory) -> None:
    memory.remember("tulips for all")
    memory.remember("tulips of a", agent_id="a")
    memory.remember("tulips of b", agent_id="b")
    memory.remember("tulips of s", session="s")


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, {"tulips for all", "tulips of a", "tulips of b", "tulips of s"}),
        ({"agent_id": "a"}, {"tulips for all", "tulips of a"}),
        ({"agent_id": "a", "session": "s"}, {"tulips for all", "tulips of a", "tulips of s"}),
        ({"scopes": ["agent:b"]}, {"tulips of b"}),
        ({"scopes": ["agent:nobody"]}, set()),
        ({"scopes": []}, set()),
    ],
)
@pytest.mark.parametrize("query", ["tulips", "", "of for"])
def test_a_search_stays_in_the_scopes_that_it_was_given(
    search: Search, query: str, where: dict[str, object], expected: set[str]
) -> None:
    assert set(texts(search.search(query, **where))) == expected  # type: ignore[arg-type]


def test_neither_question_nor_text_can_name_its_way_into_another_scope(search: Search, memory: Memory) -> None:
    token = scope_token("agent:b")
    memory.remember(f"mine, with the word {token}", agent_id="a")
    memory.remember("the secret of b", agent_id="b")
    for query in (token, f"{token} secret", f"scope:{token}", f'" OR scope:{token} "', "scope"):
        found = search.search(query, agent_id="a")
        assert all(match.entry.scope == "agent:a" for match in found)
    assert texts(search.search("secret mine word", agent_id="b")) == ["the secret of b"]


def test_how_common_a_word_is_elsewhere_does_not_change_a_scope_s_order(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"heron and willow {number}", agent_id="a") for number in range(20)])
    memory.remember("heron", agent_id="a")
    before = [(match.entry.seq, match.score) for match in search.search("heron willow", scopes=["agent:a"])]
    memory.remember_many([NewEntry(f"heron {number}", agent_id="b") for number in range(200)])
    after = [(match.entry.seq, match.score) for match in search.search("heron willow", scopes=["agent:a"])]
    assert before == after


@pytest.mark.parametrize(
    "wrong",
    [{"kind": 7}, {"since": "yesterday"}, {"metadata": "x"}, {"scopes": ["agent:a\n"]}, {"metadata": {"a": [1]}}],
)
def test_a_filter_that_makes_no_sense_is_refused(search: Search, wrong: dict[str, object]) -> None:
    with pytest.raises(EntryError):
        search.search("x", **wrong)  # type: ignore[arg-type]
