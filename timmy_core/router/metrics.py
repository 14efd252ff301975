"""The router's memory: each attempt as an event and a row in one transaction, and the numbers read back from them.

What an attempt cost is booked, and the money set aside for it given back, in that same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import from_us, to_us
from timmy_core.errors import StoreError
from timmy_core.events.blobs import Blobs
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.router.attempt import FAULTS
from timmy_core.router.breaker import Snapshot
from timmy_core.router.budget import settle
from timmy_core.router.chat import Attempt, Failure, Message
from timmy_core.router.content import Keeper, Mode, canonical, canonical_answer, digest_of
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin, UnansweredRecord
from timmy_core.router.report import By, Move, Report, percentile_ms, read_report, read_timeline
from timmy_core.router.tallies import Tallies
from timmy_core.settings import Settings
from timmy_core.store.engine import Connection, Store

_log = logging.getLogger(__name__)

SOURCE: Final = "router"
LATENCY_ROWS: Final = 1000
FAILURE_ROWS: Final = 10
FIRST_TOKEN_ROWS: Final = 100

_CIRCUIT_EVENTS: Final = {"open": "circuit.opened", "half_open": "circuit.half_opened", "closed": "circuit.closed"}

_INSERT: Final = """
INSERT INTO provider_metrics (event_seq, ts, trace_id, agent_id, attempt, why, streamed, provider, model, outcome,
                              error_class, latency_us, first_token_us, input_tokens, output_tokens, cached_tokens,
                              cache_write_tokens, reasoning_tokens, estimated, cost_microusd, message)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_COUNT: Final = """
INSERT INTO provider_totals (provider, requests, errors, completed, cost_microusd, unpriced) VALUES (?, 1, ?, ?, ?, ?)
ON CONFLICT (provider) DO UPDATE SET requests = requests + 1, errors = errors + excluded.errors,
    completed = completed + excluded.completed, cost_microusd = cost_microusd + excluded.cost_microusd,
    unpriced = unpriced + excluded.unpriced"""
_CIRCUIT: Final = """
INSERT INTO provider_circuits (provider, model, state, failures, open_until, isolated, reset_ms, limited_until,
                               changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (provider, model) DO UPDATE SET state = excluded.state, failures = excluded.failures,
    open_until = excluded.open_until, isolated = excluded.isolated, reset_ms = excluded.reset_ms,
    limited_until = excluded.limited_until, changed_at = excluded.changed_at"""
_TOLD: Final = """
SELECT 1 FROM events
WHERE trace_id = ? AND event_type = ? AND data ->> '$.provider' = ? AND data ->> '$.model' = ? LIMIT 1"""
_TOTALS: Final = "SELECT requests, errors, cost_microusd, unpriced FROM provider_totals WHERE provider = ?"
_ANSWERS: Final = """
SELECT latency_us, first_token_us, output_tokens, ts FROM provider_metrics WHERE provider = ? AND outcome = 'completed'
ORDER BY id DESC LIMIT ?"""
_RESULTS: Final = f"""
SELECT total(outcome = 'completed'), total(outcome = 'failed' AND error_class IN ({", ".join("?" * len(FAULTS))}))
FROM (SELECT outcome, error_class FROM provider_metrics WHERE provider = ? ORDER BY id DESC LIMIT ?)"""  # noqa: S608
_FAILURES: Final = """
SELECT ts, error_class, message, trace_id FROM provider_metrics WHERE provider = ? AND outcome = 'failed'
ORDER BY id DESC LIMIT ?"""
# Among so many of the provider's newest answers; a model that is not among them has nothing to say about today.
_FIRST_TOKENS: Final = """
SELECT first_token_us FROM (
    SELECT id, model, first_token_us FROM provider_metrics WHERE provider = ? AND outcome = 'completed'
    ORDER BY id DESC LIMIT 2000
) WHERE model = ? AND first_token_us IS NOT NULL ORDER BY id DESC LIMIT ?"""
_CIRCUITS: Final = """
SELECT provider, model, state, failures, open_until, isolated, reset_ms, limited_until
FROM provider_circuits LIMIT 10000"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one provider did: the first four since the store began, the others in its last 1,000 answers or attempts."""

    requests: int = 0
    errors: int = 0
    cost_microusd: int = 0  # of the attempts whose cost is known
    unpriced: int = 0  # attempts whose cost is not
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    first_token_p50_ms: float | None = None  # of streams only
    first_token_p95_ms: float | None = None
    tokens_per_s: float | None = None  # of the answers whose tokens were counted, from the question to their end
    availability: float | None = None  # answers, of them and the failures that were the provider's fault
    last_success_at: datetime | None = None
    recent_failures: tuple[Failure, ...] = ()


class Metrics:
    """The recorder that writes to the store, never waiting for the disk.

    A write that fails is reported through `logging`: an answer is never lost because its record was.

    Args:
        store: where the rows go.
        events: where the events go.
        content: what of the words is kept; `record_content` of the settings.
        blobs: takes words that are too many for an event; without it their hash is kept instead.
    """

    def __init__(self, store: Store, events: EventLog, *, content: Mode = "off", blobs: Blobs | None = None) -> None:
        self._store = store
        self._events = events
        self._keeper = Keeper(events, blobs)
        self._tallies = Tallies()
        self.content: Mode = content

    def configure(self, settings: Settings) -> None:
        """Take another configuration: attempts that end from now on keep as much of the words as it says."""
        self.content = settings.router.record_content

    @property
    def wants_content(self) -> bool:
        """Whether attempts are to carry what was said."""
        return self.content != "off"

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Write the attempt's event, its row, its totals, its cost and what it did to the circuit, together."""
        event, content = _attempt_event(record), self.content

        def write(connection: Connection) -> None:
            whole = event
            if record.content is not None:
                said = self._keeper.data(connection, content, record)
                whole = replace(event, data={**event.data, **said})
            written = self._events.append_in(connection, whole)
            ts = to_us(written.ts)
            connection.execute(_INSERT, (written.seq, ts, *_attempt_row(record)))
            connection.execute(_COUNT, _count_row(record))
            if record.hold_id is not None or record.cost_microusd:
                settle(
                    connection,
                    hold_id=record.hold_id,
                    agent_id=record.origin.agent_id,
                    cost=record.cost_microusd,
                    now=written.ts,
                )
            if circuit is not None:
                self._write_circuit(connection, circuit, ts)

        self._submit(write, event)

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Write the circuit's move and its new state together; nothing if another process wrote the same order's."""
        event = _circuit_event(circuit)
        same = (event.trace_id, event.type, circuit.provider, circuit.model)

        def write(connection: Connection) -> None:
            if circuit.ordered and connection.execute(_TOLD, same).fetchone():
                return
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
        return {(row[0], row[1]): _snapshot(row[2:]) for row in rows}

    def first_tokens(self, provider: str, model: str, limit: int = FIRST_TOKEN_ROWS) -> list[float]:
        """Return how long the last streams of a model took to their first token, in ms, oldest first."""
        with self._store.read() as connection:
            rows = connection.execute(_FIRST_TOKENS, (provider, model, limit)).fetchall()
        return [row[0] / 1000 for row in reversed(rows)]

    def report(self, *, since: datetime | None = None, until: datetime | None = None, by: By = "model") -> Report:
        """Return what the providers did in a time, the last 24 hours if none is given, one line a model.

        Args:
            since: included.
            until: not included.
            by: what has a line of its own: a `model` of a provider, a `provider`, or an `agent`.

        Raises:
            RouterError: the time or `by` is wrong.
        """
        return read_report(self._store, self._tallies, since, until or self._events.clock.now(), by)

    def timeline(self, provider: str, *, since: datetime | None = None, limit: int = 200) -> list[Move]:
        """Return the latest moves of a provider's circuits, oldest first, as the log tells them."""
        return read_timeline(self._events, provider, since, limit)

    def fingerprint(self, said: str | Sequence[Message]) -> str:
        """Return the hash that this home keeps of an answer's text, or of a question's messages, in mode `hash`."""
        text = canonical_answer(said) if isinstance(said, str) else canonical(said)
        return digest_of(self._store.write(self._keeper.key), text)

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
            requests, errors, cost, unpriced = connection.execute(_TOTALS, (provider,)).fetchone() or (0, 0, 0, 0)
            answers = connection.execute(_ANSWERS, (provider, LATENCY_ROWS)).fetchall()
            fine, faults = connection.execute(_RESULTS, (*FAULTS, provider, LATENCY_ROWS)).fetchone()
            failures = connection.execute(_FAILURES, (provider, FAILURE_ROWS)).fetchall()
        latencies = sorted(row[0] for row in answers)
        first = sorted(row[1] for row in answers if row[1] is not None)
        counted = [(row[0], row[2]) for row in answers if row[2] is not None]
        spent_us = sum(latency for latency, _ in counted)
        return Numbers(
            requests=requests,
            errors=errors,
            cost_microusd=cost,
            unpriced=unpriced,
            p50_ms=percentile_ms(latencies, 50),
            p95_ms=percentile_ms(latencies, 95),
            p99_ms=percentile_ms(latencies, 99),
            first_token_p50_ms=percentile_ms(first, 50),
            first_token_p95_ms=percentile_ms(first, 95),
            tokens_per_s=sum(tokens for _, tokens in counted) * 1e6 / spent_us if spent_us else None,
            availability=fine / (fine + faults) if fine + faults else None,
            last_success_at=from_us(answers[0][3]) if answers else None,
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
    attempt, usage = record.attempt, record.usage
    data = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gen_ai.response.model": record.response_model,
        "gen_ai.response.finish_reasons": None if record.finish_reason is None else [record.finish_reason],
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "error.type": attempt.error_class,
        "timmy.kind": record.kind,
        "timmy.outcome": attempt.outcome,
        "timmy.attempt": record.index,
        "timmy.why": None if attempt.why == "cascade" else attempt.why,
        "timmy.only": True if record.only else None,
        "timmy.local_only": True if record.local_only else None,
        "timmy.streamed": record.streamed,
        "timmy.latency_ms": round(attempt.latency_ms, 3),
        "timmy.first_token_ms": None if attempt.first_token_ms is None else round(attempt.first_token_ms, 3),
        "timmy.estimated": True if usage.estimated else None,
        "timmy.cost_microusd": record.cost_microusd,
        "timmy.message": attempt.message or None,
    }
    return _event(f"llm.{attempt.outcome}", record.origin, data)


def _attempt_row(record: AttemptRecord) -> Sequence[Any]:
    attempt, usage = record.attempt, record.usage
    first_us = None if attempt.first_token_ms is None else round(attempt.first_token_ms * 1000)
    return (
        record.origin.trace_id,
        record.origin.agent_id,
        record.index,
        attempt.why,
        int(record.streamed),
        attempt.provider,
        attempt.model,
        attempt.outcome,
        attempt.error_class,
        round(attempt.latency_ms * 1000),
        first_us,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        int(usage.estimated),
        record.cost_microusd,
        attempt.message,
    )


def _count_row(record: AttemptRecord) -> Sequence[Any]:
    attempt, cost = record.attempt, record.cost_microusd
    failed, completed = attempt.outcome == "failed", attempt.outcome == "completed"
    return (attempt.provider, int(failed), int(completed), cost or 0, int(cost is None))


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
    limited = None if kept.limited_until is None else to_us(kept.limited_until)
    reset_ms = round(kept.reset_s * 1000) or None
    row = (circuit.provider, circuit.model, kept.circuit, kept.failures)
    return (*row, until, int(kept.isolated), reset_ms, limited, ts)


def _snapshot(row: Sequence[Any]) -> Snapshot:
    state, failures, until, isolated, reset_ms, limited = row
    return Snapshot(
        state,
        failures,
        None if until is None else from_us(until),
        isolated=bool(isolated),
        reset_s=(reset_ms or 0) / 1000,
        limited_until=None if limited is None else from_us(limited),
    )


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
