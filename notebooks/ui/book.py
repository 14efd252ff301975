"""How the books stand: what the page looks up once for all of its parts, its first line, and the cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from timmy_core import TimmyError
from timmy_core.ledger.model import Account, Balance, Budget, Entry, Invoice, Stats, Sum
from ui import addressed, ledger_charts, palette, parts, sats
from ui.addressed import RANGES
from ui.chips import Choice, Group
from ui.markup import act, seek

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.events.schedule import JobState
    from timmy_core.ledger.findings import Finding
    from timmy_core.ledger.registry import NodeInfo
    from timmy_core.ledger.watch import WatchState

FAMILIES = ("invoice", "payment", "budget", "ledger")
USUAL = "30d"
GROUPS = (
    Group("at", "balance as of", [Choice("", "now")], moment=True),
    Group(
        "range",
        "the last",
        [Choice("7d", "7 days"), Choice("30d", "30 days"), Choice("90d", "90 days"), Choice("365d", "year")],
        USUAL,
    ),
)
_NOTHING = Balance(0, 0, 0, 0, 0, 0, 0, datetime(2026, 1, 1, tzinfo=UTC))
_SUM = Sum("", 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Here:
    """How the books stand at a moment; `problem` says why they could not be read."""

    at: datetime
    as_of: datetime | None = None
    balance: Balance = _NOTHING
    stats: Stats = field(default_factory=lambda: Stats(_NOTHING.at, _NOTHING.at, _SUM, (), (), (), ()))
    budgets: Sequence[Budget] = ()
    pending: Sequence[Entry] = ()
    accounts: Sequence[Account] = ()
    findings: Sequence[Finding] = ()
    settled: Sequence[Finding] = ()  # the newest of those that wait for nobody any more
    compared: JobState | None = None  # how the serving process compares by itself
    nodes: Sequence[NodeInfo] = ()
    watching: Sequence[WatchState] = ()
    changed: int = 0
    any: bool = False
    problem: str = ""

    @property
    def play(self) -> bool:
        """Whether every node is a play node, so that no sat is worth anything."""
        return bool(self.nodes) and all(node.play for node in self.nodes)


def look(timmy: Timmy, query: Mapping[str, Any]) -> Here:
    """Return how the books stand; what is wrong becomes words."""
    at, moment = timmy.clock.now(), addressed.moment(str(query.get("at") or ""))
    moment = None if moment is None or moment >= at else moment
    ledger = timmy.ledger
    try:
        latest = [timmy.events.list(family=family, limit=1) for family in FAMILIES]
        return Here(
            at=at,
            as_of=moment,
            balance=ledger.balance(as_of=moment),
            stats=ledger.stats(_days(query)),
            budgets=ledger.budgets(),
            pending=ledger.pending(),
            accounts=ledger.accounts(as_of=moment, budgets=False),
            findings=timmy.payments.findings(),
            settled=timmy.payments.findings(open=False, limit=5),
            compared=next((job for job in timmy.status().upkeep if job.name == "reconcile"), None),
            nodes=timmy.payments.nodes(),
            watching=timmy.payments.watching(),
            changed=max((found[0].seq for found in latest if found), default=0),
            any=bool(ledger.list(limit=1).entries),
        )
    except TimmyError as error:
        return Here(at=at, problem=str(error))


def days(timmy: Timmy, query: Mapping[str, Any]) -> tuple[Sum, ...]:
    """Return what settled on each day, oldest first; nothing where that cannot be read, which the first line says."""
    try:
        return timmy.ledger.stats(_days(query)).by_day
    except TimmyError:
        return ()


def _days(query: Mapping[str, Any]) -> int:
    return RANGES.get(str(query.get("range")), RANGES[USUAL])[1].days


def agents(here: Here) -> list[str]:
    """Return every agent that the books name, for filters and forms."""
    named = [one.key for one in here.stats.by_agent] + [one.agent_id for one in here.budgets]
    return sorted({name for name in [*named, *(one.agent_id for one in here.pending)] if name})


def offered(here: Here) -> list[dict[str, Any]]:
    """Return the nodes to choose from, the default one first, each with what it is."""
    known = sorted(here.nodes, key=lambda node: not node.default)
    return [
        {"name": one.name, "words": f"{one.name} ({'play sats' if one.play else one.network})", "play": one.play}
        for one in known
    ]


# Words -------------------------------------------------------------------------------------------------------


def first_line(here: Here) -> str:
    """Answer what can be spent, and what is not decided yet. HTML."""
    if here.problem:
        return f"<strong>The books cannot be read.</strong> {escape(parts.sentence(here.problem))}"
    unit = "play sat" if here.play else "sat"
    amount = f"<strong>{sats.plain(here.balance.available_msat)} {unit}</strong>"
    if here.as_of is not None:
        return f"On {parts.minute(here.as_of)} you could spend {amount}."
    return f"You can spend {amount}; {_pending(here)}{_disagreeing(here)}."


def _pending(here: Here) -> str:
    incoming = sum(isinstance(one, Invoice) for one in here.pending)
    kinds = [(incoming, "invoice"), (len(here.pending) - incoming, "payment")]
    words = [seek({"status": "pending", "direction": "in" if word == "invoice" else "out"}, parts.plural(number, word))
             for number, word in kinds if number]  # fmt: skip
    if not words:
        return "nothing is pending"
    return f"{' and '.join(words)} {'is' if len(here.pending) == 1 else 'are'} pending"


def _disagreeing(here: Here) -> str:
    if not here.findings:
        return ""
    number = len(here.findings)
    words = parts.plural(number, "finding")
    return f'; <a href="#books">{words}</a> {"waits" if number == 1 else "wait"} for you'


def notes(here: Here) -> str:
    """Return what stands below the first line: what can be done, that sats are play sats, what does not agree. HTML."""
    if here.problem:
        return ""
    buttons = [
        act("Receive", {"action": "invoice"}, style="safe", carries="book"),
        act("Pay", {"action": "pay"}, style="safe", carries="book"),
        *(act(_compare(node, here), {"action": "compare", "node": node.name}, carries="book") for node in here.nodes),
        act("Export", {"action": "export"}, carries="book"),
    ]
    return f'<div class="tw-acts tw-head-acts">{"".join(buttons)}</div>{_play(here)}{_silent(here)}'


def _compare(node: NodeInfo, here: Here) -> str:
    return f"Compare with {node.name}" if len(here.nodes) > 1 else "Compare with the node"


def _play(here: Here) -> str:
    names = [node.name for node in here.nodes if node.play]
    if not names:
        return ""
    toml = f"Add a {parts.command('[[nodes]]')} table to timmy.toml and start again to use a node of your own."
    who = f"The node <b>{escape(names[0])}</b> is a play node" if len(names) == 1 else "Some nodes are play nodes"
    return f'<div class="tw-alert tw-info-edge"><p>{who}: its sats are worth nothing, and nothing leaves this machine. {toml}</p></div>'


def _silent(here: Here) -> str:
    """What is said of nodes that do not answer: since when, what still works, what happens to what is pending. HTML."""
    return "".join(
        f'<div class="tw-alert"><p>{parts.pill("bad", "does not answer")} <b>{escape(state.node)}</b>, since '
        f"{parts.clock(state.since)}: {escape(parts.sentence(state.problem or 'the connection broke'))} The books are here all "
        "the same; what is pending stays so until it answers, and is looked up then.</p></div>"
        for state in here.watching
        if not state.connected and state.problem
    )


# Cards -------------------------------------------------------------------------------------------------------


def cards(here: Here) -> str:
    """Return the numbers of the books, each with its line over the days looked at. HTML."""
    balance, days = here.balance, here.stats.by_day
    inward, outward = ledger_charts.COLORS["came in"], ledger_charts.COLORS["went out"]
    span = f"over {parts.plural(len(days), 'day')}"
    lines: dict[str, tuple[list[int], str]] = {} if here.as_of else {
        "left": (ledger_charts.running(days, balance.posted_msat), palette.FAMILIES["budget"]),
        "in": ([one.incoming_msat for one in days], inward),
        "out": ([one.outgoing_msat for one in days], outward),
        "fees": ([one.fees_msat for one in days], palette.NEUTRAL),
        "net": ([one.incoming_msat - one.outgoing_msat - one.fees_msat for one in days], palette.FAMILIES["budget"]),
    }  # fmt: skip
    sparks = {key: ledger_charts.sparkline(values, color, label=span) for key, (values, color) in lines.items()}
    total = here.stats.total
    recent = {key: "" if here.as_of else f"{sats.words(amount)} {span}"
              for key, amount in (("in", total.incoming_msat), ("out", total.outgoing_msat), ("fees", total.fees_msat))}  # fmt: skip
    held = sats.words(balance.pending_outgoing_msat)
    found = [
        _card("Can be spent", balance.available_msat, f"{held} set aside" if balance.pending_outgoing_msat else "nothing is set aside", sparks.get("left", ""), "tw-card-first"),
        _card("Came in", balance.incoming_total_msat, recent["in"], sparks.get("in", "")),
        _card("Went out", balance.outgoing_total_msat, recent["out"], sparks.get("out", "")),
        _card("Routing fees", balance.fees_paid_msat, _fee_share(balance), sparks.get("fees", "")),
        _card("Net", balance.net_msat, "in − out − fees", sparks.get("net", ""), signed=True),  # noqa: RUF001
        _pending_card(balance),
    ]  # fmt: skip
    past = ' data-past="true"' if here.as_of else ""
    return f'<div class="tw-cards"{past}>{"".join(found)}</div>'


def _card(name: str, msat: int, more: str, spark: str, css: str = "", *, signed: bool = False) -> str:
    number = f"{sats.signed(msat)}<small> sat</small>" if signed else sats.big(msat)
    return (
        f'<div class="tw-card {css}"><span class="tw-card-name">{name}</span><span class="tw-card-number">{number}</span>'
        f'<span class="tw-card-more">{more}</span>{spark}</div>'
    )


def _fee_share(balance: Balance) -> str:
    if not balance.outgoing_total_msat:
        return "nothing went out"
    return f"{sats.share(balance.fees_paid_msat, balance.outgoing_total_msat)} of what went out"


def _pending_card(balance: Balance) -> str:
    rows = "".join(
        f'<span class="tw-card-row"><span>{word}</span><b>{sats.plain(amount)}</b></span>'
        for word, amount in (
            ("to come in", balance.pending_incoming_msat),
            ("to go out", balance.pending_outgoing_msat),
        )
    )
    return f'<div class="tw-card"><span class="tw-card-name">Pending, in sat</span>{rows}</div>'
