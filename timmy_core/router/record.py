"""What the cascade reports while it works, and who may listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from timmy_core.router.breaker import Snapshot, Transition
from timmy_core.router.chat import Attempt, Usage


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose request it is; every record of one request carries it."""

    trace_id: str
    agent_id: str | None = None
    task_id: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at one provider, with what it cost; never a word of what was said."""

    origin: Origin
    index: int
    kind: str
    streamed: bool
    attempt: Attempt
    usage: Usage
    response_model: str | None
    finish_reason: str | None
    cost_microusd: int | None


@dataclass(frozen=True, slots=True)
class CircuitRecord:
    """A circuit as it stands now; `transition` says that it moved."""

    origin: Origin
    provider: str
    model: str
    snapshot: Snapshot
    transition: Transition | None


@dataclass(frozen=True, slots=True)
class UnansweredRecord:
    """The whole of a request that no model answered."""

    origin: Origin
    attempts: Sequence[Attempt]
    latency_ms: float


class Recorder(Protocol):
    """Who is told; called on the cascade's loop, so it must return at once and must not raise."""

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

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Drop it."""

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Drop it."""

    def unanswered(self, record: UnansweredRecord) -> None:
        """Drop it."""
