"""What every subcommand shares: the two consoles, and the options that many have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Piped output has no width of its own; what reads it should not have to put folded columns together again.
_PIPED_COLUMNS = 240

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
for console in (out, err):
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_COLUMNS

Home = Annotated[
    Path | None,
    typer.Option("--home", help="The folder of timmy.toml and the store; TIMMY_HOME otherwise.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
