"""A home whose alerts are looked at by hand, and a webhook of a test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from timmy_core.alerts.alerts import Alerts
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy


@dataclass
class Receiver:
    """A webhook: what it got, and what it answers with."""

    url: str = ""
    status: int = 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def said(self) -> list[str]:
        return [f"{one['what']} {one['rule']}" for one in (json.loads(body) for _, body in self.got)]


@dataclass
class House:
    timmy: Timmy
    clock: FakeClock
    provider: ScriptedProvider

    @property
    def alerts(self) -> Alerts:
        return self.timmy.alerts

    def types(self) -> list[str]:
        return [event.type for event in self.timmy.events.list(family="alert", order="asc")]

    def look(self, after_s: float = 0.0) -> list[str]:
        self.clock.advance(after_s)
        self.alerts.check()
        return [alert.rule for alert in self.alerts.open()]


Build = Callable[..., House]


def break_chain(house: House, problem: str = "event 7 was altered") -> None:
    data = {"ok": not problem, "checked": 1, "redacted": 0, "problem": problem}
    house.timmy.events.append("log.verified", source="cli", data=data)


# The rules --------------------------------------------------------------------------------------------------------
