"""Search: what is found, in which order, and why."""

from __future__ import annotations

import string
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timmy_core.errors import EntryError
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.memory.search import CANDIDATES, Search

from .house import House
from .searching import MadeUp, search_in, texts


@pytest.fixture
def search(home: House) -> Iterator[Search]:
    found = search_in(home)
    yield found
    found.close()


def test_an_exact_match_is_found_however_many_entries_came_after_it(search: Search, memory: Memory) -> None:
    memory.remember("The spare key lies under the blue flowerpot")
    memory.remember_many([NewEntry(f"The weather of day {number} was fine") for number in range(500)])
    assert texts(search.search("where is the spare key?"))[0] == "The spare key lies under the blue flowerpot"


def test_an_exact_match_is_found_among_many_that_hold_one_of_its_words(search: Search, memory: Memory) -> None:
    memory.remember("red kite over the harbour")
    many = 30 * CANDIDATES
    memory.remember_many([NewEntry(f"{('red', 'kite', 'harbour')[number % 3]} {number}") for number in range(many)])
    assert texts(search.search("red kite harbour"))[0] == "red kite over the harbour"


def test_two_searches_that_know_nothing_of_each_other_agree(home: House, memory: Memory) -> None:
    memory.remember_many(
        [NewEntry(f"tea number {number} from {'Assam' if number % 3 else 'Ceylon'}") for number in range(50)]
    )
    first, second = search_in(home), search_in(home)
    found = [[(match.entry.seq, match.score) for match in one.search("tea from Ceylon")] for one in (first, second)]
    assert found[0] == found[1]
    first.close()
    second.close()


def test_words_are_found_at_once_and_the_match_says_that_no_model_was_asked(search: Search, memory: Memory) -> None:
    memory.remember("Prefers dark mode", kind="fact")
    (match,) = search.search("dark")
    assert match.why.words == ("dark",)
    assert match.why.similarity is None
    assert "words alone were compared" in match.why.note


def test_a_word_is_found_in_its_other_forms_and_with_other_accents(search: Search, memory: Memory) -> None:
    memory.remember("She was running to the café")
    assert search.search("runs")
    assert search.search("CAFE")


def test_words_that_say_nothing_do_not_count_unless_there_are_no_others(search: Search, memory: Memory) -> None:
    memory.remember("What is this that you have with you")
    memory.remember("A tuba")
    assert texts(search.search("what is the tuba that you have"))[0] == "A tuba"
    assert texts(search.search("what is this")) == ["What is this that you have with you"]


def test_an_answer_is_found_by_the_question_before_it(search: Search, memory: Memory) -> None:
    memory.remember("Which instrument does your sister play?", session="s", speaker="ann")
    memory.remember("The tuba, for years now", session="s", speaker="ben")
    memory.remember("Nice weather today", session="s", speaker="ann")
    found = {match.entry.text: match for match in search.search("sister's instrument")}
    answer = found["The tuba, for years now"]
    assert answer.why.words == ()
    assert set(answer.why.neighbours) == {"sister", "instrument"}
    assert list(found)[:2] == ["Which instrument does your sister play?", "The tuba, for years now"]


def test_an_entry_is_found_by_its_date_and_its_speaker(search: Search, memory: Memory, home: House) -> None:
    long_ago = home.clock.now().replace(year=2019, month=3, day=4)
    memory.remember("We went to the lake", speaker="Caroline", created_at=long_ago)
    memory.remember("We went to the sea", speaker="Melanie")
    assert texts(search.search("Where did Caroline go in March 2019?"))[0] == "We went to the lake"


def test_what_is_forgotten_or_waits_for_a_person_is_not_found(search: Search, memory: Memory) -> None:
    gone = memory.remember("The code is tulip")
    memory.remember("The code was tulip", kind="fact", proposed=True)
    memory.forget(gone.id, by="ann")
    assert search.search("tulip") == []


def test_an_edited_entry_is_found_by_its_new_words_alone(search: Search, memory: Memory) -> None:
    entry = memory.remember("Likes tulips")
    memory.edit(entry.id, text="Likes roses", by="ann")
    assert search.search("tulips") == []
    assert texts(search.search("roses")) == ["Likes roses"]


def test_a_common_word_is_found_in_what_came_since_it_was_counted(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"common thing {number}") for number in range(3_000)])
    search.search("common thing")
    memory.remember("the common heron")
    assert texts(search.search("common heron"))[0] == "the common heron"
    assert texts(search.search("common", limit=1)) == ["the common heron"]


def test_an_unfinished_word_finds_what_begins_so(search: Search, memory: Memory) -> None:
    memory.remember("Won the tournament")
    (match,) = search.search("tourn")
    assert match.why.words == ("tourn",)


def test_what_nearly_says_the_same_comes_after_what_says_something_else(search: Search, memory: Memory) -> None:
    for number in range(5):
        memory.remember(f"Anna plays the tuba in the town orchestra every week {number}")
    memory.remember("The tuba of Anna was stolen on Sunday")
    found = texts(search.search("Anna's tuba", limit=3))
    assert "The tuba of Anna was stolen on Sunday" in found[:2]


def test_a_long_document_is_one_match_with_its_best_passage(search: Search, memory: Memory) -> None:
    pages = [f"Page {number} is about gardens and ponds. " * 25 for number in range(20)]
    pages[11] += "The heron nests in the oldest willow."
    document = memory.remember("\n\n".join(pages), kind="document")
    memory.remember("Gardens are work")
    (first, *_) = search.search("where does the heron nest?")
    assert first.entry.id == document.id
    assert first.why.passage is not None
    assert "heron" in first.why.passage.text
    assert document.text[first.why.passage.start : first.why.passage.end] == first.why.passage.text
    found = search.search("gardens", limit=2)
    assert {match.entry.kind for match in found} == {"document", "conversation"}


def test_passages_of_one_document_do_not_keep_others_out(search: Search, memory: Memory) -> None:
    memory.remember("\n\n".join(f"The heron of pond {number}. " * 40 for number in range(150)), kind="document")
    for number in range(9):
        memory.remember(f"A heron flew by, on day {number} of our long journey through the north")
    assert len(search.search("heron", limit=10)) == 10


# Meaning -----------------------------------------------------------------------------------------------------


def test_an_entry_without_a_common_word_is_found_by_its_meaning(home: House, memory: Memory) -> None:
    near, far = memory.remember("The cat sleeps"), memory.remember("Shares fell again")
    search = search_in(home, MadeUp({near.seq: 0.7, far.seq: 0.05}))
    (match,) = search.search("feline napping")
    assert match.entry.id == near.id
    assert match.why.similarity == pytest.approx(0.7)
    assert match.why.words == ()
    search.close()


def test_words_and_meaning_count_together(home: House, memory: Memory) -> None:
    both = memory.remember("The tuba is loud in here")
    word = memory.remember("A tuba costs much money")
    other = memory.remember("Brass makes such a noise")
    search = search_in(home, MadeUp({both.seq: 0.8, word.seq: 0.1, other.seq: 0.7}))
    assert texts(search.search("loud tuba"))[0] == both.text
    search.close()


def test_an_entry_whose_vector_is_still_to_come_is_not_buried(home: House, memory: Memory) -> None:
    seqs = [memory.remember(f"An opera, number {number}").seq for number in range(30)]
    memory.remember("The opera of Sydney")
    search = search_in(home, MadeUp({seq: 0.5 + seq / 1000 for seq in seqs}))
    assert "The opera of Sydney" in texts(search.search("opera of Sydney", limit=3))
    search.close()


def test_a_question_that_must_stay_here_is_answered_by_words_if_the_embedder_is_elsewhere(
    home: House, memory: Memory
) -> None:
    memory.remember("Secret tulip")
    search = search_in(home, MadeUp({}))
    (match,) = search.search("tulip", local_only=True)
    assert match.why.similarity is None
    search.close()


def test_meaning_stays_in_its_scope(home: House, memory: Memory) -> None:
    mine = memory.remember("The cat sleeps", agent_id="a")
    theirs = memory.remember("The dog sleeps", agent_id="b")
    made_up = MadeUp({mine.seq: 0.5, theirs.seq: 0.9}, {mine.seq: "agent:a", theirs.seq: "agent:b"})
    search = search_in(home, made_up)
    assert texts(search.search("napping", agent_id="a")) == ["The cat sleeps"]
    search.close()


# Weights and reasons -----------------------------------------------------------------------------------------


def test_importance_and_recency_decide_between_what_fits_as_well(search: Search, memory: Memory, home: House) -> None:
    now = home.clock.now()
    memory.remember("The meeting room is blue", created_at=now - timedelta(days=400))
    memory.remember("The meeting hall is blue", created_at=now - timedelta(days=1))
    assert texts(search.search("blue meeting", recency=1.0))[0] == "The meeting hall is blue"
    memory.remember("The meeting place is blue", created_at=now - timedelta(days=900), importance=1.0)
    first = search.search("blue meeting")[0]
    assert first.entry.text == "The meeting place is blue"
    assert first.why.importance == pytest.approx(0.1)
    assert first.why.recency is None


def test_reasons_are_left_out_where_nobody_wants_them(search: Search, memory: Memory) -> None:
    memory.remember("A tuba")
    (match,) = search.search("tuba", explain=False)
    assert match.why.words == ()
    assert match.why.note == ""


def test_scores_fall_along_the_list(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"w{number % 5} w{number % 3} x{number} and so on") for number in range(40)])
    scores = [match.score for match in search.search("w1 w2 and", limit=40)]
    assert len(scores) >= 20
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 1_001), ("recency", -1), ("scopes", "shared")])
def test_what_makes_no_sense_is_refused(search: Search, name: str, value: object) -> None:
    with pytest.raises(EntryError, match=name):
        search.search("x", **{name: value})  # type: ignore[arg-type]


def test_several_threads_may_search_at_once(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"thing {number} of {number % 7}") for number in range(3_000)])
    expected = texts(search.search("thing 5"))
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.extend(texts(search.search("thing 5")) for _ in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 40


WORDS = st.text(string.ascii_lowercase, min_size=3, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=8), pick=st.randoms())
def test_every_entry_is_found_by_its_own_words(
    search: Search, memory: Memory, entries: list[list[str]], pick: object
) -> None:
    kept = [memory.remember(" ".join(words)) for words in entries]
    for entry in kept:
        found = {match.entry.id for match in search.search(entry.text, limit=1_000)}
        assert entry.id in found
