"""How well entries fit a question: words, meaning and some habits of good answers, as one number that is explained.

The weights were measured, not felt; `tests/bench/memory.py` measures them again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.query import Term, fold
from timmy_core.store.stems import Stems

Scores = NDArray[np.float64]

_SATURATION: Final = 1.2  # of BM25: how soon a repeated word adds nothing
_LENGTH: Final = 0.75  # of BM25: how much a long text counts less
_CHARS: Final = 5.7  # characters of a word and what follows it
_RANK: Final = 10  # of reciprocal ranks
_ALIKE: Final = 0.6  # from this share of common words on, two entries say the same
_REST: Final = re.compile(r"[^\W_]*")


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of a score counts; `columns` are the entry, the turn before, the turn after, date and speaker."""

    columns: tuple[float, float, float, float] = (1.0, 0.5, 0.3, 0.5)
    keyword: float = 1.0
    sentence: float = 0.8
    window: float = 0.6
    length: float = 0.125
    question: float = 0.2
    ranks: float = 0.5
    importance: float = 0.2
    recency: float = 0.0
    half_life_days: float = 30.0
    diversity: float = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry before it is scored."""

    seq: int
    document: int  # that it is a passage of; else itself
    texts: tuple[str, str, str, str]  # of the columns
    importance: float
    age_days: float
    sentence: float | None = None  # cosine of what is nearest in it
    window: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score, and what each part added to it."""

    candidate: Candidate
    score: float
    words: tuple[str, ...]
    beside: tuple[str, ...]
    keyword: float
    recency: float | None
    importance: float | None


class Counting:
    """Counts the terms of one question in texts; the same text is counted once."""

    def __init__(self, terms: Sequence[Term], stems: Stems) -> None:
        self._stems = stems
        self._pieces = [term.stem for term in terms if term.piece]
        self._begins = tuple(term.text for term in terms if term.prefix)
        self._wanted = {term.stem for term in terms if not term.piece}
        starts = {term.text if term.prefix else _start(term.stem) for term in terms if not term.piece}
        # Longer ones first is not needed: each hit is read to the end of its word.
        self._pattern = re.compile("|".join(re.escape(start) for start in sorted(starts))) if starts else None
        self._counts: dict[str, Counter[str]] = {}

    def count(self, texts: Iterable[str]) -> None:
        """Count several texts at once."""
        hits: dict[str, list[str]] = {}
        for text in texts:
            if text and text not in self._counts and text not in hits:
                hits[text] = self._hits(fold(text))
        stems = self._stems.of({word for words in hits.values() for word in words})
        for text, words in hits.items():
            found = Counter(term for word in words for term in self._terms(word, stems[word]))
            if self._pieces:
                folded = fold(text)
                found.update({piece: folded.count(piece) for piece in self._pieces if piece in folded})
            self._counts[text] = found

    def of(self, text: str) -> Mapping[str, int]:
        """Return how often each term stands in a text that was counted."""
        return self._counts.get(text) or {}

    def _hits(self, folded: str) -> list[str]:
        if self._pattern is None:
            return []
        found = []
        for match in self._pattern.finditer(folded):
            start = match.start()
            if start == 0 or not folded[start - 1].isalnum():
                rest = _REST.match(folded, match.end())
                found.append(folded[start : rest.end() if rest else match.end()])
        return found

    def _terms(self, word: str, stem: str) -> list[str]:
        return [start for start in self._begins if word.startswith(start)] or ([stem] if stem in self._wanted else [])


def _start(stem: str) -> str:
    """Return how every word with this stem begins: its last letter may be one that the stemmer wrote."""
    return stem[:-1] if len(stem) > 3 else stem[:2]  # noqa: PLR2004 - short stems change more


def rank(
    candidates: Sequence[Candidate], terms: Sequence[Term], weights: Mapping[str, float], stems: Stems, by: Weights
) -> list[Ranked]:
    """Return the candidates, best first; of two that are as good, the newer."""
    if not candidates:
        return []
    counting = Counting(terms, stems)
    counting.count(text for one in candidates for text in one.texts)
    keyword = _bm25(candidates, counting, weights, by.columns)
    best = keyword.max()
    keyword = by.keyword * (keyword / best if best > 0 else keyword)
    recency = np.array([by.recency * 0.5 ** (max(0.0, one.age_days) / by.half_life_days) for one in candidates])
    importance = np.array([by.importance * (one.importance - 0.5) for one in candidates])
    score = keyword + _meaning(candidates, keyword, by) + _habits(candidates, by) + recency + importance
    found = []
    for place in np.lexsort(([-one.seq for one in candidates], -score)):
        one = candidates[place]
        words, beside = _explained(one, terms, counting)
        found.append(
            Ranked(
                one, float(score[place]), words, beside, float(keyword[place]),
                float(recency[place]) if by.recency else None, float(importance[place]) or None,
            )
        )  # fmt: skip
    return found


def _bm25(
    candidates: Sequence[Candidate], counting: Counting, weights: Mapping[str, float], columns: Sequence[float]
) -> Scores:
    sizes = np.array([sum(map(len, one.texts)) / _CHARS + 1 for one in candidates])
    norm = _SATURATION * (1 - _LENGTH + _LENGTH * sizes / sizes.mean())
    scores = np.zeros(len(candidates))
    for place, one in enumerate(candidates):
        often: dict[str, float] = {}
        for column, text in zip(columns, one.texts, strict=True):
            for stem, count in counting.of(text).items():
                often[stem] = often.get(stem, 0.0) + column * count
        scores[place] = sum(
            weights.get(stem, 0.0) * count * (_SATURATION + 1) / (count + norm[place]) for stem, count in often.items()
        )
    return scores


def _meaning(candidates: Sequence[Candidate], keyword: Scores, by: Weights) -> Scores:
    """Return what similarity adds; nothing where no entry has a vector."""
    sentence = _known([one.sentence for one in candidates])
    if sentence is None:
        return np.zeros(len(candidates))
    window = _known([one.sentence if one.window is None else one.window for one in candidates])
    assert window is not None  # noqa: S101 - as there is a sentence
    ranks = sum(
        (_RANK / (_RANK + _places(values)) for values in (keyword, sentence, window)), np.zeros(len(candidates))
    )
    return by.sentence * _spread(sentence) + by.window * _spread(window) + by.ranks * ranks / 3


def _known(values: Sequence[float | None]) -> Scores | None:
    """Return similarities, with the middle one for an entry whose vector is still to come."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = float(np.median(known))
    return np.array([middle if value is None else value for value in values])


def _spread(values: Scores) -> Scores:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros(len(values))


def _places(values: Scores) -> NDArray[np.int64]:
    places = np.empty(len(values), np.int64)
    places[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return places


def _habits(candidates: Sequence[Candidate], by: Weights) -> Scores:
    """Return what the form of a text says: a longer one tells more, and a question seldom answers one."""
    words = np.array([one.texts[0].count(" ") + 1 for one in candidates])
    asks = np.array([one.texts[0].rstrip().endswith(("?", "\uff1f", "\u061f")) for one in candidates])
    # Beyond a few hundred words length says nothing more.
    return by.length * np.log1p(np.minimum(words, 300)) - by.question * asks


def _explained(one: Candidate, terms: Sequence[Term], counting: Counting) -> tuple[tuple[str, ...], tuple[str, ...]]:
    own, previous, next_, about = (counting.of(text) for text in one.texts)
    held = [term for term in terms if _key(term) in own or _key(term) in about]
    beside = [term for term in terms if term not in held and (_key(term) in previous or _key(term) in next_)]
    return tuple(term.text for term in held), tuple(term.text for term in beside)


def _key(term: Term) -> str:
    return term.text if term.prefix else term.stem


def diverse(ranked: Sequence[Ranked], limit: int, by: Weights) -> list[Ranked]:
    """Choose the best that do not repeat each other (MMR): what nearly says the same as a better one comes later."""
    rest = list(ranked[: 3 * limit + 10])
    words = {one.candidate.seq: frozenset(fold(one.candidate.texts[0]).split()) for one in rest}
    chosen: list[Ranked] = []
    penalty = dict.fromkeys(words, 0.0)
    while rest and len(chosen) < limit:
        best = max(rest, key=_less(penalty))
        rest.remove(best)
        chosen.append(best)
        mine = words[best.candidate.seq]
        for other in rest:
            likeness = _likeness(mine, words[other.candidate.seq])
            if likeness >= _ALIKE:
                seq = other.candidate.seq
                penalty[seq] = max(penalty[seq], by.diversity * likeness)
    return chosen


def _less(penalty: Mapping[int, float]) -> Callable[[Ranked], float]:
    return lambda one: one.score - penalty[one.candidate.seq]


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    if min(len(one), len(other)) < _ALIKE * max(len(one), len(other)):
        return 0.0
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0
