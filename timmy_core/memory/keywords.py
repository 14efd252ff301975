"""Which entries hold words of a question: numbers only, bounded, the most telling words first.

FTS5 could rank them by itself, but to do so looks at every entry of every scope that holds any of the words: 60 ms
among 100,000 entries. Here the rare words name the candidates, and the common ones only say which of these come first.
Only candidates are read; `rank` compares them in full.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.filters import Scopes
from timmy_core.memory.query import Query, Term, begins
from timmy_core.store.engine import Connection

Numbers = NDArray[np.int64]
Scores = NDArray[np.float64]

SCANNED: Final = 100_000  # entries that are looked through for text without spaces, the newest
_RARE: Final = 2_500  # a word in so many entries is listed whole, each time
_PER_ROW: Final = 50  # numbers that are listed for each entry that is wanted
_DRIFT: Final = 0.02  # how much a store may grow before common words are counted anew
_COUNTS: Final = 20_000  # counts that are remembered
_OWN: Final = 0.5  # the share that standing in the entry itself adds to standing in it or beside it
_COMMON: Final = 2  # common words that have a say in who is a candidate

_HEAD: Final = "SELECT coalesce(max(seq), 0) FROM memory_entries"
_COUNT: Final = "SELECT count(*) FROM memory_words WHERE memory_words MATCH ?"
_LIST: Final = """
SELECT rowid FROM memory_words WHERE memory_words MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Hits:
    """Entries that hold words of a question, the most promising first.

    `weights` is what each term tells, by its stem (its inverse frequency); `complete` says that there are no others.
    """

    terms: tuple[Term, ...]
    weights: dict[str, float]
    seqs: list[int]
    complete: bool


@dataclass(slots=True)
class _Posting:
    """A term, in how many entries it is, and which: of a common one perhaps only the newest, or none yet."""

    term: Term
    count: int
    holders: Numbers | None

    @property
    def complete(self) -> bool:
        return self.holders is not None and len(self.holders) == self.count


class Keywords:
    """Finds entries by words, and remembers how common the common words are."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, ...], tuple[int, int]] = {}

    def total(self, connection: Connection, scopes: Scopes) -> int:
        """Return about how many entries the scopes hold."""
        condition, names = scopes.condition()
        query = f"SELECT count(*) FROM memory_entries AS entry WHERE {condition}"  # noqa: S608 - values are bound
        return self._count(connection, ("entries", scopes.names), query, names)

    def find(
        self, connection: Connection, query: Query, scopes: Scopes, *, rows: int, allowed: Numbers | None = None
    ) -> Hits:
        """Return up to `rows` entries that hold at least one term; none but allowed ones, where these are given."""
        total = self.total(connection, scopes)
        words = _Words(connection, scopes, allowed)
        postings = [self._posting(words, term) for term in query.terms if not term.piece]
        pieces = [_scanned(connection, term, scopes) for term in query.pieces]
        weights = {one.term.stem: _weight(total, one.count) for one in (*postings, *pieces)}
        listed = _choose(words, postings, rows) + pieces
        seqs, scores = _sum(listed, weights)
        if allowed is not None:
            kept = np.isin(seqs, allowed)
            seqs, scores = seqs[kept], scores[kept]
        complete = len(listed) == len(weights) and all(one.complete for one in listed) and len(seqs) <= rows
        if len(seqs) > rows:
            scores = _refined(words, postings, weights, seqs, scores)
        order = np.lexsort((-seqs, -scores))[:rows]
        return Hits(tuple(one.term for one in (*postings, *pieces)), weights, seqs[order].tolist(), complete)

    def _posting(self, words: _Words, term: Term) -> _Posting:
        """Return where a term is; what stands nowhere may be the beginning of a word that is still being typed."""
        count = self._known(words.connection, (term.match, words.scopes.names))
        if count is not None:
            return _Posting(term, count, None)
        holders = words.listed(term.match, _RARE + 1, everywhere=True)
        if not len(holders) and not term.prefix and len(term.text) > 1:
            return self._posting(words, begins(term))
        if len(holders) <= _RARE:
            return _Posting(term, len(holders), holders)
        key = (term.match, words.scopes.names)
        return _Posting(term, self._count(words.connection, key, _COUNT, [words.scopes.within(term.match)]), None)

    def _known(self, connection: Connection, key: tuple[Any, ...]) -> int | None:
        """Return a count that is still about right, of what is common; what is rare is counted each time."""
        known = self._counts.get(key)
        if known is None or known[0] <= _RARE:
            return None
        head = connection.execute(_HEAD).fetchone()[0]
        return known[0] if abs(head - known[1]) <= _DRIFT * known[0] else None

    def _count(self, connection: Connection, key: tuple[Any, ...], query: str, values: Sequence[Any]) -> int:
        known = self._known(connection, key)
        if known is not None:
            return known
        count: int = connection.execute(query, values).fetchone()[0]
        if len(self._counts) >= _COUNTS:
            self._counts = {}
        self._counts[key] = (count, connection.execute(_HEAD).fetchone()[0])
        return count


class _Words:
    """Asks FTS5 within the scopes, and between the first and the last entry that is allowed."""

    def __init__(self, connection: Connection, scopes: Scopes, allowed: Numbers | None) -> None:
        self.connection = connection
        self.scopes = scopes
        some = allowed is not None and len(allowed) > 0
        self._between = (int(allowed[0]), int(allowed[-1])) if some and allowed is not None else (0, 1 << 62)

    def listed(self, match: str, limit: int, *, everywhere: bool = False) -> Numbers:
        """Return entries, the newest first; `everywhere` asks for those that are not allowed too, to be counted."""
        between = (0, 1 << 62) if everywhere else self._between
        return _numbers(self.connection.execute(_LIST, (self.scopes.within(match), *between, limit)))


def _numbers(rows: Iterable[Sequence[int]]) -> Numbers:
    return np.fromiter(itertools.chain.from_iterable(rows), np.int64)


def _weight(total: int, count: int) -> float:
    """Return the inverse document frequency, as in BM25; never below zero."""
    return math.log1p((max(total, count) - count + 0.5) / (count + 0.5))


def _choose(words: _Words, postings: Sequence[_Posting], rows: int) -> list[_Posting]:
    """Return the rarest terms, listed: as many as there is budget for, and enough to have `rows` in any case."""
    chosen: list[_Posting] = []
    budget = _PER_ROW * rows
    used = 0
    for one in sorted(postings, key=lambda one: one.count):
        if used >= rows and used + one.count > budget:
            break
        if one.holders is None:
            one.holders = words.listed(one.term.match, budget)
        chosen.append(one)
        used += len(one.holders)
    return chosen


def _scanned(connection: Connection, term: Term, scopes: Scopes) -> _Posting:
    """Return the entries that hold a piece of text anywhere, among the newest of the scopes."""
    condition, values = scopes.condition()
    newest = (
        "SELECT seq, text FROM memory_entries AS entry "  # noqa: S608 - values are bound
        f"WHERE state = 'stored' AND parts = 0 AND {condition} ORDER BY seq DESC LIMIT ?"
    )
    query = f"SELECT seq FROM ({newest}) WHERE instr(lower(text), ?)"  # noqa: S608 - values are bound
    holders = _numbers(connection.execute(query, (*values, SCANNED, term.stem)))
    return _Posting(term, len(holders), holders)


def _sum(listed: Sequence[_Posting], weights: dict[str, float]) -> tuple[Numbers, Scores]:
    """Return every entry once, with the weights of what it holds added up."""
    lists = [(weights[one.term.stem], one.holders) for one in listed if one.holders is not None]
    if not lists:
        return np.empty(0, np.int64), np.empty(0)
    seqs, places = np.unique(np.concatenate([holders for _, holders in lists]), return_inverse=True)
    added = np.repeat([weight for weight, _ in lists], [len(holders) for _, holders in lists])
    return seqs, np.bincount(places, added, len(seqs)).astype(np.float64)


def _refined(
    words: _Words, postings: Sequence[_Posting], weights: dict[str, float], seqs: Numbers, scores: Scores
) -> Scores:
    """Tell apart entries that hold the same rare words: do these stand in the entry itself, and which common ones?"""
    rare = [one.term for one in postings if one.holders is not None]
    if not rare:
        return scores
    own = words.listed(" OR ".join(f"({term.own})" for term in rare), 2 * len(seqs))
    scores = scores * (1 + _OWN * np.isin(seqs, own))
    together = " OR ".join(f"({term.match})" for term in rare)
    common = sorted((one for one in postings if one.holders is None), key=lambda one: one.count)
    for one in common[:_COMMON]:
        both = words.listed(f"({together}) AND ({one.term.match})", 2 * len(seqs))
        scores = scores + weights[one.term.stem] * np.isin(seqs, both)
    return scores
