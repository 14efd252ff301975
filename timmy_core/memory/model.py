"""What the memory room speaks: entries, matches with their reasons, a context, and what was forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, get_args

from timmy_core.store.engine import Connection

Kind = Literal["conversation", "fact", "document"]
State = Literal["stored", "proposed", "rejected"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
STATES: Final[tuple[State, ...]] = get_args(State)
SHARED: Final = "shared"


def agent_scope(agent_id: str) -> str:
    """Return the scope of what one agent remembers."""
    return f"agent:{agent_id}"


def session_scope(session: str) -> str:
    """Return the scope of what belongs to one session alone."""
    return f"session:{session}"


def scope_token(scope: str) -> str:
    """Return the word that stands for a scope in the column `scope` of `memory_words`."""
    return f"scope{scope.encode().hex()}0"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing remembered.

    `seq` is its number in the store, in the order of remembering, and never used again. A passage of a document has
    `parent` (the document's id), `place` (0 for the first) and `start` (the character that it begins at); a document
    has `parts`, the number of its passages.
    """

    seq: int
    id: str
    kind: Kind
    state: State
    scope: str
    agent_id: str | None
    session: str | None
    task_id: str | None
    trace_id: str | None
    source: str
    speaker: str | None
    subject: str | None
    text: str
    metadata: Mapping[str, Any]
    importance: float
    created_at: datetime
    changed_at: datetime
    valid_from: datetime
    valid_to: datetime | None
    closed_by: str | None
    seen: int
    seen_at: datetime
    parent: str | None = None
    place: int | None = None
    start: int | None = None
    parts: int = 0
    embedding: tuple[str, ...] = ()  # the embedders, with their versions, that made its vectors

    def valid_at(self, moment: datetime) -> bool:
        """Whether it holds at a moment: `valid_from` is included, `valid_to` is not."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON can carry it; times are ISO 8601 in UTC."""
        from timmy_core.clock import iso

        names = self.__dataclass_fields__
        values = {name: getattr(self, name) for name in names}
        plain = {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}
        return {**plain, "metadata": dict(self.metadata), "embedding": list(self.embedding)}


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be, for `remember_many`; the fields are those of `Memory.remember`."""

    text: str
    kind: Kind = "conversation"
    agent_id: str | None = None
    session: str | None = None
    task_id: str | None = None
    trace_id: str | None = None
    source: str = "api"
    speaker: str | None = None
    scope: str | None = None
    subject: str | None = None
    replaces: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    importance: float = 0.5
    created_at: datetime | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    proposed: bool = False
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """The part of a long document that matched: its text, and where it stands in the document's text."""

    text: str
    start: int
    end: int
    place: int


@dataclass(frozen=True, slots=True)
class Why:
    """Where a score comes from; each number is what it added, None where that part had no say."""

    words: tuple[str, ...] = ()  # of the query, that were found in the entry itself
    keyword: float | None = None  # for the words, in the entry and beside it
    similarity: float | None = None  # cosine of the best sentence, -1 to 1
    window: float | None = None  # cosine of the entry with the turn before it
    neighbours: tuple[str, ...] = ()  # words of the query that only the turns beside it hold
    recency: float | None = None
    importance: float | None = None
    passage: Passage | None = None
    note: str = ""  # such as that no model is installed, so that words alone were compared


@dataclass(frozen=True, slots=True)
class Match:
    """An entry that was found, with its score (higher is better) and the reasons."""

    entry: Entry
    score: float
    why: Why


@dataclass(frozen=True, slots=True)
class Context:
    """What goes before a question: text of at most so many tokens, and the entries that it stands on."""

    text: str
    entries: tuple[Entry, ...]
    tokens: int
    scores: tuple[float | None, ...] = ()  # of each entry; None for one that only stands beside a match


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a list, newest first, and the cursor that the next call begins with; None at the end."""

    entries: tuple[Entry, ...]
    cursor: int | None

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries."""
        return iter(self.entries)

    def __len__(self) -> int:
        """How many entries are in this page."""
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two entries that belong before a person: `older` was remembered first."""

    older: Entry
    newer: Entry
    likeness: float  # 0 to 1: the share of their words that they have in common
    reason: str  # in words


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a forgetting did.

    `entries` left the store, and are found by nobody. `erased` says whether no byte of them is left in the files; if
    not, somebody reads just now what holds a copy, and the next forgetting or start finishes it.
    """

    entries: int
    passages: int
    erased: bool


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is remembered: entries by kind (passages apart), by state and by scope, and vectors by embedder."""

    entries: int
    kinds: Mapping[str, int]
    states: Mapping[str, int]
    scopes: Mapping[str, int]
    passages: int
    vectors: Mapping[str, int]  # embedder -> entries that have vectors of it


class Forgets(Protocol):
    """Whoever keeps something made from entries outside the store's own tables, such as an index file."""

    def forget(self, seqs: Sequence[int], /) -> None:
        """Remove all that was made from these entries, by seq; they are gone already, and a repetition is harmless."""
        ...


@dataclass(frozen=True, slots=True)
class Gone:
    """An entry that is being forgotten, as whoever keeps a copy of it has to know it."""

    id: str
    session: str | None
    trace_id: str | None
    text: str


class ForgetsToo(Protocol):
    """Whoever keeps a copy of entries in tables of the store, such as the turns of a session."""

    def __call__(self, connection: Connection, gone: Sequence[Gone], /) -> None:
        """Remove the copies, in the transaction that removes the entries."""
        ...


class Finder(Protocol):
    """What `Memory.search` and `Memory.context` hand the work to."""

    def search(
        self,
        query: str,
        *,
        limit: int,
        kind: str | Sequence[str] | None,
        agent_id: str | None,
        session: str | None,
        scopes: Sequence[str] | None,
        task_id: str | None,
        since: datetime | None,
        until: datetime | None,
        metadata: Mapping[str, Any] | None,
        valid_at: datetime | None,
        explain: bool,
        recency: float,
    ) -> list[Match]:
        """Return the best matches, best first."""
        ...

    def context(
        self,
        query: str,
        *,
        max_tokens: int,
        agent_id: str | None,
        session: str | None,
        scopes: Sequence[str] | None,
        without_traces: Collection[str],
        local_only: bool,
    ) -> Context:
        """Return what memory holds about a question, in at most so many tokens, entries of some traces left out."""
        ...
