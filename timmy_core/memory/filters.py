"""Which entries a search may return: its scopes, and the filters, as conditions that SQL answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from timmy_core.clock import to_us
from timmy_core.errors import EntryError
from timmy_core.memory.checks import check_field
from timmy_core.memory.model import SHARED, agent_scope, scope_token, session_scope
from timmy_core.memory.rows import SCOPES
from timmy_core.memory.selection import conditions
from timmy_core.store.engine import Connection

MAX_SCOPES: Final = 500
FEW: Final = 0.05  # up to this share of all entries, those that may be found are gathered first
_MOST: Final = 20_000  # entries that are gathered, however many there are
_LARGE: Final = 5_000  # entries from which on those of a time are gathered by the index of times alone

_LAST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Scopes:
    """Where to look; `names` is None for everywhere."""

    names: tuple[str, ...] | None

    def condition(self, table: str = "entry") -> tuple[str, list[str]]:
        """Return the scopes as a condition in SQL, and the values to bind."""
        if self.names is None:
            return "1", []
        return f"{table}.scope IN ({', '.join('?' * len(self.names))})", list(self.names)

    def within(self, match: str) -> str:
        """Return a question to FTS5 for these scopes alone."""
        if self.names is None:
            return match
        tokens = " OR ".join(f'"{scope_token(name)}"' for name in self.names)
        return f"(scope : ({tokens})) AND ({match})"


EVERYWHERE: Final = Scopes(None)


def scopes_of(scopes: Sequence[str] | None, agent_id: str | None, session: str | None) -> Scopes:
    """Return where a search looks: as named, else what is shared and what the agent and the session own, else all.

    Raises:
        EntryError: a name is no scope.
    """
    if scopes is None:
        if agent_id is None and session is None:
            return EVERYWHERE
        own = [agent_scope(agent_id)] if agent_id is not None else []
        own += [session_scope(session)] if session is not None else []
        return Scopes((SHARED, *own))
    if isinstance(scopes, str) or len(scopes) > MAX_SCOPES:
        message = f"scopes needs a list of at most {MAX_SCOPES} names, such as ['shared', 'agent:timmy']"
        raise EntryError(message)
    for name in scopes:
        check_field("scope", name)
    return Scopes(tuple(dict.fromkeys(scopes)))


@dataclass(frozen=True, slots=True)
class Filters:
    """What an entry has to fulfil beside its scope; `narrow` says whether that may be few of them.

    `between` has the moments, where these are all that narrows: the first that counts, and the first that does not.
    """

    clauses: tuple[str, ...]
    values: tuple[Any, ...]
    narrow: bool
    between: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        scopes: Scopes,
        *,
        kind: str | Sequence[str] | None = None,
        agent_id: str | None = None,
        session: str | None = None,
        task_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        valid_at: datetime,
        without_traces: Collection[str] = (),
    ) -> Filters:
        """Build the conditions.

        Raises:
            EntryError: a value makes no sense.
        """
        given: dict[str, Any] = {
            "kind": kind, "agent_id": agent_id, "session": session, "task_id": task_id, "since": since, "until": until,
            "metadata": metadata or None,
        }  # fmt: skip
        narrowing = {name: wanted for name, wanted in given.items() if wanted is not None}
        clauses, values = conditions({**narrowing, "state": "stored", "valid_at": valid_at})
        where, names = scopes.condition()
        if kind is not None and scopes.names is None:
            where = f"entry.scope IN ({SCOPES})"  # since the index by kind is one by scope first
        clauses, values = [where, *clauses], [*names, *values]
        if without_traces:
            clauses.append(
                f"(entry.trace_id IS NULL OR entry.trace_id NOT IN ({', '.join('?' * len(without_traces))}))"
            )
            values += without_traces
        moments = (-_LAST if since is None else to_us(since), _LAST if until is None else to_us(until))
        between = moments if narrowing and set(narrowing) <= {"since", "until"} else None
        return cls(tuple(clauses), tuple(values), bool(narrowing), between)

    def where(self, *, whole: bool = False) -> str:
        """Return all conditions as one, for what is searched: passages in place of their document, or whole ones."""
        return " AND ".join(("entry.parent_seq IS NULL" if whole else "entry.parts = 0", *self.clauses))

    def gather(self, connection: Connection, total: int) -> NDArray[np.int64] | None:
        """Return the entries that may be found, if they are few; None where it is quicker to look and then filter.

        Of a time, that may be more than pass all conditions: no row is looked at, so they cost a tenth.
        """
        if not self.narrow:
            return None
        if self.between is not None and total > _LARGE:
            found = _listed(connection, "created_at >= ? AND created_at < ?", self.between, _MOST)
        else:
            found = _listed(connection, self.where(), self.values, min(_MOST, max(200, int(FEW * total))))
        return found


def _listed(connection: Connection, where: str, values: Sequence[Any], most: int) -> NDArray[np.int64] | None:
    """Return the entries that fulfil something, in order; None if there are too many."""
    # As one text: a row of one number each would take longer to fetch than to find.
    query = (
        "SELECT count(*), group_concat(seq, ' ') FROM "  # noqa: S608 - values are bound
        f"(SELECT entry.seq FROM memory_entries AS entry WHERE {where} LIMIT ?)"
    )
    count, listed = connection.execute(query, (*values, most + 1)).fetchone()
    return np.sort(np.fromstring(listed or "", np.int64, sep=" ")) if count <= most else None
