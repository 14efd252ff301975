"""The router's memory: each attempt as an event and a row in one transaction, and the numbers read back from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import from_us, to_us
from timmy_core.errors import StoreError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.router.breaker import Snapshot
from timmy_core.router.chat import Attempt, Failure
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin, UnansweredRecord
from timmy_core.store.engine import Connection, Store

_log = logging.getLogger(__name__)

SOURCE: Final = "router"
LATENCY_ROWS: Final = 1000
FAILURE_ROWS: Final = 10

_CIRCUIT_EVENTS: Final = {"open": "circuit.opened", "half_open": "circuit.half_opened", "closed": "circuit.closed"}

_INSERT: Final = """
INSERT INTO provider_metrics (event_seq, ts, trace_id, attempt, provider, model, outcome, error_class, latency_us,
                              first_token_us, input_tokens, output_tokens, cost_microusd, message)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_COUNT: Final = """
INSERT INTO provider_totals (provider, requests, errors) VALUES (?, 1, ?)
ON CONFLICT (provider) DO UPDATE SET requests = requests + 1, errors = errors + excluded.errors"""
_CIRCUIT: Final = """
INSERT INTO provider_circuits (provider, model, state, failures, open_until, changed_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (provider, model) DO UPDATE SET state = excluded.state, failures = excluded.failures,
    open_until = excluded.open_until, changed_at = excluded.changed_at"""
_TOTALS: Final = "SELECT requests, errors FROM provider_totals WHERE provider = ?"
_LATENCIES: Final = """
SELECT latency_us FROM provider_metrics WHERE provider = ? AND outcome = 'completed' ORDER BY id DESC LIMIT ?"""
_LAST_SUCCESS: Final = """
SELECT ts FROM provider_metrics WHERE provider = ? AND outcome = 'completed' ORDER BY id DESC LIMIT 1"""
_FAILURES: Final = """
SELECT ts, error_class, message, trace_id FROM provider_metrics WHERE provider = ? AND outcome = 'failed'
ORDER BY id DESC LIMIT ?"""
_CIRCUITS: Final = "SELECT provider, model, state, failures, open_until FROM provider_circuits LIMIT 10000"


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one provider did since the store began; the percentiles are those of its last answers."""

    requests: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    last_success_at: datetime | None = None
    recent_failures: tuple[Failure, ...] = ()


class Metrics:
    """The recorder that writes to the store, never waiting for the disk.

    A write that fails is reported through `logging`: an answer is never lost because its record was.
    """

    def __init__(self, store: Store, events: EventLog) -> None:
        self._store = store
        self._events = events

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Write the attempt's event, its row, its totals and what it did to the circuit, together."""
        event = _attempt_event(record)

        def write(connection: Connection) -> None:
            written = self._events.append_in(connection, event)
            ts = to_us(written.ts)
            connection.execute(_INSERT, (written.seq, ts, *_attempt_row(record)))
            connection.execute(_COUNT, (record.attempt.provider, int(record.attempt.outcome == "failed")))
            if circuit is not None:
                self._write_circuit(connection, circuit, ts)

        self._submit(write, event)

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Write the circuit's move and its new state together."""
        event = _circuit_event(circuit)

        def write(connection: Connection) -> None:
            written = self._events.append_in(connection, event)
            connection.execute(_CIRCUIT, _circuit_row(circuit, to_us(written.ts)))

        self._submit(write, event)

    def unanswered(self, record: UnansweredRecord) -> None:
        """Write that no model answered."""
        event = _unanswered_event(record)

        def write(connection: Connection) -> None:
            self._events.append_in(connection, event)

        self._submit(write, event)

    def circuits(self) -> dict[tuple[str, str], Snapshot]:
        """Return what each circuit was when it was last written, by (provider, model)."""
        with self._store.read() as connection:
            rows = connection.execute(_CIRCUITS).fetchall()
        return {
            (provider, model): Snapshot(state, failures, None if until is None else from_us(until))
            for provider, model, state, failures, until in rows
        }

    def forget(self, events: Sequence[tuple[int, str]]) -> None:
        """Remove the words of attempts whose events are redacted; their figures stay."""
        seqs = [(seq,) for seq, _ in events]
        self._store.write(
            lambda connection: connection.executemany(
                "UPDATE provider_metrics SET message = '' WHERE event_seq = ? AND message <> ''", seqs
            )
        )

    def numbers(self, provider: str) -> Numbers:
        """Return what one provider did, by a few bounded queries, each along an index."""
        with self._store.read() as connection:
            totals = connection.execute(_TOTALS, (provider,)).fetchone()
            latencies = connection.execute(_LATENCIES, (provider, LATENCY_ROWS)).fetchall()
            success = connection.execute(_LAST_SUCCESS, (provider,)).fetchone()
            failures = connection.execute(_FAILURES, (provider, FAILURE_ROWS)).fetchall()
        ordered = sorted(row[0] for row in latencies)
        return Numbers(
            requests=totals[0] if totals else 0,
            errors=totals[1] if totals else 0,
            p50_ms=_percentile_ms(ordered, 50),
            p95_ms=_percentile_ms(ordered, 95),
            last_success_at=from_us(success[0]) if success else None,
            recent_failures=tuple(Failure(from_us(ts), kind or "", text, trace) for ts, kind, text, trace in failures),
        )

    def _write_circuit(self, connection: Connection, circuit: CircuitRecord, ts: int) -> None:
        if circuit.transition is not None:
            self._events.append_in(connection, _circuit_event(circuit))
        connection.execute(_CIRCUIT, _circuit_row(circuit, ts))

    def _submit(self, write: Callable[[Connection], None], event: NewEvent) -> None:
        def written(future: Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or error is not None:
                _log.error("the record of %s (trace %s) was not written: %s", event.type, event.trace_id, error)

        try:
            self._store.submit(write).add_done_callback(written)
        except StoreError as error:
            _log.error("the record of %s (trace %s) was not written: %s", event.type, event.trace_id, error)


def _attempt_event(record: AttemptRecord) -> NewEvent:
    attempt = record.attempt
    data = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.model": record.response_model,
        "gen_ai.response.finish_reasons": None if record.finish_reason is None else [record.finish_reason],
        "gen_ai.usage.input_tokens": record.usage.input_tokens,
        "gen_ai.usage.output_tokens": record.usage.output_tokens,
        "error.type": attempt.error_class,
        "timmy.kind": record.kind,
        "timmy.outcome": attempt.outcome,
        "timmy.attempt": record.index,
        "timmy.streamed": record.streamed,
        "timmy.latency_ms": round(attempt.latency_ms, 3),
        "timmy.first_token_ms": None if attempt.first_token_ms is None else round(attempt.first_token_ms, 3),
        "timmy.cost_microusd": record.cost_microusd,
        "timmy.message": attempt.message or None,
    }
    return _event(f"llm.{attempt.outcome}", record.origin, data)


def _attempt_row(record: AttemptRecord) -> Sequence[Any]:
    attempt = record.attempt
    first_us = None if attempt.first_token_ms is None else round(attempt.first_token_ms * 1000)
    return (
        record.origin.trace_id,
        record.index,
        attempt.provider,
        attempt.model,
        attempt.outcome,
        attempt.error_class,
        round(attempt.latency_ms * 1000),
        first_us,
        record.usage.input_tokens,
        record.usage.output_tokens,
        record.cost_microusd,
        attempt.message,
    )


def _circuit_event(circuit: CircuitRecord) -> NewEvent:
    move = circuit.transition
    after = circuit.snapshot.circuit if move is None else move.after
    data = {
        "provider": circuit.provider,
        "model": circuit.model,
        "from": None if move is None else move.before,
        "to": after,
        "reason": None if move is None else move.reason,
        "failures": circuit.snapshot.failures,
        "open_until": None if move is None or move.open_until is None else move.open_until.isoformat(),
    }
    return _event(_CIRCUIT_EVENTS[after], circuit.origin, data)


def _circuit_row(circuit: CircuitRecord, ts: int) -> Sequence[Any]:
    kept = circuit.snapshot
    until = None if kept.open_until is None else to_us(kept.open_until)
    return (circuit.provider, circuit.model, kept.circuit, kept.failures, until, ts)


def _unanswered_event(record: UnansweredRecord) -> NewEvent:
    data = {
        "timmy.latency_ms": round(record.latency_ms, 3),
        "timmy.attempts": [_attempt_summary(attempt) for attempt in record.attempts],
    }
    return _event("llm.unanswered", record.origin, data)


def _attempt_summary(attempt: Attempt) -> Mapping[str, Any]:
    return {
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "timmy.outcome": attempt.outcome,
        "error.type": attempt.error_class,
        "timmy.message": attempt.message,
    }


def _event(kind: str, origin: Origin, data: Mapping[str, Any]) -> NewEvent:
    known = {key: value for key, value in data.items() if value is not None}
    if origin.session is not None:
        known["gen_ai.conversation.id"] = origin.session
    return NewEvent(kind, SOURCE, known, task_id=origin.task_id, agent_id=origin.agent_id, trace_id=origin.trace_id)


def _percentile_ms(ordered: Sequence[int], percent: int) -> float | None:
    """The nearest rank: a value that was really measured."""
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[rank - 1] / 1000
