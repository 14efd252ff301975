"""Memory as work uses it: tasks that were like this one are recalled first, and a finished task is kept."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from timmy_core.memory.checks import MAX_CHARS
from timmy_core.memory.conversing import local_scope
from timmy_core.memory.hurry import hurry
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import SHARED, Context, Entry, Match, NewEntry, agent_scope
from timmy_core.store.engine import Connection

LIKE: Final = 3
"""How many tasks are recalled that were like this one."""
VECTOR_S: Final = 1.0
_DONE: Final = {"what": "task"}
_SHOWN: Final = 600
_HALF: Final = 2


class PastTasks:
    """Recalls and keeps for agents at work; the swarm's own protocols fit it.

    What was done under `local_only` goes into a scope of its agent's own, and is found under `local_only` alone.

    Args:
        memory: the memory.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def recall(
        self, question: str, *, agent_id: str, session: str, local: bool, max_tokens: int,
        without_traces: Collection[str],
    ) -> Context:  # fmt: skip
        """Return the tasks that were most like this one, and what else is held about it."""
        del session
        scopes = [SHARED, agent_scope(agent_id), *([local_scope(agent_id)] if local else [])]
        with hurry(VECTOR_S):
            alike = self._memory.search(question, limit=LIKE, scopes=scopes, metadata=_DONE, explain=False)
            rest = self._memory.context(
                question, max_tokens=max_tokens // (_HALF if alike else 1), scopes=scopes,
                without_traces={*without_traces, *(match.entry.trace_id or "" for match in alike)}, local_only=local,
            )  # fmt: skip
        if not alike:
            return rest
        words = "\n\n".join(_shown(match.entry) for match in alike)
        room = 4 * (max_tokens - rest.tokens)  # four characters a token, by the house's rule of thumb
        text = f"Tasks like this one that were done before:\n{words[:room]}"
        entries = (*(match.entry for match in alike), *rest.entries)
        scores = (*(match.score for match in alike), *rest.scores)
        whole = f"{text}\n\n{rest.text}" if rest.text else text
        return Context(whole, entries, rest.tokens + len(text) // 4, scores)

    def keep_in(
        self, connection: Connection, *, task_id: str, agent_id: str, trace_id: str, task: str, result: str,
        local: bool,
    ) -> Entry:  # fmt: skip
        """Remember inside the transaction that ends a task what it was, and what came of it."""
        return self._memory.remember_in(
            connection,
            NewEntry(
                text=f"Task: {task}\n\nResult: {result}"[:MAX_CHARS], agent_id=agent_id, task_id=task_id,
                trace_id=trace_id, source="swarm", speaker=agent_id, metadata=_DONE,
                scope=local_scope(agent_id) if local else SHARED,
            ),
        )  # fmt: skip

    def like(self, words: str, limit: int) -> list[Match]:
        """Return what is held about words, for a tool that looks it up."""
        return list(self._memory.search(words, limit=limit, scopes=[SHARED], explain=False))


def _shown(entry: Entry) -> str:
    text = entry.text if len(entry.text) <= _SHOWN else f"{entry.text[:_SHOWN]}…"
    return f"[{entry.created_at:%Y-%m-%d}, by {entry.speaker}]\n{text}"
