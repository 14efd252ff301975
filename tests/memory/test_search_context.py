"""The context: what goes before a question, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.memory.search import Search

from .house import House
from .searching import search_in, words


@pytest.fixture
def search(home: House) -> Iterator[Search]:
    found = search_in(home)
    yield found
    found.close()


@pytest.fixture
def talk(memory: Memory) -> None:
    """A conversation, some facts and a document about gardens."""
    memory.remember("The garden has a pond with two herons", kind="fact")
    memory.remember("The user likes tulips in the garden", kind="fact")
    for number in range(60):
        question = number % 2 == 0
        text = f"What about garden bed {number}?" if question else f"Bed {number} needs water and sun, as ever"
        memory.remember(text, session="s", speaker="ann" if question else "ben")
    memory.remember("The garden book says much. " * 200, kind="document", metadata={"title": "Gardens"})


@pytest.mark.usefixtures("talk")
@pytest.mark.parametrize("max_tokens", [0, 1, 10, 20, 40, 60, 100, 200, 500, 1000, 5000])
def test_the_budget_holds_whatever_it_is(search: Search, max_tokens: int) -> None:
    context = search.context("garden bed water", max_tokens=max_tokens)
    assert context.tokens <= max_tokens
    assert context.tokens == words(context.text)
    assert len(context.entries) == len(context.scores)
    assert bool(context.text) == bool(context.entries)
    if max_tokens >= 60:
        assert context.entries


@pytest.mark.usefixtures("talk")
def test_facts_come_first_and_every_entry_has_date_and_source(search: Search, home: House) -> None:
    context = search.context("garden", max_tokens=300)
    kinds = [entry.kind for entry in context.entries]
    assert kinds[:2] == ["fact", "fact"]
    assert "fact" not in kinds[2:]
    day = home.clock.now().date().isoformat()
    lines = [line for line in context.text.splitlines() if line.startswith("- ")]
    assert len(lines) == len(context.entries)
    assert all(line.startswith(f"- [{day}, ") for line in lines)
    assert "Known facts:" in context.text
    assert "ann:" in context.text


@pytest.mark.usefixtures("talk")
def test_turns_beside_a_match_come_along_in_the_order_of_speech(search: Search) -> None:
    context = search.context("garden bed 30", max_tokens=400)
    assert "Bed 31 needs water" in context.text
    turns = [entry.seq for entry in context.entries if entry.kind == "conversation"]
    assert turns == sorted(turns)
    assert None in context.scores


def test_a_turn_alone_brings_its_neighbours(search: Search, memory: Memory) -> None:
    for text in ("How was it?", "We saw a heron", "Lovely!", "And then we left"):
        memory.remember(text, session="s", speaker="ann")
    context = search.context("heron", max_tokens=200)
    assert [entry.text for entry in context.entries][:3] == ["How was it?", "We saw a heron", "Lovely!"]


def test_one_over_long_entry_is_cut_around_what_was_found_and_leaves_room(search: Search, memory: Memory) -> None:
    filler = "nothing of note happened here today at all " * 300
    memory.remember(f"{filler} then a heron landed {filler}")
    memory.remember("The heron is grey")
    context = search.context("heron", max_tokens=100)
    assert "The heron is grey" in context.text
    assert "heron landed" in context.text
    assert context.tokens <= 100


def test_an_over_long_entry_alone_does_not_leave_it_empty(search: Search, memory: Memory) -> None:
    memory.remember("heron " * 10_000)
    context = search.context("heron", max_tokens=80)
    assert context.entries
    assert context.text.rstrip().endswith("…")


def test_the_same_words_are_said_once(search: Search, memory: Memory) -> None:
    memory.remember("The heron is grey", agent_id="a")
    memory.remember("The  HERON is grey")
    memory.remember("The heron is grey", session="s")
    assert search.context("heron", max_tokens=500).text.lower().count("is grey") == 1


def test_a_passage_stands_for_its_document(search: Search, memory: Memory) -> None:
    pages = [f"Page {number} is about ponds. " * 40 for number in range(10)]
    pages[6] += "The heron nests in the willow."
    memory.remember("\n\n".join(pages), kind="document", metadata={"title": "Birds"})
    context = search.context("where does the heron nest", max_tokens=120)
    assert "Birds]" in context.text
    assert "heron nests in the willow" in context.text


def test_turns_that_stand_before_the_question_anyway_are_left_out(search: Search, memory: Memory) -> None:
    memory.remember("We saw a heron", session="s", trace_id="t1")
    memory.remember("Where was the heron?", session="s", trace_id="t2")
    memory.remember("At the heron pond", session="s", trace_id="t3")
    context = search.context("heron", max_tokens=500, without_traces={"t2", "t3"})
    assert [entry.text for entry in context.entries] == ["We saw a heron"]


def test_a_context_stays_in_its_scopes(search: Search, memory: Memory) -> None:
    memory.remember("heron of a", agent_id="a")
    memory.remember("heron of b", agent_id="b")
    memory.remember("heron for all")
    found = {entry.text for entry in search.context("heron", agent_id="a").entries}
    assert found == {"heron of a", "heron for all"}
    assert {entry.text for entry in search.context("heron", scopes=["agent:b"]).entries} == {"heron of b"}
    assert search.context("heron", scopes=[]).entries == ()


@pytest.mark.parametrize("query", ["", "  ", "unheard"])
def test_nothing_found_is_an_empty_context(search: Search, memory: Memory, query: str) -> None:
    memory.remember("The heron is grey")
    context = search.context(query)
    assert (context.text, context.entries, context.tokens) == ("", (), 0)


def test_a_fact_that_only_shares_a_word_does_not_push_answers_out(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"The user once said the word garden, number {n}", kind="fact") for n in range(40)])
    memory.remember("In the garden of Lisa a heron ate the golden carp on Sunday", session="s", speaker="ann")
    context = search.context("what did the heron eat in Lisa's garden on Sunday?", max_tokens=120)
    assert "golden carp" in context.text
