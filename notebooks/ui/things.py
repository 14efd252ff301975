"""Where the thing itself is that an event tells of: one table, which the pages and the live feed both read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import quote

MOST = 6  # links of one event


class Told(Protocol):
    """What is read of an event."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def task_id(self) -> str | None: ...
    @property
    def agent_id(self) -> str | None: ...
    @property
    def trace_id(self) -> str | None: ...
    @property
    def data(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One way from an event to a thing.

    Attributes:
        of: the types or families that it is about; none: every event.
        key: where the value stands in the data, or with `@` in the event itself; empty where none is needed.
        path: the address, with `{}` for the value.
        word: what the link says.
        last: it only holds where nothing before it did.
    """

    of: tuple[str, ...]
    key: str
    path: str
    word: str
    last: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """An address of this workbench, and what it leads to."""

    href: str
    word: str


_ROUTER = ("llm", "circuit", "provider", "budget")
RULES: tuple[Rule, ...] = (
    Rule(("invoice", "payment", "ledger"), "entry", "/lightning/ledger?entry={}", "the entry in the ledger"),
    Rule(("task",), "payment_id", "/lightning/ledger?entry={}", "what was paid for it"),
    Rule(("budget",), "limit_msat", "/lightning/ledger", "the budgets in the ledger"),
    Rule(("invoice", "payment", "ledger"), "", "/lightning/ledger", "the ledger", last=True),
    Rule(("llm",), "gen_ai.provider.name", "/router/status?provider={}", "the provider {}"),
    Rule((*_ROUTER, "chat"), "provider", "/router/status?provider={}", "the provider {}"),
    Rule((*_ROUTER, "router"), "", "/router/status", "the router", last=True),
    Rule(("upgrade",), "proposal", "/self-modify/queue?id={}", "the proposal"),
    Rule(("upgrade",), "", "/self-modify/queue", "the queue of proposals", last=True),
    Rule(("memory",), "entry", "/memory?entry={}", "the entry in memory"),
    Rule(("memory",), "entries", "/memory?entry={}", "an entry in memory"),
    Rule(("memory",), "replaced_by", "/memory?entry={}", "what took its place"),
    Rule(("memory", "chat"), "session", "/memory?session={}", "the session {} in memory"),
    Rule(("memory",), "", "/memory", "memory", last=True),
    Rule(("log",), "first_seq", "/swarm/events?seq={}", "the first of these events"),
    Rule(("log",), "last_seq", "/swarm/events?seq={}", "the last of these events"),
    Rule((), "link", "{}", "what explains it"),
    Rule(("alert",), "path", "{}", "what it is about"),
    Rule((), "@task_id", "/swarm/live?task={}", "the task"),
    Rule(("agent", "bid", "tool"), "@agent_id", "/swarm/live?agent={}", "what {} does"),
    Rule((), "@trace_id", "/swarm/events?trace={}", "its trace", last=True),
    Rule((), "@seq", "/swarm/events?seq={}", "its record", last=True),
)


def links(event: Told) -> list[Link]:
    """Return where the things are that an event tells of, the nearest first; at least one, at most six."""
    found: dict[str, Link] = {}
    for rule in RULES:
        if rule.last and found:
            continue
        for link in _by(rule, event):
            found.setdefault(link.href, link)
    return list(found.values())[:MOST]


def rules() -> list[dict[str, Any]]:
    """Return the table as the widgets take it."""
    return [asdict(rule) for rule in RULES]


def _by(rule: Rule, event: Told) -> Iterator[Link]:
    if rule.of and event.type not in rule.of and event.type.partition(".")[0] not in rule.of:
        return
    if not rule.key:
        yield Link(rule.path, rule.word)
        return
    value = getattr(event, rule.key[1:]) if rule.key.startswith("@") else (event.data or {}).get(rule.key)
    for one in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(one, str | int) or isinstance(one, bool) or one == "":
            continue
        # What an event names as a link has to stay within this workbench.
        if rule.path == "{}":
            if isinstance(one, str) and one.startswith("/") and not one.startswith("//"):
                yield Link(one, rule.word)
            continue
        yield Link(rule.path.replace("{}", quote(str(one), safe="")), rule.word.replace("{}", str(one)))
