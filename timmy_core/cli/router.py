"""`timmy router`: how the cascade stands, and whether its providers answer."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli.console import Home, out
from timmy_core.router.chat import ProviderStatus
from timmy_core.timmy import open_timmy

app = typer.Typer(help="The cascade: status and test.", no_args_is_help=True)

_CIRCUITS = {"closed": "[green]● closed[/]", "half_open": "[yellow]◐ half-open[/]", "open": "[red]○ open[/]"}


@app.command()
def status(home: Home = None) -> None:
    """Print every provider in the order it is asked; asks none of them."""
    with open_timmy(home) as timmy:
        providers = timmy.router.status()
    table = Table(box=None, pad_edge=False)
    for heading in ("provider", "model", "circuit"):
        table.add_column(heading)
    for heading in ("requests", "errors", "p50", "p95"):
        table.add_column(heading, justify="right")
    table.add_column("note", overflow="fold")
    for provider in providers:
        table.add_row(
            f"[bold]{escape(provider.name)}[/]",
            escape(provider.model),
            _CIRCUITS[provider.circuit] if provider.configured else "[dim]– not asked[/]",
            f"{provider.requests:,}",
            f"{provider.errors:,}",
            _ms(provider.p50_ms),
            _ms(provider.p95_ms),
            escape(_note(provider)),
        )
    out.print(table)
    out.print("[dim]The offline answer is always last.[/]")


@app.command("test")
def ask_providers(
    name: Annotated[str | None, typer.Argument(help="Only this provider.", show_default=False)] = None,
    home: Home = None,
) -> None:
    """Ask every provider whether it would answer; spends no tokens. Exit status 1 when none would."""
    with open_timmy(home) as timmy:
        results = timmy.router.test_sync(name)
    for provider, health in results:
        mark = "[green]✓[/]" if health.ok else "[red]✗[/]"
        out.print(f"{mark} [bold]{escape(provider)}[/]: {escape(health.message)} [dim]{health.latency_ms:,.0f} ms[/]")
        if health.advice:
            out.print(f"    {escape(health.advice)}")
    if not any(health.ok for _, health in results):
        raise typer.Exit(1)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"


def _note(provider: ProviderStatus) -> str:
    if not provider.configured:
        return f"{provider.problem}; {provider.advice}" if provider.advice else provider.problem
    if provider.recent_failures:
        last = provider.recent_failures[0]
        return f"last failure {last.at.astimezone():%H:%M:%S}: {last.message}"
    return ""
