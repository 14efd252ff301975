"""How well entries fit a question: words, meaning and some habits of good answers, as one number that is explained.

The weights were measured, not felt; `tests/bench/memory.py` measures them again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.query import Term, fold
from timmy_core.store.stems import Stems

Scores = NDArray[np.float64]

_SATURATION: Final = 1.2  # of BM25: how soon a repeated word adds nothing
_LENGTH: Final = 0.75  # of BM25: how much a long text counts less
_CHARS: Final = 5.7  # characters of a word and what follows it
_USUAL_WORDS: Final = 22  # of a turn
_MANY_WORDS: Final = 300  # beyond these length says nothing more
_USUAL_ANSWERS: Final = 0.4  # how many turns follow a question
_TAIL: Final = 80  # characters at the end of the turn before, where a question would stand
_ASKS: Final = ("?", "\uff1f", "\u061f")  # of Europe, of China and Japan, of the Arabic scripts
_BETWEEN: Final = re.compile(r"[\W_]")
_SPACES: Final = bytes(byte if chr(byte).isalnum() and byte < 128 else 32 for byte in range(256))  # noqa: PLR2004
_ALIKE: Final = 0.6  # from this share of common words on, two entries say the same


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of a score counts; the words' own score and the similarities are 0 to 1 among the candidates."""

    keyword: float = 1.0  # BM25 over the columns
    sentence: float = 0.0  # the similarity of the best sentence
    window: float = 0.0  # the similarity of the entry together with the turn before
    coverage: float = 0.0  # how much of the question is found at all, in the entry or beside it
    about: float = 0.0  # a word of the question is in the date or the speaker
    length: float = 0.0  # a longer text tells more: the logarithm of its words
    question: float = 0.0  # taken away from what is itself a question
    answers: float = 0.0  # the turn before was a question, so this may answer it
    importance: float = 0.2
    recency: float = 0.0
    half_life_days: float = 30.0
    diversity: float = 0.5
    columns: tuple[float, float, float, float] = (1.0, 0.5, 0.3, 0.5)  # the entry, turn before, turn after, about


# Both were fitted to four conversations, each time judged on one that was left out: docs/reference/performance.md.
WITH_VECTORS: Final = Weights(
    sentence=0.55, window=1.0, coverage=0.95, about=0.14, length=0.19, question=0.23, answers=0.36
)
WORDS_ALONE: Final = Weights(coverage=0.5, about=0.19, length=0.13, question=0.14, answers=0.19)


class Candidate(NamedTuple):
    """An entry before it is scored."""

    seq: int
    document: int  # that it is a passage of; else itself
    kind: str
    texts: tuple[str, str, str, str]  # of the columns
    importance: float
    age_days: float
    sentence: float | None = None  # cosine of what is nearest in it
    window: float | None = None


class Ranked(NamedTuple):
    """A candidate with its score, and what some parts added to it."""

    candidate: Candidate
    score: float
    keyword: float
    recency: float | None
    importance: float | None
    repeats: bool = False  # a better one says nearly the same, so the score was lowered


class Counting:
    """How often the terms of one question stand in texts; the same text is counted once.

    `counts` has a row for each text and a column for each stem, `lengths` the characters of each text.
    """

    def __init__(self, terms: Sequence[Term], texts: Iterable[str], stems: Stems) -> None:
        self.stems = tuple(dict.fromkeys(term.stem for term in terms))
        different = list(dict.fromkeys(texts))
        self._rows = dict(zip(different, range(len(different)), strict=True))
        self.lengths = np.fromiter(map(len, different), np.int64, len(different))
        self.counts = np.zeros((len(different), len(self.stems)))
        folded = _folded(different)
        begins = tuple(term.text for term in terms if term.prefix)
        wanted = {term.stem for term in terms if not term.piece}
        starts = {term.text if term.prefix else _start(term.stem) for term in terms if not term.piece}
        hits = list(_hits(starts, folded)) if starts else []
        stem_of = stems.of({word for _, word in hits})
        columns = {stem: column for column, stem in enumerate(self.stems)}
        for row, word in hits:
            found = [start for start in begins if word.startswith(start)]
            for stem in found or ([stem_of[word]] if stem_of[word] in wanted else ()):
                self.counts[row, columns[stem]] += 1
        for piece in {term.stem for term in terms if term.piece}:
            self.counts[:, columns[piece]] = [text.count(piece) for text in folded]

    def rows(self, texts: Iterable[str]) -> list[int]:
        """Return which rows texts have."""
        return [self._rows[text] for text in texts]

    def of(self, text: str) -> frozenset[str]:
        """Return the stems that stand in a text."""
        return frozenset(itertools.compress(self.stems, self.counts[self._rows[text]]))


def _folded(texts: Sequence[str]) -> list[str]:
    joined = "\0".join(texts)
    if joined.isascii() and joined.count("\0") == len(texts) - 1:
        return joined.lower().split("\0")  # as `fold` does it, at once
    return [fold(text) for text in texts]


def _hits(starts: Collection[str], texts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the words that begin like one of these, each with the number of its text; all texts are read as one."""
    # One space where a word begins: then the first letters are looked for at the speed of C.
    joined = f" {_spaced(chr(10).join(texts))} "
    words: dict[int, str] = {}
    for start in starts:
        at = joined.find(f" {start}")
        while at >= 0:
            words[at] = joined[at + 1 : joined.index(" ", at + 1)]
            at = joined.find(f" {start}", at + 1)
    places = sorted(words)
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    rows = np.searchsorted(ends, places, side="right").tolist()
    for row, at in zip(rows, places, strict=True):
        yield row, words[at]


def _spaced(text: str) -> str:
    """Return a folded text with a space in place of each character that no word has."""
    if text.isascii():
        return text.encode().translate(_SPACES).decode()
    return _BETWEEN.sub(" ", text)


def _start(stem: str) -> str:
    """Return how every word with this stem begins: its last letter may be one that the stemmer wrote."""
    return stem[:-1] if len(stem) > 3 else stem[:2]  # noqa: PLR2004 - short stems change more


class Ranking:
    """The candidates of one question, best first; of two that are as good, the newer.

    Args:
        candidates: what to compare.
        terms: what was asked for.
        tells: how much each term tells, by its stem.
        stems: the tokenizer's stems.
        by: what each part counts.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        terms: Sequence[Term],
        tells: Mapping[str, float],
        stems: Stems,
        by: Weights,
    ) -> None:
        self._terms = terms
        self._tells = tells
        self._counting = Counting(terms, (text for one in candidates for text in one.texts), stems)
        self.ranked = self._rank(candidates, by) if candidates else []

    def _rank(self, candidates: Sequence[Candidate], by: Weights) -> list[Ranked]:
        keyword = self._words(candidates, by)
        ages = np.maximum(0.0, [one.age_days for one in candidates])
        recency = by.recency * 0.5 ** (ages / by.half_life_days) if by.recency else np.zeros(len(candidates))
        importance = by.importance * (np.array([one.importance for one in candidates]) - 0.5)
        score = keyword + _meaning(candidates, by) + _habits(candidates, by) + recency + importance
        order = np.lexsort((np.array([-one.seq for one in candidates]), -score))
        parts = zip(
            order.tolist(), *(part[order].tolist() for part in (score, keyword, recency, importance)), strict=True
        )
        return [
            Ranked(candidates[place], whole, words, late if by.recency else None, weight or None)
            for place, whole, words, late, weight in parts
        ]

    def explain(self, one: Candidate) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the words of the question that an entry holds, and those that only the turns beside it hold."""
        own, previous, next_, about = (self._counting.of(text) for text in one.texts)
        held = tuple(term.text for term in self._terms if term.stem in own or term.stem in about)
        beside = (term.text for term in self._terms if term.stem in previous or term.stem in next_)
        return held, tuple(word for word in beside if word not in held)

    def _words(self, candidates: Sequence[Candidate], by: Weights) -> Scores:
        """Return what words add: BM25, how much of the question is found at all, and whether date or speaker fit."""
        counting = self._counting
        rows = np.array(counting.rows(text for one in candidates for text in one.texts)).reshape(len(candidates), -1)
        sizes = counting.lengths[rows].sum(axis=1) / _CHARS + 1
        norms = _SATURATION * (1 - _LENGTH + _LENGTH * sizes / sizes.mean())
        tells = np.array([self._tells[stem] for stem in counting.stems])
        counts = counting.counts[rows]
        often = (counts * np.array(by.columns)[:, None]).sum(axis=1)
        bm25 = (often * (_SATURATION + 1) / (often + norms[:, None])) @ tells
        found = counts.any(axis=1) @ tells / (sum(self._tells.values()) or 1.0)
        rest = by.coverage * found + by.about * counts[:, 3].any(axis=1)
        best = bm25.max()
        return np.asarray(rest + by.keyword * (bm25 / best if best > 0 else bm25), np.float64)


def _meaning(candidates: Sequence[Candidate], by: Weights) -> Scores:
    """Return what similarity adds; nothing where no entry has a vector."""
    sentence = _known([one.sentence for one in candidates])
    window = _known([one.sentence if one.window is None else one.window for one in candidates])
    if sentence is None or window is None:
        return np.zeros(len(candidates))
    return by.sentence * _spread(sentence) + by.window * _spread(window)


def _known(values: Sequence[float | None]) -> Scores | None:
    """Return similarities, with the middle one for an entry whose vector is still to come."""
    known = [value for value in values if value is not None]
    if not known or len(known) == len(values):
        return np.array(known) if known else None
    middle = float(np.median(known))
    return np.array([middle if value is None else value for value in values])


def _spread(values: Scores) -> Scores:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros(len(values))


def _habits(candidates: Sequence[Candidate], by: Weights) -> Scores:
    """Return what the form of a turn says; a fact or a passage counts as a usual turn."""
    turns = [one.kind == "conversation" for one in candidates]
    texts = [one.texts for one in candidates]
    words = [own.count(" ") + 1 if turn else _USUAL_WORDS for turn, (own, *_) in zip(turns, texts, strict=True)]
    answers = [
        float("?" in previous[-_TAIL:]) if turn else _USUAL_ANSWERS
        for turn, (_, previous, _, _) in zip(turns, texts, strict=True)
    ]
    asks = [turn and own.rstrip().endswith(_ASKS) for turn, (own, *_) in zip(turns, texts, strict=True)]
    lengths = np.log1p(np.minimum(words, _MANY_WORDS))
    scores = by.length * lengths + by.answers * np.array(answers) - by.question * np.array(asks, np.float64)
    return np.asarray(scores, np.float64)


def diverse(ranked: Sequence[Ranked], limit: int, by: Weights) -> list[Ranked]:
    """Choose the best that do not repeat each other (MMR): what nearly says the same as a better one comes later."""
    rest = ranked[: 2 * limit + 5]
    words = [frozenset(text.split()) for text in _folded([one.candidate.texts[0] for one in rest])]
    scores = [one.score for one in rest]
    waiting = list(range(len(rest)))
    chosen: list[Ranked] = []
    while waiting and len(chosen) < limit:
        best = max(waiting, key=lambda place: (scores[place], -place))
        waiting.remove(best)
        lowered = scores[best] < rest[best].score
        chosen.append(rest[best]._replace(score=scores[best], repeats=True) if lowered else rest[best])
        for place in waiting:
            likeness = _likeness(words[best], words[place])
            if likeness >= _ALIKE:
                scores[place] = min(scores[place], rest[place].score - by.diversity * likeness)
    return chosen


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of words in common; 0 where their numbers already rule out that it is large."""
    few, many = len(one), len(other)
    if few > many:
        few, many = many, few
    if few < _ALIKE * many or not few:
        return 0.0
    common = len(one & other)
    return common / (few + many - common)
