"""`timmy router`: how the cascade stands, what it did and costs, what is configured, and asking it directly."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli import router_controls, router_models
from timmy_core.cli.chat import show
from timmy_core.cli.console import Home, err, out
from timmy_core.cli.filters import Since, Until, moment
from timmy_core.errors import RouterError
from timmy_core.router.budget import Standing, dollars
from timmy_core.router.chat import ProviderStatus
from timmy_core.router.options import ChatOptions
from timmy_core.router.report import By, Line
from timmy_core.timmy import open_timmy

app = typer.Typer(help="The cascade: look at it, steer it, ask it.", no_args_is_help=True)

_CIRCUITS = {"closed": "[green]● closed[/]", "half_open": "[yellow]◐ half-open[/]", "open": "[red]○ open[/]"}
_RIGHT = ("requests", "errors", "p50", "p95", "p99", "first token", "tokens/s", "up", "cost")


@app.command()
def status(home: Home = None) -> None:
    """Print every provider in the order it is asked; asks none of them."""
    with open_timmy(home) as timmy:
        providers, problem = timmy.router.status(), timmy.router.config().problem
    if problem is not None:
        err.print(f"[yellow]![/] {escape(problem.message)}")
    table = _table(("provider", "model", "circuit"), ("requests", "errors", "p50", "p95"), "note")
    for provider in providers:
        table.add_row(
            f"[bold]{escape(provider.name)}[/]",
            escape(provider.model),
            _circuit(provider),
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


@app.command()
def metrics(
    since: Since = "24h",
    until: Until = None,
    by: Annotated[str, typer.Option(help="A line for each model, provider or agent.")] = "model",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    home: Home = None,
) -> None:
    """Print what the providers did in a time: attempts, errors, latencies, tokens, cost; and what the budgets hold."""
    with open_timmy(home) as timmy:
        report = timmy.router.report(since=moment(since), until=moment(until), by=_by(by))
        budgets = timmy.router.budgets()
    if as_json:
        print(json.dumps(report.as_dict(), ensure_ascii=False))
        return
    table = _table((by,), _RIGHT, "errors by class")
    for line in report.lines:
        table.add_row(*_cells(line))
    out.print(table)
    if not report.complete:
        out.print(f"[dim]Only the newest {report.attempts:,} attempts of this time were looked at.[/]")
    for budget in budgets:
        if budget.limit_microusd is not None or budget.spent_microusd:
            out.print(_budget(budget))


@app.command()
def config(home: Home = None) -> None:
    """Print the configuration in force as JSON; keys and passwords are only `set` or `not set`."""
    with open_timmy(home) as timmy:
        found = timmy.router.config()
    out.print_json(json.dumps(found.settings, ensure_ascii=False), highlight=False)
    err.print(f"[dim]{escape(str(found.path))}{'' if found.path.exists() else ' does not exist'}[/]")


@app.command()
def complete(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from the input.")] = "-",
    provider: Annotated[str | None, typer.Option(help="Ask this one only.", show_default=False)] = None,
    model: Annotated[str, typer.Option(help="A name under `models`, or the provider's own.")] = "default",
    system: Annotated[str | None, typer.Option(help="What stands before the prompt.", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of the answer, at most.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="From 0 to 2.", show_default=False)] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds for the whole.", show_default=False)] = None,
    json_mode: Annotated[bool, typer.Option("--json-mode", help="The answer has to be a JSON object.")] = False,
    local_only: Annotated[bool, typer.Option("--local-only", help="Nothing of it may leave this machine.")] = False,
    home: Home = None,
) -> None:
    """Ask the cascade, without session, memory or prompt of Timmy's own. Exit status 1 when no model answered."""
    text = sys.stdin.read() if prompt == "-" else prompt
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    options: ChatOptions = {
        "provider": provider,
        "model": model,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "deadline_s": deadline,
        "json_mode": json_mode,
        "local_only": local_only,
    }
    with open_timmy(home) as timmy:
        try:
            parts = timmy.router.stream_sync(messages, **options)
        except ValueError as error:
            raise RouterError(str(error)) from None
        answer = show(parts)
    if answer is None or answer.offline:
        raise typer.Exit(1)


router_controls.register(app)
router_models.register(app)


def _table(left: tuple[str, ...], right: tuple[str, ...], last: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in left:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    table.add_column(last, overflow="fold")
    return table


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"


def _circuit(provider: ProviderStatus) -> str:
    if not provider.configured or not provider.enabled:
        return "[dim]– not asked[/]"
    return "[red]○ isolated[/]" if provider.isolated else _CIRCUITS[provider.circuit]


def _note(provider: ProviderStatus) -> str:
    if not provider.configured:
        return f"{provider.problem}; {provider.advice}" if provider.advice else provider.problem
    by = f" by {provider.changed_by}" if provider.changed_by else ""
    if not provider.enabled:
        return f"switched off{by}"
    if provider.isolated:
        return f"isolated{by}; `timmy router close {provider.name}` lets it be asked again"
    if provider.bar:
        return f"not asked until the configuration changes: {provider.bar}"
    if provider.recent_failures:
        last = provider.recent_failures[0]
        return f"last failure {last.at.astimezone():%H:%M:%S}: {last.message}"
    return ""


def _by(word: str) -> By:
    # The report itself says what else there is.
    known: dict[str, By] = {"model": "model", "provider": "provider", "agent": "agent"}
    if word not in known:
        message = f"a report has no lines by {word!r}; expected one of {', '.join(known)}"
        raise RouterError(message)
    return known[word]


def _cells(line: Line) -> list[Any]:
    name = " · ".join(part for part in (line.provider, line.model, line.agent_id) if part) or "–"
    cost = dollars(line.cost_microusd) + (" +?" if line.unpriced else "")
    return [
        f"[bold]{escape(name)}[/]",
        f"{line.attempts:,}",
        f"{line.failed:,}",
        _ms(line.p50_ms),
        _ms(line.p95_ms),
        _ms(line.p99_ms),
        _ms(line.first_token_p50_ms),
        "–" if line.tokens_per_s is None else f"{line.tokens_per_s:,.1f}",
        "–" if line.availability is None else f"{line.availability:.1%}",
        cost,
        ", ".join(f"{kind} {count:,}" for kind, count in line.errors.items()),
    ]


def _budget(budget: Standing) -> str:
    who = "all together" if budget.agent_id is None else f"agent {escape(budget.agent_id)}"
    spent = f"{who}, this {budget.period}: {dollars(budget.spent_microusd)} spent"
    held = f", {dollars(budget.held_microusd)} set aside" if budget.held_microusd else ""
    left = "" if budget.left_microusd is None else f", {dollars(budget.left_microusd)} left"
    return f"[dim]{spent}{held}{left}[/]"
