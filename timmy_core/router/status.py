"""How the providers stand, put together from what the cascade does now and what the log remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timmy_core.events.log import EventLog
from timmy_core.router.breaker import Snapshot
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import CircuitStatus, Failure, Provider, ProviderStatus
from timmy_core.router.controls import Control
from timmy_core.router.metrics import Numbers
from timmy_core.router.seats import Standing

_STORY: Final = 50  # events of one trace that are looked at


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """What one provider is, and how it is reached; `window_tokens` and the rest are of each model."""

    name: str
    kind: str
    priority: int
    default_model: str
    models: Mapping[str, str]
    window_tokens: Mapping[str, int | None]
    local: bool
    free: bool
    can_prefill: bool
    max_concurrency: int | None
    first_token_s: float | None
    enabled: bool
    isolated: bool
    problem: str
    advice: str


def status_of(
    provider: Provider, cascade: Cascade, standing: Standing, numbers: Numbers, control: Control, failover: str
) -> ProviderStatus:
    """Return how one provider stands."""
    problem, advice = provider.problem() or ("", "")
    circuit = cascade.snapshot(provider.name, provider.default_model)
    return ProviderStatus(
        name=provider.name,
        kind=provider.kind,
        model=provider.default_model,
        priority=standing.priority,
        configured=not problem,
        problem=problem,
        advice=advice,
        circuit=circuit.circuit,
        open_until=circuit.open_until,
        consecutive_failures=circuit.failures,
        requests=numbers.requests,
        errors=numbers.errors,
        p50_ms=numbers.p50_ms,
        p95_ms=numbers.p95_ms,
        last_success_at=numbers.last_success_at,
        recent_failures=numbers.recent_failures,
        # Who is not configured is not asked, whether or not it is switched on.
        enabled=standing.enabled or (bool(problem) and control.enabled is not False),
        isolated=standing.isolated,
        limited_until=circuit.limited_until,
        bar="" if standing.bar is None else standing.bar[1],
        in_flight=standing.in_flight,
        waiting=standing.waiting,
        p99_ms=numbers.p99_ms,
        first_token_p50_ms=numbers.first_token_p50_ms,
        first_token_p95_ms=numbers.first_token_p95_ms,
        tokens_per_s=numbers.tokens_per_s,
        availability=numbers.availability,
        cost_microusd=numbers.cost_microusd,
        unpriced=numbers.unpriced,
        last_failover=failover,
        circuits=tuple(
            _circuit(model, cascade.snapshot(provider.name, model)) for model in dict.fromkeys(provider.models.values())
        ),
        changed_by=control.changed_by,
        changed_at=control.changed_at if control.changed_by else None,
    )


def info_of(provider: Provider, standing: Standing, control: Control) -> ProviderInfo:
    """Return what one provider is."""
    problem, advice = provider.problem() or ("", "")
    models = dict(provider.models)
    return ProviderInfo(
        name=provider.name,
        kind=provider.kind,
        priority=standing.priority,
        default_model=provider.default_model,
        models=models,
        window_tokens={model: provider.window_tokens(model) for model in models.values()},
        local=provider.local,
        free=provider.free,
        can_prefill=provider.can_prefill,
        max_concurrency=provider.max_concurrency,
        first_token_s=provider.first_token_s,
        enabled=standing.enabled or (bool(problem) and control.enabled is not False),
        isolated=standing.isolated,
        problem=problem,
        advice=advice,
    )


def last_failover(provider: str, failures: tuple[Failure, ...], events: EventLog) -> str:
    """Say in words what became of the last request that this provider failed; nothing where it failed none."""
    if not failures:
        return ""
    failure = failures[0]
    said = failure.message or "what it said was removed"
    why = f"it failed ({failure.error_class}: {said})"
    for event in events.list(trace_id=failure.trace_id, family="llm", limit=_STORY):
        if event.type == "llm.unanswered":
            return f"{why}, and nobody else could answer"
        who = (event.data or {}).get("gen_ai.provider.name")
        if event.type == "llm.completed" and who:
            return f"{why}, and was asked again" if who == provider else f"{why}, so {who} answered instead"
    return f"{why}, and the caller did not wait for another"


def _circuit(model: str, snapshot: Snapshot) -> CircuitStatus:
    return CircuitStatus(
        model, snapshot.circuit, snapshot.open_until, snapshot.failures, snapshot.isolated, snapshot.limited_until
    )
