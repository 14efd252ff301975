"""`timmy ledger neighbour`: what the neighbour of a play node does, so that a first try needs no other wallet."""

from __future__ import annotations

from typing import Annotated

import typer

from timmy_core.cli.console import Home, out
from timmy_core.cli.ledger_shown import Node, msat_of, shown
from timmy_core.ledger.money import words
from timmy_core.timmy import open_timmy

app = typer.Typer(no_args_is_help=True, help="Of a play node: what its neighbour does when it is told to.")


@app.command()
def pay(
    key: Annotated[str, typer.Argument(help="The invoice, its id or its payment hash.")], home: Home = None
) -> None:
    """Have the neighbour pay an invoice of a play node."""
    with open_timmy(home) as timmy:
        read = timmy.payments.decode(key).invoice if key.lower().startswith("ln") else None
        entry = timmy.payments.check(read.payment_hash.hex() if read else key, direction="in")
        timmy.payments.playing.pay(entry.payment_hash, node=entry.node)
        entry = timmy.payments.check(entry)
    out.print(f"{shown(entry)}: the neighbour paid {words(entry.amount_msat)}")


@app.command()
def invoice(
    sats: Annotated[
        str | None, typer.Argument(help="How much, in sats; without it whoever pays chooses.", show_default=False)
    ] = None,
    memo: Annotated[str, typer.Option("--memo", "-m", help="What for.")] = "",
    node: Node = None,
    home: Home = None,
) -> None:
    """Have the neighbour make an invoice, and print it; `timmy ledger pay` pays it."""
    with open_timmy(home) as timmy:
        print(timmy.payments.playing.invoice(amount_msat=msat_of(sats), memo=memo, node=node))
