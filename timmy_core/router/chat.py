"""The words of the router: what is asked, what is answered, and what a provider has to offer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol, cast

Role = Literal["system", "user", "assistant"]
Circuit = Literal["closed", "open", "half_open"]


class ErrorClass(StrEnum):
    """Why an attempt failed, in the house's words; each provider's door translates into these."""

    NOT_CONFIGURED = "not_configured"  # a key or a model is missing on our side; nothing was sent
    REFUSED = "connection_refused"
    CONNECTION = "connection_failed"  # reset, unreachable, name not found
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    AUTH = "authentication_failed"
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH = "context_length_exceeded"
    CONTENT_FILTER = "content_filtered"
    BAD_REQUEST = "bad_request"
    SERVER = "server_error"
    OVERLOADED = "overloaded"
    MALFORMED = "malformed_response"
    TRUNCATED = "stream_truncated"
    EMPTY = "empty_answer"
    CANCELLED = "cancelled"
    CIRCUIT_OPEN = "circuit_open"  # not asked at all: the breaker did not admit
    DEADLINE = "deadline_exceeded"  # not asked at all: no time was left


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one provider is asked; times are seconds, and the cascade itself holds every provider to them."""

    messages: tuple[Message, ...]
    model: str
    timeout_s: float
    first_token_s: float
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; None where it did not."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a provider's stream; the last one carries `finish_reason`, and a stream without one was cut."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's whole answer."""

    text: str
    finish_reason: str
    usage: Usage
    model: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one provider in one request; `outcome` is `skipped` where it was not asked at all."""

    provider: str
    model: str
    outcome: Literal["completed", "failed", "skipped", "cancelled"]
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    error_class: str | None = None
    message: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the cascade answered; `offline` says that no model did and `text` explains why."""

    text: str
    provider: str
    model: str
    usage: Usage
    cost_microusd: int | None  # None where the price is not known
    attempts: tuple[Attempt, ...]
    trace_id: str
    offline: bool
    latency_ms: float
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Switch:
    """The provider failed after it had begun: what was shown is void and the answer starts again."""

    from_provider: str
    to_provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a stream, with the whole answer."""

    answer: Answer


StreamPart = Delta | Switch | Done


@dataclass(frozen=True, slots=True)
class Health:
    """What a provider said when it was asked whether it can answer."""

    ok: bool
    message: str
    advice: str = ""
    models: tuple[str, ...] = ()
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, as the status shows it."""

    at: datetime
    error_class: str
    message: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How one provider stands now, and what it did since the store began."""

    name: str
    kind: str
    model: str
    priority: int
    configured: bool  # False: `problem` says what is missing; it is never asked
    problem: str
    advice: str
    circuit: Circuit
    open_until: datetime | None
    consecutive_failures: int
    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    last_success_at: datetime | None
    recent_failures: tuple[Failure, ...] = field(default=())


class Provider(Protocol):
    """A model behind a door; every error that leaves it is a `timmy_core.errors.ProviderError`."""

    name: str
    kind: str
    default_model: str
    models: Mapping[str, str]  # what callers ask for ("default", "large" …) -> the provider's own name of it
    priority: int
    first_token_s: float | None  # its own limit; None where the router's holds
    free: bool  # a call costs nothing, because it runs on a machine of the owner's

    def problem(self) -> tuple[str, str] | None:
        """Return (what is missing, what to do) when it cannot be asked at all; does no I/O."""
        ...

    async def chat(self, request: ChatRequest) -> Completion:
        """Return the whole answer, or raise ProviderError."""
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer in chunks; the last carries the finish reason.

        A chunk without text says that the model is at work (it thinks), which ends the wait for the first token.
        """
        ...

    async def check(self, *, timeout_s: float) -> Health:
        """Ask whether it would answer, without spending tokens; does network I/O."""
        ...

    async def close(self) -> None:
        """Close every socket."""
        ...


def as_messages(messages: Sequence[Message | Mapping[str, str]]) -> tuple[Message, ...]:
    """Return canonical messages from `{"role": ..., "content": ...}` mappings or `Message`s.

    Raises:
        ValueError: no messages, an unknown role, or content that is not text.
    """
    result = tuple(_as_message(message) for message in messages)
    if not result:
        text = "no message was given; expected at least one, such as {'role': 'user', 'content': 'hi'}"
        raise ValueError(text)
    return result


def _as_message(message: Message | Mapping[str, str]) -> Message:
    if isinstance(message, Message):
        return message
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant"):
        text = f"message role {role!r} is not known; expected 'system', 'user' or 'assistant'"
        raise ValueError(text)
    if not isinstance(content, str):
        text = f"message content has to be text, not {type(content).__name__}"
        raise ValueError(text)  # noqa: TRY004 - one error for every wrong message
    return Message(cast("Role", role), content)
