"""What the tests of metrics and reports share: the record of one attempt, and the wait until it is written."""

from __future__ import annotations

from timmy_core.router.chat import Attempt, Usage
from timmy_core.router.record import AttemptRecord, Origin
from timmy_core.store.engine import Store


def flush(store: Store) -> None:
    """Writes keep their order, so one that is waited for comes behind all the others."""
    store.write(lambda _: None)


def record(
    provider: str = "a",
    outcome: str = "completed",
    *,
    agent_id: str | None = None,
    error: str | None = None,
    latency_ms: float = 10.0,
    first_ms: float | None = None,
    usage: Usage | None = None,
    cost: int | None = 0,
    why: str = "cascade",
    model: str = "m",
) -> AttemptRecord:
    attempt = Attempt(provider, model, outcome, latency_ms, first_ms, error, "", "", cost, why)  # type: ignore[arg-type]
    origin = Origin("t", agent_id=agent_id)
    return AttemptRecord(origin, 0, "scripted", first_ms is not None, attempt, usage or Usage(), None, None, cost)
