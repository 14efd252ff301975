"""The breakers over time: a lane a provider's model, and on it in which state its circuit was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING

from ui import parts, views

if TYPE_CHECKING:
    from timmy_core.router.chat import ProviderStatus
    from timmy_core.router.report import Move

_WORDS = {"closed": "closed", "open": "open", "half_open": "half-open", "isolated": "isolated"}
_TICKS = 4
ISOLATED = "isolated by hand"
_SAME_MS = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Span:
    """A time in which a circuit stood in one state, and why it came to it."""

    state: str
    begin: datetime
    end: datetime
    reason: str = ""


def spans(moves: Sequence[Move], now_state: str, since: datetime, until: datetime) -> list[Span]:
    """Return the states of one circuit from one moment to another, without gaps.

    Args:
        moves: of this circuit, oldest first.
        now_state: in which state it is, for a circuit that did not move in this time.
        since: the beginning.
        until: the end, which is now.
    """
    found: list[Span] = []
    state, begin, reason = (moves[0].before or "closed") if moves else now_state, since, ""
    for move in moves:
        found.append(Span(state, begin, max(begin, move.at), reason))
        state, begin, reason = _after(move), max(begin, move.at), move.reason
    found.append(Span(state, begin, max(begin, until), reason))
    # What lasted no time is left out, unless nothing else is there.
    return [span for span in found if span.end - span.begin >= _SAME_MS] or found[-1:]


def timeline(
    lanes: Iterable[tuple[ProviderStatus, str, Sequence[Move]]],
    since: datetime,
    until: datetime,
    colors: dict[str, str],
) -> str:
    """Return the lanes below each other, with the time below them. HTML.

    Args:
        lanes: provider, model, and the moves of its circuit.
        since: where the lanes begin.
        until: where they end.
        colors: of the providers.
    """
    rows = "".join(_lane(provider, model, moves, since, until, colors) for provider, model, moves in lanes)
    if not rows:
        return parts.empty("Without a provider there is no circuit.")
    return f'<ol class="tw-lanes">{rows}<li class="tw-lane-ticks">{_ticks(since, until)}</li></ol>'


def legend() -> str:
    """Return which colour is which state."""
    return "".join(
        f'<span class="tw-label"><i class="tw-span tw-span-{state}"></i>{word}</span>' for state, word in _WORDS.items()
    )


def _lane(
    provider: ProviderStatus,
    model: str,
    moves: Sequence[Move],
    since: datetime,
    until: datetime,
    colors: dict[str, str],
) -> str:
    drawn = spans(moves, _now(provider, model), since, until)
    whole = (until - since).total_seconds()
    bars = "".join(_bar(span, since, whole) for span in drawn)
    opened = sum(1 for move in moves if move.after == "open")
    times = "never open" if not opened and drawn[-1].state == "closed" else f"opened {parts.plural(opened, 'time')}"
    if not opened and drawn[-1].state != "closed":
        times = f"{_WORDS.get(drawn[-1].state, drawn[-1].state)} all the time"
    return (
        f'<li><span class="tw-name">{views.swatch(colors[provider.name])}<b>{escape(provider.name)}</b>'
        f'<span class="tw-muted">{escape(model)}</span></span>'
        f'<span class="tw-lane" role="img" aria-label="{escape(f"{provider.name} {model}: {times}", quote=True)}">{bars}</span>'
        f'<span class="tw-muted tw-lane-sum">{times}</span></li>'
    )


def _bar(span: Span, since: datetime, whole_s: float) -> str:
    left = 100 * (span.begin - since).total_seconds() / whole_s
    width = 100 * (span.end - span.begin).total_seconds() / whole_s
    took = parts.duration((span.end - span.begin).total_seconds())
    why = f": {span.reason}" if span.reason else ""
    title = f"{_WORDS.get(span.state, span.state)} for {took}, from {span.begin:%d %b %H:%M:%S} UTC{why}"
    return f'<i class="tw-span tw-span-{span.state}" style="left:{left:.3f}%;width:{width:.3f}%" title="{escape(title, quote=True)}"></i>'


def _ticks(since: datetime, until: datetime) -> str:
    step = (until - since) / _TICKS
    days = until - since > timedelta(hours=30)
    marks = []
    for number in range(_TICKS):
        at = since + number * step
        word = parts.day(at) if days else parts.clock(at)
        marks.append(f'<span style="left:{100 * number / _TICKS:.0f}%">{word}</span>')
    return f'<span class="tw-ticks">{"".join(marks)}<span style="right:0">now</span></span>'


def _after(move: Move) -> str:
    return "isolated" if move.after == "open" and move.reason.startswith(ISOLATED) else move.after


def _now(provider: ProviderStatus, model: str) -> str:
    if provider.isolated:
        return "isolated"
    return next((one.circuit for one in provider.circuits if one.model == model), provider.circuit)
