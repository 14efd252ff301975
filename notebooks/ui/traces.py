"""A trace as a waterfall: one bar an event, where it began and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Protocol

from ui import palette, parts
from ui.icons import family_icon, icon

if TYPE_CHECKING:
    from timmy_core import Event

BARS = 60  # more would be a wall, not a picture


class Span(Protocol):
    """What the waterfall needs of an event of a trace; `duration_ms` is None where it took no time that is known."""

    event: Event
    begin_ms: float
    duration_ms: float | None
    failed: bool

    @property
    def end_ms(self) -> float:
        """When it was over, in ms after the trace's beginning."""
        ...


def waterfall(spans: Sequence[Span], *, current: int | None = None) -> str:
    """Return the spans as bars below each other, in the order in which they began; a click shows the event."""
    if not spans:
        return parts.empty("No event has this trace.")
    whole_ms = max(took_ms(spans), 0.001)
    bars = "".join(_bar(span, whole_ms, current=span.event.seq == current) for span in spans[:BARS])
    rest = len(spans) - BARS
    more = f'<li class="tw-muted">and {parts.plural(rest, "event")} more</li>' if rest > 0 else ""
    return f'<ol class="tw-trace">{bars}{more}</ol>'


def took_ms(spans: Sequence[Span]) -> float:
    """Return how many ms lie between the first beginning and the last end."""
    return max((span.end_ms for span in spans), default=0.0)


def _bar(span: Span, whole_ms: float, *, current: bool) -> str:
    event = span.event
    length = parts.latency(span.duration_ms) if span.duration_ms else ""
    label = f"{event.type}, after {parts.latency(span.begin_ms)}" + (f", took {length}" if length else "")
    classes = "tw-trace-bar" + ("" if span.duration_ms else " tw-instant")
    place = f"left:{100 * span.begin_ms / whole_ms:.2f}%;width:{100 * (span.duration_ms or 0) / whole_ms:.2f}%"
    tone = "var(--tw-bad)" if span.failed else palette.family_color(event.family)
    mark = f'<span class="tw-trace-bad">{icon("bad", size=12)}</span>' if span.failed else ""
    chosen = ' aria-current="true"' if current else ""
    return (
        f"<li{chosen}>"
        f'<a href="/swarm/events?seq={event.seq}" data-goto="{event.seq}" title="{escape(label, quote=True)}">'
        f'<span class="tw-trace-name">{family_icon(event.family)}<code>{escape(event.type)}</code>{mark}'
        f'<span class="tw-muted">{escape(parts.summary(event.data))}</span></span>'
        f'<span class="tw-trace-lane"><i class="{classes}" style="{place};background:{tone}"></i></span>'
        f'<span class="tw-num">{length}</span></a></li>'
    )
