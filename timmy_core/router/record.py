"""What the cascade reports while it works, and who may listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from timmy_core.router.breaker import Snapshot, Transition
from timmy_core.router.chat import Attempt, Message, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose request it is; every record of one request carries it."""

    trace_id: str
    agent_id: str | None = None
    task_id: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What was said in one attempt; passed on only to a recorder that `wants_content`."""

    messages: tuple[Message, ...]
    text: str = ""  # of the answer, as far as it came
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at one provider, with what it cost; `attempt.why` says whether it was a retry or a hedge.

    Args:
        usage: as the provider reported it; where it did not, estimated by `timmy_core.router.tokens` and marked so.
        cost_microusd: of this attempt, failed and cancelled ones too; None where no price is known.
        hold_id: the money that was set aside for it, which its record settles; None where there was none.
        content: what was said; None unless the recorder wants it.
        only: the caller wanted this provider and no other.
        local_only: the caller wanted it to stay on this machine.
    """

    origin: Origin
    index: int
    kind: str
    streamed: bool
    attempt: Attempt
    usage: Usage
    response_model: str | None
    finish_reason: str | None
    cost_microusd: int | None
    hold_id: str | None = None
    content: Content | None = None
    only: bool = False
    local_only: bool = False


@dataclass(frozen=True, slots=True)
class CircuitRecord:
    """A circuit as it stands now.

    Args:
        origin: whose request or order moved it.
        provider: whose it is.
        model: of which of its models.
        snapshot: how it stands.
        transition: how it moved; None where it did not.
        ordered: a person moved it, and every process that follows does the same; the first one's record stands for all.
    """

    origin: Origin
    provider: str
    model: str
    snapshot: Snapshot
    transition: Transition | None
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class UnansweredRecord:
    """The whole of a request that no model answered."""

    origin: Origin
    attempts: Sequence[Attempt]
    latency_ms: float


class Recorder(Protocol):
    """Who is told; called on the cascade's loop, so it must return at once and must not raise."""

    @property
    def wants_content(self) -> bool:
        """Whether attempts are to carry what was said."""
        ...

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Take note of an attempt, and of what it did to the circuit."""
        ...

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Take note of a circuit that moved without an attempt having ended."""
        ...

    def unanswered(self, record: UnansweredRecord) -> None:
        """Take note that the offline answer was given."""
        ...


class NoRecorder:
    """Listens to nothing."""

    wants_content = False

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Drop it."""

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Drop it."""

    def unanswered(self, record: UnansweredRecord) -> None:
        """Drop it."""
