"""What every subcommand shares: the two consoles and the option that names the home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Home = Annotated[
    Path | None,
    typer.Option("--home", help="The folder of timmy.toml and the store; TIMMY_HOME otherwise.", show_default=False),
]
