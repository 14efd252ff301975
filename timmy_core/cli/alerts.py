"""`timmy alerts`: what needs a person's eye, and whether telling somebody works."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.alerts.model import Alert
from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.shown import print_json
from timmy_core.timmy import open_timmy

app = typer.Typer(help="What needs a person's eye.", no_args_is_help=True)

_TONES = {"error": "red", "warning": "yellow"}


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the alerts, the newest first; exit status 0 whether there are any or not."""
    with open_timmy(home) as timmy:
        found = timmy.alerts.list(limit) if all_ else timmy.alerts.open()[:limit]
        delivery = timmy.alerts.delivery()
    if as_json:
        print_json(*found)
        return
    if found:
        out.print(_table(found))
    else:
        out.print("nothing needs your eye")
    if delivery.problem:
        err.print(f"[yellow]![/] {delivery.waiting:,} notices wait: {escape(delivery.problem)}", soft_wrap=True)


@app.command("test")
def send_test(home: Home = None) -> None:
    """Send a message that says that it is a test to the url of [alerts]."""
    with open_timmy(home) as timmy:
        timmy.alerts.test()
    out.print("[green]✓[/] it was taken")


def _table(found: list[Alert]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("since", "rule", "what", "over"):
        table.add_column(name, overflow="fold", no_wrap=name in ("since", "rule"))
    for alert in found:
        over = "" if alert.resolved_at is None else f"{alert.resolved_at:%Y-%m-%d %H:%M} UTC"
        rule = f"[{_TONES[alert.severity]}]{alert.rule}[/]" if alert.open else alert.rule
        table.add_row(f"{alert.raised_at:%Y-%m-%d %H:%M} UTC", rule, escape(alert.message), over)
    return table
