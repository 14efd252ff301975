"""`timmy upgrades approve`, `reject`, `apply`, `rollback` and `recover`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.shown import confirm
from timmy_core.cli.upgrades_shown import By, Id, PinFile, as_json, find, me, pin_of, show, state_of, telling
from timmy_core.timmy import open_timmy
from timmy_core.upgrades.model import Proposal

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy upgrades`."""
    app.command("approve")(approve)
    app.command("reject")(reject)
    app.command("apply")(apply)
    app.command("rollback")(rollback)
    app.command("recover")(recover)


def approve(
    key: Id,
    by: By = None,
    pin_file: PinFile = None,
    seen: Annotated[
        str | None,
        typer.Option(
            help="What you saw, as `list --json` says it; refused when it is another now.", show_default=False
        ),
    ] = None,
    urgent: Annotated[bool, typer.Option("--urgent", help="Let this one approval do; it is logged loudly.")] = False,
    then_apply: Annotated[bool, typer.Option("--apply", help="Apply it as soon as enough have approved.")] = False,
    agrees: Annotated[
        bool, typer.Option("--consent", help="With --yes: agree to tests that were shut in less well than could be.")
    ] = False,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Say yes to a proposal whose tests are green, after it was shown. The PIN is asked for."""
    with open_timmy(home) as timmy:
        queue, policy = timmy.upgrades, timmy.upgrading.policy
        one = find(queue, key)
        shown = seen or one.seen
        if not yes:
            show(one, policy.quorum(one.risk))
            consent = policy.needs_consent(one)
            if consent:
                err.print(f"[yellow]{escape(consent[:1].upper() + consent[1:])}.[/]", soft_wrap=True)
            confirm(f"Approve this for {one.branch}?")
        policy.check_consent(one, given=agrees or not yes)
        who = me(by)
        done = queue.approve(one.id, by=who, pin=pin_of(pin_file, who), seen=shown, urgent=urgent)
        if done.state != "approved":
            given = len({each.by for each in done.approvals if each.decision == "approve"})
            out.print(
                f"[green]✓[/] {given} of {policy.quorum(done.risk)} approvals; somebody else has to approve it, too"
            )
            return
        out.print("[green]✓[/] approved")
        if then_apply:
            with telling() as progress:
                done = queue.apply(done.id, progress=progress)
            _landed(done)


def reject(
    key: Id,
    reason: Annotated[str, typer.Argument(help="Why, so that the next proposal can be better.")],
    by: By = None,
    pin_file: PinFile = None,
    home: Home = None,
) -> None:
    """Say no to a proposal, and why. Its own refs are given up; no branch is touched. The PIN is asked for."""
    who = me(by)
    with open_timmy(home) as timmy:
        one = find(timmy.upgrades, key)
        timmy.upgrades.reject(one.id, by=who, reason=reason, pin=pin_of(pin_file, who))
    out.print(f"[green]✓[/] rejected {one.id}")


def apply(key: Id, json_: Json = False, home: Home = None) -> None:
    """Land an approved proposal, and what stands in the queue before it. Status 1 if it did not land."""
    with open_timmy(home) as timmy:
        queue = timmy.upgrades
        one = find(queue, key)
        with telling(quiet=json_) as progress:
            done = queue.apply(one.id, progress=progress)
    if json_:
        print(as_json(done))
        raise typer.Exit(0 if done.shown == "applied" else 1)
    _landed(done)


def rollback(
    key: Id,
    by: By = None,
    pin_file: PinFile = None,
    untested: Annotated[bool, typer.Option("--untested", help="Do not test the branch without it first.")] = False,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Take an applied proposal back by a new commit. The PIN is asked for."""
    who = me(by)
    with open_timmy(home) as timmy:
        queue = timmy.upgrades
        one = find(queue, key)
        if not yes:
            out.print(f"[bold]{escape(one.description)}[/]  {state_of(one)}")
            confirm(f"Take it back from {one.branch}?")
        pin = pin_of(pin_file, who)
        with telling() as progress:
            done = queue.rollback(one.id, by=who, pin=pin, progress=progress, untested=untested)
    out.print(f"[green]✓[/] taken back by {done.rolled_back_sha}; the same change counts as high risk from now on")


def recover(home: Home = None) -> None:
    """Finish or undo what a crash left; the same again does nothing. Status 1 if a person has to look at something."""
    with open_timmy(home) as timmy:
        found = timmy.upgrades.recover()
    for finding in found:
        mark = "[green]✓[/]" if finding.done else "[red]✗[/]"
        out.print(f"{mark} {finding.proposal_id} {escape(finding.message)}", soft_wrap=True)
    if not found:
        out.print("there was nothing to mend")
    if not all(finding.done for finding in found):
        raise typer.Exit(1)


def _landed(done: Proposal) -> None:
    if done.shown == "applied":
        out.print(f"[green]✓[/] applied as {done.applied_sha}; `timmy upgrades rollback {done.id}` takes it back")
        return
    err.print(f"[red]✗[/] not applied: {escape(done.problem or done.state.replace('_', ' '))}", soft_wrap=True)
    raise typer.Exit(1)
