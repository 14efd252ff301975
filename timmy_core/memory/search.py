"""Search: words and meaning together, within the scopes and filters that were given, every score with its reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from timmy_core.clock import Clock, to_us
from timmy_core.errors import EntryError
from timmy_core.memory.aside import Aside
from timmy_core.memory.context import Builder, Tokens
from timmy_core.memory.filters import Filters, Scopes, scopes_of
from timmy_core.memory.keywords import Hits, Keywords
from timmy_core.memory.model import Context, Match, Why
from timmy_core.memory.query import Query, parse
from timmy_core.memory.rank import WITH_VECTORS, WORDS_ALONE, Candidate, Ranked, Ranking, Weights, diverse
from timmy_core.memory.rows import fetch_many
from timmy_core.memory.split import merge_back
from timmy_core.store.engine import Connection, Store
from timmy_core.store.stems import Stems

Vector = NDArray[np.float32]
Numbers = NDArray[np.int64]

MAX_LIMIT: Final = 1_000
MAX_RECENCY: Final = 10.0
CANDIDATES: Final = 40  # entries that are read and compared in full, unless filters leave too few
MAX_CANDIDATES: Final = 250_000  # where filters leave hardly any; after these the search ends with what it has
_NEAR: Final = 24  # of those, at least so many by their meaning
_UNRELATED: Final = 0.15  # an entry without a word of the question has to be nearer than this
_GROWTH: Final = 4
_DAY_US: Final = 86_400_000_000

# The columns of the view `memory_indexed`, without looking each entry up a second time.
_BESIDE: Final = """
coalesce((SELECT substr(turn.text, 1, 2000) FROM memory_entries AS turn
    WHERE entry.kind = 'conversation' AND turn.kind = 'conversation' AND turn.state = 'stored'
    AND turn.session IS NOT NULL AND turn.scope = entry.scope AND turn.session = entry.session
    AND turn.seq {side} entry.seq ORDER BY turn.seq {order} LIMIT 1), '')"""
_READ: Final = f"""
SELECT entry.seq, coalesce(entry.parent_seq, entry.seq), entry.kind, entry.importance, entry.created_at, entry.text,
    {_BESIDE.format(side="<", order="DESC")}, {_BESIDE.format(side=">", order="ASC")}, entry.about
FROM json_each(?) AS wanted CROSS JOIN memory_entries AS entry ON entry.seq = wanted.value
WHERE {{where}}
"""  # noqa: S608 - texts of our own


class Near(Protocol):
    """An entry with its similarities; None where it has no such part."""

    @property
    def entry_seq(self) -> int:
        """Which entry."""
        ...

    @property
    def whole(self) -> float | None:
        """Of all its text."""
        ...

    @property
    def sentence(self) -> float | None:
        """Of its best sentence."""
        ...

    @property
    def window(self) -> float | None:
        """Of it together with the turn before."""
        ...


class NearestVectors(Protocol):
    """The index of vectors."""

    def search(
        self, vector: Vector, *, scopes: Sequence[str] | None, limit: int, allowed: Numbers | None = None
    ) -> Sequence[Near]:
        """Return the nearest entries of the scopes, of all where none is named."""
        ...

    def among(self, vector: Vector, entries: Collection[int], *, scopes: Sequence[str] | None = ()) -> Sequence[Near]:
        """Return the similarities of some entries, which are most likely in these scopes."""
        ...


class QueryVectors(Protocol):
    """What turns a question into a vector."""

    @property
    def problem(self) -> str:
        """Why it cannot."""
        ...

    def embed_query(self, text: str, *, local_only: bool = False) -> Vector | None:
        """Return the vector; None where words have to do."""
        ...


_Row = tuple[Any, ...]
_Looked = tuple[Sequence[Near], list[_Row]]  # what is near, and its rows


@dataclass(frozen=True, slots=True)
class _Asked:
    """One search, ready to be made."""

    query: Query
    vector: Vector | None
    scopes: Scopes
    filters: Filters
    now: datetime


class Search:
    """Finds entries; the `Finder` of `Memory`.

    Args:
        store: where they are.
        clock: says what holds now.
        tokens: how many tokens a text has, for the model that will read a context.
        vectors: the index; None for words alone.
        embeddings: what turns questions into vectors; None for words alone.
        weights: what each part of a score counts; None for what was measured to be best.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        tokens: Tokens,
        vectors: NearestVectors | None = None,
        embeddings: QueryVectors | None = None,
        weights: Weights | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._vectors = vectors
        self._embeddings = embeddings
        self._weights = weights
        self._stems = Stems()
        self._keywords = Keywords()
        self._aside = Aside("timmy-memory-search")

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        kind: str | Sequence[str] | None = None,
        agent_id: str | None = None,
        session: str | None = None,
        scopes: Sequence[str] | None = None,
        task_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        valid_at: datetime | None = None,
        explain: bool = True,
        recency: float = 0.0,
        local_only: bool = False,
        without_traces: Collection[str] = (),
    ) -> list[Match]:
        """Return the best matches, best first; `Memory.search` says how."""
        if not 1 <= limit <= MAX_LIMIT:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LIMIT:,}"
            raise EntryError(message)
        if not 0 <= recency <= MAX_RECENCY:
            message = f"recency {recency} is out of range; expected 0 (age does not count) to {MAX_RECENCY:g}"
            raise EntryError(message)
        where = scopes_of(scopes, agent_id, session)
        named = {} if scopes is None else {"agent_id": agent_id, "session": session}
        now = self._clock.now()
        filters = Filters.of(
            where, kind=kind, task_id=task_id, since=since, until=until, metadata=metadata,
            valid_at=valid_at or now, without_traces=tuple(without_traces), **named,
        )  # fmt: skip
        if where.names == ():
            return []
        parsed = parse(query, self._stems)
        if not parsed.terms:
            return self._newest(filters, limit)
        vector = None
        if self._vectors is not None and self._embeddings is not None:
            vector = self._embeddings.embed_query(parsed.text, local_only=local_only)
        best = WORDS_ALONE if vector is None else WITH_VECTORS
        by = replace(self._weights or best, recency=recency)
        asked = _Asked(parsed, vector, where, filters, now)
        ranking = self._ranking(asked, limit, by)
        chosen = diverse(_fitting(ranking.ranked), limit, by)
        note = self._note(asked) if explain else ""
        return self._matches(chosen, lambda one: _why(one, ranking, note) if explain else Why())

    def context(
        self,
        query: str,
        *,
        max_tokens: int = 1000,
        agent_id: str | None = None,
        session: str | None = None,
        scopes: Sequence[str] | None = None,
        without_traces: Collection[str] = (),
        local_only: bool = False,
    ) -> Context:
        """Return what memory holds about a question, in at most `max_tokens`."""
        matches = self.search(
            query, limit=Builder.MATCHES, agent_id=None if scopes else agent_id, session=None if scopes else session,
            scopes=scopes, without_traces=without_traces, local_only=local_only,
        ) if query.strip() else []  # fmt: skip
        return Builder(self._store, self._tokens).build(matches, max_tokens, frozenset(without_traces))

    def forget(self) -> None:
        """Drop words of entries that are kept in memory, because some entries were forgotten."""
        self._stems.forget()

    def close(self) -> None:
        """Let go of what was opened."""
        self._aside.close()
        self._stems.close()

    # Candidates ----------------------------------------------------------------------------------------------

    def _ranking(self, asked: _Asked, limit: int, by: Weights) -> Ranking:
        """Look at more and more candidates, until the filters leave enough of them or there are no more."""
        wanted = max(CANDIDATES, 4 * limit)
        while True:
            candidates, hits, complete = self._candidates(asked, wanted)
            if complete or wanted > MAX_CANDIDATES or len({one.document for one in candidates}) >= 2 * limit:
                return Ranking(candidates, hits.terms, hits.weights, self._stems, by)
            wanted *= _GROWTH

    def _candidates(self, asked: _Asked, wanted: int) -> tuple[list[Candidate], Hits, bool]:
        """Find by words and, at the same time, by meaning; each side reads what it found."""
        near: dict[int, Near] = {}
        with self._store.read() as connection:
            total = self._keywords.total(connection, asked.scopes)
            allowed = asked.filters.gather(connection, total)
            if allowed is not None and not len(allowed):
                return [], Hits((), {}, [], complete=True), True
            limit = max(_NEAR, wanted * _NEAR // CANDIDATES)
            nearest = self._nearest(asked, limit, allowed)
            hits = self._keywords.find(connection, asked.query, asked.scopes, rows=wanted, allowed=allowed)
            rows = _read(connection, asked.filters, hits.seqs)
            complete = hits.complete
            if nearest is not None:
                found, beside = nearest()
                complete = complete and len(found) < limit
                near = {one.entry_seq: one for one in found}
                known = set(hits.seqs)
                rows += [row for row in beside if row[0] not in known]
                near |= self._similar(asked, [row[0] for row in rows if row[0] not in near])
        now = to_us(asked.now)
        return [_candidate(row, near.get(row[0]), now) for row in rows], hits, complete

    def _nearest(self, asked: _Asked, limit: int, allowed: Numbers | None) -> Callable[[], _Looked] | None:
        """Begin to look for what is near, on another thread; return what waits for it."""
        vector, vectors = asked.vector, self._vectors
        if vector is None or vectors is None:
            return None

        def look() -> _Looked:
            with self._store.read() as connection:
                found = vectors.search(vector, scopes=asked.scopes.names, limit=limit, allowed=allowed)
                return found, _read(connection, asked.filters, [one.entry_seq for one in found])

        return self._aside.start(look)

    def _similar(self, asked: _Asked, seqs: Sequence[int]) -> dict[int, Near]:
        """Return the similarities of what only words found."""
        if asked.vector is None or self._vectors is None or not seqs:
            return {}
        return {one.entry_seq: one for one in self._vectors.among(asked.vector, seqs, scopes=asked.scopes.names)}

    def _newest(self, filters: Filters, limit: int) -> list[Match]:
        """Answer no question: the newest entries that pass the filters."""
        query = f"SELECT seq FROM memory_entries AS entry WHERE {filters.where(whole=True)} ORDER BY seq DESC LIMIT ?"  # noqa: S608
        with self._store.read() as connection:
            seqs = [row[0] for row in connection.execute(query, (*filters.values, limit)).fetchall()]
            entries = fetch_many(connection, seqs)
        return [Match(entries[seq], 0.0, Why(note="nothing was asked: the newest first")) for seq in seqs]

    # Matches -------------------------------------------------------------------------------------------------

    def _matches(self, ranked: Sequence[Ranked], why: Callable[[Ranked], Why]) -> list[Match]:
        with self._store.read() as connection:
            entries = fetch_many(connection, [one.candidate.seq for one in ranked])
            matches = [
                Match(entries[one.candidate.seq], one.score, why(one))
                for one in ranked
                if one.candidate.seq in entries  # else it was forgotten just now
            ]
            return _merged(connection, matches)

    def _note(self, asked: _Asked) -> str:
        notes = [asked.query.note]
        if asked.vector is None:
            reason = self._embeddings.problem if self._embeddings is not None else ""
            notes.append(f"words alone were compared: {reason or 'no embedding model is in use'}")
        if asked.query.pieces:
            notes.append("text without spaces between words was looked for letter by letter, in the newest entries")
        return "; ".join(note for note in notes if note)


def _read(connection: Connection, filters: Filters, seqs: Sequence[int]) -> list[_Row]:
    """Read the entries that pass the filters, with the turns beside them."""
    if not seqs:
        return []
    query = _READ.format(where=filters.where())
    return connection.execute(query, (json.dumps(seqs), *filters.values)).fetchall()


def _candidate(row: _Row, near: Near | None, now: int) -> Candidate:
    seq, document, kind, importance, created_at, own, previous, next_, about = row
    sentence, window = _similarity(near)
    age_days = (now - created_at) / _DAY_US
    return Candidate(seq, document, kind, (own, previous, next_, about), importance, age_days, sentence, window)


def _similarity(near: Near | None) -> tuple[float | None, float | None]:
    if near is None:
        return None, None
    inside = [value for value in (near.whole, near.sentence) if value is not None]
    return max(inside, default=None), near.window


def _fitting(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Leave out what only happens to be there, and of a document all but its best passage."""
    best: dict[int, Ranked] = {}
    for one in ranked:
        if one.keyword > 0 or (one.candidate.sentence or 0.0) > _UNRELATED:
            best.setdefault(one.candidate.document, one)
    return list(best.values())


def _why(one: Ranked, ranking: Ranking, note: str) -> Why:
    words, beside = ranking.explain(one.candidate)
    if one.repeats:
        note = "; ".join(text for text in ("it nearly repeats a better match, so it comes later", note) if text)
    return Why(
        words=words, keyword=one.keyword, similarity=one.candidate.sentence, window=one.candidate.window,
        neighbours=beside, recency=one.recency, importance=one.importance, note=note,
    )  # fmt: skip


def _merged(connection: Connection, matches: Sequence[Match]) -> list[Match]:
    """Bring passages back to their documents."""
    parents = list({match.entry.parent for match in matches if match.entry.parent is not None})
    if not parents:
        return list(matches)
    query = f"SELECT seq FROM memory_entries WHERE id IN ({', '.join('?' * len(parents))})"  # noqa: S608
    seqs = [row[0] for row in connection.execute(query, parents).fetchall()]
    return merge_back(matches, {entry.id: entry for entry in fetch_many(connection, seqs).values()})
