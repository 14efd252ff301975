"""Timmy: a prompt, the session's history, and an answer from the cascade, kept with its events."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.errors import QuestionError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.settings import AgentSettings
from timmy_core.store.engine import Connection, Store
from timmy_core.store.lake import FrameSpec

MAX_QUESTION_CHARS: Final = 100_000
MAX_HISTORY: Final = 1000
_SESSION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,99}$")

# A question without a model's answer is left out: models expect the two sides to take turns.
_ANSWERED: Final = """
SELECT role, content FROM turns AS turn
WHERE session = ? AND offline = 0 AND EXISTS (
    SELECT 1 FROM turns AS answer
    WHERE answer.session = turn.session AND answer.trace_id = turn.trace_id
    AND answer.role = 'assistant' AND answer.offline = 0
)
ORDER BY id DESC LIMIT ?
"""

TURNS_FRAME: Final = FrameSpec(
    name="turns",
    source="turns",
    columns={
        "id": ("id", "int"),
        "ts": ("ts", "time"),
        "session": ("session", "text"),
        "role": ("role", "text"),
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "offline": ("offline", "bool"),
        "trace_id": ("trace_id", "text"),
        "characters": ("length(content)", "int"),
    },
    time="ts",
    key="id",
    grows=True,
)


class Answered(Protocol):
    """What the agent has to know of an answer, whoever gives it."""

    @property
    def text(self) -> str:
        """The answer's text."""

    @property
    def provider(self) -> str:
        """Who answered."""

    @property
    def model(self) -> str:
        """The model that answered."""

    @property
    def offline(self) -> bool:
        """Whether no model answered."""

    @property
    def latency_ms(self) -> float:
        """From the question to the whole answer, in milliseconds."""

    @property
    def attempts(self) -> Sequence[object]:
        """One entry a provider that was considered."""


class Parts(Protocol):
    """An answer that comes in parts, and can be given up."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the parts."""

    async def aclose(self) -> None:
        """End the work, and wait until it has ended."""


class Cascade(Protocol):
    """What the agent asks; the router's own face fits."""

    async def chat(
        self,
        messages: Sequence[dict[str, str]],
        *,
        deadline_s: float | None,
        trace_id: str,
        agent_id: str,
        session: str,
        local_only: bool,
    ) -> Any:
        """Return an answer."""

    def stream(
        self,
        messages: Sequence[dict[str, str]],
        *,
        deadline_s: float | None,
        trace_id: str,
        agent_id: str,
        session: str,
        local_only: bool,
    ) -> Parts:
        """Return the parts; the last one has the attribute `answer`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said in a session, by the user or by Timmy."""

    id: int
    session: str
    role: str
    content: str
    provider: str | None
    model: str | None
    offline: bool
    trace_id: str
    ts: datetime


@dataclass(frozen=True, slots=True)
class _Question:
    session: str
    trace_id: str
    messages: list[dict[str, str]]


class Agent:
    """Answers questions; runs on Timmy's own event loop."""

    def __init__(
        self, *, store: Store, events: EventLog, cascade: Cascade, settings: AgentSettings, clock: Clock
    ) -> None:
        self._store = store
        self._events = events
        self._cascade = cascade
        self._settings = settings
        self._clock = clock

    async def ask(
        self, text: str, *, session: str = "default", deadline_s: float | None = None, local_only: bool = False
    ) -> Any:
        """Ask the cascade with the session's history; question and answer are durable when this returns.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        question = await self._begin(text, session)
        answer = await self._cascade.chat(
            question.messages,
            deadline_s=deadline_s,
            trace_id=question.trace_id,
            agent_id=self._settings.name,
            session=session,
            local_only=local_only,
        )
        await self._finish(question, answer)
        return answer

    async def ask_stream(
        self, text: str, *, session: str = "default", deadline_s: float | None = None, local_only: bool = False
    ) -> AsyncGenerator[Any, None]:
        """Yield the router's stream parts; the last one, with the whole answer, comes once the answer is durable.

        Raises:
            QuestionError: the question is empty or too long, or the session's name is not usable.
            StoreError: the question or the answer could not be kept.
        """
        question = await self._begin(text, session)
        parts = self._cascade.stream(
            question.messages,
            deadline_s=deadline_s,
            trace_id=question.trace_id,
            agent_id=self._settings.name,
            session=session,
            local_only=local_only,
        )
        # Who stops reading has stopped the provider's call too, with its event, when this has ended.
        async with aclosing(parts):
            async for part in parts:
                answer = getattr(part, "answer", None)
                if answer is not None:
                    await self._finish(question, answer)
                yield part

    def history(self, session: str = "default", *, limit: int = 50) -> list[Turn]:
        """Return the latest turns of a session, oldest first.

        Raises:
            QuestionError: the limit is out of range.
        """
        if not 1 <= limit <= MAX_HISTORY:
            message = f"limit {limit} is out of range; expected 1 to {MAX_HISTORY:,}"
            raise QuestionError(message)
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT id, session, role, content, provider, model, offline, trace_id, ts FROM turns "
                "WHERE session = ? ORDER BY id DESC LIMIT ?",
                (session, limit),
            ).fetchall()
        return [_turn(row) for row in reversed(rows)]

    def questions(self) -> int:
        """Return how many questions were asked in all."""
        with self._store.read() as connection:
            # Turns are only ever added, so this walks the table's b-tree by its rowid alone.
            row = connection.execute("SELECT count(*) FROM turns WHERE role = 'user'").fetchone()
        return int(row[0])

    async def _begin(self, text: str, session: str) -> _Question:
        _check(text, session)
        trace_id = new_id()
        history = await self._store.awrite(lambda connection: self._keep_question(connection, text, session, trace_id))
        messages = [{"role": "system", "content": self._settings.system_prompt}] if self._settings.system_prompt else []
        messages += [{"role": role, "content": content} for role, content in reversed(history)]
        messages.append({"role": "user", "content": text})
        return _Question(session, trace_id, messages)

    def _keep_question(self, connection: Connection, text: str, session: str, trace_id: str) -> list[tuple[str, str]]:
        history = connection.execute(_ANSWERED, (session, self._settings.history_messages)).fetchall()
        connection.execute(
            "INSERT INTO turns (session, role, content, trace_id, ts) VALUES (?, 'user', ?, ?, ?)",
            (session, text, trace_id, to_us(self._clock.now())),
        )
        self._record(connection, "chat.asked", trace_id, {"session": session, "characters": len(text)})
        return history

    async def _finish(self, question: _Question, answer: Answered) -> None:
        await self._store.awrite(lambda connection: self._keep_answer(connection, question, answer))

    def _keep_answer(self, connection: Connection, question: _Question, answer: Answered) -> None:
        connection.execute(
            "INSERT INTO turns (session, role, content, provider, model, offline, trace_id, ts) "
            "VALUES (?, 'assistant', ?, ?, ?, ?, ?, ?)",
            (
                question.session,
                answer.text,
                answer.provider,
                answer.model,
                answer.offline,
                question.trace_id,
                to_us(self._clock.now()),
            ),
        )
        data = {
            "session": question.session,
            "provider": answer.provider,
            "model": answer.model,
            "offline": answer.offline,
            "latency_ms": round(answer.latency_ms, 3),
            "attempts": len(answer.attempts),
            "characters": len(answer.text),
        }
        self._record(connection, "chat.answered", question.trace_id, data)

    def _record(self, connection: Connection, type_: str, trace_id: str, data: dict[str, Any]) -> None:
        event = NewEvent(type_, source="agent", agent_id=self._settings.name, trace_id=trace_id, data=data)
        self._events.append_in(connection, event)


def _turn(row: Sequence[Any]) -> Turn:
    id_, session, role, content, provider, model, offline, trace_id, ts_us = row
    return Turn(id_, session, role, content, provider, model, bool(offline), trace_id, from_us(ts_us))


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
    if not _SESSION.match(session):
        message = f"the session {session!r} is not usable; expected 1 to 100 letters, digits or _ . : -, such as 's1'"
        raise QuestionError(message)
