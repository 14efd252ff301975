"""What the providers did in a stretch of time: error budgets, error classes, costs and budgets, in words and bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

from timmy_core import TimmyError
from timmy_core.router.costs import daily_costs
from ui import addressed, chips, palette, parts, present, views
from ui import now as moment
from ui.cascade import TARGET, percent, usd
from ui.chips import Choice, Group

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.router.budget import Standing
    from timmy_core.router.costs import DayCost
    from timmy_core.router.report import Line
    from ui.now import Now

USUAL = "24h"
DRAWN = 5_000  # attempts that a distribution is drawn from; its figures are of all
_CLASSES = 8


@dataclass(frozen=True)
class Measured:
    """What was measured in a time, of one provider or of all; `problem` says why it could not be."""

    since: datetime
    until: datetime
    words: str
    provider: str = ""
    problem: str = ""
    attempts: pl.DataFrame = field(default_factory=pl.DataFrame)
    lines: Sequence[Line] = ()
    complete: bool = True
    costs: Sequence[DayCost] = ()  # of the last seven days, whatever the time
    colors: Mapping[str, str] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is anything to show: a provider, or attempts of one that is gone."""
        return bool(self.colors or self.count or self.problem)

    @property
    def count(self) -> int:
        """How many attempts there were, drawn or not."""
        return sum(line.attempts for line in self.lines)


def groups(colors: Mapping[str, str]) -> list[Group]:
    """Return what there is to choose: a stretch of time, and one of the providers that have these colours."""
    times = [Choice(key, key) for key in ("1h", "24h", "7d")]
    return [Group("range", "time", times, USUAL), chips.providers(colors)]


def span(query: Mapping[str, str], at: datetime | None = None) -> tuple[datetime, datetime]:
    """Return the two ends of what the address asks for."""
    return addressed.span(query, at or present.now(), USUAL)


def measure(timmy: Timmy, query: Mapping[str, str]) -> Measured:
    """Look up what was measured; what goes wrong becomes words."""
    (since, until), provider = span(query, timmy.clock.now()), query.get("provider", "")
    colors = palette.colors_of(timmy)
    words = addressed.words(query, USUAL)
    only: dict[str, Any] = {"provider": provider} if provider else {}
    try:
        attempts = timmy.frame("attempts", since=since, limit=DRAWN, **only)
        report = timmy.router.report(since=since, until=until, by="provider")
        costs = daily_costs(timmy.store, until)
    except TimmyError as error:
        return Measured(since, until, words, provider, problem=str(error), colors=colors)
    lines = [line for line in report.lines if not provider or line.provider == provider]
    return Measured(since, until, words, provider, "", attempts, lines, report.complete, costs, colors)


def headline(found: Measured) -> str:
    """Answer in one line what happened in that time. HTML."""
    if found.problem:
        return escape(parts.sentence(f"this could not be measured: {found.problem}"))
    whose = f" of {escape(found.provider)}" if found.provider else ""
    if not found.count:
        return f"No attempt{whose} in {found.words}."
    failed, cost = sum(line.failed for line in found.lines), sum(line.cost_microusd for line in found.lines)
    fine = "none failed" if not failed else f"{parts.count(failed)} failed"
    unknown = sum(line.unpriced for line in found.lines)
    price = f"{usd(cost)} known, {parts.plural(unknown, 'attempt')} without a price" if unknown else usd(cost)
    newest = "" if found.complete else "; of more, only the newest were counted"
    return f"<strong>{parts.plural(found.count, 'attempt')}{whose}</strong> in {found.words}: {fine}, {escape(price)} spent{newest}."


# Reliability -------------------------------------------------------------------------------------------------


def reliability(found: Measured) -> str:
    """Return the error budget of each provider, and which errors used it up. HTML."""
    rows = "".join(_budget_of(line, found.colors) for line in sorted(found.lines, key=lambda line: line.provider))
    aim = f"aim {100 * TARGET:.0f} %"
    body = f'<ul class="tw-meters">{rows}</ul>' if rows else parts.empty("No attempt, so no error budget was used.")
    return parts.section("Error budget", body, note=aim) + parts.section("Errors by class", _classes(found))


def _budget_of(line: Line, colors: Mapping[str, str]) -> str:
    used = None if line.availability is None else (1 - line.availability) / (1 - TARGET)
    state = "off" if used is None else "bad" if used > 1 else "wait" if used >= moment.NEAR else "good"
    words = "no answer to count" if used is None else f"{percent(line.availability)} available · {_used(used)}"
    return _meter(
        f"{views.swatch(colors.get(line.provider, palette.NEUTRAL))}<b>{escape(line.provider)}</b>",
        words,
        used or 0.0,
        state,
    )


def _used(used: float) -> str:
    if used <= 0:
        return "unused"
    return f"{100 * used:.0f} % used" if used <= 1 else f"overdrawn {used:.1f}×"


def _meter(name: str, words: str, share: float, state: str, *, held: float = 0.0) -> str:
    full = f'<i class="tw-{state}" style="width:{100 * min(1.0, share):.1f}%"></i>'
    aside = f'<i class="tw-held" style="width:{100 * min(1.0 - min(1.0, share), held):.1f}%"></i>' if held else ""
    return (
        f'<li><span class="tw-name">{name}</span><span class="tw-muted">{words}</span>'
        f'<span class="tw-meter">{full}{aside}</span></li>'
    )


def _classes(found: Measured) -> str:
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for line in found.lines:
        for kind, number in line.errors.items():
            counts[kind][line.provider] = number
    if not counts:
        return parts.empty("Nothing failed.")
    ordered = sorted(counts.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
    most = sum(ordered[0][1].values())
    rows = "".join(_class(kind, by, most, found.colors) for kind, by in ordered[:_CLASSES])
    rest = sum(sum(by.values()) for _, by in ordered[_CLASSES:])
    more = f'<li class="tw-muted">and {parts.count(rest)} of other classes</li>' if rest else ""
    return f'<ul class="tw-meters tw-classes">{rows}{more}</ul>'


def _class(kind: str, by: Mapping[str, int], most: int, colors: Mapping[str, str]) -> str:
    said = ", ".join(f"{name} {parts.count(number)}" for name, number in sorted(by.items()))
    bars = "".join(
        f'<i style="width:{100 * number / most:.2f}%;background:{colors.get(name, palette.NEUTRAL)}"></i>'
        for name, number in sorted(by.items())
    )
    return (
        f'<li><span class="tw-name"><a href="/swarm/events?text={quote(kind)}" title="events with this class">'
        f'{escape(kind.replace("_", " "))}</a></span><span class="tw-muted">{escape(said)}</span>'
        f'<span class="tw-meter" aria-hidden="true">{bars}</span></li>'
    )


# Money -------------------------------------------------------------------------------------------------------


def budgets(now: Now) -> str:
    """Return each budget that has a limit as a bar. HTML."""
    limited = [budget for budget in now.budgets if budget.limit_microusd is not None]
    if not limited:
        how = f"Write {parts.command('day_usd = 1.0')} under {parts.command('[budget]')} in timmy.toml to have one."
        return parts.section("Budgets", parts.empty("No budget is set.", then=how))
    rows = "".join(_budget(budget) for budget in limited)
    return parts.section("Budgets", f'<ul class="tw-meters">{rows}</ul>', note="days and months of UTC")


def _budget(budget: Standing) -> str:
    limit, share = budget.limit_microusd or 0, moment.share_spent(budget)
    state = "bad" if share >= 1 else "wait" if share >= moment.NEAR else "good"
    whose = escape(budget.agent_id) if budget.agent_id else "all"
    period = "today" if budget.period == "day" else "this month"
    held = f", {usd(budget.held_microusd)} set aside" if budget.held_microusd else ""
    words = f"{usd(budget.left_microusd or 0)} of {usd(limit)} left{held}"
    spent = budget.spent_microusd / limit if limit else 1.0
    name = f'<b>{whose}</b><span class="tw-muted">{period}</span>'
    return _meter(name, escape(words), spent, state, held=budget.held_microusd / limit if limit else 0.0)


def cost_title(costs: Sequence[DayCost], colors: Mapping[str, str]) -> str:
    """Return what the bars of cost show, with one label a provider. HTML."""
    total = sum(cost.microusd for cost in costs)
    unpriced = sum(cost.unpriced for cost in costs)
    unknown = (
        f'<span class="tw-muted"> · {parts.plural(unpriced, "attempt")} without a known price</span>'
        if unpriced
        else ""
    )
    names = sorted({cost.provider for cost in costs if cost.microusd})
    labels = "".join(views.label(name, colors.get(name, palette.NEUTRAL)) for name in names)
    return (
        f'<div class="tw-chart-title"><span>{usd(total)} in 7 days, by day of UTC{unknown}</span>'
        f'<span class="tw-labels">{labels}</span></div>'
    )


def costs_frame(costs: Sequence[DayCost]) -> list[dict[str, Any]]:
    """Return the costs as the chart takes them."""
    return [
        {"day": cost.day.isoformat(), "provider": cost.provider, "usd": cost.microusd / 1e6}
        for cost in costs
        if cost.microusd
    ]
