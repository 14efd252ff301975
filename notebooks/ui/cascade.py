"""The cascade drawn in order: what each step is doing now, what it did, and the buttons that steer it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ui import now as moment
from ui import palette, parts, sentences

if TYPE_CHECKING:
    from timmy_core.router.chat import ProviderStatus
    from ui.now import Now

LAST = 10_000
TARGET = 0.99
_HEADS = ("p50", "p95", "first token", "tokens/s", "available", "today")


def cascade(now: Now) -> str:
    """Return the providers in the order in which they are asked, and the offline answer last."""
    heads = "".join(f'<span class="tw-num">{word}</span>' for word in _HEADS)
    head = f"<span></span><span>asked in this order</span><span>now</span>{heads}<span></span>"
    rows = "".join(_step(now, number, provider) for number, provider in enumerate(now.providers, 1))
    nobody = moment.answering(now.providers, at=now.at) is None
    pill = parts.pill("wait", "answers") if nobody else parts.pill("info", "always ready")
    return (
        f'<ol class="tw-cascade"><li class="tw-head" aria-hidden="true">{head}</li>{rows}'
        f'<li class="tw-last" style="--tw-swatch:{palette.provider_color("offline")}">'
        f'<span class="tw-step">{len(now.providers) + 1}</span><span class="tw-name"><b>offline answer</b>'
        f'<span>says why no model answered, and what to do</span></span><span class="tw-doing">{pill}</span></li></ol>'
    )


def usd(microusd: int) -> str:
    """Return micro-dollars as a person reads them: `$0`, `$0.0042`, `$1.20`."""
    if microusd == 0:
        return "$0"
    dollars = microusd / 1e6
    if dollars >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if dollars >= 0.0001 else "<$0.0001"


def percent(share: float | None) -> str:
    """Return a share as `99.2 %`; a dash where nothing was counted."""
    if share is None:
        return "–"
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def _step(now: Now, number: int, provider: ProviderStatus) -> str:
    state, word = sentences.standing(provider)
    first = moment.answering(now.providers, at=now.at) is provider
    ready = moment.ready(provider, now.at)
    if state == "good" and not first:
        state, word = ("good", "ready")
    elif state == "off" and ready:
        word = "asked first" if first else "ready, not asked yet"
    classes = " ".join(
        name
        for name, on in (
            ("tw-unused", not provider.configured),
            ("tw-unasked", not provider.requests),
            ("tw-first", first),
        )
        if on
    )
    info = now.infos.get(provider.name)
    place = "local" if info is not None and info.local else "remote"
    cost = "free" if info is not None and info.free else "paid"
    tags = f'<i class="tw-tag">{place}</i><i class="tw-tag">{cost}</i>'
    return (
        f'<li class="{classes}" data-provider="{escape(provider.name, quote=True)}" '
        f'style="--tw-swatch:{now.colors[provider.name]}"><span class="tw-step">{number}</span>'
        f'<span class="tw-name"><b>{escape(provider.name)}</b>{tags}'
        f'<span title="{escape(provider.model, quote=True)}">{escape(provider.model)} · priority {provider.priority}</span></span>'
        f'<span class="tw-doing">{parts.pill(state, word)}<span class="tw-muted">{_activity(provider)}</span></span>'
        f'<span class="tw-numbers">{_numbers(now, provider)}</span>{steer(now, provider)}{_note(now, provider)}</li>'
    )


def _activity(provider: ProviderStatus) -> str:
    """What happens there at this moment."""
    if provider.in_flight or provider.waiting:
        waits = f", {provider.waiting} waiting" if provider.waiting else ""
        return f"{provider.in_flight} in flight{waits}"
    if not provider.configured:
        return ""
    if not provider.enabled or provider.isolated:
        return "idle"
    if provider.circuit == "open" and provider.open_until:
        return f"probe {parts.until(provider.open_until)}"
    if sentences.is_limited(provider) and provider.limited_until:
        return parts.until(provider.limited_until)
    return f"circuit {provider.circuit.replace('_', '-')}, idle"


def _numbers(now: Now, provider: ProviderStatus) -> str:
    cost = now.today.get(provider.name)
    known = usd(cost.microusd) if cost else "–"
    today = f"{known} + ?" if cost and cost.unpriced else known
    hint = (
        f"{parts.plural(cost.unpriced, 'attempt')} of today whose price is not known"
        if cost and cost.unpriced
        else "today, UTC"
    )
    speed = "–" if provider.tokens_per_s is None else f"{provider.tokens_per_s:,.0f}"
    low = provider.availability is not None and provider.availability < TARGET
    available = percent(provider.availability)
    values = (
        (parts.latency(provider.p50_ms), "half of its last answers were whole by then"),
        (parts.latency(provider.p95_ms), "19 of 20 of its last answers were whole by then"),
        (parts.latency(provider.first_token_p50_ms), "half of its last streams had begun by then"),
        (speed, "tokens a second over its last answers"),
        (
            f'<span class="tw-low">{available}</span>' if low else available,
            f"answers of its last attempts; {percent(TARGET)} is the aim",
        ),
        (today, hint),
    )
    return "".join(
        f'<span class="tw-num" title="{escape(hint, quote=True)}"><small>{name}</small>{value}</span>'
        for name, (value, hint) in zip(_HEADS, values, strict=True)
    )


def _note(now: Now, provider: ProviderStatus) -> str:
    words = _words(now, provider)
    others = [
        f"{escape(one.model)} is {'isolated' if one.isolated else one.circuit.replace('_', '-')}"
        for one in provider.circuits
        if one.model != provider.model and (one.circuit != "closed" or one.isolated) and not provider.isolated
    ]
    said = " ".join(filter(None, [words, parts.sentence("; ".join(others))]))
    return f'<span class="tw-note">{said}</span>' if said else ""


def _words(now: Now, provider: ProviderStatus) -> str:
    """Why it stands as it does, in a sentence or two. HTML."""
    say = _WORDS.get(sentences.standing(provider)[1])
    return say(now, provider) if say else ""


def _why(provider: ProviderStatus) -> str:
    return parts.advice(parts.sentence(provider.recent_failures[0].message)) if provider.recent_failures else ""


def _open(_now: Now, provider: ProviderStatus) -> str:
    wait = f"; next probe {parts.until(provider.open_until)}" if provider.open_until else ""
    return f"Left alone{wait}. {_why(provider)}"


def _limited(_now: Now, provider: ProviderStatus) -> str:
    wait = f", and is asked again {parts.until(provider.limited_until)}" if provider.limited_until else ""
    return f"It asked to be left alone{wait}."


# By the word of its pill.
_WORDS: dict[str, Callable[[Now, ProviderStatus], str]] = {
    "not set up": lambda _, one: " ".join(parts.advice(parts.sentence(text)) for text in (one.problem, one.advice)),
    "switched off": lambda now, one: (
        f"Switched off{moment.by(now, one, 'provider.disabled') or ' in the configuration'}; no question goes there."
    ),
    "isolated": lambda now, one: (
        f"Isolated{moment.by(now, one, 'provider.isolated')}; no question goes there until it is closed."
    ),
    "misconfigured": lambda _, one: (
        f"{parts.advice(parts.sentence(one.bar))} It is asked again when the configuration changes, or once it is closed."
    ),
    "limited": _limited,
    "open": _open,
    "half-open": lambda _, one: f"One question at a time probes it; two answers close its circuit. {_why(one)}",
    "failing": lambda _, one: _why(one),
}


# Steering ----------------------------------------------------------------------------------------------------


def steer(now: Now, provider: ProviderStatus) -> str:
    """Return the menu that steers one provider; what hurts carries what is to be confirmed first."""
    name, order = provider.name, [(one.name, one.priority) for one in now.providers]
    place = [one for one, _ in order].index(name)
    items: list[tuple[str, dict[str, Any], str]] = [
        ("Check health", {"action": "check"}, "ask whether it would answer; spends nothing")
    ]
    if place > 0:
        items.append(
            ("Ask earlier", {"action": "priority", "values": moved(order, name, -1)}, f"before {order[place - 1][0]}")
        )
    if place < len(order) - 1:
        items.append(
            ("Ask later", {"action": "priority", "values": moved(order, name, 1)}, f"after {order[place + 1][0]}")
        )
    if provider.isolated:
        items.append(("Close", {"action": "close"}, "let it be asked again"))
    else:
        if provider.circuit != "closed" or provider.bar or sentences.is_limited(provider):
            items.append(("Close", {"action": "close"}, "forget its failures and ask it again at once"))
        items.append(
            (
                "Isolate …",
                {"action": "isolate", "confirm": _confirm(now, provider, "Isolate")},
                "no question until it is closed",
            )
        )
    if provider.enabled or not provider.configured:
        items.append(
            (
                "Switch off …",
                {"action": "disable", "confirm": _confirm(now, provider, "Switch off")},
                "out of the cascade, kept over restarts",
            )
        )
    else:
        items.append(("Switch on", {"action": "enable"}, "back into the cascade"))
    buttons = "".join(
        f'<button type="button" data-steer="{escape(json.dumps({"name": name, **order_}), quote=True)}">{escape(word)}'
        f"<small>{escape(why)}</small></button>"
        for word, order_, why in items
    )
    hand = (
        f"<p>last steered by {escape(provider.changed_by)} {parts.ago(provider.changed_at)}</p>"
        if provider.changed_at
        else ""
    )
    return (
        f'<details class="tw-steer"><summary aria-label="steer {escape(name, quote=True)}">Steer</summary>'
        f'<div class="tw-menu">{buttons}{hand}</div></details>'
    )


def _confirm(now: Now, provider: ProviderStatus, verb: str) -> dict[str, str]:
    first = moment.answering(now.providers, at=now.at)
    then = parts.sentence(f"from then on {moment.who_then(now.providers, but=provider.name)}")
    if first is not None and first is not provider:
        then = f"{first.name} answers now, and goes on to."
    how = "until somebody closes it" if verb == "Isolate" else "until somebody switches it on"
    return {
        "title": f"{verb} {provider.name}?",
        "words": f"No new question goes to {provider.name} {how}; calls under way end as they began. {then}",
        "button": f"{verb} {provider.name}",
    }


def moved(order: Sequence[tuple[str, int]], name: str, step: int) -> dict[str, int]:
    """Return the new priorities that put a provider one place earlier (-1) or later (1); as few as that takes.

    Args:
        order: names and priorities in the order in which they are asked.
        name: who moves.
        step: -1 or 1; not beyond an end.
    """
    names = [one for one, _ in order]
    priorities: Mapping[str, int] = dict(order)
    place = names.index(name)
    names[place], names[place + step] = names[place + step], names[place]
    there = place + step
    before = priorities[names[there - 1]] if there > 0 else -1
    after = priorities[names[there + 1]] if there + 1 < len(names) else None
    value = before + 1 if after is None else (before + after) // 2 if there > 0 else after - 1
    rest_in_order = all(priorities[one] < priorities[two] for one, two in _pairs([n for n in names if n != name]))
    if before < value <= LAST and (after is None or value < after) and rest_in_order:
        return {name: value}
    wanted = {one: 10 * (index + 1) for index, one in enumerate(names)}
    return {one: value for one, value in wanted.items() if priorities[one] != value}


def _pairs(names: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(itertools.pairwise(names))
