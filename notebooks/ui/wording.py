"""What an event says, in a few words, and whether it is good or bad news; the live feed reads the same tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from timmy_core.events.model import EVENT_TYPES
from ui import parts, sats

Tone = Literal["bad", "wait", ""]

# By type: what is said, in this order; a piece is left out where one of its keys has no value. `@` is the event's own.
PHRASES: dict[str, tuple[str, ...]] = {
    "task.created": ("{title}", "up to {budget_msat}", "needs {needs}", "by {by}"),
    "task.bidding": ("auction {auction}", "{reason}"),
    "task.assigned": ("to {@agent_id}", "for {amount_msat}", "instead of {instead_of}", "{reason}"),
    "task.started": ("by {@agent_id}", "attempt {attempt}"),
    "task.completed": ("by {@agent_id}", "for {amount_msat}", "took {took_s}", "{model}"),
    "task.failed": ("{problem}", "by {@agent_id}"),
    "task.canceled": ("by {by}", "{reason}", "was {was}"),
    "agent.joined": ("{@agent_id}", "{kind}", "can {capabilities}"),
    "agent.left": ("{@agent_id}", "{reason}"),
    "agent.status_changed": ("{@agent_id}", "{from} → {to}", "{reason}"),
    "agent.token_made": ("{@agent_id}", "by {by}"),
    "agent.token_revoked": ("{@agent_id}", "by {by}"),
    "bid.submitted": ("{@agent_id}", "{amount_msat}"),
    "auction.closed": ("won by {winner}", "for {amount_msat}", "bids: {bids}"),
    "tool.called": ("{tool}", "{name}", "by {@agent_id}"),
    "tool.completed": ("{tool}", "{name}", "{latency_ms}", "by {@agent_id}"),
    "tool.failed": ("{tool}", "{name}", "{message}", "{problem}", "by {@agent_id}"),
    "circuit.opened": ("{provider}", "{reason}", "{failures} failures"),
    "circuit.half_opened": ("{provider}", "{from} → {to}"),
    "circuit.closed": ("{provider}", "{reason}"),
    "provider.reprioritized": ("{provider}", "priority {priority}", "by {by}"),
    "invoice.created": ("{amount_msat}", "{memo}"),
    "invoice.settled": ("{received_msat}", "{memo}"),
    "payment.initiated": ("{amount_msat}", "{memo}", "attempt {attempt}"),
    "payment.sent": ("{amount_msat}", "{memo}"),
    "payment.settled": ("{amount_msat}", "fee {fee_msat}", "{memo}"),
    "payment.failed": ("{amount_msat}", "{reason}", "{memo}"),
    "budget.changed": ("{@agent_id}", "{limit_msat} a {period}", "by {by}"),
    "budget.exceeded": ("{@agent_id}", "wanted {wanted_msat}", "of {limit_msat} a {period}", "{provider}"),
    "ledger.opened": ("{node}", "{amount_msat}"),
    "ledger.reconciled": ("{node}", "{compared} compared", "{open} open"),
    "ledger.finding": ("{kind}", "{message}", "{words}"),
    "memory.stored": ("{kind}", "session {session}", "{characters} characters"),
    "memory.recalled": ("session {session}", "{took_ms}", "{tokens} tokens"),
    "memory.failed": ("{step}", "{problem}"),
    "memory.forgotten": ("entries: {count}", "{reason}", "by {by}"),
    "upgrade.proposed": ("{description}", "+{added} −{removed}", "{risk}", "by {by}"),  # noqa: RUF001 - a minus
    "upgrade.tests_passed": ("took {took_s}", "{level}"),
    "upgrade.tests_failed": ("{problem}", "took {took_s}"),
    "upgrade.approved": ("by {by}",),
    "upgrade.rejected": ("by {by}", "{reason}"),
    "upgrade.rolled_back": ("by {by}",),
    "log.sealed": ("#{first_seq} – #{last_seq}", "{file}"),
    "log.pruned": ("#{first_seq} – #{last_seq}",),
    "log.redacted": ("events: {count}", "{reason}", "by {by}"),
    "router.reloaded": ("{changed}",),
    "router.reload_failed": ("{problem}",),
}

_BAD = frozenset(
    {"circuit.opened", "llm.unanswered", "budget.exceeded", "router.reload_failed", "ledger.finding",
     "upgrade.tests_failed", "upgrade.notice_failed", "upgrade.conflict", "upgrade.pin_locked"}
)  # fmt: skip
_WAIT = frozenset(
    {"circuit.half_opened", "invoice.expired", "upgrade.expired", "upgrade.stale", "upgrade.blocked", "llm.cancelled",
     "upgrade.pin_refused", "upgrade.bypassed", "provider.isolated", "provider.disabled"}
)  # fmt: skip
_KEY = re.compile(r"\{([^{}]+)\}")
_ID = re.compile(r"\b[0-9a-f]{26,64}([0-9a-f]{6})\b")


def said(type_: str, data: Mapping[str, Any] | None, **own: str | None) -> str:
    """Return what an event says in a few words; `own` has what it says of itself, such as its `agent_id`."""
    if data is None:
        return "redacted"
    pieces = [_filled(phrase, data, own) for phrase in PHRASES.get(type_, ())]
    text = " · ".join(dict.fromkeys(piece for piece in pieces if piece)) or parts.summary(data)
    text = _ID.sub(r"…\1", text) or EVENT_TYPES.get(type_, "")
    return text if len(text) <= parts.SUMMARY_CHARS else text[: parts.SUMMARY_CHARS - 1] + "…"


def tone(type_: str) -> Tone:
    """Return whether a type is bad news, a warning, or neither."""
    if type_ in _BAD or type_.endswith((".failed", ".error")):
        return "bad"
    return "wait" if type_ in _WAIT or type_.endswith(".warning") else ""


def tables() -> dict[str, Any]:
    """Return the words and tones of every declared type as the widgets take them."""
    return {
        "phrases": {name: list(pieces) for name, pieces in PHRASES.items()},
        "meanings": dict(EVENT_TYPES),
        "tones": {name: tone(name) for name in EVENT_TYPES if tone(name)},
        "keys": list(parts.SUMMARY_KEYS),
    }


def _filled(phrase: str, data: Mapping[str, Any], own: Mapping[str, str | None]) -> str:
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        key = match[1]
        found = own.get(key[1:]) if key.startswith("@") else data.get(key)
        missing = missing or found in (None, "", [])
        return "" if missing else _word(key, found)

    text = _KEY.sub(value, phrase)
    return "" if missing else text


def _word(key: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if key.endswith("_ms"):
            return parts.latency(value)
        if key.endswith("_s"):
            return parts.latency(value * 1000)
        if key.endswith("_msat"):
            return sats.words(int(value))
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return " ".join(str(value).split())
