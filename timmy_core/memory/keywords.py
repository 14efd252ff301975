"""Which entries hold words of a question: numbers only, bounded, the most telling words first.

FTS5 could rank them by itself, but looks through all that hold any of the words to do so, in every scope: 60 ms among
100,000 entries. Here the rare words name the candidates, and the common ones only say which of these come first. Only
candidates are read; `rank` compares them in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.filters import Scopes
from timmy_core.memory.query import Query, Term, begins
from timmy_core.store.engine import Connection

Numbers = NDArray[np.int64]

SCANNED: Final = 100_000  # entries that are looked through for text without spaces, the newest
_LISTED: Final = 20_000  # entries of one word, the newest, when all words are common
_SMALL: Final = 2_000  # a word in so few entries is counted anew each time
_DRIFT: Final = 0.02  # how much a store may grow before common words are counted anew
_COUNTS: Final = 20_000  # counts that are remembered
_OWN: Final = 0.5  # the share that standing in the entry itself adds to standing in it or beside it

_HEAD: Final = "SELECT coalesce(max(seq), 0) FROM memory_entries"
_COUNT: Final = "SELECT count(*) FROM memory_words WHERE memory_words MATCH ?"
_LIST: Final = "SELECT rowid FROM memory_words WHERE memory_words MATCH ? ORDER BY rowid DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class Hits:
    """Entries that hold words of a question, the most promising first.

    `weights` is what each term tells (its inverse frequency); `complete` says that there are no further entries.
    """

    terms: tuple[Term, ...]
    weights: dict[str, float]
    seqs: list[int]
    complete: bool


class Keywords:
    """Finds entries by words, and remembers how common the common words are."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, ...], tuple[int, int]] = {}

    def total(self, connection: Connection, scopes: Scopes) -> int:
        """Return about how many entries the scopes hold."""
        head = connection.execute(_HEAD).fetchone()[0]
        return self._count(connection, head, ("entries", scopes.names), *_entries(scopes))

    def find(
        self, connection: Connection, query: Query, scopes: Scopes, *, rows: int, allowed: Numbers | None = None
    ) -> Hits:
        """Return up to `rows` entries that hold at least one term."""
        head = connection.execute(_HEAD).fetchone()[0]
        total = self._count(connection, head, ("entries", scopes.names), *_entries(scopes))
        counted = [self._counted(connection, head, term, scopes) for term in query.terms if not term.piece]
        weights = {term.stem: _weight(total, count) for term, count in counted}
        lists, complete = _lists(connection, sorted(counted, key=lambda pair: pair[1]), scopes, rows)
        for term in query.pieces:
            holders = _scan(connection, term, scopes)
            weights[term.stem] = _weight(total, len(holders))
            lists.append((term, holders))
        seqs, scores = _sum(lists, weights)
        if allowed is not None:
            seqs, scores = _keep(seqs, scores, allowed)
        if len(seqs) > rows:
            scores = _refine(connection, [term for term, _ in counted], lists, weights, seqs, scores, scopes)
            complete = False
        order = np.lexsort((-seqs, -scores))[:rows]
        terms = (*(term for term, _ in counted), *query.pieces)
        return Hits(terms, weights, seqs[order].tolist(), complete)

    def _counted(self, connection: Connection, head: int, term: Term, scopes: Scopes) -> tuple[Term, int]:
        """Return how many entries hold a term; one that none holds may be the beginning of a word."""
        count = self._count(connection, head, (term.match, scopes.names), _COUNT, [scopes.within(term.match)])
        if count or term.prefix or len(term.text) < 2:  # noqa: PLR2004 - one letter begins too many
            return term, count
        longer = begins(term)
        return longer, self._count(
            connection, head, (longer.match, scopes.names), _COUNT, [scopes.within(longer.match)]
        )

    def _count(self, connection: Connection, head: int, key: tuple[Any, ...], query: str, values: Sequence[Any]) -> int:
        known = self._counts.get(key)
        if known is not None and known[0] > _SMALL and abs(head - known[1]) <= _DRIFT * known[0]:
            return known[0]
        count: int = connection.execute(query, values).fetchone()[0]
        if len(self._counts) >= _COUNTS:
            self._counts = {}
        self._counts[key] = (count, head)
        return count


def _entries(scopes: Scopes) -> tuple[str, list[str]]:
    condition, values = scopes.condition()
    return f"SELECT count(*) FROM memory_entries AS entry WHERE {condition}", values  # noqa: S608 - values are bound


def _weight(total: int, count: int) -> float:
    """Return the inverse document frequency, as in BM25; never below zero."""
    return math.log1p((max(total, count) - count + 0.5) / (count + 0.5))


def _lists(
    connection: Connection, counted: Sequence[tuple[Term, int]], scopes: Scopes, rows: int
) -> tuple[list[tuple[Term, Numbers]], bool]:
    """Return the entries of the rarest terms: of enough terms to have `rows`, and of all that cost little."""
    found: list[tuple[Term, Numbers]] = []
    complete, total = True, 0
    for term, count in counted:
        if total >= rows and total + count > 30 * rows:
            complete = False
            continue
        found.append((term, _listed(connection, scopes.within(term.match), max(_LISTED, 30 * rows))))
        complete &= count <= max(_LISTED, 30 * rows)
        total += count
    return found, complete


def _listed(connection: Connection, match: str, limit: int) -> Numbers:
    rows = connection.execute(_LIST, (match, limit)).fetchall()
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def _scan(connection: Connection, term: Term, scopes: Scopes) -> Numbers:
    """Return the entries that hold a piece of text anywhere, among the newest of the scopes."""
    condition, values = scopes.condition()
    newest = (
        "SELECT seq, text FROM memory_entries AS entry "  # noqa: S608 - values are bound
        f"WHERE state = 'stored' AND parts = 0 AND {condition} ORDER BY seq DESC LIMIT ?"
    )
    rows = connection.execute(
        f"SELECT seq FROM ({newest}) WHERE instr(lower(text), ?)",  # noqa: S608 - values are bound
        (*values, SCANNED, term.stem),
    ).fetchall()
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def _sum(lists: Sequence[tuple[Term, Numbers]], weights: dict[str, float]) -> tuple[Numbers, NDArray[np.float64]]:
    """Return every entry once, with the weights of what it holds added up."""
    if not lists:
        return np.empty(0, np.int64), np.empty(0)
    every = np.concatenate([holders for _, holders in lists])
    added = np.repeat([weights[term.stem] for term, _ in lists], [len(holders) for _, holders in lists])
    seqs, places = np.unique(every, return_inverse=True)
    return seqs, np.bincount(places, added, len(seqs))


def _keep(seqs: Numbers, scores: NDArray[np.float64], allowed: Numbers) -> tuple[Numbers, NDArray[np.float64]]:
    kept = np.isin(seqs, allowed)
    return seqs[kept], scores[kept]


def _refine(
    connection: Connection,
    terms: Sequence[Term],
    lists: Sequence[tuple[Term, Numbers]],
    weights: dict[str, float],
    seqs: Numbers,
    scores: NDArray[np.float64],
    scopes: Scopes,
) -> NDArray[np.float64]:
    """Tell apart entries that hold the same rare words: do these stand in the entry itself, and which common ones?"""
    listed = {term.stem for term, _ in lists}
    rare = [term for term in terms if term.stem in listed]
    for term in rare:
        own = _listed(connection, scopes.within(term.own), len(seqs))
        scores = scores + _OWN * weights[term.stem] * np.isin(seqs, own)
    together = " OR ".join(term.match for term in rare)
    common = sorted((term for term in terms if term.stem not in listed), key=lambda term: -weights[term.stem])
    for term in common[:4] if rare else ():
        both = _listed(connection, scopes.within(f"({together}) AND {term.match}"), 2 * len(seqs))
        scores = scores + weights[term.stem] * np.isin(seqs, both)
    return scores
