"""Which entries hold words of a question: numbers only, bounded, the most telling words first.

FTS5 could rank them by itself, but to do so looks at every entry of every scope that holds any of the words: 60 ms
among 100,000 entries. Here the rare words name the candidates, and the common ones only say which of these come first.
Only candidates are read; `rank` compares them in full.

A small scope is asked for by its word in the index. For a large one that costs more than to list a word everywhere and
leave out what is not of the scope, so its members are remembered.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.memory.filters import EVERYWHERE, Scopes
from timmy_core.memory.query import Query, Term, begins
from timmy_core.store.engine import Connection

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]

SCANNED: Final = 100_000  # entries that are looked through for text without spaces, the newest
_RARE: Final = 2_500  # a word in so many entries is listed whole, each time
_PER_ROW: Final = 50  # numbers that are listed for each entry that is wanted
_LONGEST: Final = 200_000  # entries of a common word that are remembered, the newest
_REMEMBERED: Final = 4_000_000  # entries of all common words together; 8 bytes each
_DRIFT: Final = 0.02  # how much a store may grow before its entries are counted anew
_WIDE: Final = 0.1  # the share of all entries from which on a scope counts as large
_MEMBERS: Final = 16  # large scopes whose members are remembered
_TOTALS: Final = 1_000  # counts of entries that are remembered
_OWN: Final = 0.5  # the share that standing in the entry itself adds to standing in it or beside it

_HEAD: Final = "SELECT coalesce(max(seq), 0) FROM memory_entries"
# As one text: ten thousand rows of one number each would take longer to fetch than to find.
_LIST: Final = """
SELECT group_concat(rowid, ' ') FROM (
    SELECT rowid FROM memory_words WHERE memory_words MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?
)
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
    """A term, in how many entries it is, and which.

    Of a common one `holders` are perhaps only the newest, or None; `roughly` are those that were remembered, in order:
    all but what was changed meanwhile, which is good enough to say who comes first.
    """

    term: Term
    count: int
    holders: Numbers | None
    roughly: Numbers | None = None
    complete: bool = True  # `holders` are all that may be found


class Keywords:
    """Finds entries by words, and remembers where the common words are."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, ...] | None, tuple[int, int]] = {}
        self._common: OrderedDict[tuple[Any, ...], tuple[int, Numbers]] = OrderedDict()
        self._members: OrderedDict[tuple[str, ...], Mask] = OrderedDict()
        self._lock = threading.Lock()

    def total(self, connection: Connection, scopes: Scopes) -> int:
        """Return about how many entries the scopes hold."""
        return self._total(connection, scopes, _head(connection))

    def _total(self, connection: Connection, scopes: Scopes, head: int) -> int:
        known = self._totals.get(scopes.names)
        if known is not None and abs(head - known[1]) <= _DRIFT * known[0]:
            return known[0]
        condition, names = scopes.condition()
        query = f"SELECT count(*) FROM memory_entries AS entry WHERE {condition}"  # noqa: S608 - values are bound
        count: int = connection.execute(query, names).fetchone()[0]
        if len(self._totals) >= _TOTALS:
            self._totals = {}
        self._totals[scopes.names] = (count, head)
        return count

    def find(
        self, connection: Connection, query: Query, scopes: Scopes, *, rows: int, allowed: Numbers | None = None
    ) -> Hits:
        """Return up to `rows` entries that hold at least one term; none but allowed ones, where these are given."""
        head = _head(connection)
        total = self._total(connection, scopes, head)
        words = _Words(connection, scopes, self._of(connection, scopes, total, head), allowed, head)
        postings = [self._posting(words, term) for term in query.terms if not term.piece]
        pieces = [_scanned(words, term) for term in query.pieces]
        weights = {one.term.stem: _weight(total, one.count) for one in (*postings, *pieces)}
        terms = tuple(one.term for one in (*postings, *pieces))
        if allowed is not None and len(allowed) <= 2 * rows:
            return Hits(terms, weights, allowed.tolist(), complete=True)
        listed = _choose(words, postings, rows) + pieces
        seqs, scores = _sum(listed, weights)
        complete = len(listed) == len(weights) and all(one.complete for one in listed) and len(seqs) <= rows
        if len(seqs) > rows:
            scores = _refined(words, postings, weights, seqs, scores)
        order = np.lexsort((-seqs, -scores))[:rows]
        return Hits(terms, weights, seqs[order].tolist(), complete)

    def _of(self, connection: Connection, scopes: Scopes, total: int, head: int) -> Mask | None:
        """Return of each entry whether it is of a large scope; None for a small one, and for everywhere."""
        if scopes.names is None or total < _WIDE * self._total(connection, EVERYWHERE, head):
            return None
        with self._lock:
            known = self._members.pop(scopes.names, np.zeros(1, np.bool_))
        upto = len(known) - 1
        if head > upto:
            condition, names = scopes.condition()
            query = f"SELECT seq FROM memory_entries AS entry WHERE seq > ? AND seq <= ? AND {condition}"  # noqa: S608
            known = np.concatenate((known, np.zeros(head - upto, np.bool_)))
            known[_numbers(connection.execute(query, (upto, head, *names)))] = True
        with self._lock:
            self._members[scopes.names] = known
            while len(self._members) > _MEMBERS:
                self._members.popitem(last=False)
        return known

    def _posting(self, words: _Words, term: Term) -> _Posting:
        """Return where a term is; what stands nowhere may be the beginning of a word that is still being typed."""
        key = (term.match, words.scopes.names)
        if key not in self._common:
            holders, all_ = words.listed(term.match, _RARE, everywhere=True)
            if all_ and not len(holders) and not term.prefix and len(term.text) > 1:
                return self._posting(words, begins(term))
            if all_:
                return _Posting(term, len(holders), holders)
        roughly = self._remembered(words, key)
        return _Posting(term, len(roughly), None, roughly)

    def _remembered(self, words: _Words, key: tuple[Any, ...]) -> Numbers:
        """Return where a common word is, in order; only what came since the last time is asked for."""
        with self._lock:
            upto, known = self._common.pop(key, (0, np.empty(0, np.int64)))
        if words.head > upto:
            new = words.since(key[0], upto, _LONGEST)
            known = np.concatenate((known, new))[-_LONGEST:]
        with self._lock:
            self._common[key] = (max(words.head, upto), known)
            held = sum(len(numbers) for _, numbers in self._common.values())
            while held > _REMEMBERED:
                held -= len(self._common.popitem(last=False)[1][1])
        return known


def _head(connection: Connection) -> int:
    head: int = connection.execute(_HEAD).fetchone()[0]
    return head


class _Words:
    """Asks FTS5 within the scopes, and between the first and the last entry that is allowed."""

    def __init__(
        self, connection: Connection, scopes: Scopes, members: Mask | None, allowed: Numbers | None, head: int
    ) -> None:
        self.head = head  # the last entry; what comes after it is for the next question
        self.connection = connection
        self.scopes = scopes
        self._members = members
        some = allowed is not None and len(allowed) > 0
        self._allowed = allowed
        self._between = (int(allowed[0]), min(int(allowed[-1]), head)) if some and allowed is not None else (0, head)

    def since(self, match: str, seq: int, limit: int) -> Numbers:
        """Return entries that came after another one, allowed or not, in order."""
        return self._ask(match, (seq + 1, self.head), limit)[0]

    def listed(self, match: str, limit: int, *, everywhere: bool = False) -> tuple[Numbers, bool]:
        """Return entries, in order, and whether these are all; else they are the newest.

        `everywhere` asks for those that are not allowed too, to be counted.
        """
        return self._ask(match, (0, self.head) if everywhere else self._between, limit)

    def open(self, seqs: Numbers) -> Numbers:
        """Return those of the entries that are allowed."""
        return seqs if self._allowed is None else seqs[_among(seqs, self._allowed)]

    def _ask(self, match: str, between: tuple[int, int], limit: int) -> tuple[Numbers, bool]:
        asked = self.scopes.within(match) if self._members is None else match
        listed = self.connection.execute(_LIST, (asked, *between, limit + 1)).fetchone()[0]
        found = np.sort(np.fromstring(listed or "", np.int64, sep=" "))
        all_ = len(found) <= limit
        found = found[-limit:]
        return (found if self._members is None else found[self._members[found]]), all_


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
            one.holders, one.complete = words.listed(one.term.match, budget)
        one.holders = words.open(one.holders)
        chosen.append(one)
        used += len(one.holders)
    return chosen


def _scanned(words: _Words, term: Term) -> _Posting:
    """Return the entries that hold a piece of text anywhere, among the newest of the scopes."""
    condition, values = words.scopes.condition()
    newest = (
        "SELECT seq, text FROM memory_entries AS entry "  # noqa: S608 - values are bound
        f"WHERE state = 'stored' AND parts = 0 AND {condition} ORDER BY seq DESC LIMIT ?"
    )
    query = f"SELECT seq FROM ({newest}) WHERE instr(lower(text), ?)"  # noqa: S608 - values are bound
    holders = _numbers(words.connection.execute(query, (*values, SCANNED, term.stem)))
    # What lies behind the newest is not looked at, however many are wanted.
    return _Posting(term, len(holders), words.open(np.sort(holders)))


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
    own, _ = words.listed(" OR ".join(f"({term.own})" for term in rare), 2 * len(seqs))
    scores = scores * (1 + _OWN * _among(seqs, own))
    for one in postings:
        if one.holders is None and one.roughly is not None:
            scores = scores + weights[one.term.stem] * _among(seqs, one.roughly)
    return scores


def _among(seqs: Numbers, ordered: Numbers) -> NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(seqs), np.bool_)
    places = np.minimum(np.searchsorted(ordered, seqs), len(ordered) - 1)
    return np.asarray(ordered[places] == seqs)
