"""Long documents: cut into passages that overlap, and matches of passages brought back to their document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from timmy_core.memory.model import Entry, Match, Passage

PASSAGE_CHARS: Final = 1_000  # about what a small embedder reads at once
OVERLAP_CHARS: Final = 150
WHOLE_CHARS: Final = 1_500  # a document up to here stays in one piece

# Where a text is best cut, best first: between paragraphs, lines, sentences (of any script), then words.
_CUTS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"\n\s*\n",
        r"\n",
        r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s|(?<=[\u3002\uff01\uff1f\uff61])",
        r"\s",
    )
)


def spans(text: str, size: int = PASSAGE_CHARS, overlap: int = OVERLAP_CHARS) -> Iterator[tuple[int, int]]:
    """Yield where each passage begins and ends: at most `size` long, together the whole text, none but spaces."""
    start, end = 0, 0
    while end < len(text):
        end = len(text) if len(text) - start <= size else _cut(text, start + size // 2, start + size)
        if text[start:end].strip():
            yield start, end
        if end < len(text):
            # Never back to where this one began, so that there is an end to it.
            start = max(start + 1, _begin(text, max(start + 1, end - overlap), end))


def _cut(text: str, low: int, high: int) -> int:
    """Return the best place to end, between two places."""
    for pattern in _CUTS:
        found = [match.end() for match in pattern.finditer(text, low, high)]
        if found:
            return found[-1]
    return high


def _begin(text: str, low: int, end: int) -> int:
    """Return where the next passage begins: at a sentence or a word within the overlap, else where it starts."""
    for pattern in _CUTS[2:]:
        match = pattern.search(text, low, end)
        if match and match.end() < end:
            return match.end()
    return low


def passages(text: str) -> list[tuple[int, str]]:
    """Return each passage of a long text with the character that it begins at; none for a short one."""
    if len(text) <= WHOLE_CHARS:
        return []
    return [(start, text[start:end]) for start, end in spans(text)]


def merge_back(matches: Sequence[Match], documents: Mapping[str, Entry]) -> list[Match]:
    """Return matches, best first, with passages replaced by their document, once each and the best passage marked.

    Args:
        matches: of entries and passages alike, best first.
        documents: id -> document, of every passage's `parent`.
    """
    merged: list[Match] = []
    done: set[str] = set()
    for match in matches:
        entry = match.entry
        document = entry if entry.parent is None else documents.get(entry.parent)
        if document is None or document.id in done:
            continue
        done.add(document.id)
        if entry.parent is None:
            merged.append(match)
            continue
        start, place = entry.start or 0, entry.place or 0
        passage = Passage(entry.text, start, start + len(entry.text), place)
        merged.append(Match(document, match.score, replace(match.why, passage=passage)))
    return merged
