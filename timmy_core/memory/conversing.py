"""Memory as a conversation uses it: recalled before an answer, and the exchange kept after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.memory.checks import MAX_CHARS
from timmy_core.memory.entries import Entries
from timmy_core.memory.hurry import hurry
from timmy_core.memory.journal import SOURCE, Journal
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import SHARED, Context, Entry, NewEntry, agent_scope, session_scope
from timmy_core.memory.rows import AT_ONCE, SELECT, to_entry
from timmy_core.store.engine import Connection, Store

USER: Final = "user"
VECTOR_SHARE: Final = 0.5
"""How much of a recall's time may go into waiting for the question's vector; after that words have to do."""


def local_scope(agent_id: str) -> str:
    """Return the scope of what was said where nothing might leave the owner's machines."""
    return agent_scope(f"{agent_id}:local")


class Conversing:
    """Recalls and keeps for one who converses; the agent's own protocol fits it.

    What was said under `local_only` goes into a scope of its own and is found under `local_only` alone, so no later
    question can carry it to a provider elsewhere.

    Args:
        memory: what is recalled from.
        store: where it is kept.
        events: what is told of it.
        clock: says when.
        recall_s: how long whoever recalls waits.
    """

    def __init__(self, memory: Memory, store: Store, events: EventLog, clock: Clock, recall_s: float) -> None:
        self._memory = memory
        self._store = store
        self._events = events
        self._clock = clock
        self._vector_s = VECTOR_SHARE * recall_s

    def recall(
        self,
        question: str,
        *,
        agent_id: str,
        session: str,
        local: bool,
        max_tokens: int,
        without_traces: Collection[str],
    ) -> Context:
        """Return what is held about a question: shared, of this agent, and of this session."""
        scopes = [SHARED, agent_scope(agent_id), session_scope(session)]
        if local:
            scopes.append(local_scope(agent_id))
        with hurry(self._vector_s):
            return self._memory.context(
                question, max_tokens=max_tokens, scopes=scopes, without_traces=without_traces, local_only=local
            )

    def keep_in(
        self,
        connection: Connection,
        *,
        agent_id: str,
        session: str,
        trace_id: str,
        question: str,
        answer: str | None,
        local: bool,
        metadata: Mapping[str, Any],
    ) -> list[str]:
        """Remember a question and its answer inside somebody's own transaction, with one event for both."""
        together = _Together(self._events)
        entries = Entries(self._store, together, self._clock)
        said: list[tuple[str, str, Mapping[str, Any]]] = [(USER, question, {})]
        if answer is not None and answer.strip():
            said.append((agent_id, answer, metadata))
        for speaker, text, about in said:
            entry = NewEntry(
                text=text[:MAX_CHARS], agent_id=agent_id, session=session, trace_id=trace_id, source="agent",
                speaker=speaker, scope=local_scope(agent_id) if local else agent_scope(agent_id), metadata=about,
            )  # fmt: skip
            entries.remember_in(connection, entry)
        together.tell(connection, trace_id)
        return [entry.id for entry, _ in together.kept]

    def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of these ids that are still there."""
        held: dict[str, Entry] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            query = f"{SELECT} WHERE entry.id IN ({', '.join('?' * len(some))})"
            with self._store.read() as connection:
                held |= {entry.id: entry for entry in map(to_entry, connection.execute(query, some))}
        return held


class _Together(Journal):
    """Says of several entries at once that they were stored."""

    def __init__(self, events: EventLog) -> None:
        super().__init__(events)
        self.kept: list[tuple[Entry, bool]] = []

    def stored(self, connection: Connection, entry: Entry, *, again: bool) -> None:
        """Wait for the others."""
        del connection
        self.kept.append((entry, again))

    def tell(self, connection: Connection, trace_id: str) -> None:
        """Write the one event."""
        first = self.kept[0][0]
        data = {
            "entry": first.id, "entries": [entry.id for entry, _ in self.kept], "kind": first.kind,
            "state": first.state, "scope": first.scope, "session": first.session,
            "characters": sum(len(entry.text) for entry, _ in self.kept), "passages": 0,
            "again": all(again for _, again in self.kept),
        }  # fmt: skip
        event = NewEvent("memory.stored", SOURCE, data, first.task_id, first.agent_id, trace_id)
        self._events.append_in(connection, event)
