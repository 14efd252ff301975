"""`timmy upgrades`: changes that were proposed, what their tests said, and what people decided, from a terminal."""

from __future__ import annotations

import typer

from timmy_core.cli import upgrades_decide, upgrades_look, upgrades_people

app = typer.Typer(no_args_is_help=True, help="Changes that were proposed: look, test, decide, apply, roll back.")
upgrades_look.register(app)
upgrades_decide.register(app)
upgrades_people.register(app)
