"""The walks through the house, drawn from what it really does: each is a run whose events become arrows, in their order."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.events.model import Event
from timmy_core.settings import load_settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

# Who does it, and to whom, by the type of the event that says so; `{…}` is filled from the event's data.
_ARROWS: Final = {
    "chat.asked": ("you", "agent"),
    "memory.recalled": ("agent", "memory"),
    "llm.failed": ("router", "{gen_ai.provider.name}"),
    "llm.completed": ("router", "{gen_ai.provider.name}"),
    "chat.answered": ("agent", "you"),
    "memory.stored": ("agent", "memory"),
    "ledger.opened": ("payments", "ledger"),
    "invoice.created": ("payments", "ledger"),
    "invoice.settled": ("node", "ledger"),
    "payment.initiated": ("payments", "ledger"),
    "budget.reserved": ("ledger", "ledger"),
    "payment.sent": ("payments", "node"),
    "payment.settled": ("node", "ledger"),
    "budget.released": ("ledger", "ledger"),
    "upgrade.proposed": ("proposer", "queue"),
    "upgrade.tests_started": ("queue", "sandbox"),
    "upgrade.tests_passed": ("sandbox", "queue"),
    "upgrade.tests_failed": ("sandbox", "queue"),
    "upgrade.pin_set": ("you", "queue"),
    "upgrade.approved": ("you", "queue"),
    "upgrade.queued": ("queue", "queue"),
    "upgrade.applying": ("queue", "repository"),
    "upgrade.applied": ("repository", "queue"),
    "upgrade.rolled_back": ("you", "repository"),
}


@contextmanager
def house(*providers: ScriptedProvider, toml: str = "") -> Iterator[Timmy]:
    """Open a home of its own, with providers that follow a script."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "timmy.toml").write_text(toml, encoding="utf-8")
        timmy = Timmy(load_settings(Path(folder)), providers=providers)
        try:
            yield timmy
        finally:
            timmy.shutdown()


def arrows(events: list[Event]) -> list[str]:
    """Return a sequence of arrows, one an event."""
    steps, people = [], []
    for event in events:
        one, other = (str(end).format_map(_Data(event.data or {})) for end in _ARROWS[event.type])
        people += [one, other]
        steps.append(f"  {one}->>{other}: {event.type}")
    return ["sequenceDiagram", *(f"  participant {name}" for name in dict.fromkeys(people)), *steps]


class _Data(dict[str, object]):
    """Fills `{gen_ai.provider.name}`: a key may have dots in it."""

    def __missing__(self, key: str) -> object:
        raise KeyError(key)


def walk_of_a_question() -> list[str]:
    """Ask a question whose first provider is away."""
    away = ScriptedProvider("first", ProviderError("refused", "nothing listens there"), priority=1)
    well = ScriptedProvider("second", "It is in the cellar.", priority=2)
    with house(away, well) as timmy:
        answer = timmy.ask_sync("Where is my bicycle?")
        timmy.store.flush()
        events = timmy.events.list(trace_id=answer.trace_id)
    return arrows(events[::-1])


def walk_of_a_sat() -> list[str]:
    """Have an invoice paid by the play node's neighbour, and pay one of the neighbour's within a budget."""
    with house() as timmy:
        invoice = timmy.payments.create_invoice(amount_msat=21_000, memo="a walk")
        timmy.payments.playing.pay(invoice.payment_hash)
        timmy.payments.wait_settled(invoice.id)
        timmy.ledger.set_budget("echo", "day", 100_000, by="a walk")
        payment = timmy.payments.pay(timmy.payments.playing.invoice(amount_msat=5_000), agent_id="echo")
        traces = (invoice.trace_id, payment.trace_id)
        events = [event for trace in traces for event in timmy.events.list(trace_id=trace)[::-1]]
    return arrows(events)
