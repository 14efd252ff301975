"""`timmy ledger balance`, `list`, `show`, `statement`, `stats`, `nodes` and `verify`: looking at the books."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.filters import Since, Until, moment
from timmy_core.cli.ledger_shown import AsOf, OfNode, plain_entry, show, show_balance, show_book, table_of
from timmy_core.cli.shown import print_json, when
from timmy_core.errors import LedgerError
from timmy_core.ledger.model import Direction, Payment, Sum
from timmy_core.ledger.money import words
from timmy_core.ledger.node import NodeHealth
from timmy_core.timmy import Timmy, open_timmy

_DIRECTIONS: dict[str, Direction] = {"in": "in", "out": "out"}


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy ledger`."""
    app.command("balance")(balance)
    app.command("list")(list_)
    app.command("show")(show_one)
    app.command("statement")(statement)
    app.command("stats")(stats)
    app.command("nodes")(nodes)
    app.command("verify")(verify)


def balance(node: OfNode = None, as_of: AsOf = None, as_json: Json = False, home: Home = None) -> None:
    """Print what came in, went out, is pending and is left; now, or as it was at any moment."""
    with open_timmy(home) as timmy:
        found = timmy.ledger.balance(node, as_of=moment(as_of))
        if as_json:
            print_json(found)
            return
        if as_of is not None:
            out.print(f"[dim]as of {when(found.at)}[/]")
        show_balance(found, play=_play(timmy, node))
        number, begun = timmy.payments.open_findings(), timmy.ledger.nodes()
    if not begun:
        err.print("[dim]the book is empty; it begins with the first invoice or payment, or with `timmy up`[/]")
    if number:
        err.print(f"[yellow]![/] {number} finding{'s' if number > 1 else ''} to look at: timmy ledger findings")


def list_(
    direction: Annotated[str | None, typer.Option(help="in (invoices) or out (payments).", show_default=False)] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, settled, failed or expired; or an exact state.", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.", show_default=False)] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.", show_default=False)] = None,
    source: Annotated[str | None, typer.Option(help="Only invoices of this source.", show_default=False)] = None,
    node: OfNode = None,
    text: Annotated[
        str | None, typer.Option(help="Only with this in memo, hash, invoice or failure.", show_default=False)
    ] = None,
    since: Since = None,
    until: Until = None,
    cursor: Annotated[str | None, typer.Option(help="Go on from here.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print invoices and payments, newest first."""
    with open_timmy(home) as timmy:
        page = timmy.ledger.list(
            direction=_direction(direction), status=status, task_id=task, agent_id=agent, source=source, node=node,
            text=text, since=moment(since), until=moment(until), cursor=cursor, limit=limit,
        )  # fmt: skip
    if as_json:
        print_json(*map(plain_entry, page.entries))
    elif page.entries:
        out.print(table_of(page.entries))
    else:
        err.print("nothing matches; `timmy ledger invoice` makes an invoice, `timmy ledger pay` pays one")
    if page.cursor is not None:
        err.print(f"[dim]more with --cursor {page.cursor}[/]", soft_wrap=True)


def show_one(
    key: Annotated[str, typer.Argument(help="The id, or the payment hash.")], as_json: Json = False, home: Home = None
) -> None:
    """Print one invoice or payment whole, with its lines in the book."""
    with open_timmy(home) as timmy:
        found = timmy.ledger.get_by_hash(key) if _is_hash(key) else [timmy.ledger.get(key)]
        if not found:
            message = f"no invoice or payment has the payment hash {key}; `timmy ledger list` shows those there are"
            raise LedgerError(message)
        for one in found:
            postings = timmy.ledger.postings(one.id)
            attempts = timmy.ledger.attempts(one.id) if isinstance(one, Payment) else []
            if as_json:
                print_json({"entry": plain_entry(one), "postings": postings, "attempts": attempts})
                continue
            show(one)
            show_book(postings, attempts)


def statement(
    account: Annotated[
        str | None, typer.Argument(help="Such as Assets:LN:main; without one all are listed.", show_default=False)
    ] = None,
    since: Since = None,
    until: Until = None,
    cursor: Annotated[str | None, typer.Option(help="Go on from here.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=5000, help="At most so many lines.")] = 500,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print the lines of an account with its balance after each; without one, every account with its balance."""
    with open_timmy(home) as timmy:
        if account is None:
            _accounts(timmy, as_json=as_json)
            return
        found = timmy.ledger.statement(account, moment(since), moment(until), cursor, limit=limit)
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("when", "#", "kind", "with", "memo", "change", "balance"):
        table.add_column(name, justify="right" if name in {"#", "change", "balance"} else "left")
    for line in found.lines:
        one = line.transfer
        other = one.credit if one.debit == found.account else one.debit
        table.add_row(
            when(one.at), str(one.seq), one.kind, escape(other), escape(one.memo),
            words(line.change_msat) if line.change_msat else f"[dim]{words(line.pending_change_msat)} set aside[/]",
            words(line.balance_msat),
        )  # fmt: skip
    out.print(f"[bold]{escape(found.account)}[/]  opening {words(found.opening_msat)}")
    out.print(table)
    out.print(f"closing [bold]{words(found.closing_msat)}[/]")
    if found.cursor is not None:
        err.print(f"[dim]more with --cursor {found.cursor}[/]", soft_wrap=True)


def stats(
    days: Annotated[int, typer.Option(min=1, max=3660, help="Of the last so many days.")] = 30,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print what settled, by day, agent, task and source; pending, failed and expired ones count nowhere."""
    with open_timmy(home) as timmy:
        found = timmy.ledger.stats(days)
    if as_json:
        print_json(found)
        return
    for title, sums in (
        ("day", [one for one in found.by_day if one.invoices or one.payments]), ("agent", found.by_agent),
        ("task", found.by_task), ("source", found.by_source), ("", [found.total]),
    ):  # fmt: skip
        _sums(title, sums)


def nodes(
    ask: Annotated[bool, typer.Option("--ask", help="Ask each node how it is.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print the nodes, with what the book says they hold. With --ask, status 1 when one does not answer."""
    with open_timmy(home) as timmy:
        health = timmy.payments.health() if ask else {}
        rows = [(node, timmy.ledger.balance(node.name), health.get(node.name)) for node in timmy.payments.nodes()]
    if as_json:
        print_json(*({"node": node, "balance": held, "health": found} for node, held, found in rows))
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("node", "kind", "network", "book", "health"):
            table.add_column(name, justify="right" if name == "book" else "left")
        for node, held, found in rows:
            name = f"{escape(node.name)}{' (default)' if node.default else ''}"
            table.add_row(name, node.kind, node.network, words(held.posted_msat), _health(found))
        out.print(table)
    if not all(found.ok for found in health.values()):
        raise typer.Exit(1)


def verify(as_json: Json = False, home: Home = None) -> None:
    """Check every line of the book: sums, balances, holds and the chain of hashes. Status 1 when one does not hold."""
    with open_timmy(home) as timmy:
        found = timmy.ledger.verify()
    if as_json:
        print_json(found)
    elif found.ok:
        lines = "1 line holds" if found.checked == 1 else f"{found.checked:,} lines hold"
        out.print(f"[green]✓[/] {lines}; debits are credits, and the balances are those of a replay")
    for problem in () if as_json else found.problems:
        err.print(f"[red]✗[/] {escape(problem.message)}", soft_wrap=True)
    if not found.ok:
        raise typer.Exit(1)


def _accounts(timmy: Timmy, *, as_json: bool) -> None:
    accounts = timmy.ledger.accounts()
    if as_json:
        print_json(*accounts)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("account", "balance", "available"):
        table.add_column(name, justify="left" if name == "account" else "right")
    for one in accounts:
        table.add_row(escape(one.code), words(one.balance_msat), words(one.available_msat))
    out.print(table)


def _sums(title: str, sums: list[Sum] | tuple[Sum, ...]) -> None:
    if not sums:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (f"by {title}" if title else "in all", "in", "out", "fees"):
        table.add_column(name, justify="left" if name.startswith(("by", "in all")) else "right", min_width=12)
    for one in sums:
        key = one.key or ("" if not title else "–")
        table.add_row(escape(key), words(one.incoming_msat), words(one.outgoing_msat), words(one.fees_msat))
    out.print(table)


def _health(health: NodeHealth | None) -> str:
    if health is None:
        return "[dim]not asked; --ask does[/]"
    return f"[green]{escape(health.message)}[/]" if health.ok else f"[red]{escape(health.message)}[/]"


def _play(timmy: Timmy, node: str | None) -> bool:
    known = [one for one in timmy.payments.nodes() if node in (None, one.name)]
    return bool(known) and all(one.play for one in known)


def _direction(text: str | None) -> Direction | None:
    if text is None:
        return None
    if text not in _DIRECTIONS:
        message = f"the direction {text!r} is not known; expected in (invoices) or out (payments)"
        raise LedgerError(message)
    return _DIRECTIONS[text]


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)  # noqa: PLR2004 - 32 bytes in hex
