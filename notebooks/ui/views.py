"""Views that lists of providers and events get: at a glance, as a cascade, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ui import palette, parts, sentences
from ui.icons import family_icon

if TYPE_CHECKING:
    from timmy_core.events.model import Event
    from timmy_core.router.chat import ProviderStatus


def providers_at_a_glance(providers: Sequence[ProviderStatus]) -> str:
    """Return one line a provider: its colour, its name and model, and how it stands."""
    rows = "".join(_glance(provider) for provider in sentences.models(providers))
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


def cascade(providers: Sequence[ProviderStatus]) -> str:
    """Return the providers in the order in which they are asked, and the offline answer last."""
    known = sentences.models(providers)
    heads = "".join(
        f'<span class="{css}">{word}</span>'
        for css, word in (
            ("", ""),
            ("", "asked in this order"),
            ("", "circuit"),
            ("tw-num", "requests"),
            ("tw-num", "errors"),
            ("tw-num", "p50"),
            ("tw-num", "p95"),
            ("tw-end", "last success"),
        )
    )
    rows = "".join(_step(number, provider) for number, provider in enumerate(known, 1))
    return (
        f'<ol class="tw-cascade"><li class="tw-head" aria-hidden="true">{heads}</li>{rows}'
        f'<li class="tw-last" style="--tw-swatch:{palette.provider_color("offline")}">'
        f'<span class="tw-step">{len(known) + 1}</span><span class="tw-name"><b>offline answer</b>'
        "<span>says why no model answered, and what to do</span></span>"
        f"{parts.pill('info', 'always ready')}</li></ol>"
    )


def label(name: str, color: str, *, count: int | None = None) -> str:
    """Return a name beside its colour, with its count, as the label of a chart."""
    number = "" if count is None else f'<span class="tw-muted">{parts.count(count)}</span>'
    swatch = f'<span class="tw-swatch" style="--tw-swatch:{color}"></span>'
    return f'<span class="tw-label">{swatch}{escape(name)}{number}</span>'


def failures(providers: Sequence[ProviderStatus], *, limit: int = 12) -> str:
    """Return the latest failed attempts of all providers, newest first."""
    found = [(failure, provider) for provider in providers for failure in provider.recent_failures]
    found.sort(key=lambda pair: pair[0].at, reverse=True)
    if not found:
        return parts.empty("No attempt has failed.")
    rows = "".join(
        f"<li><div class='tw-name'>{_swatch(provider.kind)}<b>{escape(provider.name)}</b>"
        f"<span class='tw-muted'>{escape(failure.error_class.replace('_', ' '))}</span></div>{parts.ago(failure.at)}"
        f"<div class='tw-more'>{parts.advice(parts.sentence(failure.message))} "
        f"<a href='/swarm/events?trace={quote(failure.trace_id)}'>its trace</a></div></li>"
        for failure, provider in found[:limit]
    )
    return f'<ul class="tw-list">{rows}</ul>'


def _glance(provider: ProviderStatus) -> str:
    state, word = sentences.standing(provider)
    more = ""
    if provider.circuit == "open" and provider.open_until:
        more = f'<div class="tw-more">next probe {parts.until(provider.open_until)}</div>'
    return (
        f"<li><div class='tw-name'>{_swatch(provider.kind)}<b>{escape(provider.name)}</b>"
        f"<span class='tw-muted'>{escape(provider.model)}</span></div>{parts.pill(state, word)}{more}</li>"
    )


def _glance_offline() -> str:
    return (
        f"<li><div class='tw-name'>{_swatch('offline')}<b>offline answer</b><span class='tw-muted'>always last</span></div>"
        f"{parts.pill('info', 'ready')}</li>"
    )


def _event(event: Event, *, current: bool) -> str:
    words = parts.summary(event.data)
    more = f'<div class="tw-more tw-one" title="{escape(words, quote=True)}">{escape(words)}</div>' if words else ""
    mark = ' aria-current="true"' if current else ""
    return (
        f'<li{mark} data-seq="{event.seq}"><div class="tw-name">{family_icon(event.family)}'
        f'<a href="/swarm/events?seq={event.seq}"><code>{escape(event.type)}</code></a></div>{parts.ago(event.ts)}{more}</li>'
    )


def _step(number: int, provider: ProviderStatus) -> str:
    state, word = sentences.circuit(provider)
    errors = f"{100 * provider.errors / provider.requests:.0f} % failed" if provider.requests else ""
    last = parts.ago(provider.last_success_at) if provider.last_success_at else "never"
    cells = (
        ("requests", parts.count(provider.requests)),
        ("errors", f'<span title="{errors}">{parts.count(provider.errors)}</span>'),
        ("p50", parts.latency(provider.p50_ms)),
        ("p95", parts.latency(provider.p95_ms)),
    )
    numbers = "".join(f'<span class="tw-num"><small>{name}</small>{value}</span>' for name, value in cells)
    unused = "" if provider.configured else ' class="tw-unused"'
    return (
        f'<li{unused} data-provider="{escape(provider.name, quote=True)}" '
        f'style="--tw-swatch:{palette.provider_color(provider.kind)}"><span class="tw-step">{number}</span>'
        f'<span class="tw-name"><b>{escape(provider.name)}</b><span>{escape(provider.kind)} · {escape(provider.model)}</span></span>'
        f'{parts.pill(state, word)}<span class="tw-numbers">{numbers}'
        f'<span class="tw-end"><small>last success</small>{last}</span></span>{_note(provider)}</li>'
    )


def _note(provider: ProviderStatus) -> str:
    if not provider.configured:
        return f'<span class="tw-note">{parts.advice(parts.sentence(provider.problem))} {parts.advice(parts.sentence(provider.advice))}</span>'
    if provider.circuit == "open" and provider.open_until:
        why = (
            f" {parts.advice(parts.sentence(provider.recent_failures[0].message))}" if provider.recent_failures else ""
        )
        return f'<span class="tw-note">Left alone; next probe {parts.until(provider.open_until)}.{why}</span>'
    if provider.consecutive_failures and provider.recent_failures:
        return f'<span class="tw-note">{parts.advice(parts.sentence(provider.recent_failures[0].message))}</span>'
    return ""


def _swatch(kind: str) -> str:
    return f'<span class="tw-swatch" style="--tw-swatch:{palette.provider_color(kind)}"></span>'
