"""The browser and the kernel say the same of an event, and lead to the same things."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

from timmy_core.events.model import EVENT_TYPES
from ui import things, wording
from ui.joined import joined

from .window import Window

VALUES: dict[str, Any] = {
    "amount_msat": 1_234_500, "received_msat": 21_000, "fee_msat": 1, "limit_msat": 5_000_000, "budget_msat": 0,
    "wanted_msat": 999, "took_s": 12.34, "took_ms": 3.2, "latency_ms": 1800, "needs": ["text", "code"], "changed": [],
    "capabilities": ["a"], "title": "  two\n lines ", "reason": "", "problem": None, "bids": 1204,
    "entry": "0123456789abcdef0123456789abcdef", "entries": ["a b", "c/d"], "proposal": "p?1", "link": "//elsewhere",
    "path": "/router/status", "first_seq": 7, "gen_ai.provider.name": "my box", "session": "s 1",
}  # fmt: skip


def sample(type_: str, *, filled: bool) -> dict[str, Any]:
    """Return an event of a type, with a value for every key that its words and links may have."""
    keys = {key for phrase in wording.PHRASES.get(type_, ()) for key in re.findall(r"\{([^{}]+)\}", phrase)}
    keys |= {rule.key for rule in things.RULES}
    data = {key: VALUES.get(key, f"the {key}"[:12]) for key in sorted(keys) if key and not key.startswith("@")}
    own = {"seq": 9, "id": "e1", "ts": "2026-01-31T12:00:00Z", "source": "test", "v": 1}
    who = (
        {"task_id": "t/1", "agent_id": "echo", "trace_id": "tr"}
        if filled
        else dict.fromkeys(("task_id", "agent_id", "trace_id"))
    )
    return {**own, **who, "type": type_, "data": data if filled else {}}


def test_words_and_links_are_the_same_in_the_browser_and_in_the_kernel(window: Window) -> None:
    page = window.tab()
    types = [*EVENT_TYPES, "x.own.thing"]
    # Where a type has words of its own; the others fall back on whatever their data holds.
    events = [sample(name, filled=True) for name in types if name in wording.PHRASES]
    events += [sample(name, filled=False) for name in types]
    script = joined("dom.js", "wording.js")
    tables, rules = json.dumps(wording.tables()), json.dumps(things.rules())
    found = page.evaluate(
        f"events => {{ {script}\nconst tables = {tables}, rules = {rules};"
        "return events.map((event) => [said(event, tables), thingsOf(event, rules)]); }",
        events,
    )
    for event, (words, links) in zip(events, found, strict=True):
        told = SimpleNamespace(**event)
        ours = wording.said(told.type, told.data, agent_id=told.agent_id)
        assert (words[:90], told.type) == (ours[:90], told.type)
        assert links == [[link.href, link.word] for link in things.links(told)], told.type
