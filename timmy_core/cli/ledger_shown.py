"""How the ledger looks in a terminal, and the options that several commands of `timmy ledger` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli.console import out
from timmy_core.cli.shown import print_pairs, when
from timmy_core.ledger.model import Attempt, Balance, Entry, Invoice, Payment, Transfer
from timmy_core.ledger.money import Msat, words
from timmy_core.plain import plain

Node = Annotated[str | None, typer.Option(help="The node; the default one otherwise.", show_default=False)]
OfNode = Annotated[str | None, typer.Option("--node", help="Only of this node.", show_default=False)]
Agent = Annotated[str | None, typer.Option(help="The agent that it is for.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="The task that it is for.", show_default=False)]
Trace = Annotated[str | None, typer.Option(help="The trace that it belongs to.", show_default=False)]
Key = Annotated[
    str | None,
    typer.Option("--key", help="An idempotency key: the same one again does nothing twice.", show_default=False),
]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="As it was then: ISO 8601, or an age such as 2d.", show_default=False)
]

TONES: Final = {"pending": "yellow", "settled": "green", "failed": "red", "expired": "dim"}
_MEMO: Final = 48


def msat_of(sats: str | None) -> int | None:
    """Return an amount that was given in sats.

    Raises:
        MoneyError: it is none.
    """
    return None if sats is None else int(Msat.from_sats(sats))


def plain_entry(one: Entry) -> dict[str, Any]:
    """Return an entry as plain data, with its direction and the state that a person reads."""
    return {"direction": one.direction, "shown": one.shown, **plain(one)}


def shown(one: Entry) -> str:
    """Return an entry's state in its colour."""
    late = " late" if isinstance(one, Invoice) and one.late else ""
    return f"[{TONES[one.shown]}]{one.shown}{late}[/]"


def table_of(entries: Iterable[Entry]) -> Table:
    """Return entries as a table, one a row."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, side in (("when", "left"), ("", "left"), ("what", "left"), ("for", "left"), ("state", "left"),
                       ("fee", "right"), ("amount", "right"), ("id", "left")):  # fmt: skip
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=name not in {"what", "for"})
    for one in entries:
        sign, arrow = ("+", "in") if isinstance(one, Invoice) else ("-", "out")
        amount = (one.received_msat if isinstance(one, Invoice) else None) or one.amount_msat
        fee = one.fee_msat if isinstance(one, Payment) else None
        memo = " ".join(one.memo.split())
        table.add_row(
            when(one.created_at), arrow, escape(memo if len(memo) <= _MEMO else memo[: _MEMO - 1] + "…"),
            escape(one.agent_id or (one.source if isinstance(one, Invoice) else "")), shown(one),
            words(fee) if fee else "", f"{sign}{words(amount)}" if amount else "any", one.id,
        )  # fmt: skip
    return table


def show(one: Entry) -> None:
    """Print everything about one entry."""
    title = "invoice" if isinstance(one, Invoice) else "payment"
    out.print(f"[bold]{title}[/] {shown(one)} [dim]{one.status}[/]  {escape(one.memo)}", soft_wrap=True)
    pairs: list[tuple[str, str | None]] = [("amount", words(one.amount_msat) if one.amount_msat else "any")]
    if isinstance(one, Invoice):
        pairs += [("received", None if one.received_msat is None else words(one.received_msat)), ("source", one.source)]
    else:
        pairs += [
            ("fee", None if one.fee_msat is None else words(one.fee_msat)),
            ("fee at most", words(one.fee_limit_msat)),
            ("payee", one.payee),
            ("failure", one.failure),
        ]
    pairs += [
        ("node", one.node),
        ("agent", one.agent_id),
        ("task", one.task_id),
        ("trace", one.trace_id),
        ("begun", when(one.created_at)),
        ("settled", when(one.settled_at) if one.settled_at else None),
        ("valid until", when(one.expires_at) if one.expires_at else None),
        ("payment hash", one.payment_hash),
        ("preimage", one.preimage),
        ("proof", one.proof),
        ("invoice", one.bolt11),
        ("id", one.id),
    ]
    print_pairs(pairs)


def show_book(postings: Sequence[Transfer], attempts: Sequence[Attempt]) -> None:
    """Print an entry's lines in the book, and how often it was tried."""
    if postings:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("#", "kind", "debit", "credit", "amount"):
            table.add_column(name, justify="right" if name in {"#", "amount"} else "left")
        for line in postings:
            table.add_row(str(line.seq), line.kind, escape(line.debit), escape(line.credit), words(line.amount_msat))
        out.print("\n[bold]In the book[/]")
        out.print(table)
    for one in attempts if len(attempts) > 1 else ():
        out.print(f"  [dim]attempt {one.number}, {when(one.started_at)}:[/] {escape(one.failure or one.status)}")


def show_balance(balance: Balance, *, play: bool) -> None:
    """Print what came in, went out and is left."""
    unit = " of play" if play else ""
    out.print(f"[bold]{words(balance.available_msat)}[/]{unit} can be spent")
    print_pairs(
        [
            ("came in", words(balance.incoming_total_msat)),
            ("went out", words(balance.outgoing_total_msat)),
            ("fees", words(balance.fees_paid_msat)),
            ("net", words(balance.net_msat)),
            ("to come in", words(balance.pending_incoming_msat)),
            ("to go out", words(balance.pending_outgoing_msat)),
        ]
    )
