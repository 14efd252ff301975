"""Facts: what holds now or held then, candidates that wait for a person, and what ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import EllipsisType
from typing import Any

from timmy_core.clock import Clock, to_us
from timmy_core.errors import EntryError
from timmy_core.memory import checks
from timmy_core.memory.entries import store as store_candidate
from timmy_core.memory.intervals import Closed, end, settle
from timmy_core.memory.journal import Journal
from timmy_core.memory.listing import Listing
from timmy_core.memory.model import Entry
from timmy_core.memory.rows import fetch, mark_rewritten
from timmy_core.memory.words import words_of
from timmy_core.store.engine import Connection, Store


class Facts:
    """Lists, confirms, rejects and ends facts."""

    def __init__(self, store: Store, journal: Journal, listing: Listing, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._listing = listing
        self._clock = clock

    def facts(self, filters: Mapping[str, Any], valid_at: datetime | EllipsisType | None, limit: int) -> list[Entry]:
        """Return facts that hold at a moment, now if it is not given; at any time with None."""
        moment = self._clock.now() if isinstance(valid_at, EllipsisType) else valid_at
        held = {**filters, "kind": "fact", "state": "stored", "valid_at": moment}
        return list(self._listing.list(held, cursor=None, limit=limit))

    def candidates(self, filters: Mapping[str, Any], limit: int) -> list[Entry]:
        """Return what was proposed."""
        return list(self._listing.list({**filters, "state": "proposed"}, cursor=None, limit=limit))

    def confirm(self, key: int | str, by: str) -> Entry:
        """Make a candidate a fact; one that was confirmed before stays as it is."""
        checks.check_reason("by", by)

        def run(connection: Connection) -> Entry:
            entry = fetch(connection, key)
            if entry.state == "stored":
                return entry
            with words_of(connection) as words:
                store_candidate(connection, words, entry, to_us(self._clock.now()))
            closed = settle(connection, fetch(connection, entry.seq), ())
            confirmed = fetch(connection, entry.seq)
            self._journal.say(connection, "memory.confirmed", confirmed, {"by": by})
            self._journal.closed(connection, closed, by)
            return confirmed

        return self._store.write(run)

    def reject(self, key: int | str, by: str) -> Entry:
        """Turn a candidate down."""
        checks.check_reason("by", by)

        def run(connection: Connection) -> Entry:
            entry = fetch(connection, key)
            if entry.state == "rejected":
                return entry
            if entry.state == "stored":
                message = f"{entry.id!r} is no candidate: it was confirmed; close or forget it instead"
                raise EntryError(message)
            now = to_us(self._clock.now())
            statement = "UPDATE memory_entries SET state = 'rejected', changed_at = ? WHERE seq = ?"
            connection.execute(statement, (now, entry.seq))
            mark_rewritten(connection)
            self._journal.say(connection, "memory.rejected", entry, {"by": by})
            return fetch(connection, entry.seq)

        return self._store.write(run)

    def close(self, key: int | str, replaced_by: int | str | None, at: datetime | None, by: str) -> Entry:
        """End a fact; one that has ended before stays as it is."""
        checks.check_reason("by", by)
        moment = None if at is None else checks.check_time("at", at)

        def run(connection: Connection) -> Entry:
            fact = fetch(connection, key)
            if (fact.kind, fact.state) != ("fact", "stored"):
                message = f"{fact.id!r} is no fact, so it does not end; forget it instead"
                raise EntryError(message)
            newer = None if replaced_by is None else fetch(connection, replaced_by)
            if newer is not None and (newer.scope != fact.scope or newer.seq == fact.seq):
                message = f"{newer.id!r} does not replace {fact.id!r}: it is not another entry of {fact.scope!r}"
                raise EntryError(message)
            ends = moment
            if ends is None:
                ends = to_us(newer.valid_from if newer else self._clock.now())
            closed = Closed(fact.seq, fact.id, newer.seq if newer else fact.seq)
            if end(connection, closed, ends, newer.id if newer else None):
                self._journal.closed(connection, [closed], by)
            return fetch(connection, fact.seq)

        return self._store.write(run)
