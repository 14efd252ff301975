"""What a person sets while Timmy runs: a provider in or out, isolated, first or last; each change with who made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast, get_args

from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.errors import ControlError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event, NewEvent
from timmy_core.store.engine import Connection, Store

Action = Literal["enable", "disable", "isolate", "close", "priority"]

ACTIONS: Final[tuple[str, ...]] = get_args(Action)
MAX_PRIORITY: Final = 10_000
MAX_BY: Final = 100

_EVENTS: Final[dict[Action, str]] = {
    "enable": "provider.enabled",
    "disable": "provider.disabled",
    "isolate": "provider.isolated",
    "close": "provider.closed",
    "priority": "provider.reprioritized",
}
_CLOSED: Final = "provider.closed"
_COLUMNS: Final = "provider, enabled, priority, isolated, changed_by, changed_at"
_KEPT: Final = f"SELECT {_COLUMNS} FROM provider_controls LIMIT 10000"  # noqa: S608 - constants
_ONE: Final = f"SELECT {_COLUMNS} FROM provider_controls WHERE provider = ?"  # noqa: S608 - constants
_WRITE: Final = f"INSERT OR REPLACE INTO provider_controls ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class Control:
    """What was set for one provider; None leaves what `timmy.toml` says."""

    provider: str
    enabled: bool | None = None
    priority: int | None = None
    isolated: bool = False
    changed_by: str = ""
    changed_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Order:
    """What a process has to obey.

    Args:
        control: how the provider is to stand.
        close: its circuits are to be closed, and what kept callers away is to be forgotten.
        trace_id: what the events of this change share; None where it is not known.
    """

    control: Control
    close: bool = False
    trace_id: str | None = None


class Controls:
    """The table `provider_controls` and the events that tell of it, written in one transaction.

    Any process may write; each follows what the others wrote by their events, so a restart and a second process
    end with the same state.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        # Read before the table: a change between the two is then seen twice, which does no harm, and never missed.
        self._seen = events.head()[0]
        self._rows: list[Sequence[Any]] | None = None
        self._own: dict[str, None] = {}  # the ids of this process's own events, which it has obeyed already

    def kept(self) -> dict[str, Control]:
        """Return what was set for each provider, by its name."""
        with self._store.read() as connection:
            return {row[0]: _control(row) for row in connection.execute(_KEPT)}

    async def change(self, provider: str, action: str, *, by: str, value: int | None = None) -> Order:
        """Write a change and its event; both are durable when this returns.

        Raises:
            ControlError: the action, the value or the name of who asks is wrong.
        """
        done = checked(action, by, value)
        id_ = new_id()
        self._own[id_] = None
        while len(self._own) > _REMEMBERED:
            del self._own[next(iter(self._own))]
        return await self._store.awrite(lambda connection: self._write(connection, provider, done, by, value, id_))

    def _write(
        self, connection: Connection, provider: str, action: Action, by: str, value: int | None, id_: str
    ) -> Order:
        row = connection.execute(_ONE, (provider,)).fetchone()
        before = _control(row) if row else Control(provider)
        after = replace(_changed(before, action, value), changed_by=by, changed_at=self._clock.now())
        flag = None if after.enabled is None else int(after.enabled)
        changed_at = to_us(after.changed_at)
        connection.execute(_WRITE, (provider, flag, after.priority, int(after.isolated), by, changed_at))
        data: dict[str, Any] = {"provider": provider, "by": by, **_state(after), "before": _state(before)}
        trace_id = new_id()
        event = NewEvent(_EVENTS[action], "router", data, trace_id=trace_id, id=id_, ts=after.changed_at)
        self._events.append_in(connection, event)
        return Order(after, action == "close", trace_id)

    def others(self) -> list[Order]:
        """Return what to obey if another process changed something since the last time; else nothing.

        The state comes from the table, so that an event whose data was removed is obeyed all the same.
        """
        with self._store.read() as connection:
            rows = connection.execute(_KEPT).fetchall()
        if rows == self._rows:
            return []
        self._rows = rows
        found = self._events.list(family="provider", after=self._seen, limit=_REMEMBERED, order="asc")
        self._seen = found[-1].seq if found else self._seen
        fresh = [event for event in found if event.id not in self._own]
        return [self._order(_control(row), fresh) for row in rows] if fresh else []

    def _order(self, control: Control, events: Sequence[Event]) -> Order:
        mine = [event for event in events if (event.data or {}).get("provider") == control.provider]
        close = any(event.type == _CLOSED for event in mine)
        return Order(control, close, mine[-1].trace_id if mine else None)


def checked(action: str, by: str, value: int | None) -> Action:
    """Return the action, or say what is wrong with it.

    Raises:
        ControlError: names what is wrong and the choices.
    """
    if action not in ACTIONS:
        message = f"the action {action!r} is not known; expected one of {', '.join(ACTIONS)}"
        raise ControlError(message)
    if not by.strip() or len(by) > MAX_BY or not by.isprintable():
        message = f"by has to say who asks, in 1 to {MAX_BY} printable characters, not {by[:40]!r}"
        raise ControlError(message)
    if action != "priority" and value is not None:
        message = f"{action} takes no value, and {value!r} was given; only priority does"
        raise ControlError(message)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PRIORITY):
        message = f"the priority {value!r} is out of range; expected 0 (asked first) to {MAX_PRIORITY:,}, or none"
        raise ControlError(message)
    return cast("Action", action)


def _changed(before: Control, action: Action, value: int | None) -> Control:
    match action:
        case "enable":
            return replace(before, enabled=True)
        case "disable":
            return replace(before, enabled=False)
        case "isolate":
            return replace(before, isolated=True)
        case "close":
            return replace(before, isolated=False)
        case "priority":
            return replace(before, priority=value)


def _state(control: Control) -> dict[str, Any]:
    return {"enabled": control.enabled, "priority": control.priority, "isolated": control.isolated}


def _control(row: Sequence[Any]) -> Control:
    provider, enabled, priority, isolated, by, at = row
    return Control(provider, None if enabled is None else bool(enabled), priority, bool(isolated), by, from_us(at))
