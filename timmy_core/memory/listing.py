"""Reading entries: by id, by filter, beside one another, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.errors import EntryError
from timmy_core.memory.model import Entry, Page, Sizes
from timmy_core.memory.rows import SELECT, fetch, fetch_many, to_entry
from timmy_core.memory.selection import conditions
from timmy_core.store.engine import Connection, Store

MAX_LIST: Final = 10_000
MAX_BESIDE: Final = 100
_TURNS: Final = "kind = 'conversation' AND state = 'stored' AND session IS NOT NULL AND scope = ? AND session = ?"


class Listing:
    """Reads entries; never writes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: int | str) -> Entry:
        """Return one entry."""
        with self._store.read() as connection:
            return fetch(connection, key)

    def at(self, seqs: Sequence[int]) -> list[Entry]:
        """Return the entries of these seqs, in the order given; one that is not there is left out."""
        with self._store.read() as connection:
            found = fetch_many(connection, list(dict.fromkeys(seqs)))
        return [found[seq] for seq in seqs if seq in found]

    def passages(self, key: int | str) -> list[Entry]:
        """Return the passages of a document, in order."""
        with self._store.read() as connection:
            document = fetch(connection, key)
            query = f"{SELECT} WHERE entry.parent_seq = ? ORDER BY entry.place"
            return [to_entry(row) for row in connection.execute(query, (document.seq,))]

    def around(self, key: int | str, before: int, after: int) -> list[Entry]:
        """Return the turns beside a turn, oldest first."""
        if not (0 <= before <= MAX_BESIDE and 0 <= after <= MAX_BESIDE):
            message = f"before and after have to be 0 to {MAX_BESIDE}, not {before} and {after}"
            raise EntryError(message)
        with self._store.read() as connection:
            entry = fetch(connection, key)
            if entry.kind != "conversation" or entry.session is None:
                return []
            named = (entry.scope, entry.session, entry.seq)
            earlier = f"SELECT seq FROM memory_entries WHERE {_TURNS} AND seq < ? ORDER BY seq DESC LIMIT ?"  # noqa: S608
            later = f"SELECT seq FROM memory_entries WHERE {_TURNS} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
            seqs = [row[0] for row in connection.execute(earlier, (*named, before))][::-1]
            seqs += [row[0] for row in connection.execute(later, (*named, after))]
            found = fetch_many(connection, seqs)
        return [found[seq] for seq in seqs]

    def list(self, filters: Mapping[str, Any], *, cursor: int | None, limit: int) -> Page:
        """Return entries, newest first."""
        if not 1 <= limit <= MAX_LIST:
            message = f"limit {limit} is out of range; expected 1 to {MAX_LIST:,}"
            raise EntryError(message)
        clauses, values = conditions(given(filters))
        if cursor is not None:
            clauses.append("entry.seq < ?")
            values.append(cursor)
        where = " AND ".join(["entry.parent_seq IS NULL", *clauses])
        with self._store.read() as connection:
            rows = connection.execute(f"{SELECT} WHERE {where} ORDER BY entry.seq DESC LIMIT ?", (*values, limit + 1))
            entries = tuple(to_entry(row) for row in rows.fetchall())
        return Page(entries[:limit], entries[limit - 1].seq if len(entries) > limit else None)

    def count(self, filters: Mapping[str, Any]) -> int:
        """Return how many entries match, passages left out."""
        clauses, values = conditions(given(filters))
        where = " AND ".join(["entry.parent_seq IS NULL", *clauses])
        query = f"SELECT count(*) FROM memory_entries AS entry WHERE {where}"  # noqa: S608 - values are bound
        with self._store.read() as connection:
            return int(connection.execute(query, values).fetchone()[0])

    def sizes(self) -> Sizes:
        """Return how much is remembered."""
        with self._store.read() as connection:
            kinds = _counts(connection, "kind, count(*) FROM memory_entries WHERE parent_seq IS NULL GROUP BY kind")
            states = _counts(connection, "state, count(*) FROM memory_entries WHERE parent_seq IS NULL GROUP BY state")
            scopes = _counts(connection, "scope, count(*) FROM memory_entries WHERE parent_seq IS NULL GROUP BY scope")
            vectors = _counts(connection, "model, count(DISTINCT entry_seq) FROM memory_vectors GROUP BY model")
            query = "SELECT count(*) FROM memory_entries WHERE parent_seq IS NOT NULL"
            passages = connection.execute(query).fetchone()[0]
        return Sizes(sum(kinds.values()), kinds, states, scopes, passages, vectors)


def given(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that were given: None stands for one that was not."""
    return {name: wanted for name, wanted in filters.items() if wanted is not None}


def _counts(connection: Connection, query: str) -> dict[str, int]:
    return dict(connection.execute(f"SELECT {query}").fetchall())
