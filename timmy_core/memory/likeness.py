"""Entries that say the same, or the opposite, in nearly the same words; found for a person to decide."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.errors import EntryError
from timmy_core.memory.listing import Listing
from timmy_core.memory.model import Entry, Pair

COMPARED: Final = 5_000  # the newest entries that are compared with one another
COMMON: Final = 100  # a word that more of them hold says nothing
SAME: Final = 0.75  # share of words in common, from which on one says what the other does
ALIKE: Final = 0.5
FEW: Final = 3  # words that each side may have of its own, to be about the same thing
MAX_PAIRS: Final = 1_000

_WORD: Final = re.compile(r"\w+(?:['\u2019]\w+)?")
_NOT: Final = frozenset({"not", "no", "never", "without", "neither", "nor", "cannot", "none"})
_SAY_NOTHING: Final = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "been", "being", "but", "by", "did", "do", "does", "for", "from", "had",
    "has", "have", "he", "her", "his", "i", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "she", "so",
    "than", "that", "the", "their", "them", "they", "this", "to", "was", "we", "were", "will", "with", "would", "you",
    "your",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Said:
    entry: Entry
    words: frozenset[str]
    denies: bool


class Likeness:
    """Compares entries by their words; never changes any."""

    def __init__(self, listing: Listing, clock: Clock) -> None:
        self._listing = listing
        self._clock = clock

    def duplicates(self, filters: Mapping[str, Any], limit: int) -> list[Pair]:
        """Return pairs of which one says nothing that the other does not."""
        found = [
            Pair(old.entry, new.entry, like, "the same in nearly the same words")
            for old, new, like in self._pairs(filters)
            if like >= SAME and old.denies == new.denies and not (old.words - new.words and new.words - old.words)
        ]
        return _best(found, limit)

    def contradictions(self, filters: Mapping[str, Any], limit: int) -> list[Pair]:
        """Return pairs that are about the same thing and say something else of it."""
        found = []
        for old, new, like in self._pairs(filters):
            reason = _contradicts(old, new)
            if like >= ALIKE and reason:
                found.append(Pair(old.entry, new.entry, like, reason))
        return _best(found, limit)

    def _pairs(self, filters: Mapping[str, Any]) -> Iterator[tuple[_Said, _Said, float]]:
        """Yield each pair of one scope that shares words, the older first, with the share that is common."""
        wanted = {"kind": "fact", "state": "stored", "valid_at": self._clock.now(), **filters}
        entries = list(self._listing.list(wanted, cursor=None, limit=COMPARED))[::-1]
        said = [_said(entry) for entry in entries]
        holders: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, one in enumerate(said):
            common: Counter[int] = Counter()
            for word in one.words:
                earlier = holders[one.entry.scope, word]
                if len(earlier) < COMMON:
                    common.update(earlier)
                earlier.append(number)
            for other in common:
                old = said[other]
                shared = len(old.words & one.words)
                yield old, one, 2 * shared / (len(old.words) + len(one.words))


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text that say something, without case and the commonest endings."""
    return _said_words(text) - _NOT


def _said_words(text: str) -> frozenset[str]:
    found = (match.group().casefold().replace("\u2019", "'") for match in _WORD.finditer(text))
    return frozenset(_stem(word) for word in found if word not in _SAY_NOTHING)


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    return word[:-1] if len(word) > _SHORT and word.endswith("s") and not word.endswith("ss") else word


_SHORT: Final = 3


def _said(entry: Entry) -> _Said:
    words = _said_words(entry.text)
    denies = any(word in _NOT or word.endswith("n't") for word in words)
    return _Said(entry, frozenset(word for word in words - _NOT if not word.endswith("n't")), denies)


def _contradicts(old: _Said, new: _Said) -> str:
    """Say why two facts cannot both hold; nothing if they can."""
    first, second = old.words - new.words, new.words - old.words
    if len(first) > FEW or len(second) > FEW:
        return ""
    if old.denies != new.denies:
        return "one denies what the other says"
    if first and second:
        return f"{' '.join(sorted(first))} or {' '.join(sorted(second))}"
    return ""


def _best(pairs: list[Pair], limit: int) -> list[Pair]:
    if not 1 <= limit <= MAX_PAIRS:
        message = f"limit {limit} is out of range; expected 1 to {MAX_PAIRS:,}"
        raise EntryError(message)
    return sorted(pairs, key=lambda pair: (-pair.likeness, -pair.newer.seq, -pair.older.seq))[:limit]
