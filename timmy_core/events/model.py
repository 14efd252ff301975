"""What an event is, which types are declared, and how an event is checked before it may be written."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import iso, new_id, to_us
from timmy_core.errors import EventDataError, UnknownEventTypeError

VERSION: Final = 1
MAX_DATA_BYTES: Final = 256 * 1024
MAX_FIELD_CHARS: Final = 200
OWN_PREFIX: Final = "x."

# Every declared type with what it means; the reference page and the pages' words are made from this table.
EVENT_TYPES: Final[dict[str, str]] = {
    "task.created": "a task was posted",
    "task.bidding": "a task is open for bids",
    "task.assigned": "a task was given to an agent",
    "task.started": "an agent began a task",
    "task.completed": "a task was done",
    "task.failed": "a task failed",
    "task.canceled": "a task was withdrawn",
    "agent.joined": "an agent registered",
    "agent.left": "an agent left",
    "agent.status_changed": "an agent's state changed",
    "agent.token_made": "an agent got a token to come in with",
    "agent.token_revoked": "an agent's token was made void",
    "bid.submitted": "an agent bid for a task",
    "auction.closed": "an auction ended",
    "tool.called": "an agent called a tool",
    "tool.completed": "a tool returned",
    "tool.failed": "a tool failed",
    "system.error": "something broke that needs a person",
    "system.warning": "something looks wrong",
    "system.info": "something worth knowing happened",
    "chat.asked": "Timmy was asked a question",
    "chat.answered": "Timmy answered, or said that no model did",
    "llm.completed": "a provider answered",
    "llm.failed": "a provider failed",
    "llm.cancelled": "the caller gave up before the provider answered",
    "llm.unanswered": "no provider answered and the offline answer was given",
    "circuit.opened": "a provider failed too often and is left alone for a while",
    "circuit.half_opened": "a provider gets one probe",
    "circuit.closed": "a provider is well again",
    "provider.enabled": "a person switched a provider on",
    "provider.disabled": "a person switched a provider off",
    "provider.isolated": "a person took a provider out of the cascade",
    "provider.closed": "a person let a provider be asked again at once",
    "provider.reprioritized": "a person changed when a provider's turn comes",
    "router.reloaded": "a changed configuration took effect",
    "router.reload_failed": "a changed configuration is wrong, and the old one stays",
    "invoice.created": "an invoice was made",
    "invoice.accepted": "a payer's money is held for an invoice, and not ours yet",
    "invoice.settled": "an invoice was paid to us",
    "invoice.expired": "an invoice ran out unpaid",
    "invoice.canceled": "an invoice was withdrawn",
    "payment.initiated": "money was set aside for a payment, before the node was asked",
    "payment.sent": "a payment left",
    "payment.settled": "a payment arrived",
    "payment.failed": "a payment failed",
    "budget.reserved": "part of a budget was set aside",
    "budget.released": "a reservation was given back",
    "budget.exceeded": "a budget refused a spend",
    "budget.changed": "a person changed what an agent may spend",
    "ledger.opened": "the book of a node began with what the node held",
    "ledger.adjusted": "a difference between book and node was booked under its name",
    "ledger.reconciled": "the ledger was compared with a node",
    "ledger.finding": "the ledger and a node do not agree on something",
    "ledger.resolved": "a finding of the ledger was settled",
    "memory.stored": "an entry was remembered",
    "memory.recalled": "memory was asked about a question",
    "memory.failed": "memory could not be asked or written, and the answer came without it",
    "memory.switched": "a person switched memory on or off for a session",
    "memory.edited": "an entry was changed",
    "memory.confirmed": "a person took a candidate over as a fact",
    "memory.rejected": "a person turned a candidate down",
    "memory.closed": "a fact no longer holds",
    "memory.forgotten": "an entry was removed",
    "upgrade.proposed": "a change was proposed",
    "upgrade.tests_started": "a proposal's tests began",
    "upgrade.tests_passed": "a proposal's tests were green",
    "upgrade.tests_failed": "a proposal's tests were red, or could not run",
    "upgrade.approved": "a person approved a proposal",
    "upgrade.bypassed": "one person approved in a hurry what needs more people",
    "upgrade.rejected": "a person rejected a proposal",
    "upgrade.expired": "a proposal ran out",
    "upgrade.queued": "a proposal waits for its turn to land",
    "upgrade.applying": "the branch is about to move to a proposal",
    "upgrade.applied": "a proposal landed",
    "upgrade.confirmed": "an applied proposal was found well",
    "upgrade.conflict": "a proposal and the branch touch the same lines",
    "upgrade.stale": "the branch moved so that a proposal has to be approved anew",
    "upgrade.blocked": "something in the work tree is in a proposal's way",
    "upgrade.failed": "a proposal could not land",
    "upgrade.rolled_back": "an applied proposal was taken back",
    "upgrade.recovered": "what a crash left of a proposal was finished or undone",
    "upgrade.noticed": "somebody was told of a proposal",
    "upgrade.notice_failed": "nobody could be told of a proposal",
    "upgrade.pin_set": "a person set a PIN",
    "upgrade.pin_refused": "a wrong PIN was given",
    "upgrade.pin_locked": "five wrong PINs in a row locked a person's for a while",
    "upgrade.pin_removed": "a person may not decide any more",
    "log.verified": "the chain was checked",
    "log.redacted": "an event's data was removed",
    "log.sealed": "a segment was archived",
    "log.pruned": "archived events were removed from the store",
    "log.backed_up": "a backup of the home was made",
    "log.restored": "the home was restored from a backup",
    "alert.raised": "something needs a person's eye",
    "alert.resolved": "what an alert was about is over",
    "alert.notified": "somebody was told of an alert",
    "alert.notify_failed": "nobody could be told of an alert",
}

_TYPE: Final = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log; `data` is None once it was redacted, `hash` is 64 hex digits."""

    seq: int
    id: str
    type: str
    ts: datetime
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    data: Mapping[str, Any] | None
    v: int
    hash: str

    @property
    def family(self) -> str:
        """The first word of the type, such as `llm`."""
        return self.type.partition(".")[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the event as JSON can carry it; `ts` is ISO 8601 in UTC with microseconds."""
        return {
            "seq": self.seq,
            "id": self.id,
            "type": self.type,
            "ts": iso(self.ts),
            "source": self.source,
            "task_id": self.task_id,
            "agent_id": self.agent_id,
            "trace_id": self.trace_id,
            "data": self.data,
            "v": self.v,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be; `id` and `ts` are made when None, and the same id again is written once only."""

    type: str
    source: str
    data: Mapping[str, Any] = field(default_factory=dict)
    task_id: str | None = None
    agent_id: str | None = None
    trace_id: str | None = None
    id: str | None = None
    ts: datetime | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked event, as it goes into its row; `ts_us` is None where the writer is to stamp it."""

    id: str
    type: str
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    data_json: str
    ts_us: int | None


def families() -> tuple[str, ...]:
    """Return the declared families, in the order of the table."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in EVENT_TYPES))


def prepare(event: NewEvent) -> Prepared:
    """Check an event and put its data into JSON.

    Raises:
        UnknownEventTypeError: the type is neither declared nor one's own (`x.…`).
        EventDataError: a field is too long, the data is not JSON or too large, or the time has no zone.
    """
    _check_type(event.type)
    for name in ("source", "task_id", "agent_id", "trace_id", "id"):
        _check_field(name, getattr(event, name))
    if not event.source:
        message = "source is empty; say who writes the event, for instance 'cli' or 'agent'"
        raise EventDataError(message)
    if event.id is not None and not event.id:
        message = "id is empty; leave it out to have one made, or give one that is used once"
        raise EventDataError(message)
    try:
        ts_us = None if event.ts is None else to_us(event.ts)
    except ValueError as error:
        raise EventDataError(str(error)) from None
    if ts_us is not None and ts_us < 0:
        message = f"the time {event.ts} lies before 1970, where the log's times begin"
        raise EventDataError(message)
    return Prepared(
        event.id or new_id(),
        event.type,
        event.source,
        event.task_id,
        event.agent_id,
        event.trace_id,
        encode(event.data),
        ts_us,
    )


def encode(data: Mapping[str, Any], most: int = MAX_DATA_BYTES) -> str:
    """Return data as compact JSON of at most `most` bytes in UTF-8, 256 KiB in an event.

    Raises:
        EventDataError: names the first value that JSON cannot carry, or the size.
    """
    if not isinstance(data, Mapping):
        message = f"data has to be a mapping such as {{'title': 'x'}}, not {type(data).__name__}"
        raise EventDataError(message)
    problem = _not_json(data, "data", 0)
    if problem:
        raise EventDataError(problem)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dict)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        message = f"data holds half a surrogate pair, which is not text: {error.object[error.start : error.end]!r}"
        raise EventDataError(message) from None
    if size > most:
        message = (
            f"data is {size:,} bytes of JSON; at most {most:,} fit: "
            "keep large content in a blob (`append(..., large=True)`), or elsewhere with its name here"
        )
        raise EventDataError(message)
    return text


_MAX_DEPTH: Final = 64
_MAX_INT: Final = 1 << 63  # what every reader of JSON that has integers at all can hold


def _not_json(value: Any, where: str, depth: int) -> str | None:  # noqa: PLR0911 - one line a kind of value
    """Say where and why a value is not JSON, or return None."""
    if value is None or isinstance(value, (str, bool)):
        return None
    if isinstance(value, int):
        return None if -_MAX_INT <= value < _MAX_INT else f"{where} is an integer of more than 64 bits; give it as text"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} is {value}, which JSON cannot carry; use null or text"
    if depth >= _MAX_DEPTH:
        return f"{where} is nested deeper than {_MAX_DEPTH} levels"
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            return f"{where} has the key {wrong!r}; keys have to be text, not {type(wrong).__name__}"
        return _first(_not_json(item, f"{where}.{key}", depth + 1) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return _first(_not_json(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value))
    return f"{where} is of type {type(value).__name__}, which is not JSON; give text, numbers, lists or mappings"


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem), None)


def _check_type(name: str) -> None:
    if name in EVENT_TYPES:
        return
    if isinstance(name, str) and name.startswith(OWN_PREFIX) and _TYPE.match(name) and len(name) <= MAX_FIELD_CHARS:
        return
    near = near_types(str(name))
    hint = f"did you mean {' or '.join(near)}?" if near else "`timmy events types` lists them."
    message = f"event type {name!r} is not declared; {hint} A type of your own begins with 'x.', as in 'x.backup.made'."
    raise UnknownEventTypeError(message)


def near_types(name: str, known: Sequence[str] = tuple(EVENT_TYPES)) -> list[str]:
    """Return at most three declared types that look like `name`."""
    known = tuple(dict.fromkeys(known))
    return difflib.get_close_matches(name.replace("_", ".", 1) if "." not in name else name, known, n=3, cutoff=0.6)


def _check_field(name: str, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        message = f"{name} has to be text, not {type(value).__name__}"
        raise EventDataError(message)
    if len(value) > MAX_FIELD_CHARS or not value.isprintable():
        message = f"{name} has to be at most {MAX_FIELD_CHARS} printable characters, not {value[:40]!r}…"
        raise EventDataError(message)
