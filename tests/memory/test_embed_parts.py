"""What of an entry gets a vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.memory.parts import MAX_SENTENCES, Turn, parts_of, sentences


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One sentence only.", ["One sentence only."]),
        ("The first one is here. The second one too!", ["The first one is here.", "The second one too!"]),
        ("Yes. I have been there in May.", ["Yes. I have been there in May."]),
        ("I have been there in May. Yes.", ["I have been there in May. Yes."]),
        ("He said “go away now.” Then he left us.", ["He said “go away now.”", "Then he left us."]),
        ("a list of things\n- the first thing", ["a list of things", "- the first thing"]),
        ("明日は友達と会う予定です。昼ご飯も食べます。", ["明日は友達と会う予定です。", "昼ご飯も食べます。"]),
        ("version 3.14 of it costs 2.50 each", ["version 3.14 of it costs 2.50 each"]),
        ("ok", ["ok"]),
        ("", []),
    ],
)  # fmt: skip
def test_a_text_is_split_at_the_ends_of_its_sentences(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


@given(st.text(max_size=300))
def test_splitting_loses_nothing_but_white_space(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_an_entry_of_many_sentences_has_a_bounded_number_of_parts() -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(1000))
    found = sentences(text)
    assert len(found) == MAX_SENTENCES
    assert found[-1].endswith("number 999.")


def test_the_whole_has_its_speaker_and_a_turn_its_window() -> None:
    turn, before = Turn("Ann", "I moved to Berlin. It is nice there."), Turn("Bob", "Where do you live now?")
    assert parts_of(turn, before) == [
        (0, "Ann: I moved to Berlin. It is nice there."),
        (1, "Ann: I moved to Berlin."),
        (2, "Ann: It is nice there."),
        (-1, "Bob: Where do you live now?\nAnn: I moved to Berlin. It is nice there."),
    ]
    assert parts_of(Turn(None, "Prefers dark mode."), None) == [(0, "Prefers dark mode.")]
