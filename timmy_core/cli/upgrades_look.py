"""`timmy upgrades propose`, `list`, `show` and `test`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.upgrades_shown import (
    By,
    Id,
    as_json,
    find,
    me,
    show,
    show_diff,
    show_tests,
    show_trail,
    state_of,
    table_of,
    telling,
)
from timmy_core.errors import ProposalError
from timmy_core.timmy import open_timmy
from timmy_core.upgrades.states import PENDING


def register(app: typer.Typer) -> None:
    """Add the commands to `timmy upgrades`."""
    app.command("propose")(propose)
    app.command("list")(list_)
    app.command("show")(show_one)
    app.command("test")(run_tests)


def propose(
    description: Annotated[str, typer.Argument(help="What it does and why; the first line is its title.")],
    diff: Annotated[
        str | None, typer.Option(help="A file with a diff as git writes it; - reads the input.", show_default=False)
    ] = None,
    branch: Annotated[
        str | None, typer.Option(help="A branch of the repository, as it is now.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", help="PATH=FILE: the whole new content of PATH is in FILE.", show_default=False),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A path to be removed.", show_default=False)
    ] = None,
    by: By = None,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Propose a change of a diff, of a branch, or of whole files. Nothing of yours is touched; the tests come later."""
    files = {path: _content(place) for path, place in map(_pair, file or ())} | dict.fromkeys(remove or ())
    text = None if diff is None else sys.stdin.read() if diff == "-" else _content(diff).decode(errors="replace")
    with open_timmy(home) as timmy:
        made = timmy.upgrades.propose(
            description=description, diff=text, branch=branch, files=files or None, proposed_by=me(by)
        )
    if json_:
        print(as_json(made))
    else:
        out.print(f"[green]✓[/] proposed [bold]{made.id}[/]: {len(made.files)} files, {made.risk} risk")
        err.print(f"[dim]`timmy up` tests it by itself; `timmy upgrades test {made.id}` does it now[/]", soft_wrap=True)


def list_(
    state: Annotated[list[str] | None, typer.Option("--state", help="Only in this state.", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="Also what was decided and is over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 50,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Print proposals, those that wait for somebody; with --all or --state others, too."""
    with open_timmy(home) as timmy:
        wanted = state or (None if all_ else PENDING)
        found = timmy.upgrades.list(state=wanted, limit=limit).proposals  # type: ignore[arg-type] # checked there
    if json_:
        for one in found:
            print(as_json(one))
    elif found:
        out.print(table_of(found))
    else:
        err.print("nothing was proposed" if all_ or state else "no proposal waits for anybody; --all shows the others")


def show_one(
    key: Id,
    diff: Annotated[bool, typer.Option("--diff/--no-diff", help="Print its lines, too.")] = True,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Print a proposal: who, risk, tests, what happened, and its lines."""
    with open_timmy(home) as timmy:
        queue = timmy.upgrades
        one = find(queue, key)
        events = queue.history(one.id)
        if json_:
            print(as_json(one, events=[event.as_dict() for event in events]))
            return
        show(one, timmy.upgrading.policy.quorum(one.risk))
        show_tests(one.tests)
        show_trail(events)
        if diff and one.state not in {"rejected", "expired"}:
            show_diff(queue.diff(one.id))


def run_tests(
    key: Id,
    anew: Annotated[bool, typer.Option("--anew", help="Run them again although they were green.")] = False,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Merge a proposal with the branch as it is, and test that, shut in. Status 1 if it may not be approved after."""
    with open_timmy(home) as timmy:
        queue = timmy.upgrades
        id_ = find(queue, key).id
        with telling(quiet=json_) as progress:
            done = queue.test(id_, progress=progress, anew=anew)
    if json_:
        print(as_json(done))
    else:
        out.print(state_of(done))
        if done.problem:
            out.print(done.problem, soft_wrap=True, markup=False)
        show_tests(done.tests)
    if done.state != "awaiting_approval":
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    path, sign, place = text.partition("=")
    if not sign or not path or not place:
        message = f"--file {text!r} names no file; write it as --file PATH=FILE, such as --file docs/a.md=a.md"
        raise ProposalError(message)
    return path, place


def _content(place: str) -> bytes:
    try:
        return Path(place).read_bytes()
    except OSError as error:
        message = f"{place} cannot be read: {error.strerror}; name a file that there is"
        raise ProposalError(message) from error
