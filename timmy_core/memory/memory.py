"""Memory: the face of the room; remembers, lists, edits, forgets, finds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import EllipsisType
from typing import Any, Final, TypeAlias

from timmy_core.clock import Clock
from timmy_core.errors import EntryError
from timmy_core.events.log import EventLog
from timmy_core.memory import words
from timmy_core.memory.editing import Editing
from timmy_core.memory.entries import Entries
from timmy_core.memory.facts import Facts
from timmy_core.memory.forget import Forgetting
from timmy_core.memory.journal import Journal
from timmy_core.memory.likeness import Likeness
from timmy_core.memory.listing import Listing
from timmy_core.memory.model import (
    Context,
    Entry,
    Finder,
    Forgets,
    ForgetsToo,
    Forgotten,
    Kind,
    Match,
    NewEntry,
    Page,
    Pair,
    Sizes,
)
from timmy_core.store.engine import Connection, Store

EntryList: TypeAlias = list[Entry]  # named, because inside the class `list` is the method
MAX_MANY: Final = 10_000


class Memory:
    """What Timmy remembers, in one home; safe to use from any thread, and by several processes at once.

    What is remembered, changed or forgotten is durable when the call returns, with its event in the same transaction.
    The words of an entry are found at once; its vectors follow when an embedder is there.

    Args:
        store: where the entries are.
        events: the log that says what was stored, changed and forgotten, without the text.
        clock: stamps entries that bring no time.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self.finder: Finder | None = None  # set by whoever wires
        self._store = store
        journal = Journal(events)
        self._listing = Listing(store)
        self._entries = Entries(store, journal, clock)
        self._editing = Editing(store, journal, clock)
        self._facts = Facts(store, journal, self._listing, clock)
        self._likeness = Likeness(self._listing, clock)
        self._forgetting = Forgetting(store, journal, clock)

    @property
    def forgetters(self) -> list[Forgets]:
        """Whoever keeps something made from entries in files of its own; asked at each forgetting and edit."""
        return self._forgetting.forgetters

    @property
    def copies(self) -> list[ForgetsToo]:
        """Whoever keeps copies of entries in the store; asked inside the transaction of each forgetting."""
        return self._forgetting.copies

    # Remembering ---------------------------------------------------------------------------------------------

    def remember(
        self,
        text: str,
        *,
        kind: Kind = "conversation",
        agent_id: str | None = None,
        session: str | None = None,
        task_id: str | None = None,
        trace_id: str | None = None,
        source: str = "api",
        speaker: str | None = None,
        scope: str | None = None,
        subject: str | None = None,
        replaces: str | Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        importance: float = 0.5,
        created_at: datetime | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        proposed: bool = False,
        id: str | None = None,  # noqa: A002 - the field's own name
    ) -> Entry:
        """Remember one text and return its entry once it is durable; the same text again returns the first entry.

        Args:
            text: what to remember; a long document is split into passages.
            kind: conversation, fact or document.
            agent_id: whose memory it is; it makes the scope, unless `scope` is given.
            session: the conversation that it belongs to; it makes the scope where there is no agent.
            task_id: the task that it belongs to.
            trace_id: the request that it came with.
            source: who stores it.
            speaker: who said it.
            scope: shared, agent:<id> or session:<name>; shared if nothing says otherwise.
            subject: of a fact: what it says the one value of; it closes the older fact about the same.
            replaces: ids of facts that it closes.
            metadata: anything else, as JSON.
            importance: 0 to 1.
            created_at: when it was said; now if None.
            valid_from: from when on it holds; `created_at` if None.
            valid_to: until when it holds; for good if None.
            proposed: keep it as a candidate that a person has to confirm.
            id: made if None; the same id again returns the entry of the first time.

        Raises:
            EntryError: the text or a field cannot be kept.
            EntryConflictError: the id is taken by other content.
            EntryNotFoundError: an entry that it is to replace is not there.
        """
        return self.remember_many(
            [
                NewEntry(
                    text=text, kind=kind, agent_id=agent_id, session=session, task_id=task_id, trace_id=trace_id,
                    source=source, speaker=speaker, scope=scope, subject=subject,
                    replaces=(replaces,) if isinstance(replaces, str) else tuple(replaces), metadata=metadata or {},
                    importance=importance, created_at=created_at, valid_from=valid_from, valid_to=valid_to,
                    proposed=proposed, id=id,
                )
            ]
        )[0]  # fmt: skip

    def remember_many(self, entries: Sequence[NewEntry]) -> EntryList:
        """Remember up to 10,000 texts in one transaction: all of them or, when one is refused, none."""
        if len(entries) > MAX_MANY:
            message = f"{len(entries):,} entries are too many for one transaction; give at most {MAX_MANY:,} at a time"
            raise EntryError(message)
        return self._entries.remember(entries)

    async def aremember(self, entries: Sequence[NewEntry]) -> EntryList:
        """Do as `remember_many`, without blocking the event loop."""
        return await self._entries.aremember(entries)

    def remember_in(self, connection: Connection, entry: NewEntry) -> Entry:
        """Remember inside somebody's own `Store.write`, so that their state and the entry commit together."""
        return self._entries.remember_in(connection, entry)

    # Reading -------------------------------------------------------------------------------------------------

    def get(self, key: int | str) -> Entry:
        """Return the entry with this seq (a number) or id (text).

        Raises:
            EntryNotFoundError: there is none, or no longer.
        """
        return self._listing.get(key)

    def at(self, seqs: Sequence[int]) -> EntryList:
        """Return the entries of these seqs, passages too, in the order given; one that is not there is left out."""
        return self._listing.at(seqs)

    def passages(self, key: int | str) -> EntryList:
        """Return the passages of a long document, in order."""
        return self._listing.passages(key)

    def around(self, key: int | str, *, before: int = 1, after: int = 1) -> EntryList:
        """Return the turns beside a turn in its session, oldest first, without the turn itself."""
        return self._listing.around(key, before, after)

    def list(self, *, cursor: int | None = None, limit: int = 100, **filters: Any) -> Page:
        """Return entries, newest first, without passages; `cursor` is that of the page before.

        Filters: `kind`, `state`, `scope`, `agent_id`, `session`, `task_id`, `trace_id`, `source`, `speaker`, `subject`,
        `id` and `seq` name a value or several; `since` (included) and `until` (not) bound `created_at`; `valid_at` is a
        moment, and `metadata` has keys and their values.

        Raises:
            EntryError: a filter is not known, or the limit is out of range.
        """
        return self._listing.list(filters, cursor=cursor, limit=limit)

    def count(self, **filters: Any) -> int:
        """Return how many entries match the filters of `list`."""
        return self._listing.count(filters)

    def sizes(self) -> Sizes:
        """Return how much is remembered."""
        return self._listing.sizes()

    # Changing ------------------------------------------------------------------------------------------------

    def edit(
        self,
        key: int | str,
        *,
        text: str | None = None,
        speaker: str | EllipsisType | None = ...,
        subject: str | EllipsisType | None = ...,
        metadata: Mapping[str, Any] | None = None,
        importance: float | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | EllipsisType | None = ...,
        by: str,
    ) -> Entry:
        """Change an entry; what is not given stays. Words follow at once, vectors as for a new entry.

        Nothing of the former text is left when this returns, as with `forget`. `valid_to=None` lets a closed fact hold
        again.

        Raises:
            EntryNotFoundError: there is no such entry.
            EntryConflictError: another entry of the scope says the very same.
            EntryError: a value cannot be kept.
        """
        changes: dict[str, Any] = {
            "text": text, "metadata": metadata, "importance": importance, "valid_from": valid_from,
        }  # fmt: skip
        given = {name: value for name, value in changes.items() if value is not None}
        clearable = {"speaker": speaker, "subject": subject, "valid_to": valid_to}
        given |= {name: value for name, value in clearable.items() if value is not ...}
        edited = self._editing.edit(key, given, by)
        if edited.reworded:
            self._forgetting.erase()
        return edited.entry

    def confirm(self, key: int | str, *, by: str) -> Entry:
        """Take a candidate over as a fact; it closes what it contradicts, as `remember` does."""
        return self._facts.confirm(key, by)

    def reject(self, key: int | str, *, by: str) -> Entry:
        """Turn a candidate down; it is kept, so that it is not proposed again, and never found."""
        return self._facts.reject(key, by)

    def close_fact(
        self, key: int | str, *, replaced_by: int | str | None = None, at: datetime | None = None, by: str
    ) -> Entry:
        """Say that a fact no longer holds; it stays, with the moment and the entry that took its place."""
        return self._facts.close(key, replaced_by, at, by)

    # Facts ---------------------------------------------------------------------------------------------------

    def facts(self, *, valid_at: datetime | EllipsisType | None = ..., limit: int = 1000, **filters: Any) -> EntryList:
        """Return facts that hold now, or at a moment, newest first; with `valid_at=None` those that ended too."""
        return self._facts.facts(filters, valid_at, limit)

    def candidates(self, *, limit: int = 1000, **filters: Any) -> EntryList:
        """Return what was proposed and waits for a person, newest first."""
        return self._facts.candidates(filters, limit)

    def duplicates(self, *, limit: int = 100, **filters: Any) -> Sequence[Pair]:
        """Return pairs in one scope that say the same in nearly the same words, the likest first."""
        return self._likeness.duplicates(filters, limit)

    def contradictions(self, *, limit: int = 100, **filters: Any) -> Sequence[Pair]:
        """Return pairs of facts in one scope that both hold, share most words and differ in a few; for a person."""
        return self._likeness.contradictions(filters, limit)

    # Forgetting ----------------------------------------------------------------------------------------------

    def forget(
        self,
        key: int | str | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        reason: str = "asked to",
        by: str,
    ) -> Forgotten:
        """Remove one entry, or all that match the filters of `list`: text, words and vectors, everywhere.

        What stays is the event `memory.forgotten`, without the text. Doing it again changes nothing.

        Raises:
            EntryNotFoundError: there is no such entry.
            EntryError: it is not clear what to forget.
        """
        return self._forgetting.forget(key, where, reason, by)

    def tidy(self) -> int:
        """Bring the index of words into one piece where it grew by a tenth; return by how many entries it had grown.

        A search is then a sixth quicker. The serving process does it by itself; others need not.

        Raises:
            StoreError: the database cannot be read or written.
        """
        return words.tidy(self._store)

    def mend(self) -> None:
        """Finish what a crash left of a forgetting; called at the start."""
        self._forgetting.mend()

    # Finding -------------------------------------------------------------------------------------------------

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
    ) -> Sequence[Match]:
        """Return the entries that fit a query best, best first, each with its score and the reasons.

        It never leaves the scopes that it was given: `shared`, and those of the agent and the session named; with
        none named, every scope. With `scopes`, agent and session filter instead. An empty query returns the newest.

        Args:
            query: words, a question, or the beginning of one.
            limit: how many at most, up to 1,000; fewer only where no more fit.
            kind: one kind or several.
            agent_id: whose memory; see above.
            session: which conversation; see above.
            scopes: where to look, and nowhere else.
            task_id: of which task.
            since: not older than this.
            until: older than this.
            metadata: keys with the values that they have to have.
            valid_at: what held then; what holds now if None.
            explain: give reasons.
            recency: what the newest gains over the oldest, on the scale of a score; it halves in 30 days.

        Raises:
            EntryError: a value makes no sense.
        """
        return self._found().search(
            query, limit=limit, kind=kind, agent_id=agent_id, session=session, scopes=scopes, task_id=task_id,
            since=since, until=until, metadata=metadata, valid_at=valid_at, explain=explain, recency=recency,
        )  # fmt: skip

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
        """Return what memory holds about a question, in at most `max_tokens`, each part with source and date.

        Entries of `without_traces` are left out: their turns stand before the question already. With `local_only` the
        question is sent to no embedder on a machine that is not the owner's.
        """
        return self._found().context(
            query, max_tokens=max_tokens, agent_id=agent_id, session=session, scopes=scopes,
            without_traces=without_traces, local_only=local_only,
        )  # fmt: skip

    def _found(self) -> Finder:
        if self.finder is None:
            message = "this memory was wired without a finder; open the home with `open_timmy` to search in it"
            raise EntryError(message)
        return self.finder
