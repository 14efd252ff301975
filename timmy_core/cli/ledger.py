"""`timmy ledger`: every sat that came in and went out, from a terminal."""

from __future__ import annotations

import typer

from timmy_core.cli import ledger_keep, ledger_look, ledger_pay, ledger_play

app = typer.Typer(no_args_is_help=True, help="What came in, what went out, and whether the node agrees.")
ledger_look.register(app)
ledger_pay.register(app)
ledger_keep.register(app)
app.add_typer(ledger_play.app, name="neighbour")
