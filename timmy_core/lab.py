"""The lab: what was recorded, replayed against another policy, and the chosen policy as a change of `timmy.toml`.

It reads what the router recorded, replays it with the router's own code, and hands what was chosen to the upgrade
queue. It changes nothing by itself: a person decides there.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from timmy_core.clock import Clock
from timmy_core.errors import ReplayError, SettingsError
from timmy_core.events.log import EventLog
from timmy_core.router.recorded import MAX_REQUESTS, Recording, read_recording
from timmy_core.router.replay import Cost, Plan, Replayed, as_recorded, replay
from timmy_core.router.router import Router
from timmy_core.settings import RouterSettings, Settings
from timmy_core.settings_change import KeyPath, Value, changed
from timmy_core.store.engine import Store

WEEK: Final = timedelta(days=7)


class Proposed(Protocol):
    """What the queue made of it: `timmy_core.upgrades.model.Proposal`."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Queue(Protocol):
    """Where changes are proposed: `timmy_core.upgrades.queue.Upgrades`."""

    def find(self, file: Path) -> tuple[str, str] | None:
        """Return a file's path within the repository and its text on the branch; None where it is not there."""
        ...

    def propose(self, *, description: str, files: Mapping[str, str], proposed_by: str) -> Proposed:
        """Make a proposal."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What a policy changes in `timmy.toml`.

    Args:
        values: where -> the new value; empty where the file says all of it already.
        diff: the change, as git shows one.
        path: the file within the repository; empty where it is not in one.
        text: the whole file as it would be.
        problem: why it cannot be proposed, and what to do; empty where it can.
    """

    values: Mapping[KeyPath, Value]
    diff: str = ""
    path: str = ""
    text: str = ""
    problem: str = ""


class Lab:
    """Tries policies on what was recorded.

    Args:
        store: where attempts are recorded.
        events: the log, which knows of requests that nobody was asked.
        clock: the time.
        router: who is asked now, and in which order.
        cost: what tokens cost.
        settings: those in force.
        queue: opens the queue of proposals; raises where there is none.
    """

    def __init__(
        self,
        *,
        store: Store,
        events: EventLog,
        clock: Clock,
        router: Router,
        cost: Cost,
        settings: Callable[[], Settings],
        queue: Callable[[], Queue],
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._router = router
        self._cost = cost
        self._settings = settings
        self._queue = queue

    # Trying --------------------------------------------------------------------------------------------------

    def today(self) -> Plan:
        """Return the policy in force: who is asked now, in which order, and the numbers of `[router]`."""
        infos = self._router.providers()
        return Plan(tuple(info.name for info in infos if info.enabled), self._settings().router)

    def plan(self, *, order: tuple[str, ...] | None = None, **numbers: Any) -> Plan:
        """Return today's policy with other numbers of `[router]`, and with another order where one is given.

        Raises:
            ReplayError: a number makes no sense.
        """
        today = self.today()
        given = today.router.model_dump(exclude_unset=True) | numbers
        try:
            router = RouterSettings.model_validate(given)
        except ValidationError as error:
            found = (f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
            message = f"this is no policy: {'; '.join(found).replace('Value error, ', '')}"
            raise ReplayError(message) from None
        return Plan(today.order if order is None else order, router)

    def recording(
        self, *, since: datetime | None = None, until: datetime | None = None, limit: int = MAX_REQUESTS
    ) -> Recording:
        """Return what was recorded in a time, the last 7 days if none is given.

        Raises:
            ReplayError: the time or the limit makes no sense.
        """
        ends = until or self._clock.now()
        return read_recording(self._store, self._events, since=since or ends - WEEK, until=ends, limit=limit)

    def recorded(self, recording: Recording) -> Replayed:
        """Return what really happened, in the form of a replay."""
        return as_recorded(recording)

    def replay(self, recording: Recording, plan: Plan | None = None, *, seed: int = 0) -> Replayed:
        """Replay a recording under a policy, today's if none is given; see `timmy_core.router.replay.replay`.

        Raises:
            ReplayError: the policy asks nobody or somebody unknown, or it took too long.
        """
        return replay(recording, plan or self.today(), self._router.providers(), cost=self._cost, seed=seed)

    # Proposing -----------------------------------------------------------------------------------------------

    def change(self, plan: Plan) -> Change:
        """Return what a policy changes in `timmy.toml`, as it is on the branch that proposals land on.

        Raises:
            UpgradeError: there is no queue; says what to do.
            SettingsError: the file is written so that it has to be changed by hand.
        """
        file = self._settings().toml_path
        found = self._queue().find(file)
        if found is None:
            return Change(
                self._numbers(plan),
                problem=f"{file} is not on the branch that proposals land on, so a change of it cannot be proposed; "
                "commit it there, or write the lines by hand",
            )
        path, before = found
        values = self._numbers(plan) | _order(plan, before)
        after = changed(before, values)
        lines = difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
        )
        problem = "" if values else "timmy.toml says this already; choose another policy"
        return Change(values, "".join(lines), path, after, problem)

    def propose(self, plan: Plan, *, by: str, why: str = "") -> Proposed:
        """Propose the change to the upgrade queue, where people decide about it.

        Raises:
            ReplayError: there is nothing to change, or the file is not where proposals land.
            UpgradeError: the queue refused it.
        """
        change = self.change(plan)
        if change.problem:
            raise ReplayError(change.problem)
        description = f"Another policy for the cascade\n\n{why}".strip()
        return self._queue().propose(description=description, files={change.path: change.text}, proposed_by=by)

    def _numbers(self, plan: Plan) -> dict[KeyPath, Value]:
        now = self._settings().router
        return {
            ("router", name): getattr(plan.router, name)
            for name in RouterSettings.model_fields
            if getattr(plan.router, name) != getattr(now, name)
        }


def _order(plan: Plan, text: str) -> dict[KeyPath, Value]:
    """Return what has to change so that the file's own order is that of the plan."""
    tables: list[dict[str, Any]] = tomllib.loads(text).get("providers") or []
    places = {str(table.get("name")): number for number, table in enumerate(tables)}
    lost = [name for name in plan.order if name not in places]
    if lost:
        message = f"the file has no [[providers]] table for {', '.join(lost)}; write one, and then choose its place"
        raise SettingsError(message)
    found: dict[KeyPath, Value] = {}
    for name, number in places.items():
        asked = name in plan.order
        if asked != tables[number].get("enabled", True):
            found["providers", number, "enabled"] = None if asked else False
    usual = 100
    by_file = sorted(plan.order, key=lambda name: (tables[places[name]].get("priority", usual), places[name]))
    if tuple(by_file) != plan.order:
        for place, name in enumerate(plan.order, 1):
            if tables[places[name]].get("priority", usual) != place:
                found["providers", places[name], "priority"] = place
    return found
