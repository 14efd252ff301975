"""Views that lists of providers and events get: at a glance, and as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from ui import palette, parts, sentences, wording
from ui.icons import family_icon

if TYPE_CHECKING:
    from timmy_core.events.model import Event
    from timmy_core.router.chat import ProviderStatus


def providers_at_a_glance(providers: Sequence[ProviderStatus]) -> str:
    """Return one line a provider: its colour, its name and model, and how it stands."""
    known = sentences.models(providers)
    colors = palette.provider_colors({provider.name: provider.kind for provider in known})
    rows = "".join(_glance(provider, colors[provider.name]) for provider in known)
    return f'<ul class="tw-list">{rows}{_glance_offline()}</ul>'


def event_rows(events: Sequence[Event], *, current: int | None = None) -> str:
    """Return one line an event: icon, type and summary, and when it was; each leads to its record."""
    return (
        f'<ul class="tw-list tw-events">{"".join(_event(event, current=event.seq == current) for event in events)}</ul>'
    )


def neighbours(seq: int, head: int) -> str:
    """Return the links to the events before and after one in the log."""
    links = [
        f'<a class="tw-step-to" href="/swarm/events?seq={place}" data-goto="{place}" title="{title}" '
        f'aria-label="{title}">{sign}</a>'
        if 1 <= place <= head
        else f'<span class="tw-step-to tw-muted" aria-hidden="true">{sign}</span>'
        for place, sign, title in ((seq - 1, "&lsaquo;", "the event before"), (seq + 1, "&rsaquo;", "the event after"))
    ]
    shut = '<a class="tw-step-to" href="/swarm/events" data-goto="0" title="close" aria-label="close">&times;</a>'
    number = f'<span class="tw-num">#{parts.count(seq)}</span>'
    return f'<span class="tw-steps-to">{links[0]}{number}{links[1]}{shut}</span>'


def proof(made: Mapping[str, Any], problem: str) -> str:
    """Return what a proof says, and whether it holds."""
    head = made["head"]
    pill = parts.pill("bad", "does not hold") if problem else parts.pill("good", "proven")
    signed = parts.ago(datetime.fromisoformat(head["ts"]))
    words = (
        parts.sentence(problem)
        if problem
        else (
            "It follows from the event before it, and lies below a signed head. Whoever has the public key can check that "
            "without this log."
        )
    )
    facts = parts.facts(
        [
            ("signed head", f"{parts.count(head['n'])}, up to #{parts.count(head['seq'])}"),
            ("signed", signed),
            ("hashes on the way", parts.count(len(made["path"]))),
            ("public key", parts.ident(made["public_key"])),
        ]
    )
    return f'<div class="tw-proof">{pill}<p>{escape(words)}</p>{facts}</div>'


def label(name: str, color: str, *, count: int | None = None) -> str:
    """Return a name beside its colour, with its count, as the label of a chart."""
    number = "" if count is None else f'<span class="tw-muted">{parts.count(count)}</span>'
    return f'<span class="tw-label">{swatch(color)}{escape(name)}{number}</span>'


def _glance(provider: ProviderStatus, color: str) -> str:
    state, word = sentences.standing(provider)
    more = ""
    if provider.circuit == "open" and provider.open_until:
        more = f'<div class="tw-more">next probe {parts.until(provider.open_until)}</div>'
    return (
        f"<li><div class='tw-name'>{swatch(color)}<b>{escape(provider.name)}</b>"
        f"<span class='tw-muted'>{escape(provider.model)}</span></div>{parts.pill(state, word)}{more}</li>"
    )


def _glance_offline() -> str:
    return (
        f"<li><div class='tw-name'>{swatch(palette.provider_color('offline'))}<b>offline answer</b><span class='tw-muted'>always last</span></div>"
        f"{parts.pill('info', 'ready')}</li>"
    )


def _event(event: Event, *, current: bool) -> str:
    words = wording.said(event.type, event.data, agent_id=event.agent_id)
    more = f'<div class="tw-more tw-one" title="{escape(words, quote=True)}">{escape(words)}</div>' if words else ""
    mark = ' aria-current="true"' if current else ""
    return (
        f'<li{mark} data-seq="{event.seq}"><div class="tw-name">{family_icon(event.family)}'
        f'<a href="/swarm/events?seq={event.seq}"><code>{escape(event.type)}</code></a></div>{parts.ago(event.ts)}{more}</li>'
    )


def swatch(color: str) -> str:
    """Return a small square in a provider's colour."""
    return f'<span class="tw-swatch" style="--tw-swatch:{color}"></span>'
