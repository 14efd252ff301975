"""`timmy demo`: the workbench on a copy of the sample, with a stand-in for every model."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from timmy_core.cli.up import leave, serve_home


def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Keep the copy in this folder, which is made; else it is gone at the end."),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Show the workbench on a copy of a made-up month.

    Your own home is not touched, and nothing leaves this machine.
    """
    from timmy_core.testing.sample.config import PERSON, PIN
    from timmy_core.testing.sample.open import StandIn, open_copy

    with _folder(home) as root, StandIn() as models:
        made = open_copy(root, url=models.url, now=datetime.now(UTC))
        notes = [
            f"a demonstration: a made-up month up to {made.ends_at:%d %b %Y}, and time goes on from there",
            f"what waits under Upgrades is decided as {PERSON}, with the PIN {PIN}",
        ]
        serve_home(root, host="127.0.0.1", port=port, password=None, no_open=no_open, notes=notes)
    leave()


@contextlib.contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    if home is not None:
        yield home.expanduser().absolute()
        return
    with tempfile.TemporaryDirectory(prefix="timmy-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve() / "home"
