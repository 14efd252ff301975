"""`timmy lab`: the notebooks, open to be changed, on the same home."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, out
from timmy_core.errors import SettingsError
from timmy_core.settings import load_settings
from timmy_core.timmy import open_timmy

_MADE: Final = ".made.json"  # what each notebook was when it was put there


def lab(
    notebook: Annotated[
        str | None,
        typer.Argument(help="Which one, for instance latency_lab; all of them otherwise.", show_default=False),
    ] = None,
    home: Home = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="A free one otherwise.", show_default=False)
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Let the notebooks change the home and ask models, as pages do.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Open the notebooks in marimo's editor, to look at this home in your own way.

    They are copies, in the folder `lab` of the home: change them as you like. Those that you did not change are brought
    up to date at each start. Unless you say `--write`, nothing in the home is changed and no model is asked.
    """
    from timmy_core.server.pages import find_notebooks

    root = load_settings(home).home.expanduser().absolute()
    # Opened once, so that the home exists and is of this version before notebooks read it.
    open_timmy(root).close()
    folder = root / "lab"
    kept = lay_out(find_notebooks(), folder)
    target = _target(folder, notebook)
    mode = "with leave to write" if write else "to be read only"
    out.print(f"[bold green]The lab[/] is in {escape(str(folder))}; home {escape(str(root))} {mode}", soft_wrap=True)
    if kept:
        out.print(f"[dim]yours, and left as they are: {escape(', '.join(kept))}[/]", soft_wrap=True)
    command = [
        sys.executable,
        "-m",
        "marimo",
        "edit",
        str(target),
        "--host",
        "127.0.0.1",
        "--skip-update-check",
        "--no-sandbox",
    ]
    command += [] if port is None else ["--port", str(port)]
    command += ["--headless"] if no_open else []
    environment = {**os.environ, "TIMMY_HOME": str(root), "TIMMY_READ_ONLY": "false" if write else "true"}
    sys.stdout.flush()
    # It takes the place of this process, so that signals and its end are its own.
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter, and a list of our own making


def lay_out(notebooks: Path, folder: Path) -> list[str]:
    """Copy the notebooks to where they may be changed; return the names of those that a person changed.

    Args:
        notebooks: where the pages are.
        folder: where the copies go.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _made(folder)
    kept: list[str] = []
    for source in sorted(notebooks.glob("*.py")):
        copy, text = folder / source.name, source.read_bytes()
        if copy.exists() and copy.read_bytes() != text and _digest(copy.read_bytes()) != made.get(source.name):
            kept.append(source.name)
            continue
        copy.write_bytes(text)
        made[source.name] = _digest(text)
    (folder / _MADE).write_text(json.dumps(made, indent=1), encoding="utf-8")
    parts = folder / "ui"
    if parts.is_symlink() or not parts.exists():
        # What the pages share is not copied: it is the version's own.
        parts.unlink(missing_ok=True)
        parts.symlink_to(notebooks / "ui", target_is_directory=True)
    return kept


def _target(folder: Path, notebook: str | None) -> Path:
    if notebook is None:
        return folder
    target = folder / Path(notebook).with_suffix(".py").name
    if not target.is_file():
        names = ", ".join(sorted(path.stem for path in folder.glob("*.py")))
        message = f"the lab has no notebook {notebook!r}; expected one of {names}"
        raise SettingsError(message)
    return target


def _made(folder: Path) -> dict[str, str]:
    try:
        made = json.loads((folder / _MADE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        # Without it every copy that differs counts as a person's own.
        return {}
    return made if isinstance(made, dict) else {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
