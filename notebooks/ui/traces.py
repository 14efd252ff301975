"""A trace as a waterfall: one bar an event, where it began and how long it took, and the story in one line above."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Protocol

from ui import palette, parts, sats, things, wording
from ui.icons import family_icon, icon
from ui.scale import Scale, words

if TYPE_CHECKING:
    from timmy_core import Event

BARS = 60  # more would be a wall, not a picture; the rest is folded
MOST = 1000


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


def whole(spans: Sequence[Span], trace_id: str, *, current: int | None = None, other: str = "events") -> str:
    """Return a whole trace: what happened in one line, how long it took, and every event as a bar.

    Args:
        spans: its events.
        trace_id: its id.
        current: the seq of the event that is looked at.
        other: the page on which it can be seen as well, `events` or `live`.
    """
    if not spans:
        return parts.empty("No event has this trace.", then="It may stand in the address with a letter missing.")
    took = words(took_ms(spans))
    return (
        f'<p class="tw-trace-head">{parts.plural(len(spans), "event")} in {took}, since '
        f"{parts.moment(min(span.event.ts for span in spans))} · trace {parts.ident(trace_id)} · "
        f'<a href="/swarm/{other}?trace={escape(trace_id, quote=True)}">on {other.capitalize()}</a></p>'
        f"{story(spans)}{waterfall(spans, current=current)}"
    )


def waterfall(spans: Sequence[Span], *, current: int | None = None) -> str:
    """Return the spans as bars below each other, in the order in which they began; a click shows the event."""
    if not spans:
        return parts.empty("No event has this trace.")
    scale = Scale.of([(span.begin_ms, span.end_ms) for span in spans])
    bars = [_bar(span, scale, current=span.event.seq == current) for span in spans[:MOST]]
    rest = bars[BARS:]
    more = ""
    if rest:
        left = len(spans) - BARS
        more = (
            f'<details class="tw-trace-more"><summary>and {parts.plural(left, "event")} more</summary>'
            f'<ol class="tw-trace">{"".join(rest)}</ol></details>'
        )
    return f'<ol class="tw-trace">{_axis(scale)}{"".join(bars[:BARS])}</ol>{more}'


def took_ms(spans: Sequence[Span]) -> float:
    """Return how many ms lie between the first beginning and the last end."""
    return max((span.end_ms for span in spans), default=0.0)


# The story ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the story: the types that count for it, and what it says of how many there were."""

    family: str
    types: tuple[str, ...]
    says: Callable[[Sequence[Span]], str]


def story(spans: Sequence[Span]) -> str:
    """Return the trace in one line: question, memory, attempts, bids, work, tools, sats, upgrade; what occurs. HTML."""
    found: list[tuple[int, str]] = []
    for step in _STEPS:
        mine = [span for span in spans if span.event.type in step.types]
        text = step.says(mine) if mine else ""
        if text:
            found.append((min(span.event.seq for span in mine), _told(step, mine, text)))
    if len(found) == 1:
        return ""
    return f'<ol class="tw-story">{"".join(text for _, text in sorted(found, key=lambda one: one[0]))}</ol>'


def _told(step: Step, spans: Sequence[Span], text: str) -> str:
    first = spans[0].event.seq
    bad = ' class="tw-bad"' if any(span.failed for span in spans) else ""
    link = f'<a href="/swarm/events?seq={first}" data-goto="{first}">{family_icon(step.family)}{escape(text)}</a>'
    return f"<li{bad}>{link}</li>"


def _many(one: str, many: str | None = None) -> Callable[[Sequence[Span]], str]:
    return lambda spans: parts.plural(len(spans), one, many)


def _attempts(spans: Sequence[Span]) -> str:
    failed = sum(span.failed for span in spans)
    return parts.plural(len(spans), "attempt") + (f", {failed} failed" if failed else "")


def _recalled(spans: Sequence[Span]) -> str:
    count = sum(len(entries) for span in spans if isinstance(entries := _data(span).get("entries"), list))
    return f"{parts.plural(count, 'memory', 'memories')} recalled" if count else "nothing recalled"


def _moved(spans: Sequence[Span]) -> str:
    amounts = (_data(span).get("received_msat", _data(span).get("amount_msat")) for span in spans)
    total = sum(amount for amount in amounts if isinstance(amount, int))
    return f"{sats.words(total)} moved"


def _data(span: Span) -> Mapping[str, object]:
    return span.event.data or {}


_STEPS = (
    Step("chat", ("chat.asked",), _many("question")),
    Step("task", ("task.created",), _many("task")),
    Step("bid", ("bid.submitted",), _many("bid")),
    Step("memory", ("memory.recalled",), _recalled),
    Step("llm", ("llm.completed", "llm.failed", "llm.cancelled", "llm.unanswered"), _attempts),
    Step("tool", ("tool.called",), _many("tool call")),
    Step("task", ("task.completed",), lambda _: "done"),
    Step("task", ("task.failed",), lambda _: "failed"),
    Step("payment", ("payment.settled",), _moved),
    Step("payment", ("payment.failed",), _many("failed payment")),
    Step("memory", ("memory.stored",), lambda _: "remembered"),
    Step("upgrade", ("upgrade.proposed",), _many("proposal")),
    Step("upgrade", ("upgrade.applied",), lambda _: "applied"),
)


# The bars ----------------------------------------------------------------------------------------------------


def _axis(scale: Scale) -> str:
    """Return the line above the bars: where time begins and ends, and what of it was left out."""
    breaks = "".join(
        f'<i class="tw-trace-gap" style="{_place(cut.left, cut.width)}" title="nothing for {words(cut.ms)}">'
        f"{words(cut.ms)}</i>"
        for cut in scale.cuts
    )
    return (
        f'<li class="tw-trace-axis" aria-hidden="true"><span></span><span class="tw-trace-lane"><b>0</b>{breaks}'
        f"<b>{words(scale.end_ms)}</b></span><span></span></li>"
    )


def _bar(span: Span, scale: Scale, *, current: bool) -> str:
    event = span.event
    length = parts.latency(span.duration_ms) if span.duration_ms else ""
    label = f"{event.type}, after {words(span.begin_ms)}" + (f", took {length}" if length else "")
    classes = "tw-trace-bar" + ("" if span.duration_ms else " tw-instant")
    left = scale.at(span.begin_ms)
    place = _place(left, scale.at(span.end_ms) - left)
    tone = "var(--tw-bad)" if span.failed else palette.family_color(event.family)
    mark = f'<span class="tw-trace-bad">{icon("bad", size=12)}</span>' if span.failed else ""
    chosen = ' aria-current="true"' if current else ""
    gaps = "".join(f'<i class="tw-trace-gap" style="{_place(cut.left, cut.width)}"></i>' for cut in scale.cuts)
    said = wording.said(event.type, event.data, agent_id=event.agent_id)
    return (
        f"<li{chosen}>"
        f'<a href="/swarm/events?seq={event.seq}" data-goto="{event.seq}" title="{escape(label, quote=True)}">'
        f'<span class="tw-trace-name">{family_icon(event.family)}<code>{escape(event.type)}</code>{mark}'
        f'<span class="tw-muted">{escape(said)}</span></span>'
        f'<span class="tw-trace-lane">{gaps}<i class="{classes}" style="{place};background:{tone}"></i></span>'
        f'<span class="tw-num">{length}</span></a>{_thing(event)}</li>'
    )


def _thing(event: Event) -> str:
    """Return the way to the thing that an event tells of."""
    link = things.links(event)[0]
    words_ = escape(link.word, quote=True)
    return (
        f'<a class="tw-trace-thing" href="{escape(link.href, quote=True)}" title="{words_}" aria-label="{words_}">'
        f"{icon('go', size=13)}</a>"
    )


def _place(left: float, width: float) -> str:
    return f"left:{100 * left:.2f}%;width:{100 * width:.2f}%"
