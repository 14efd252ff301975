"""`timmy upgrades pin` and `people`: who may decide."""

from __future__ import annotations

from typing import Annotated

import typer

from timmy_core.cli.console import Home, err, out
from timmy_core.cli.upgrades_shown import By, PinFile, me, pin_of
from timmy_core.errors import PinError
from timmy_core.timmy import open_timmy
from timmy_core.upgrades.people import known_name


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy upgrades`."""
    app.command("pin")(pin)
    app.command("people")(people)


def pin(
    by: By = None,
    pin_file: PinFile = None,
    old_file: Annotated[
        str | None,
        typer.Option(help="Read the PIN that you have from a file; asked for otherwise.", show_default=False),
    ] = None,
    admitted_by: Annotated[
        str | None, typer.Option(help="Who lets you in, where others have PINs already.", show_default=False)
    ] = None,
    admitting_file: Annotated[
        str | None, typer.Option(help="Read that person's PIN from a file; asked for otherwise.", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Set your PIN. It seals the key that signs what you decide, and is stored nowhere."""
    name = known_name(me(by))
    with open_timmy(home) as timmy:
        approvals = timmy.upgrading.approvals
        old = admitting = None
        if name in approvals.people():
            old = pin_of(old_file, name, "Present PIN")
        elif approvals.people() and admitted_by is not None:
            admitting = pin_of(admitting_file, admitted_by)
        new = pin_of(pin_file, name, "New PIN")
        if pin_file is None and pin_of(None, name, "Once more, the new PIN") != new:
            message = "the two are not the same; nothing was set, begin again"
            raise PinError(message)
        approvals.set_pin(new, by=name, old=old, admitted_by=admitted_by, admitting=admitting)
    out.print(f"[green]✓[/] {name} may decide proposals now")


def people(
    remove: Annotated[
        str | None, typer.Option(help="Take from this person the right to decide.", show_default=False)
    ] = None,
    by: By = None,
    pin_file: PinFile = None,
    home: Home = None,
) -> None:
    """Print who may decide; with --remove, take that right from somebody. What they signed still holds."""
    with open_timmy(home) as timmy:
        approvals = timmy.upgrading.approvals
        if remove is not None:
            who = me(by)
            approvals.remove(remove, by=who, pin=pin_of(pin_file, who))
        for name in approvals.people():
            print(name)
        if not approvals.people():
            err.print("nobody may decide yet; `timmy upgrades pin` sets the first PIN")
