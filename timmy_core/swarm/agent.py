"""Timmy: memory, a prompt, the session's history, and an answer from the cascade, kept with its events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import QuestionError, TimmyError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.settings import AgentSettings
from timmy_core.settings_memory import MemorySettings
from timmy_core.store.engine import Connection, Store
from timmy_core.swarm import turns
from timmy_core.swarm.asked import Answered, Cascade
from timmy_core.swarm.recall import FIRST_S, OFF, Looks, Memo, Memories, Recalled, forgotten, memo, quotation
from timmy_core.swarm.switches import Switches, check_session
from timmy_core.swarm.turns import Turn

MAX_QUESTION_CHARS: Final = 100_000
MAX_HISTORY: Final = 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that a model answered, for whoever learns from it; the ids are those of the memories kept of it."""

    session: str
    trace_id: str
    agent_id: str
    question: str
    answer: str
    entries: tuple[str, ...]
    local_only: bool  # nobody elsewhere may be told of it


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    session: str
    trace_id: str
    messages: list[dict[str, Any]]
    recalled: Recalled
    local_only: bool


class Agent:
    """Answers questions; runs on Timmy's own event loop.

    Args:
        store: keeps what was said.
        events: is told that it was said.
        cascade: answers.
        settings: who Timmy is.
        clock: stamps it.
        memories: what is recalled before an answer, and remembers after it; without it nobody does.
        memory: how memory is used.
        learn: is handed each answered exchange that was remembered; must not block.
    """

    def __init__(
        self,
        *,
        store: Store,
        events: EventLog,
        cascade: Cascade,
        settings: AgentSettings,
        clock: Clock,
        memories: Memories | None = None,
        memory: MemorySettings | None = None,
        learn: Callable[[Exchange], object] | None = None,
    ) -> None:
        self._store = store
        self._events = events
        self._cascade = cascade
        self._settings = settings
        self._clock = clock
        self._memories = memories
        self._memory = memory or MemorySettings()
        self._learn = learn
        tokens, bound_s = self._memory.context_tokens, self._memory.recall_s
        self._looks = Looks(memories, tokens, bound_s, max(bound_s, FIRST_S)) if memories is not None else None
        self.switches = Switches(store, events, clock, agent=settings.name, default=self._memory.recall)

    async def ask(
        self,
        text: str,
        *,
        session: str = "default",
        deadline_s: float | None = None,
        local_only: bool = False,
        memory: bool | None = None,
    ) -> Any:
        """Ask the cascade with the session's history; question and answer are durable when this returns.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        question = await self._begin(text, session, memory=memory, local_only=local_only)
        answer = await self._cascade.chat(
            question.messages,
            deadline_s=deadline_s,
            trace_id=question.trace_id,
            agent_id=self._settings.name,
            session=session,
            local_only=local_only,
        )
        answer = self._with_memories(question, answer)
        await self._finish(question, answer)
        return _quoting(answer, question.text)

    async def ask_stream(
        self,
        text: str,
        *,
        session: str = "default",
        deadline_s: float | None = None,
        local_only: bool = False,
        memory: bool | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yield the router's stream parts; the last one, with the whole answer, comes once the answer is durable.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        question = await self._begin(text, session, memory=memory, local_only=local_only)
        parts = self._cascade.stream(
            question.messages,
            deadline_s=deadline_s,
            trace_id=question.trace_id,
            agent_id=self._settings.name,
            session=session,
            local_only=local_only,
        )
        said: Any = None
        # Who stops reading has stopped the provider's call too, with its event, when this has ended.
        async with aclosing(parts):
            async for part in parts:
                answer = getattr(part, "answer", None)
                if answer is None:
                    said = part
                    yield part
                    continue
                answer = self._with_memories(question, answer)
                await self._finish(question, answer)
                whole = _quoting(answer, text)
                if whole is not answer and said is not None:
                    yield replace(said, text=whole.text[len(answer.text) :])
                yield replace(part, answer=whole)

    def history(self, session: str = "default", *, limit: int = 50) -> list[Turn]:
        """Return the latest turns of a session, oldest first, answers with the memories that they stood on.

        Raises:
            QuestionError: the limit is out of range.
        """
        if not 1 <= limit <= MAX_HISTORY:
            message = f"limit {limit} is out of range; expected 1 to {MAX_HISTORY:,}"
            raise QuestionError(message)
        with self._store.read() as connection:
            said = turns.latest(connection, session, limit)
            traces = [turn.trace_id for turn in said if turn.role == "assistant"]
            recalls = turns.recalls(connection, traces)
        if not recalls or self._memories is None:
            return said
        held = self._memories.entries([id_ for found in recalls.values() for id_, _ in found])
        shown = {
            trace: tuple(memo(held[id_], score) if id_ in held else forgotten(id_, score) for id_, score in found)
            for trace, found in recalls.items()
        }
        return [_shown(turn, shown.get(turn.trace_id, ())) for turn in said]

    def questions(self) -> int:
        """Return how many questions were asked in all."""
        with self._store.read() as connection:
            # Turns are only ever added, so this walks the table's b-tree by its rowid alone.
            row = connection.execute("SELECT count(*) FROM turns WHERE role = 'user'").fetchone()
        return int(row[0])

    def close(self) -> None:
        """End what looks into memory; nothing is asked after this."""
        if self._looks is not None:
            self._looks.close()

    # Before an answer ----------------------------------------------------------------------------------------

    async def _begin(self, text: str, session: str, *, memory: bool | None, local_only: bool) -> _Question:
        _check(text, session)
        trace_id = new_id()
        recalled = await self._recall(text, session, memory=memory, local_only=local_only)
        history = await self._store.awrite(
            lambda connection: self._keep_question(connection, text, session, trace_id, recalled)
        )
        messages = self._system(recalled)
        messages += [{"role": role, "content": content} for role, content, _ in reversed(history)]
        messages.append({"role": "user", "content": text})
        return _Question(text, session, trace_id, messages, recalled, local_only)

    async def _recall(self, text: str, session: str, *, memory: bool | None, local_only: bool) -> Recalled:
        if self._looks is None or memory is False:
            return OFF
        enabled, traces = await asyncio.to_thread(self._known, session)
        if memory is None and not enabled:
            return OFF
        return await self._looks.look(
            text, agent_id=self._settings.name, session=session, local=local_only, without_traces=traces
        )

    def _known(self, session: str) -> tuple[bool, frozenset[str]]:
        """Return whether the session uses memory, and the traces of what stands before the question anyway."""
        with self._store.read() as connection:
            history = turns.answered(connection, session, self._settings.history_messages)
            return self.switches.get_in(connection, session).enabled, frozenset(trace for _, _, trace in history)

    def _system(self, recalled: Recalled) -> list[dict[str, Any]]:
        """Return what stands before the conversation: who Timmy is, and what it remembers."""
        prompt, remembered = self._settings.system_prompt, recalled.prompt
        if remembered and self._memory.share_with == "local":
            first = [{"role": "system", "content": prompt}] if prompt else []
            return [*first, {"role": "system", "content": remembered, "local_only": True}]
        words = "\n\n".join(part for part in (prompt, remembered) if part)
        return [{"role": "system", "content": words}] if words else []

    def _keep_question(
        self, connection: Connection, text: str, session: str, trace_id: str, recalled: Recalled
    ) -> list[tuple[str, str, str]]:
        history = turns.answered(connection, session, self._settings.history_messages)
        turns.put_question(connection, session, text, trace_id, to_us(self._clock.now()))
        self._record(connection, "chat.asked", trace_id, {"session": session, "characters": len(text)})
        if recalled.state == "found":
            found = recalled.memories
            data = {
                "session": session,
                "entries": [one.id for one in found],
                "scores": [None if one.score is None else round(one.score, 6) for one in found],
                "tokens": recalled.tokens,
                "took_ms": recalled.took_ms,
                "shared_with": self._memory.share_with,
            }
            self._record(connection, "memory.recalled", trace_id, data)
        elif recalled.state == "failed":
            data = {"session": session, "step": "recall", "problem": recalled.problem, "took_ms": recalled.took_ms}
            self._record(connection, "memory.failed", trace_id, data)
        return history

    # After it ------------------------------------------------------------------------------------------------

    def _with_memories(self, question: _Question, answer: Any) -> Any:
        """Return the answer with the memories that it stood on: those that whoever gave it was told."""
        stood: tuple[Memo, ...] = ()
        if answer.offline or answer.local or self._memory.share_with == "all":
            stood = question.recalled.memories
        return replace(answer, memories=stood)

    async def _finish(self, question: _Question, answer: Answered) -> None:
        if question.recalled.state == "off" or self._memories is None:
            await self._store.awrite(lambda connection: self._keep_answer(connection, question, answer))
            return
        kept, *_ = await asyncio.gather(
            self._store.awrite(lambda connection: self._keep_and_remember(connection, question, answer)),
            return_exceptions=True,  # whatever goes wrong in memory, the answer is kept
        )
        if isinstance(kept, BaseException):
            await self._keep_without(question, answer, kept)
        elif self._learn is not None and not answer.offline:
            self._learn(self._exchange(question, answer, kept))

    def _exchange(self, question: _Question, answer: Answered, entries: Sequence[str]) -> Exchange:
        # What was answered here, with memories that only providers here may be told, stays here.
        local_only = question.local_only or (answer.local and self._memory.share_with == "local")
        session, trace_id, name = question.session, question.trace_id, self._settings.name
        return Exchange(session, trace_id, name, question.text, answer.text, tuple(entries), local_only)

    async def _keep_without(self, question: _Question, answer: Answered, error: BaseException) -> None:
        """Keep the answer although it could not be remembered."""
        if not isinstance(error, Exception):
            raise error
        if not isinstance(error, TimmyError):
            _log.error("an answer could not be remembered", exc_info=error)
        problem = str(error) if isinstance(error, TimmyError) else f"a fault of the workbench, {type(error).__name__}"

        def keep(connection: Connection) -> None:
            self._keep_answer(connection, question, answer)
            data = {"session": question.session, "step": "remember", "problem": problem}
            self._record(connection, "memory.failed", question.trace_id, data)

        await self._store.awrite(keep)

    def _keep_and_remember(self, connection: Connection, question: _Question, answer: Answered) -> Sequence[str]:
        self._keep_answer(connection, question, answer)
        if self._memories is None:
            return ()
        return self._memories.keep_in(
            connection,
            agent_id=self._settings.name,
            session=question.session,
            trace_id=question.trace_id,
            question=question.text,
            # The offline answer says nothing that is worth remembering; what the user said is.
            answer=None if answer.offline else answer.text,
            local=question.local_only,
            metadata={} if answer.offline else {"provider": answer.provider, "model": answer.model},
        )

    def _keep_answer(self, connection: Connection, question: _Question, answer: Any) -> None:
        session, trace_id, now = question.session, question.trace_id, to_us(self._clock.now())
        turns.put_answer(connection, session, answer, trace_id, now)
        turns.put_recalls(connection, session, trace_id, answer.memories, now)
        data = {
            "session": session,
            "provider": answer.provider,
            "model": answer.model,
            "offline": answer.offline,
            "latency_ms": round(answer.latency_ms, 3),
            "attempts": len(answer.attempts),
            "characters": len(answer.text),
            "memories": len(answer.memories),
        }
        self._record(connection, "chat.answered", trace_id, data)

    def _record(self, connection: Connection, type_: str, trace_id: str, data: dict[str, Any]) -> None:
        event = NewEvent(type_, source="agent", agent_id=self._settings.name, trace_id=trace_id, data=data)
        self._events.append_in(connection, event)


def _quoting(answer: Any, question: str) -> Any:
    """Return an offline answer with what memory holds; it is looked up and never kept, so it can be forgotten."""
    quoted = quotation(answer.memories, question) if answer.offline else ""
    return replace(answer, text=answer.text + quoted) if quoted else answer


def _shown(turn: Turn, memories: tuple[Memo, ...]) -> Turn:
    return turn if turn.role != "assistant" or not memories else replace(turn, memories=memories)


def _check(text: str, session: str) -> None:
    if not isinstance(text, str) or not text.strip():
        message = "the question is empty; say what you want to know"
        raise QuestionError(message)
    if any("\ud800" <= character <= "\udfff" for character in text):
        message = "the question holds half a surrogate pair, which is not text; send it as UTF-8"
        raise QuestionError(message)
    if len(text) > MAX_QUESTION_CHARS:
        message = f"the question has {len(text):,} characters; at most {MAX_QUESTION_CHARS:,} are taken"
        raise QuestionError(message)
    check_session(session)
