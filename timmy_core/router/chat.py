"""The words of the router: what is asked, what is answered, and what a provider has to offer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
Circuit = Literal["closed", "open", "half_open"]
Outcome = Literal["completed", "failed", "skipped", "cancelled"]


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
    LOADING = "model_loading"  # it is up and reads the model into memory; says nothing about its health
    HEDGE_LOST = "hedge_lost"  # another provider's first token came first, so this one was cancelled
    # Not asked at all, because
    CIRCUIT_OPEN = "circuit_open"  # the breaker did not admit
    ISOLATED = "isolated"  # somebody took it out by hand
    DISABLED = "disabled"  # it is switched off
    BUSY = "concurrency_full"  # as many calls as it may have are under way, and as many wait
    BUDGET = "budget_exhausted"  # the call could cost more than is left, or nobody knows what it costs
    NOT_LOCAL = "not_local"  # the request may not leave this machine
    DEADLINE = "deadline_exceeded"  # no time was left


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that goes with a message."""

    media_type: str  # such as "image/png"
    data: bytes


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a tool called; in a stream it comes whole, once its arguments are complete."""

    id: str
    name: str
    arguments: str  # the JSON text of an object, as the model wrote it


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may ask for."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # the JSON schema of its arguments


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, in a form that each door renders for its own provider."""

    role: Role
    content: str = ""
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()  # of an assistant
    tool_call_id: str | None = None  # of a tool: which call this is the result of
    local_only: bool = False  # of a system: it is left out for providers on machines that are not the owner's


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one provider is asked; times are seconds, and the cascade itself holds every provider to them."""

    messages: tuple[Message, ...]
    model: str
    timeout_s: float
    first_token_s: float
    max_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"  # "auto", "required", "none", or the name of a tool
    json_mode: bool = False  # the answer has to be one JSON object
    json_schema: Mapping[str, Any] | None = None  # and of this form
    prefill: str = ""  # how the answer begins already; the provider goes on from there


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; None where it did not."""

    input_tokens: int | None = None  # all of them, those from a cache included
    output_tokens: int | None = None  # all of them, those spent on thinking included
    cached_tokens: int | None = None  # of the input: read from the provider's cache
    reasoning_tokens: int | None = None  # of the output: spent on thinking
    cache_write_tokens: int | None = None  # of the input: written to the provider's cache
    estimated: bool = False  # ours, by a rule of thumb, because the provider said nothing


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a provider's stream; the last one carries `finish_reason`, and a stream without one was cut."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A provider's whole answer."""

    text: str
    finish_reason: str
    usage: Usage
    model: str
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one provider in one request; `outcome` is `skipped` where it was not asked at all."""

    provider: str
    model: str
    outcome: Outcome
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    error_class: str | None = None
    message: str = ""
    advice: str = ""
    cost_microusd: int | None = None  # None where it is not known; 0 where nothing was asked
    why: Literal["cascade", "retry", "hedge"] = "cascade"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the cascade answered; `offline` says that no model did and `text` explains why."""

    text: str
    provider: str
    model: str
    usage: Usage
    cost_microusd: int | None  # of all attempts together; None where a price is not known
    attempts: tuple[Attempt, ...]
    trace_id: str
    offline: bool
    latency_ms: float
    finish_reason: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    local: bool = True  # it was made on a machine of the owner's
    memories: tuple[Any, ...] = ()  # of an answer of Timmy's: what it was given from memory, each with id and text


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Switch:
    """The provider failed after it had begun: what was shown is void, unless the next one `continues` it."""

    from_provider: str
    to_provider: str
    reason: str
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a stream, with the whole answer."""

    answer: Answer


StreamPart = Delta | ToolCall | Switch | Done


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
class CircuitStatus:
    """How the circuit of one of a provider's models stands."""

    model: str
    circuit: Circuit
    open_until: datetime | None
    consecutive_failures: int
    isolated: bool
    limited_until: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How one provider stands now, and what it did; the circuit is that of its default model.

    Requests, errors and cost are since the store began, times and speed those of its last answers.
    """

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
    enabled: bool = True  # False: it was switched off, here or in the configuration
    isolated: bool = False  # True: it was taken out by hand, until a hand closes it
    limited_until: datetime | None = None  # it asked to be left alone until then
    bar: str = ""  # a fault that only another configuration mends, for which it is not asked
    in_flight: int = 0
    waiting: int = 0  # callers that wait for one of its slots
    p99_ms: float | None = None
    first_token_p50_ms: float | None = None
    first_token_p95_ms: float | None = None
    tokens_per_s: float | None = None
    availability: float | None = None  # of its last attempts: answers, of these and the failures that were its fault
    cost_microusd: int = 0  # of the attempts whose cost is known
    unpriced: int = 0  # attempts whose cost is not
    last_failover: str = ""  # why somebody else answered in its place the last time, in words
    circuits: tuple[CircuitStatus, ...] = ()  # of every model that it has
    changed_by: str = ""  # who steered it last, if somebody did
    changed_at: datetime | None = None


class Provider(Protocol):
    """A model behind a door; every error that leaves it is a `timmy_core.errors.ProviderError`."""

    name: str
    kind: str
    default_model: str
    models: Mapping[str, str]  # what callers ask for ("default", "large" …) -> the provider's own name of it
    priority: int
    first_token_s: float | None  # its own limit; None where the router's holds
    free: bool  # a call costs nothing, because it runs on a machine of the owner's
    local: bool  # what it is asked does not leave the owner's machines
    can_prefill: bool  # it can go on from the beginning of an answer that another one gave
    max_concurrency: int | None  # its own limit; None where the router's holds

    def problem(self) -> tuple[str, str] | None:
        """Return (what is missing, what to do) when it cannot be asked at all; does no I/O."""
        ...

    def window_tokens(self, model: str) -> int | None:
        """Return how many tokens a question and its answer may have together; None where that is not known."""
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
