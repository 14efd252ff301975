"""The walks through the house, drawn from what it really does: each is a run whose events become arrows, in order."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.events.model import Event
from timmy_core.settings import load_settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

_PATIENCE_S: Final = 60.0
_PIN: Final = "blue-heron-41"
_ANN: Final = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
# A change's tests as short as they can be: one that is green, as a report of JUnit.
_REPORT: Final = "<testsuite tests='1'><testcase classname='walk' name='test_it'/></testsuite>"
_GREEN: Final = ["{python}", "-c", f"import sys; open(sys.argv[1], 'w').write({_REPORT!r})", "{report}"]

# Who does it, and to whom, by the type of the event that says so; `{provider}` is whoever was asked.
_ARROWS: Final = {
    "chat.asked": ("you", "agent"),
    "memory.recalled": ("agent", "memory"),
    "llm.failed": ("router", "{provider}"),
    "llm.completed": ("router", "{provider}"),
    "chat.answered": ("agent", "you"),
    "memory.stored": ("agent", "memory"),
    "ledger.opened": ("payments", "ledger"),
    "invoice.created": ("payments", "ledger"),
    "invoice.settled": ("node", "ledger"),
    "payment.initiated": ("payments", "ledger"),
    "payment.sent": ("payments", "node"),
    "payment.settled": ("node", "ledger"),
    "task.created": ("you", "swarm"),
    "task.bidding": ("swarm", "agent"),
    "bid.submitted": ("agent", "swarm"),
    "auction.closed": ("swarm", "swarm"),
    "task.assigned": ("swarm", "agent"),
    "task.started": ("agent", "swarm"),
    "task.completed": ("agent", "swarm"),
    "upgrade.proposed": ("proposer", "queue"),
    "upgrade.tests_started": ("queue", "sandbox"),
    "upgrade.tests_passed": ("sandbox", "queue"),
    "upgrade.tests_failed": ("sandbox", "queue"),
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
        provider = str((event.data or {}).get("gen_ai.provider.name"))
        one, other = (end.replace("{provider}", provider) for end in _ARROWS[event.type])
        people += [one, other]
        steps.append(f"  {one}->>{other}: {event.type}")
    return ["sequenceDiagram", *(f"  participant {name}" for name in dict.fromkeys(people)), *steps]


def walk_of_a_question() -> list[str]:
    """Ask a question whose first provider is away."""
    away = ScriptedProvider("first", ProviderError("connection_refused", "nothing listens there"), priority=1)
    well = ScriptedProvider("second", "It is in the cellar.", priority=2)
    with house(away, well) as timmy:
        answer = timmy.ask_sync("Where is my bicycle?")
        timmy.events.append("x.walk.ended", source="test")  # what nobody waited for is in the log before it
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


def walk_of_a_proposal() -> list[str]:
    """Propose a change to a scratch repository, have it tested, approve it, apply it and take it back."""
    with tempfile.TemporaryDirectory() as folder:
        for words in ("init -q -b main", "add -A", "commit -q --allow-empty -m first"):
            subprocess.run(["git", "-C", folder, *_ANN, *words.split()], check=True, env={"PATH": os.environ["PATH"]})
        toml = f'[upgrades]\nrepo = "{folder}"\ntest_command = {json.dumps(_GREEN)}\n'
        with house(toml=toml) as timmy:
            queue, person = timmy.upgrades, {"by": "ann", "pin": _PIN}
            timmy.upgrading.approvals.set_pin(_PIN, by="ann")
            proposal = queue.propose(description="a tariff", files={"tariff.py": "PRICE = 390\n"}, proposed_by="timmy")
            queue.test(proposal.id)
            queue.approve(proposal.id, **person)
            queue.apply(proposal.id)
            queue.rollback(proposal.id, **person)
            events = queue.history(proposal.id)
    return arrows(list(events))


def walk_of_a_task() -> list[str]:
    """Post a task that one agent bids for, does and is paid for."""
    well = ScriptedProvider("model", "Gates that learn to rest")
    with house(well, toml='[swarm]\npersonas = ["echo"]\n') as timmy:
        timmy.start_schedule()
        task = timmy.swarm.post_task("Write a line about circuit breakers", budget_sats=20, bidding_s=1.0)
        patience = time.monotonic() + _PATIENCE_S
        ends = {"payment.settled", "invoice.settled"}
        for batch in timmy.events.tail(0, lambda: time.monotonic() > patience):
            ends -= {event.type for event in batch}
            if not ends:
                break
        events = timmy.events.list(trace_id=task.trace_id)
    # The two sides of one payment settle at about the same time; the payer is drawn first.
    events.sort(key=lambda event: (event.type == "invoice.settled", event.seq))
    return arrows([event for event in events if event.type != "agent.status_changed"])
