"""The first line of a page: what the reader came to ask, answered in words. All texts are HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from ui import palette, parts, present

if TYPE_CHECKING:
    from timmy_core.router.chat import ProviderStatus

_START: dict[str, str] = {
    "ollama": "`ollama serve`, then `ollama pull {model}`",
    "openai": "start the server at its `base_url`, or give `api_key` in timmy.toml",
    "anthropic": "`export ANTHROPIC_API_KEY=…`",
}


def models(providers: Sequence[ProviderStatus]) -> list[ProviderStatus]:
    """Return the providers that can be a model, in the order in which they are asked."""
    return sorted((p for p in providers if p.kind != "offline"), key=lambda p: (p.priority, p.name))


def standing(provider: ProviderStatus) -> tuple[parts.State, str]:
    """Return how a provider stands, as the state and the word of its pill."""
    first: list[tuple[object, parts.State, str]] = [
        (not provider.configured, "off", "not set up"),
        (not provider.enabled, "off", "switched off"),
        (provider.isolated, "off", "isolated"),
        (provider.bar, "bad", "misconfigured"),
        (is_limited(provider), "wait", "limited"),
        (provider.circuit == "open", "bad", "open"),
        (provider.circuit == "half_open", "wait", "half-open"),
        (provider.consecutive_failures, "wait", "failing"),
        (provider.last_success_at, "good", "answers"),
    ]
    return next(((state, word) for holds, state, word in first if holds), ("off", "not asked yet"))


def is_limited(provider: ProviderStatus, now: datetime | None = None) -> bool:
    """Whether a provider asked to be left alone, and the time is not over yet."""
    return provider.limited_until is not None and provider.limited_until > (now or present.now())


def can_answer(providers: Sequence[ProviderStatus]) -> str:
    """Answer the question what can answer right now."""
    known = models(providers)
    good = [p for p in known if standing(p)[0] == "good"]
    if good:
        start = f"<strong>{len(good)} of {parts.plural(len(known), 'provider')}</strong> can answer"
    elif any(p.last_success_at for p in known):
        start = "<strong>No provider can answer right now</strong>; Timmy gives the offline answer"
    else:
        start = "<strong>No provider answers yet</strong>"
    return "; ".join([start, *(words for p in known if (words := trouble(p)))]) + "."


def to_do(providers: Sequence[ProviderStatus], *, toml: str) -> str:
    """Say what to do while no provider answers; empty as soon as one does.

    Args:
        providers: how they stand.
        toml: the configuration file, which is named where it holds no provider.
    """
    known = models(providers)
    if not known:
        return (
            f'<p class="tw-after">None is set up. Add a {parts.command("[[providers]]")} table to {parts.command(toml)} '
            f"and it is asked from then on; {parts.command('timmy doctor')} checks it.</p>"
        )
    if any(standing(p)[0] == "good" for p in known):
        return ""
    steps = "".join(
        f'<li style="--tw-swatch:{palette.provider_color(p.kind)}"><b>{escape(p.name)}</b>'
        f'<span class="tw-muted">{parts.advice(_why(p))}</span><span class="tw-do">{parts.advice(parts.sentence(next_step(p)))}</span></li>'
        for p in known
    )
    check = parts.command("timmy router test")
    return (
        f'<ul class="tw-steps">{steps}</ul><p class="tw-after">One of these is enough; {check} says whether it worked. '
        "Until then every question is recorded, and the offline answer says why nothing answered.</p>"
    )


def next_step(provider: ProviderStatus) -> str:
    """Return the exact thing to do about a provider that does not answer."""
    return provider.advice or _START.get(provider.kind, "`timmy router test`").format(
        model=provider.model or "llama3.2"
    )


def _why(provider: ProviderStatus) -> str:
    if not provider.configured:
        return parts.sentence(provider.problem)
    if provider.recent_failures:
        return parts.sentence(provider.recent_failures[0].message)
    return "Has not been asked yet."


def trouble(provider: ProviderStatus) -> str:
    """What the first line says of a provider that is not simply well; nothing of one that was never set up. HTML."""
    say = _TROUBLE.get(standing(provider)[1])
    return f"{escape(provider.name)} {say(provider)}" if say else ""


def _open(provider: ProviderStatus) -> str:
    since = f" since {parts.clock(provider.recent_failures[0].at)}" if provider.recent_failures else ""
    wait = f", next probe {parts.until(provider.open_until)}" if provider.open_until else ""
    return f"is open{since}{wait}"


def _limited(provider: ProviderStatus) -> str:
    wait = f" and is asked again {parts.until(provider.limited_until)}" if provider.limited_until else ""
    return f"asked to be left alone{wait}"


# By the word of its pill.
_TROUBLE: dict[str, Callable[[ProviderStatus], str]] = {
    "switched off": lambda _: "is switched off",
    "isolated": lambda _: "is isolated",
    "misconfigured": lambda _: "is misconfigured",
    "limited": _limited,
    "open": _open,
    "half-open": lambda _: "is half-open and gets one probe",
    "failing": lambda provider: f"failed {parts.plural(provider.consecutive_failures, 'time')} in a row",
    "not asked yet": lambda _: "has not been asked yet",
}
