"""`timmy router models` and `timmy router pull`: which models the providers have, and fetching more of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from timmy_core.cli.console import Home, err, out
from timmy_core.errors import ProviderError, RouterError
from timmy_core.router.chat import Provider
from timmy_core.router.providers import build_provider
from timmy_core.router.providers.ollama import OllamaDoor
from timmy_core.router.providers.ollama_models import LocalModel
from timmy_core.settings import ProviderSettings, Settings, load_settings

_CHECK_S = 10.0
_ONE = 10**9

Found = list[LocalModel] | ProviderError


def register(app: typer.Typer) -> None:
    """Add both commands to `timmy router`."""
    app.command("models")(models)
    app.command("pull")(pull)


def models(
    provider: Annotated[str | None, typer.Argument(help="Only this provider.", show_default=False)] = None,
    home: Home = None,
) -> None:
    """List the models of every provider: size, whether in memory, quantization. Exit status 1 when none tells."""
    settings = load_settings(home)
    wanted = settings.providers if provider is None else (_named(settings, provider),)
    found = asyncio.run(_list_all(settings, wanted))
    table = Table(box=None, pad_edge=False)
    for heading in ("provider", "model"):
        table.add_column(heading)
    table.add_column("size", justify="right")
    for heading in ("parameters", "quantization", "in memory"):
        table.add_column(heading)
    for table_of, result in zip(wanted, found, strict=True):
        if isinstance(result, ProviderError):
            err.print(f"[red]✗[/] [bold]{escape(table_of.name)}[/]: {escape(result.message)}", soft_wrap=True)
            err.print(f"    {escape(result.advice)}", soft_wrap=True)
            continue
        for model in result:
            table.add_row(f"[bold]{escape(table_of.name)}[/]", escape(model.name), *_cells(model))
    if table.row_count:
        out.print(table)
    if all(isinstance(result, ProviderError) for result in found):
        raise typer.Exit(1)


def pull(
    provider: Annotated[str, typer.Argument(help="A provider of kind ollama.")],
    model: Annotated[str, typer.Argument(help="Such as llama3.2 or qwen3:8b.")],
    home: Home = None,
) -> None:
    """Have an Ollama server download a model; Ctrl-C stops it, and the next pull goes on from there."""
    settings = load_settings(home)
    door = build_provider(_named(settings, provider), settings.router)
    if not isinstance(door, OllamaDoor):
        message = f"{provider} is of kind {door.kind}, and only ollama can pull models; " + (
            "download the model into a folder instead" if door.kind == "airllm" else "its server chooses its models"
        )
        raise RouterError(message)
    problem = door.problem()
    if problem is not None and "no model" not in problem[0]:
        message = f"{provider} cannot be asked: {problem[0]}; {problem[1]}"
        raise RouterError(message)
    try:
        asyncio.run(_pull(door, model))
    except ProviderError as error:
        message = f"{error.message}; {error.advice}" if error.advice else error.message
        raise RouterError(message) from None
    except KeyboardInterrupt:
        err.print(f"[yellow]stopped[/]; `timmy router pull {escape(provider)} {escape(model)}` goes on from there")
        raise typer.Exit(130) from None
    out.print(f"[green]✓[/] [bold]{escape(model)}[/] is there; name it in models of {escape(provider)} to ask it")


async def _pull(door: OllamaDoor, model: str) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(f"pulling {escape(model)}", total=None)
            async for progress in door.pull(model):
                bar.update(
                    task,
                    description=escape(progress.status),
                    completed=progress.completed_bytes or 0,
                    total=progress.total_bytes,
                )
    finally:
        await door.close()


async def _list_all(settings: Settings, wanted: Sequence[ProviderSettings]) -> list[Found]:
    return await asyncio.gather(*(_list(build_provider(one, settings.router)) for one in wanted))


async def _list(door: Provider) -> Found:
    problem = door.problem()
    try:
        if problem is not None:
            return ProviderError("not_configured", problem[0], advice=problem[1])
        if isinstance(door, OllamaDoor):
            async with asyncio.timeout(_CHECK_S):
                return list(await door.installed())
        health = await door.check(timeout_s=_CHECK_S)
        if not health.ok and not health.models:
            return ProviderError("check_failed", health.message, advice=health.advice)
        return [LocalModel(name, _folder_bytes(name) if door.kind == "airllm" else None) for name in health.models]
    except ProviderError as error:
        return error
    except TimeoutError:
        return ProviderError("timeout", f"it did not answer within {_CHECK_S:g} s", advice="look at its server")
    finally:
        await door.close()


def _folder_bytes(name: str) -> int | None:
    """The size of a model's weights, without the copy that AirLLM makes of them."""
    folder = Path(name).expanduser()
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) if folder.is_dir() else None


def _cells(model: LocalModel) -> tuple[str, str, str, str]:
    loaded = {True: "[green]● yes[/]", False: "no", None: "–"}[model.loaded]
    size = "–" if model.size_bytes is None else _size(model.size_bytes)
    return size, escape(model.parameters or "–"), escape(model.quantization or "–"), loaded


def _size(count: int) -> str:
    return f"{count / _ONE:,.1f} GB" if count >= _ONE // 10 else f"{count / 1e6:,.1f} MB"


def _named(settings: Settings, name: str) -> ProviderSettings:
    found = next((one for one in settings.providers if one.name == name), None)
    if found is not None:
        return found
    names = ", ".join(one.name for one in settings.providers) or "none is configured"
    message = f"no provider is named {name!r}; there are: {names}"
    raise RouterError(message)
