"""Whatever a person types has a defined answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.memory.query import MAX_TERMS, parse
from timmy_core.memory.search import Search
from timmy_core.store.stems import Stems

from .house import House
from .searching import search_in, texts


@pytest.fixture
def search(home: House) -> Iterator[Search]:
    found = search_in(home)
    yield found
    found.close()


@pytest.mark.parametrize(
    "query",
    [
        '"', '""', "a AND", "AND", "OR NOT", "NEAR(a b)", "*", "tulip*", "^tulip", "own:tulip", "{own}:x", "-tulip",
        "(", ")", "'; DROP TABLE memory_entries; --", "a + b", "\\", "%", "_", "\x00", "\ud800", "tulip\x00", "?",
        "[", "\n\n", "😀", "€", "a" * 5_000, "\U0001d518\U0001d52b\U0001d526", "\u202etulip", "ﬁ",
    ],
)  # fmt: skip
def test_no_character_of_a_question_is_a_command(search: Search, memory: Memory, query: str) -> None:
    memory.remember("A tulip, nothing else")
    found = search.search(query)
    assert all(match.entry.text == "A tulip, nothing else" for match in found)
    assert memory.count() == 1


def test_an_empty_question_returns_the_newest(search: Search, memory: Memory) -> None:
    for number in range(5):
        memory.remember(f"Entry {number}")
    document = memory.remember("Long text. " * 400, kind="document")
    for query in ("", "   ", "\n"):
        found = search.search(query, limit=3)
        assert [match.entry.text[:9] for match in found] == ["Long text", "Entry 4", "Entry 3"]
        assert found[0].entry.id == document.id
        assert "newest first" in found[0].why.note


@pytest.mark.parametrize("query", ["Al", "Mo", "7"])
def test_two_letters_or_one_find_the_word_itself_first(search: Search, memory: Memory, query: str) -> None:
    memory.remember("Alice and Monica have 77 cats")
    memory.remember("Al, Mo and 7 others")
    assert texts(search.search(query))[0] == "Al, Mo and 7 others"


def test_two_letters_that_are_no_word_find_what_begins_so(search: Search, memory: Memory) -> None:
    memory.remember("Zebras everywhere")
    assert texts(search.search("ze")) == ["Zebras everywhere"]
    assert search.search("z") == []


def test_ten_thousand_words_find_what_they_came_from(search: Search, memory: Memory) -> None:
    memory.remember_many([NewEntry(f"short note {number} about pasta") for number in range(300)])
    memory.remember("The extraordinarily rare hippopotamus-shaped candelabra was auctioned")
    filler = " ".join(f"word{number}" for number in range(10_000))
    began = time.perf_counter()
    found = search.search(f"{filler} extraordinarily hippopotamus candelabra auctioned")
    assert time.perf_counter() - began < 20
    assert found[0].entry.text.startswith("The extraordinarily")
    assert "only the 32 longest of 10,004 words" in found[0].why.note


def test_a_question_has_a_bounded_number_of_terms() -> None:
    stems = Stems()
    assert len(parse(" ".join(f"w{number}" for number in range(500)), stems).terms) == MAX_TERMS
    assert len(parse("x" * 1_000_000, stems).terms) == 1
    assert len(parse("\u6c34" * 50_000, stems).terms) <= MAX_TERMS
    stems.close()


def test_two_forms_of_one_word_are_one_term() -> None:
    stems = Stems()
    assert [term.stem for term in parse("runs running RUN", stems).terms] == ["run"]
    stems.close()


# Other scripts and languages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("我昨天在北京买了一辆自行车", "自行车"),
        ("我昨天在北京买了一辆自行车", "北京"),
        ("我昨天在北京买了一辆自行车", "北京的自行车"),
        ("明日は東京タワーに行きます", "東京タワー"),
        ("明日は東京タワーに行きます", "タワー"),
        ("ผมชอบกินข้าวผัดมาก", "ข้าวผัด"),
        ("학교에서 친구를 만났다", "학교"),
        ("학교에서 친구를 만났다", "친구"),
        ("Вчера мы ходили в МУЗЕЙ", "музей"),
        ("ذهبنا إلى المتحف أمس", "المتحف"),
        ("Χθες έφαγε Γιώργος", "γιώργος"),
        ("Straße nach Zürich", "zurich"),
        ("מחר נלך לים", "נלך"),
        ("मुझे चाय पसंद है", "चाय"),
        ("Bought a 自転車 in Kyoto", "自転車"),
    ],
)
def test_every_script_is_found(search: Search, memory: Memory, text: str, query: str) -> None:
    memory.remember("Something else entirely, 別のもの, другое")
    memory.remember(text)
    memory.remember("And another one, 另一个")
    found = search.search(query)
    assert found[0].entry.text == text
    assert found[0].why.words


def test_a_script_without_spaces_says_how_it_was_looked_for(search: Search, memory: Memory) -> None:
    memory.remember("我昨天在北京买了一辆自行车")
    (match,) = search.search("自行车")
    assert "without spaces" in match.why.note


def test_scripts_without_spaces_stay_in_their_scope(search: Search, memory: Memory) -> None:
    memory.remember("北京的秘密", agent_id="b")
    assert search.search("北京", agent_id="a") == []


def test_stems_are_those_of_the_index(home: House, memory: Memory) -> None:
    """Whatever a word becomes in the index, the reasons and scores see it too."""
    search = search_in(home)
    for word in (
        "happily",
        "skies",
        "agreed",
        "generalizations",
        "argument",
        "dying",
        "hopping",
        "ties",
        "news",
        "naïve",
    ):
        memory.remember(f"{word} alone")
        found = [match for match in search.search(word) if match.entry.text == f"{word} alone"]
        assert found, word
        assert found[0].why.words, word
    search.close()
