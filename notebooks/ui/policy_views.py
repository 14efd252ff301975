"""What the policy lab replays, compares and says in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from timmy_core import TimmyError
from timmy_core.router.replay import LIMITS
from timmy_core.settings_change import shown
from ui import addressed, coloring, parts, saving
from ui.cascade import percent, usd
from ui.labs import USUAL
from ui.latency_views import number_table

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.lab import Change
    from timmy_core.router.recorded import Recording
    from timmy_core.router.replay import Figures, Plan, Replayed

MOST = 5_000  # requests; a replay of so many takes a second or two
ENOUGH = 30
THEN, NOW, TRIED = "recorded", "today's policy", "this policy"


@dataclass(frozen=True)
class Past:
    """What was recorded, what happened then, and what today's policy makes of it; or why there is nothing."""

    recording: Recording | None = None
    then: Replayed | None = None
    now: Replayed | None = None
    problem: str = ""

    @property
    def any(self) -> bool:
        """Whether there is something to replay."""
        return self.now is not None and self.now.figures.requests > 0


@dataclass(frozen=True)
class Tried:
    """A policy, and what it made of the past; or why it made nothing."""

    plan: Plan | None = None
    replayed: Replayed | None = None
    problem: str = ""


def past(timmy: Timmy, query: Mapping[str, str]) -> Past:
    """Read the past and replay today's policy; what goes wrong becomes words."""
    since, until = addressed.span(query, timmy.clock.now(), USUAL)
    try:
        recording = timmy.lab.recording(since=since, until=until, limit=MOST)
        then = timmy.lab.recorded(recording)
        if not recording.requests or not timmy.lab.today().order:
            return Past(recording, then)
        return Past(recording, then, timmy.lab.replay(recording))
    except TimmyError as error:
        return Past(problem=str(error))


def tried(timmy: Timmy, before: Past, wanted: Mapping[str, Any]) -> Tried:
    """Replay the policy that is wanted; what goes wrong becomes words."""
    if not before.any or before.recording is None:
        return Tried()
    try:
        plan = timmy.lab.plan(order=tuple(wanted["order"]), **wanted["numbers"])
        if plan == timmy.lab.today():
            return Tried(plan)
        return Tried(plan, timmy.lab.replay(before.recording, plan))
    except TimmyError as error:
        return Tried(problem=str(error))


# Words -------------------------------------------------------------------------------------------------------


def headline(before: Past, found: Tried, query: Mapping[str, str]) -> str:
    """Answer in one line what the policy would have made of the past. HTML."""
    words = addressed.words(query, USUAL)
    if before.problem or found.problem:
        return escape(parts.sentence(f"this could not be replayed: {before.problem or found.problem}"))
    if before.now is None or not before.any:
        return f"No request in {words}, so there is nothing to replay. Ask something on <a href='/'>Home</a>."
    now = before.now.figures
    asked = f"<strong>{parts.plural(now.requests, 'request')}</strong> of {words}"
    if found.replayed is None:
        return (
            f"{asked}: today's policy answers {percent(now.availability)} of them, half within "
            f"{parts.latency(now.p50_ms)}, 19 of 20 within {parts.latency(now.p95_ms)}. Turn a knob to try another."
        )
    then = found.replayed.figures
    return (
        f"{asked}: this policy answers <strong>{percent(then.availability)}</strong> of them instead of "
        f"{percent(now.availability)}, 19 of 20 within <strong>{parts.latency(then.p95_ms)}</strong> instead of "
        f"{parts.latency(now.p95_ms)}, for {_money(then)} instead of {_money(now)}."
    )


def faith(before: Past) -> str:
    """Say how well today's policy, replayed, gives back what really happened. HTML."""
    if before.then is None or before.now is None or before.recording is None:
        return ""
    then, now = before.then.figures, before.now.figures
    again = f"{percent(now.availability)} with a median of {parts.latency(now.p50_ms)}"
    really = f"{percent(then.availability)} and {parts.latency(then.p50_ms)}"
    said = [f"How far to trust it: today's own policy, replayed, answers {again}; what really happened was {really}"]
    if then.requests < ENOUGH:
        said.append(f"{parts.plural(then.requests, 'request')} say little")
    if not before.recording.complete:
        said.append(f"of more requests, only the newest {parts.count(then.requests)} are replayed")
    if before.recording.given_up:
        said.append(f"{parts.plural(before.recording.given_up, 'request')} whose callers went away are left out")
    return f'<p class="tw-line tw-matching">{escape(". ".join(parts.sentence(one).rstrip(".") for one in said))}.</p>'


def comparison(before: Past, found: Tried) -> str:
    """Return the figures side by side. HTML."""
    columns = _policies(before, found)
    lines: list[tuple[str, Callable[[Replayed], str]]] = [
        ("answered", lambda one: percent(one.figures.availability)),
        ("left without an answer", lambda one: parts.count(one.figures.requests - one.figures.answered)),
        ("half of the answers within", lambda one: parts.latency(one.figures.p50_ms)),
        ("19 of 20 within", lambda one: parts.latency(one.figures.p95_ms)),
        ("first token, half within", lambda one: parts.latency(one.figures.first_token_p50_ms)),
        ("first token, 19 of 20 within", lambda one: parts.latency(one.figures.first_token_p95_ms)),
        ("cost", lambda one: _money(one.figures)),
        ("attempts a request", lambda one: f"{one.figures.attempts / max(1, one.figures.requests):.2f}"),
        ("circuits opened", lambda one: "–" if one is before.then else parts.count(one.opened)),
        ("attempts drawn", lambda one: "–" if one is before.then else _part(one.figures.drawn, one.figures)),
        ("from over an hour away", lambda one: "–" if one is before.then else _part(one.figures.far, one.figures)),
    ]
    names = sorted({name for _, one in columns for name in one.figures.by_provider})
    rows = [[word, *(say(one) for _, one in columns)] for word, say in lines]
    rows += [[f"answered by {name}", *(_share(one.figures, name) for _, one in columns)] for name in names]
    table = number_table(["", *(name for name, _ in columns)], rows)
    return parts.section("Side by side", table, note=saving.links("policies"))


def figures(before: Past, found: Tried) -> pl.DataFrame:
    """Return the figures of each policy as they are, a row a policy."""
    rows = [
        {"policy": name, **{field.name: getattr(one.figures, field.name) for field in fields(one.figures)}}
        for name, one in _policies(before, found)
    ]
    return pl.DataFrame([row | {"by_provider": json.dumps(dict(row["by_provider"]))} for row in rows])


def _policies(before: Past, found: Tried) -> list[tuple[str, Replayed]]:
    return [(name, one) for name, one in ((THEN, before.then), (NOW, before.now), (TRIED, found.replayed)) if one]


def unknown(found: Tried) -> str:
    """Say of whom nothing is recorded, so that the replay could not ask. HTML."""
    if found.replayed is None or not found.replayed.unknown:
        return ""
    names = ", ".join(found.replayed.unknown)
    return parts.empty(
        f"Nothing is recorded of {names} in this time, so the replay asks nobody there.", then="Choose a longer time."
    )


def limits() -> str:
    """Return what a replay cannot know. HTML."""
    items = "".join(f"<li>{escape(text)}</li>" for text in LIMITS)
    return parts.section("What a replay cannot know", f'<ul class="tw-plain-list">{items}</ul>')


# Proposing ---------------------------------------------------------------------------------------------------


def change(timmy: Timmy, found: Tried) -> str:
    """Return what the policy changes in `timmy.toml`, and the button that proposes it. HTML."""
    if found.plan is None or found.replayed is None:
        return ""
    try:
        made = timmy.lab.change(found.plan)
    except TimmyError as error:
        return parts.section("As a change of timmy.toml", parts.empty(parts.sentence(str(error))))
    if made.problem:
        return parts.section(
            "As a change of timmy.toml", parts.empty(parts.sentence(made.problem), then=_by_hand(made))
        )
    return parts.section("As a change of timmy.toml", f"{_diff(made)}{_button(made)}")


def why(before: Past, found: Tried) -> str:
    """Return what the proposal says of itself: the figures."""
    if before.now is None or found.replayed is None:
        return ""
    now, then = before.now.figures, found.replayed.figures
    return (
        f"Replayed over {now.requests:,} recorded requests from {before.now.since:%Y-%m-%d %H:%M} to "
        f"{before.now.until:%Y-%m-%d %H:%M} UTC, beside today's policy:\n"
        f"answered {percent(then.availability)} instead of {percent(now.availability)}\n"
        f"half within {parts.latency(then.p50_ms)} instead of {parts.latency(now.p50_ms)}\n"
        f"19 of 20 within {parts.latency(then.p95_ms)} instead of {parts.latency(now.p95_ms)}\n"
        f"cost {_money(then)} instead of {_money(now)}\n"
        f"{_part(then.drawn, then)} of its attempts were drawn from what providers did around that moment."
    )


def _button(made: Change) -> str:
    order = {
        "name": "policy",
        "action": "propose",
        "confirm": {
            "title": f"Propose this change of {made.path}?",
            "words": "It goes into the queue of upgrades with these figures. Nothing changes until people approve it there.",
            "button": "Propose it",
        },
    }
    return (
        f'<p class="tw-foot"><button type="button" class="tw-propose" data-steer="{escape(json.dumps(order), quote=True)}">'
        'Propose this policy</button><span class="tw-muted">People decide about it under '
        '<a href="/self-modify/queue">Upgrades</a>.</span></p>'
    )


def _diff(made: Change) -> str:
    lines = made.diff.splitlines()
    rows = "".join(
        f'<span class="{_LOOKS.get(line[:1], "")}">{coloring.html([(line, "")])}\n</span>' for line in lines[2:]
    )
    return f'<pre class="tw-json tw-patch" aria-label="change of {escape(made.path, quote=True)}">{rows}</pre>'


_LOOKS: Mapping[str, str] = {"+": "tw-added", "-": "tw-removed", "@": "tw-muted"}


def _by_hand(made: Change) -> str:
    """Return the lines to write by hand. HTML."""
    if not made.values:
        return ""
    lines = [f"{path[-1]} = {shown(value)}" for path, value in made.values.items() if path[0] == "router"]
    return f"Under {parts.command('[router]')}: " + " ".join(parts.command(line) for line in lines)


def _money(figures: Figures) -> str:
    return f"{usd(figures.cost_microusd)} + ?" if figures.unpriced else usd(figures.cost_microusd)


def _part(number: int, figures: Figures) -> str:
    return percent(number / figures.attempts) if figures.attempts else "–"


def _share(figures: Figures, name: str) -> str:
    return percent(figures.by_provider.get(name, 0) / figures.requests) if figures.requests else "–"


def series(before: Past, found: Tried) -> Sequence[tuple[str, Replayed]]:
    """Return what is drawn: what happened, today's policy, and the one that is tried."""
    return [(name, one) for name, one in ((THEN, before.then), (NOW, before.now), (TRIED, found.replayed)) if one]
