"""`timmy memory`: what Timmy remembers, from a terminal."""

from __future__ import annotations

import typer

from timmy_core.cli import memory_facts, memory_files, memory_look, memory_model, memory_switch

app = typer.Typer(no_args_is_help=True, help="What Timmy remembers.")
memory_look.register(app)
memory_facts.register(app)
memory_switch.register(app)
memory_files.register(app)
memory_model.register(app)
