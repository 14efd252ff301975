"""`timmy ledger reconcile`, `findings`, `budget` and `export`: keeping the books true, and taking them out."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli import ledger_export
from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.ledger_shown import msat_of
from timmy_core.cli.memory_shown import By, Yes, asker
from timmy_core.cli.shown import confirm, print_json, when
from timmy_core.errors import LedgerError
from timmy_core.ledger.findings import Finding
from timmy_core.ledger.model import PERIODS, Budget
from timmy_core.ledger.money import words
from timmy_core.ledger.reconcile import Report
from timmy_core.timmy import open_timmy


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy ledger`."""
    app.command("reconcile")(reconcile)
    app.command("findings")(findings)
    app.command("budget")(budget)
    app.command("export")(ledger_export.export)


def reconcile(
    node: Annotated[str | None, typer.Option(help="Only this node; all otherwise.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be written.")] = False,
    yes: Yes = False,
    by: By = "",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Compare the book with the node. What would be written is shown first. Status 1 when something waits for you."""
    with open_timmy(home) as timmy:
        waiting = 0
        for name in [node] if node else [one.name for one in timmy.payments.nodes()]:
            report = timmy.payments.reconcile(name, dry_run=True, by=asker(by))
            to_write = any(found.mends for found in report.findings)
            if not (dry_run or as_json):
                _print_report(report)
            if not dry_run:
                if to_write and not yes:
                    confirm(f"Write this into the book of {name}?")
                report = timmy.payments.reconcile(name, dry_run=False, by=asker(by))
                if not as_json:
                    out.print(f"[green]✓[/] {escape(name)}: {_written(report)}")
            elif not as_json:
                _print_report(report)
            if as_json:
                print_json(report)
            waiting += _waiting(report)
    if waiting:
        raise typer.Exit(1)


def findings(
    resolve: Annotated[
        str | None, typer.Option(help="The id of one that is settled; it stays on record.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those that are settled, too.")] = False,
    by: By = "",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print what ledger and node do not agree on, and nobody has settled. Status 1 while there is something."""
    with open_timmy(home) as timmy:
        if resolve is not None:
            found = timmy.payments.resolve(resolve, by=asker(by))
            out.print(f"[green]✓[/] taken note of: {escape(found.words)}", soft_wrap=True)
            return
        known = timmy.payments.findings(open=None if all_ else True)
    if as_json:
        print_json(*known)
    for one in () if as_json else known:
        _print_finding(one)
    waiting = sum(one.open for one in known)
    if not waiting and not as_json:
        err.print("nothing waits: ledger and node agreed when they were last compared")
    if waiting:
        raise typer.Exit(1)


def budget(
    agent: Annotated[
        str | None, typer.Argument(help="The agent; without one all are printed.", show_default=False)
    ] = None,
    day: Annotated[
        str | None, typer.Option(help="Sats a day at most; 'none' takes the limit away.", show_default=False)
    ] = None,
    week: Annotated[str | None, typer.Option(help="Sats a week at most, from Monday.", show_default=False)] = None,
    month: Annotated[str | None, typer.Option(help="Sats a month at most.", show_default=False)] = None,
    by: By = "",
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Print what agents may spend and have spent, or set it. What is set here wins over timmy.toml."""
    limits = {"day": day, "week": week, "month": month}
    with open_timmy(home) as timmy:
        if agent is None and any(limits.values()):
            message = "say whose budget it is: timmy ledger budget AGENT --day 500"
            raise LedgerError(message)
        for period in PERIODS:
            if agent is not None and (text := limits[period]) is not None:
                limit = None if text == "none" else msat_of(text)
                timmy.ledger.set_budget(agent, period, limit, by=asker(by))
        known = [one for one in timmy.ledger.budgets() if agent in (None, one.agent_id)]
    if as_json:
        print_json(*known)
    else:
        _print_budgets(known)


def _print_budgets(known: list[Budget]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("agent", "for", "spent", "set aside", "limit", "left", "anew"):
        table.add_column(name, justify="left" if name in {"agent", "for", "anew"} else "right")
    for one in known:
        limit, left = ("none", "–") if one.limit_msat is None else (words(one.limit_msat), words(one.left_msat or 0))
        table.add_row(
            escape(one.agent_id), one.period, words(one.spent_msat), words(one.held_msat), limit,
            f"[red]{left}[/]" if one.left_msat == 0 else left, when(one.until),
        )  # fmt: skip
    if known:
        out.print(table)
    else:
        err.print("no agent has a budget; `timmy ledger budget AGENT --day 500` sets one")


def _print_report(report: Report) -> None:
    node = "it moved meanwhile" if report.balance_node_msat is None else words(report.balance_node_msat)
    agree = "the same" if not report.residue_msat else f"a difference of {words(report.residue_msat)}"
    agree = "not compared" if report.residue_msat is None else agree
    after = " once this is written" if any(found.mends for found in report.findings) else ""
    book = words(report.balance_ledger_msat)
    out.print(f"[bold]{escape(report.node)}[/]  node {node}, book {book}{after}: {agree}", soft_wrap=True)
    for found in report.findings:
        _print_finding(found)
    if not report.findings:
        out.print("  every invoice and payment is the same on both sides")


def _print_finding(found: Finding) -> None:
    tone = "dim" if found.routine else "yellow"
    out.print(f"  [{tone}]{found.kind.replace('_', ' ')}[/] {escape(found.words)}", soft_wrap=True)
    notes = [found.action, f"id {found.id}" if found.id else ""]
    out.print(f"    [dim]{escape(' · '.join(note for note in notes if note))}[/]", soft_wrap=True)


def _written(report: Report) -> str:
    waiting = _waiting(report)
    done = f"{report.applied} written" if report.applied else "nothing had to be written"
    return f"{done}; {waiting} to look at: timmy ledger findings" if waiting else done


def _waiting(report: Report) -> int:
    """Return how many findings a person has to look at; what ends by itself is none of them."""
    return sum(not found.routine for found in report.open)
