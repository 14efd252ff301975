"""Long documents: passages cover the whole text with overlap, and their matches come back as the document."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Match, Why
from timmy_core.memory.split import OVERLAP_CHARS, PASSAGE_CHARS, merge_back, passages, spans

from .house import House

PIECES = st.sampled_from(["word", "a longerword", ". ", "\n", "\n\n", " ", "。", "文字", "x" * 70, "🙂", '!" '])
TEXTS = st.lists(PIECES, max_size=200).map("".join)


@given(text=TEXTS, size=st.integers(2, 90), overlap=st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_passages_cover_the_text_in_order_and_none_is_too_long(text: str, size: int, overlap: int) -> None:
    found = list(spans(text, size, overlap))
    assert all(0 < end - start <= size for start, end in found)
    assert [start for start, _ in found] == sorted({start for start, _ in found})
    covered = {place for start, end in found for place in range(start, end)}
    assert "".join(character for place, character in enumerate(text) if place not in covered).strip() == ""


def test_passages_end_at_sentences_and_overlap() -> None:
    text = " ".join(f"This is the sentence number {n} of a rather long text." for n in range(200))
    found = passages(text)
    assert all(part.rstrip().endswith(".") for _, part in found)
    assert all(part.startswith("This is") for _, part in found)
    ends = [start + len(part) for start, part in found]
    assert all(0 < end - start <= OVERLAP_CHARS for end, (start, _) in zip(ends, found[1:], strict=False))
    assert all(len(part) <= PASSAGE_CHARS and text[start:].startswith(part) for start, part in found)


def test_a_long_text_without_any_space_is_split_quickly() -> None:
    assert len(passages("x" * 1_000_000)) > 1000
    assert passages("a short one") == []


def test_a_long_document_is_found_by_its_passages_and_listed_once(memory: Memory, home: House) -> None:
    text = (
        "\n\n".join(f"Paragraph {n}: {'something about nothing. ' * 20}" for n in range(20)) + "\n\nthe needle is here"
    )
    document = memory.remember(text, kind="document", agent_id="echo", metadata={"title": "Haystack"})
    parts = memory.passages(document.id)
    assert (document.parts, len(parts)) == (len(parts), len(parts))
    assert all(text[part.start :].startswith(part.text) for part in parts if part.start is not None)
    assert {(part.parent, part.scope, part.metadata["title"]) for part in parts} == {
        (document.id, "agent:echo", "Haystack")
    }
    assert home.found("needle") == [parts[-1].seq]
    assert document.seq not in home.found("haystack")
    assert memory.list().entries == (document,)
    home.check_words()
    changed = memory.edit(document.id, text="short now", by="ann")
    assert (changed.parts, memory.passages(document.id), home.found("needle")) == (0, [], [])
    assert home.found("short") == [document.seq]
    home.check_words()


def test_a_change_of_the_documents_title_reaches_its_passages(memory: Memory, home: House) -> None:
    document = memory.remember("A sentence of it. " * 200, kind="document", metadata={"title": "Old"})
    memory.edit(document.id, metadata={"title": "New"}, importance=1.0, by="ann")
    assert {(part.metadata["title"], part.importance) for part in memory.passages(document.id)} == {("New", 1.0)}
    assert (home.found("about : old"), len(home.found("about : new"))) == ([], document.parts)
    home.check_words()


def test_the_same_passage_in_two_documents_is_kept_twice(memory: Memory) -> None:
    same = "The very same words. " * 100
    first = memory.remember(same + "one", kind="document")
    second = memory.remember(same + "two", kind="document")
    assert memory.sizes().passages == first.parts + second.parts


def test_matches_of_passages_come_back_as_their_document_with_the_best_passage(memory: Memory) -> None:
    document = memory.remember("A sentence of the document. " * 200, kind="document")
    turn = memory.remember("a turn")
    parts = memory.passages(document.id)
    found = [
        Match(parts[3], 0.9, Why(words=("document",))), Match(turn, 0.8, Why()), Match(parts[1], 0.7, Why()),
    ]  # fmt: skip
    first, second = merge_back(found, {document.id: document})
    assert (first.entry, first.score, first.why.words, second.entry) == (document, 0.9, ("document",), turn)
    assert first.why.passage is not None
    assert document.text[first.why.passage.start : first.why.passage.end] == parts[3].text
