"""What the router is doing at this moment: who answers, what is wrong, who steered it; looked up once, then drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from timmy_core.router.costs import DayCost, daily_costs
from ui import palette, parts, present, sentences

if TYPE_CHECKING:
    from timmy_core import Event, Timmy
    from timmy_core.router.budget import Standing
    from timmy_core.router.chat import ProviderStatus

STEERED = 200
NEAR = 0.8


@dataclass(frozen=True)
class Hand:
    """Who steered a provider so the last time, and when."""

    by: str
    at: datetime


@dataclass(frozen=True)
class Now:
    """What the page shows of this moment; `hands` is by (provider, event type)."""

    providers: Sequence[ProviderStatus] = ()
    infos: Mapping[str, Any] = field(default_factory=dict)
    config: Any = None
    budgets: Sequence[Standing] = ()
    costs: Sequence[DayCost] = ()
    hands: Mapping[tuple[str, str], Hand] = field(default_factory=dict)
    at: datetime = field(default_factory=present.now)

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each provider."""
        return palette.provider_colors({provider.name: provider.kind for provider in self.providers})

    @property
    def today(self) -> dict[str, DayCost]:
        """What each provider cost today."""
        return {cost.provider: cost for cost in self.costs if cost.day == self.at.date()}


def look(timmy: Timmy) -> Now:
    """Look at everything that is true now; a few bounded queries."""
    now = timmy.clock.now()
    steered = timmy.events.list(family="provider", limit=STEERED)
    return Now(
        providers=[provider for provider in timmy.router.status() if provider.kind != "offline"],
        infos={info.name: info for info in timmy.router.providers()},
        config=timmy.router.config(),
        budgets=timmy.router.budgets(),
        costs=daily_costs(timmy.store, now),
        hands=hands(steered),
        at=now,
    )


def hands(events: Iterable[Event]) -> dict[tuple[str, str], Hand]:
    """Return who steered each provider in each way the last time; the events come newest first."""
    found: dict[tuple[str, str], Hand] = {}
    for event in events:
        data = event.data or {}
        if data.get("provider") and data.get("by"):
            found.setdefault((str(data["provider"]), event.type), Hand(str(data["by"]), event.ts))
    return found


# Who answers ---------------------------------------------------------------------------------------------------


def ready(provider: ProviderStatus, at: datetime | None = None) -> bool:
    """Whether the next question would be put to this provider."""
    out = not provider.configured or not provider.enabled or provider.isolated or provider.bar
    due = provider.circuit == "closed" or _probe_is_due(provider, at or present.now())
    return not out and not sentences.is_limited(provider, at) and due


def answering(
    providers: Sequence[ProviderStatus], *, but: str = "", at: datetime | None = None
) -> ProviderStatus | None:
    """Return who is asked first now, leaving one out of account."""
    return next((provider for provider in providers if provider.name != but and ready(provider, at)), None)


def first_line(now: Now) -> str:
    """Answer who answers now, and whether anything is wrong. HTML."""
    said = [_who(now), *_wrong(now)]
    return " ".join(parts.sentence(words) for words in said)


def who_then(providers: Sequence[ProviderStatus], *, but: str = "") -> str:
    """Say who answers, as plain words; what stands behind a change that was or would be made."""
    first = answering(providers, but=but)
    return f"{first.name} answers" if first else "nobody answers, and every question gets the offline answer"


def _who(now: Now) -> str:
    if not now.providers:
        return "<strong>No provider is set up</strong>, so every question gets the offline answer"
    first = answering(now.providers, at=now.at)
    if first is None:
        return f"<strong>Nobody answers right now</strong>, so every question gets the offline answer: {_listed(now, now.providers)}"
    before = list(now.providers)[: list(now.providers).index(first)]
    name = f"<strong>{escape(first.name)} answers</strong>"
    if first.circuit == "open":
        name = f"<strong>{escape(first.name)} gets a probe</strong> with the next question"
    out = [provider for provider in before if provider.configured]
    if out:
        return f"{name}, because {_listed(now, out)}"
    if first.last_success_at is None:
        name = f"<strong>{escape(first.name)} is asked first</strong>, and has not answered anything yet"
    behind = [provider for provider in now.providers if provider is not first and ready(provider, now.at)]
    spare = f", with {_names(behind)} behind it" if behind else "; nobody stands behind it"
    failing = (
        f", but failed {parts.plural(first.consecutive_failures, 'time')} in a row"
        if first.consecutive_failures
        else ""
    )
    return f"{name}{failing}{spare}"


def _listed(now: Now, providers: Sequence[ProviderStatus]) -> str:
    return "; ".join(_why(now, provider) for provider in providers)


def _why(now: Now, provider: ProviderStatus) -> str:
    """Why one is not asked. HTML."""
    name = escape(provider.name)
    if not provider.configured:
        return f"{name} is not set up"
    if not provider.enabled:
        return f"{name} is switched off{by(now, provider, 'provider.disabled')}"
    if provider.isolated:
        return f"{name} is isolated{by(now, provider, 'provider.isolated')}"
    return sentences.trouble(provider) or f"{name} has not been asked yet"


def by(now: Now, provider: ProviderStatus, kind: str) -> str:
    """Return who did it and when, to stand behind what was done; nothing where nobody did. HTML."""
    hand = now.hands.get((provider.name, kind))
    return f" by {escape(hand.by)} since {parts.clock(hand.at)}" if hand else ""


def _wrong(now: Now) -> list[str]:
    found = []
    first = answering(now.providers, at=now.at)
    later = list(now.providers)[list(now.providers).index(first) + 1 :] if first else []
    ailing = [p for p in later if p.configured and not ready(p, now.at)]
    if ailing:
        found.append(f"Further down, {_listed(now, ailing)}")
    if now.config is not None and now.config.problem:
        found.append("The configuration file is wrong, and the one before it stays in force")
    found += [f"{budget_name(budget)} is {words}" for budget in now.budgets if (words := _spent(budget))]
    return found


def budget_name(budget: Standing) -> str:
    """Return whose budget it is, as HTML."""
    whose = f" of {escape(budget.agent_id)}" if budget.agent_id else ""
    return f"The budget{whose} for {'today' if budget.period == 'day' else 'this month'}"


def share_spent(budget: Standing) -> float:
    """Return how much of a budget is spent or set aside, from 0."""
    if budget.limit_microusd is None:
        return 0.0
    taken = budget.spent_microusd + budget.held_microusd
    return taken / budget.limit_microusd if budget.limit_microusd else 1.0


def _spent(budget: Standing) -> str:
    share = share_spent(budget)
    if share < NEAR:
        return ""
    return "spent" if share >= 1 else f"{100 * share:.0f} % spent"


def _probe_is_due(provider: ProviderStatus, at: datetime) -> bool:
    return provider.circuit == "open" and provider.open_until is not None and provider.open_until <= at


def _names(providers: Sequence[ProviderStatus]) -> str:
    names = [escape(provider.name) for provider in providers]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# Notes below the first line ----------------------------------------------------------------------------------


def notes(now: Now) -> str:
    """Return what stands below the first line: a wrong configuration, what a restart brings, the last failover. HTML."""
    found = []
    if now.config is not None and now.config.problem:
        found.append(_broken(now.config))
    if now.config is not None and now.config.restart:
        names = " and ".join(f"<code>[{escape(name)}]</code>" for name in now.config.restart)
        found.append(
            f'<div class="tw-alert tw-wait-edge"><p>Changed in the file, and in force after a restart: {names}.</p></div>'
        )
    return "".join([*found, failover(now)])


def failover(now: Now) -> str:
    """Say why somebody else had to answer the last time, with the trace of that question. HTML."""
    failed = [(p.recent_failures[0].at, p) for p in now.providers if p.last_failover and p.recent_failures]
    if not failed:
        return ""
    at, provider = max(failed, key=lambda pair: pair[0])
    link = trace_link(provider.recent_failures[0].trace_id, "its trace")
    # A name keeps its own first letter.
    words = parts.advice(provider.last_failover.replace("it failed", f"{provider.name} failed", 1).rstrip(".") + ".")
    return f'<p class="tw-failover"><b>Last failover</b> {parts.ago(at)}: {words} {link}</p>'


def trace_link(trace_id: str, word: str) -> str:
    """Return a link to everything that carries a trace."""
    return f'<a href="/swarm/events?trace={escape(trace_id, quote=True)}">{word}</a>'


def _broken(config: Any) -> str:
    return (
        '<div class="tw-alert tw-bad-edge" role="status"><p><b>The configuration file is wrong.</b> '
        f"What was loaded {parts.ago(config.loaded_at)} stays in force; the file is read again as soon as it changes.</p>"
        f'<pre class="tw-json">{escape(config.problem.message)}</pre>'
        f'<p class="tw-muted">read {parts.ago(config.problem.at)} · '
        '<a href="/swarm/events?type=router.reload_failed">its events</a></p></div>'
    )


def explained(now: Now) -> str:
    """Return one line of plain words for who sees the page for the first time, and what to do without a provider. HTML."""
    if now.providers:
        return '<p class="tw-plain">A question goes to the first provider that can take it; where one fails, the next is asked.</p>'
    return (
        f'<p class="tw-after">Add a {parts.command("[[providers]]")} table to {parts.command("timmy.toml")}; it takes effect '
        f"as soon as the file is saved. {parts.command('timmy doctor')} checks it.</p>"
    )
