"""`timmy ledger invoice`, `decode` and `pay`: asking for sats, and giving them away once they were seen."""

from __future__ import annotations

import sys
from typing import Annotated, cast

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.ledger_shown import Agent, Key, Node, Task, Trace, msat_of, plain_entry, show
from timmy_core.cli.shown import confirm, print_json, print_pairs, when
from timmy_core.errors import LedgerError
from timmy_core.ledger.model import Invoice
from timmy_core.ledger.money import words
from timmy_core.ledger.payments import Decoded
from timmy_core.timmy import open_timmy

Bolt11 = Annotated[str, typer.Argument(help="The invoice, beginning with ln; - reads it from the input.")]
_PENDING = 3  # the status of a payment that is still under way, so that scripts can tell it from a failed one


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy ledger`."""
    app.command("invoice")(invoice)
    app.command("decode")(decode)
    app.command("pay")(pay)


def invoice(
    sats: Annotated[str, typer.Argument(help="How much, in sats; up to three places after the point.")],
    memo: Annotated[str, typer.Option("--memo", "-m", help="What for; who pays sees it.")] = "",
    expiry_s: Annotated[
        int | None, typer.Option(min=1, help="How many seconds it can be paid.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option(help="What the income is counted under.")] = "cli",
    agent: Agent = None,
    task: Task = None,
    trace: Trace = None,
    node: Node = None,
    key: Key = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Wait so many seconds for it to be paid; status 1 if it was not.")
    ] = 0.0,
    qr: Annotated[bool, typer.Option("--qr", help="Draw its QR code, too.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Make an invoice, and print it."""
    amount_msat = msat_of(sats) or 0
    with open_timmy(home) as timmy:
        made = timmy.payments.create_invoice(
            amount_msat=amount_msat, memo=memo, expiry_s=expiry_s, source=source, agent_id=agent, task_id=task,
            trace_id=trace, node=node, idempotency_key=key,
        )  # fmt: skip
        if not wait:
            _print_invoice(made, qr=qr, as_json=as_json)
            return
        if not as_json:
            _print_invoice(made, qr=qr, as_json=False)
            err.print(f"[dim]waiting at most {wait:g} s for it to be paid[/]")
        made = cast("Invoice", timmy.payments.wait_settled(made, timeout_s=wait))
    if as_json:
        print_json(plain_entry(made))
    else:
        out.print(f"[green]✓[/] paid: {words(made.received_msat or 0)}" if made.status == "settled" else made.status)
    if made.status != "settled":
        raise typer.Exit(1)


def decode(bolt11: Bolt11, node: Node = None, as_json: Json = False, home: Home = None) -> None:
    """Print what an invoice says, and why it could not be paid from here. Nothing is paid; status 1 if it cannot be."""
    with open_timmy(home) as timmy:
        found = timmy.payments.decode(_read(bolt11), node=node)
    if as_json:
        print_json(found)
    else:
        _print_decoded(found)
    if found.problems:
        raise typer.Exit(1)


def pay(
    bolt11: Bolt11,
    sats: Annotated[
        str | None, typer.Option(help="How much, in sats, where the invoice leaves it open.", show_default=False)
    ] = None,
    fee_limit: Annotated[
        str | None, typer.Option(help="What the route may cost at most, in sats.", show_default="1 % + 5 sat")
    ] = None,
    memo: Annotated[str, typer.Option("--memo", "-m", help="A note of your own.")] = "",
    agent: Annotated[
        str | None, typer.Option(help="The agent that pays; its budget is asked.", show_default=False)
    ] = None,
    task: Task = None,
    trace: Trace = None,
    node: Node = None,
    key: Key = None,
    wait: Annotated[float, typer.Option(min=0, help="How many seconds to wait for the outcome.")] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Pay an invoice, after it was shown and you agreed. Status 1: not paid. Status 3: still under way."""
    text = _read(bolt11)
    with open_timmy(home) as timmy:
        found = timmy.payments.decode(text, node=node, amount_msat=msat_of(sats))
        if not as_json:
            _print_decoded(found)
        if found.problems:
            message = f"this invoice is not paid: {'; '.join(found.problems)}"
            raise LedgerError(message)
        if not yes:
            confirm(f"Pay {words(found.amount_msat or 0)} from {found.node}?")
        paid = timmy.payments.pay(
            text, amount_msat=msat_of(sats), fee_limit_msat=msat_of(fee_limit), memo=memo, agent_id=agent,
            task_id=task, trace_id=trace, node=node, idempotency_key=key, wait_s=wait,
        )  # fmt: skip
    if as_json:
        print_json(plain_entry(paid))
    elif paid.status == "settled":
        fee = words(paid.fee_msat or 0)
        out.print(f"[green]✓[/] paid {words(paid.amount_msat)}, and {fee} of fees  [dim]{paid.id}[/]")
    elif paid.status == "failed":
        err.print(f"[red]✗[/] not paid: {escape(paid.failure or 'the node did not say why')}", soft_wrap=True)
    else:
        err.print(f"[yellow]…[/] still under way; `timmy ledger show {paid.id}` says how it ends", soft_wrap=True)
    if paid.status != "settled":
        raise typer.Exit(1 if paid.status == "failed" else _PENDING)


def _read(bolt11: str) -> str:
    return sys.stdin.read().strip() if bolt11 == "-" else bolt11


def _print_invoice(made: Invoice, *, qr: bool, as_json: bool) -> None:
    if as_json:
        print_json(plain_entry(made))
        return
    show(made)
    if qr:
        import segno

        segno.make(f"LIGHTNING:{made.bolt11.upper()}", error="l", micro=False).terminal(compact=True)
    print(made.bolt11)


def _print_decoded(found: Decoded) -> None:
    invoice = found.invoice
    print_pairs(
        [
            ("network", invoice.network),
            ("amount", words(invoice.amount_msat) if invoice.amount_msat else "left to the payer"),
            ("for", invoice.description if invoice.description is not None else "only the hash of a text"),
            ("payee", invoice.payee.hex()),
            ("made", when(invoice.timestamp)),
            ("valid until", when(invoice.expires_at)),
            ("payment hash", invoice.payment_hash.hex()),
            ("fee at most", None if found.fee_limit_msat is None else words(found.fee_limit_msat)),
        ]
    )
    for problem in found.problems:
        err.print(f"[red]✗[/] {escape(problem)}", soft_wrap=True)
