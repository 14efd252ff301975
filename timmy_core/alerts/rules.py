"""The rules: each looks at one room and says what in it needs a person's eye. All read the store alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

from timmy_core.alerts.model import Condition
from timmy_core.clock import Clock, from_us
from timmy_core.events.events import Events
from timmy_core.events.findings import Finding
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Payment
from timmy_core.ledger.money import words
from timmy_core.ledger.payments import PaymentHandler
from timmy_core.router.budget import dollars
from timmy_core.router.chat import ProviderStatus
from timmy_core.router.router import Router
from timmy_core.settings_alerts import AlertSettings, Rule
from timmy_core.store.engine import Store
from timmy_core.upgrades.build import UpgradesRoom

AT_MOST: Final = 100  # conditions of one rule; whoever has so many needs no more of them
_SHOWN: Final = 160
_CHECKED: Final = "SELECT ts, data FROM events WHERE event_type = 'log.verified' ORDER BY seq DESC LIMIT 1"
_FULL: Final = 100
_LEDGER, _ROUTER, _QUEUE, _EVENTS = "/lightning/ledger", "/router/status", "/self-modify/queue", "/swarm/events"


class Watched(Protocol):
    """What is looked at: Timmy, as far as alerts are concerned."""

    @property
    def router(self) -> Router: ...  # noqa: D102
    @property
    def ledger(self) -> Ledger: ...  # noqa: D102
    @property
    def payments(self) -> PaymentHandler: ...  # noqa: D102
    @property
    def upgrading(self) -> UpgradesRoom: ...  # noqa: D102
    @property
    def events(self) -> Events: ...  # noqa: D102
    @property
    def unmended(self) -> Sequence[Finding]: ...  # noqa: D102
    @property
    def store(self) -> Store: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102


def look(rule: Rule, watched: Watched, settings: AlertSettings) -> tuple[Condition, ...]:
    """Return what holds now by one rule; none by a rule that is switched off."""
    if rule not in settings.rules:
        return ()
    return tuple(islice(_RULES[rule](watched, settings), AT_MOST))


def _providers(watched: Watched, settings: AlertSettings) -> Iterator[Condition]:
    for one in watched.router.status():
        # Whoever switched it off or took it out knows.
        if not one.enabled or not one.configured or one.isolated:
            continue
        failing = [circuit.model for circuit in one.circuits if circuit.circuit != "closed" and not circuit.isolated]
        if one.bar or one.circuit != "closed" or failing:
            message = _failing(one, failing)
            path = f"{_ROUTER}?provider={one.name}"
            yield Condition("provider_open", one.name, "warning", message, path, settings.provider_open_s)


def _failing(one: ProviderStatus, models: Sequence[str]) -> str:
    if one.bar:
        return f"{one.name} is not asked until its configuration is mended: {_short(one.bar)}"
    which = f" (for {', '.join(models)})" if models and one.circuit == "closed" else ""
    return f"{one.name} fails{which} and is left alone; whoever is next answers in its place"


def _budgets(watched: Watched, settings: AlertSettings) -> Iterator[Condition]:
    now = watched.clock.now()
    for usd in watched.router.budgets():
        if usd.limit_microusd:
            used = usd.spent_microusd + usd.held_microusd
            span = f"{now:%Y-%m-%d}" if usd.period == "day" else f"{now:%Y-%m}"
            who = "All together" if usd.agent_id is None else usd.agent_id
            of = f"{dollars(used)} of {dollars(usd.limit_microusd)}"
            subject = f"usd:{usd.agent_id or '*'}:{usd.period}:{span}"
            yield from _near(settings, subject, used, usd.limit_microusd, f"{who} spent {of}", usd.period, _ROUTER)
    for sat in watched.ledger.budgets():
        if sat.limit_msat:
            used = sat.spent_msat + sat.held_msat
            of = f"{words(used)} of {words(sat.limit_msat)}"
            subject = f"sat:{sat.agent_id}:{sat.period}:{sat.since:%Y-%m-%d}"
            yield from _near(settings, subject, used, sat.limit_msat, f"{sat.agent_id} spent {of}", sat.period, _LEDGER)


def _near(
    settings: AlertSettings, subject: str, used: int, limit: int, said: str, period: str, path: str
) -> Iterator[Condition]:
    percent = used * _FULL / limit
    if percent >= settings.budget_percent:
        # Without the amounts it stays the same text while more is spent, but people want to know how much is left.
        severity: Final = "error" if percent >= _FULL else "warning"
        yield Condition("budget_near", subject, severity, f"{said} for this {period} (UTC)", path)


def _payments(watched: Watched, settings: AlertSettings) -> Iterator[Condition]:
    before = _ago(watched.clock.now(), settings.payment_stuck_min)
    pending = watched.ledger.pending(direction="out")
    for one in sorted(pending, key=lambda entry: entry.created_at):
        if isinstance(one, Payment) and one.created_at <= before:
            message = (
                f"A payment of {words(one.amount_msat)} at {one.node} is under way for more than "
                f"{settings.payment_stuck_min:g} min; its sats stay set aside until the node says what became of it"
            )
            yield Condition("payment_stuck", one.id, "warning", message, f"{_LEDGER}?entry={one.id}")


def _findings(watched: Watched, _: AlertSettings) -> Iterator[Condition]:
    of_node: dict[str, list[str]] = {}
    for found in watched.payments.findings(limit=1000):
        of_node.setdefault(found.at_node, []).append(found.words)
    for node, said in sorted(of_node.items()):
        count = f"{len(said):,} things" if len(said) > 1 else "one thing"
        message = f"Ledger and node {node} do not agree on {count}: {_short(said[0])}"
        yield Condition("reconcile_finding", node, "error", message, _LEDGER)


def _proposals(watched: Watched, settings: AlertSettings) -> Iterator[Condition]:
    before = _ago(watched.clock.now(), settings.proposal_waiting_min)
    for one in watched.upgrading.waiting(AT_MOST):
        if one.created_at <= before:
            message = f"A proposal of {one.proposed_by} waits for you: {_short(one.description)}"
            yield Condition("proposal_waiting", one.id, "warning", message, f"{_QUEUE}?id={one.id}")


def _chain(watched: Watched, _: AlertSettings) -> Iterator[Condition]:
    for finding in watched.unmended:
        yield Condition("chain_broken", f"{finding.kind}:{finding.seq}", "error", _short(finding.message), _EVENTS)
    _at, problem = last_check(watched.store)
    if problem:
        message = f"The log does not hold: {_short(problem)}; `timmy events verify` says more"
        yield Condition("chain_broken", "chain", "error", message, _EVENTS)


def last_check(store: Store) -> tuple[datetime | None, str]:
    """Return when the chain was last checked and what did not hold; None where that is archived, or never was.

    The archive is not asked: this is looked up every few seconds, and a missing file of it is what a check would find.
    """
    with store.read() as connection:
        row = connection.execute(_CHECKED).fetchone()
    if row is None:
        return None, ""
    data = json.loads(row[1]) if row[1] is not None else {}
    return from_us(row[0]), str(data.get("problem") or "")


def _ago(now: datetime, minutes: float) -> datetime:
    return now - timedelta(minutes=minutes)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


_RULES: Final[Mapping[Rule, Callable[[Watched, AlertSettings], Iterator[Condition]]]] = {
    "provider_open": _providers,
    "budget_near": _budgets,
    "payment_stuck": _payments,
    "reconcile_finding": _findings,
    "proposal_waiting": _proposals,
    "chain_broken": _chain,
}
