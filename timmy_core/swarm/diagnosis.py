"""Self-diagnosis: failures of one kind that repeat are said once, with a link to what explains them."""

from __future__ import annotations

import collections
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from timmy_core.clock import Clock
from timmy_core.errors import EventConflictError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.swarm.rows import SOURCE

WINDOW: Final = timedelta(minutes=10)
SERIOUS: Final = 4  # so many times the warning's number is an error
BATCH: Final = 2_000
BEHIND: Final = 5_000  # how far back the first look goes
MAX_KINDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of failure: what in the event tells one from another, the words, and where it is explained."""

    by: tuple[str, ...]
    words: str
    link: str


def _of(data: Mapping[str, Any], event: Event, name: str) -> str:
    if name == "agent":
        return event.agent_id or "nobody"
    return str(data.get(name) or "unknown")[:80]


KINDS: Final[Mapping[str, Kind]] = {
    "task.failed": Kind(("kind", "agent"), "tasks of {1} failed ({0})", "/swarm/events?type=task.failed"),
    "tool.failed": Kind(("tool",), "the tool {0} failed", "/swarm/events?type=tool.failed"),
    "llm.failed": Kind(
        ("gen_ai.provider.name", "error.type"), "the provider {0} failed with {1}", "/router/status"
    ),
    "llm.unanswered": Kind((), "questions went unanswered by every provider", "/router/status"),
    "payment.failed": Kind(("node",), "payments of the node {0} failed", "/lightning/ledger"),
    "budget.exceeded": Kind(("agent",), "the budget of {0} refused payments or calls", "/lightning/ledger"),
    "memory.failed": Kind(("step",), "memory failed at: {0}", "/memory"),
    "upgrade.failed": Kind((), "proposals could not land", "/self-modify/queue"),
}  # fmt: skip


@dataclass(slots=True)
class _Seen:
    """What was seen of one kind of failure: the moments in the window, and what was said of it already."""

    at: collections.deque[datetime]
    last: Event
    told: dict[str, datetime]


class Diagnosis:
    """Reads the log behind its cursor, counts, and speaks up; the serving process runs it.

    Args:
        log: read, and told.
        clock: says which failures are old.
        least: how many of one kind within the window are worth a warning.
    """

    def __init__(self, log: EventLog, clock: Clock, least: int) -> None:
        self._log = log
        self._clock = clock
        self._least = least
        self._cursor: int | None = None
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def look(self) -> str:
        """Count what is new, and return in words what was said; nothing where nothing was."""
        if self._cursor is None:
            self._cursor = max(0, self._log.head()[0] - BEHIND)
        while True:
            found = self._log.list(type=list(KINDS), after=self._cursor, limit=BATCH, order="asc")
            for event in found:
                self._count(event)
            if found:
                self._cursor = found[-1].seq
            if len(found) < BATCH:
                break
        return self._speak(self._clock.now())

    def _count(self, event: Event) -> None:
        kind, data = KINDS[event.type], event.data or {}
        key = (event.type, *(_of(data, event, name) for name in kind.by))
        if key not in self._seen:
            if len(self._seen) >= MAX_KINDS:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = _Seen(collections.deque(maxlen=self._least * SERIOUS), event, {})
        self._seen[key].at.append(event.ts)
        self._seen[key].last = event

    def _speak(self, now: datetime) -> str:
        said = 0
        for key, seen in list(self._seen.items()):
            while seen.at and seen.at[0] < now - WINDOW:
                seen.at.popleft()
            if not seen.at:
                del self._seen[key]
                continue
            level = "error" if len(seen.at) >= self._least * SERIOUS else "warning"
            last = seen.told.get(level)
            if len(seen.at) < self._least or (last is not None and now - last < WINDOW):
                continue
            seen.told[level] = now
            self._tell(key, seen, level)
            said += 1
        return f"{said} repeated {'failure' if said == 1 else 'failures'} said" if said else ""

    def _tell(self, key: tuple[str, ...], seen: _Seen, level: str) -> None:
        kind, last = KINDS[key[0]], seen.last
        data = {
            "kind": "repeated", "of": key[0], "what": list(key[1:]), "count": len(seen.at),
            "since": seen.at[0].isoformat(), "message": f"{kind.words.format(*key[1:])} {len(seen.at)} times since "
            f"{seen.at[0]:%H:%M} UTC", "link": kind.link,
            "last": f"/swarm/events?trace={quote(last.trace_id)}" if last.trace_id else f"/swarm/events?seq={last.seq}",
        }  # fmt: skip
        # Said of the same failures before, by a run of Timmy that ended since, it is not said again.
        mark = hashlib.blake2b(f"{key}{level}{seen.at[0].isoformat()}".encode(), digest_size=12).hexdigest()
        with contextlib.suppress(EventConflictError):
            self._log.append(
                f"system.{level}", source=SOURCE, data=data, task_id=last.task_id, agent_id=last.agent_id,
                trace_id=last.trace_id, id=f"diagnosis-{mark}",
            )  # fmt: skip
