"""What an alert is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from timmy_core.settings_alerts import Rule

Severity = Literal["warning", "error"]
Told = Literal["raised", "resolved"]

# Every rule in a few words, as a notice is titled; ASCII, because it travels in a header.
TITLES: Final[Mapping[Rule, str]] = {
    "provider_open": "a provider fails",
    "budget_near": "a budget is nearly spent",
    "payment_stuck": "a payment is stuck",
    "reconcile_finding": "ledger and node differ",
    "proposal_waiting": "a proposal waits",
    "chain_broken": "the log does not hold",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds now and needs a person's eye; `rule` and `subject` together say what it is.

    Attributes:
        path: the page that explains it.
        wait_s: how long it has to hold before it is worth saying.
    """

    rule: Rule
    subject: str
    severity: Severity
    message: str
    path: str
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that was said; open until it is over."""

    id: str
    rule: Rule
    subject: str
    severity: Severity
    message: str
    path: str
    raised_at: datetime
    seen_at: datetime
    resolved_at: datetime | None
    trace_id: str

    @property
    def open(self) -> bool:
        """Whether it still holds."""
        return self.resolved_at is None

    @property
    def title(self) -> str:
        """The rule in a few words."""
        return TITLES[self.rule]


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody is to be told that an alert was raised, or is over."""

    seq: int
    alert: Alert
    what: Told
    tries: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """How telling people goes: how many notices wait, and why the last try failed."""

    configured: bool
    waiting: int
    problem: str
