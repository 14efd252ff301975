"""How proposals look in a terminal, and the options that several commands of `timmy upgrades` share."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from timmy_core.cli.console import err, out
from timmy_core.cli.shown import age, print_pairs, when
from timmy_core.errors import ProposalNotFoundError, UpgradeError
from timmy_core.events.model import Event
from timmy_core.plain import plain
from timmy_core.upgrades.model import Diff, Proposal, Run, TestResult
from timmy_core.upgrades.model import Progress as Told
from timmy_core.upgrades.queue import Upgrades

Id = Annotated[str, typer.Argument(help="The proposal: its id, or how it begins or ends.", show_default=False)]
By = Annotated[
    str | None, typer.Option("--by", help="Who you are; the user of this machine otherwise.", show_default=False)
]
PinFile = Annotated[
    str | None,
    typer.Option(
        "--pin-file", help="Read the PIN from the first line of a file, - is the input; asked for otherwise.",
        show_default=False,
    ),
]  # fmt: skip

_TONES: Final = {
    "proposed": "yellow", "approved": "blue", "applied": "green", "rejected": "dim", "expired": "dim", "failed": "red",
}  # fmt: skip
_RISKS: Final = {"low": "dim", "normal": "default", "high": "bold red"}
_ID_CHARS: Final = 32
_TITLE: Final = 56
_OUTPUT_LINES: Final = 30


def me(by: str | None) -> str:
    """Return who is meant."""
    return by or getpass.getuser()


def pin_of(pin_file: str | None, by: str, what: str = "PIN") -> str:
    """Return a PIN, from a file or from who sits there; it never stands in the command.

    Raises:
        UpgradeError: the file cannot be read.
    """
    if pin_file is None:
        return str(typer.prompt(f"{what} of {by}", hide_input=True, err=True))
    try:
        text = sys.stdin.readline() if pin_file == "-" else Path(pin_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{pin_file} cannot be read: {error}; name a file whose first line is the PIN"
        raise UpgradeError(message) from error
    return text.split("\n", 1)[0].strip()


def find(queue: Upgrades, id_: str) -> Proposal:
    """Return a proposal by its id, or by the beginning or end of it.

    Raises:
        ProposalNotFoundError: none of the latest fits, or more than one.
    """
    if len(id_) >= _ID_CHARS:
        return queue.get(id_)
    fits = [each for each in queue.list(limit=500).proposals if each.id.startswith(id_) or each.id.endswith(id_)]
    if len(fits) == 1:
        return fits[0]
    how_many = "no proposal's id begins or ends" if not fits else f"the ids of {len(fits)} proposals begin or end"
    message = f"{how_many} with {id_!r}; `timmy upgrades list --all` has them"
    raise ProposalNotFoundError(message)


@contextmanager
def telling(*, quiet: bool = False) -> Iterator[Told]:
    """Show how far long work is, on stderr."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("beginning", total=None)
        yield lambda what, done: bar.update(
            task, description=what, total=None if done is None else 1.0, completed=done or 0.0
        )


def state_of(one: Proposal) -> str:
    """Return a proposal's state in its colour: the word that people know, and the exact one where it says more."""
    exact = one.state.replace("_", " ")
    more = "" if exact == one.shown else f" [dim]{exact}[/]"
    return f"[{_TONES[one.shown]}]{one.shown}[/]{more}"


def tests_of(one: Proposal) -> str:
    """Return in one word or two what the tests said."""
    if one.tests is None:
        return "[dim]–[/]"
    return f"[green]✓[/] {one.tests.level}" if one.tests.passed else "[red]✗ red[/]"


def table_of(proposals: Iterable[Proposal]) -> Table:
    """Return proposals as a table, one a row."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "what", "by", "state", "risk", "tests", "files", "lines", "age"):
        table.add_column(name, justify="right" if name in {"files", "lines", "age"} else "left", no_wrap=name != "what")
    for one in proposals:
        title = one.description.split("\n", 1)[0]
        table.add_row(
            one.id, escape(title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"), escape(one.proposed_by),
            state_of(one), f"[{_RISKS[one.risk]}]{one.risk}[/]", tests_of(one), str(len(one.files)),
            f"[green]+{one.added}[/] [red]-{one.removed}[/]", age(one.created_at),
        )  # fmt: skip
    return table


def as_json(one: Proposal, **more: Any) -> str:
    """Return a proposal as one line of JSON."""
    return json.dumps({**plain(one), "seen": one.seen, **more}, ensure_ascii=False)


def show(one: Proposal, quorum: int) -> None:
    """Print everything about a proposal but its diff."""
    out.print(f"[bold]{escape(one.description)}[/]", soft_wrap=True)
    out.print(f"{state_of(one)}   [{_RISKS[one.risk]}]{one.risk} risk[/]   {tests_of(one)}")
    if one.problem:
        out.print(f"[red]{escape(one.problem)}[/]", soft_wrap=True)
    waits = one.shown == "proposed" or one.state in {"test_failed", "conflict", "approved", "blocked_dirty"}
    left = age(datetime.now(UTC), one.expires_at) if one.expires_at > datetime.now(UTC) else "over"
    print_pairs(
        [
            ("proposed", f"{when(one.created_at)} by {one.proposed_by}, from {one.kind}"),
            ("runs out", f"{when(one.expires_at)}, in {left}" if waits else None),
            ("onto", f"{one.branch} of {one.repo}"),
            ("why that risk", "; ".join(one.risk_reasons)),
            ("needs", f"{quorum} of you to approve" if waits and quorum > 1 else None),
            ("approved by", ", ".join(each.by for each in one.approvals if each.decision == "approve")),
            ("applied", f"{when(one.applied_at)} as {one.applied_sha}" if one.applied_at else None),
            ("rolled back", one.rolled_back_sha),
            ("quarantined", "the same change was rolled back before" if one.quarantined else None),
            ("trace", one.trace_id),
            ("id", one.id),
        ]
    )
    for each in one.files:
        binary = "binary" if each.binary else f"[green]+{each.added}[/] [red]-{each.removed}[/]"
        out.print(f"  {binary}  {escape(each.path)}{'' if each.status == 'changed' else f' [dim]{each.status}[/]'}")


def show_tests(tests: TestResult | None) -> None:
    """Print both runs of the tests, and the end of what a red one wrote."""
    if tests is None:
        return
    out.print(f"\n[bold]Tests[/]  [dim]{tests.level}, {tests.took_s:.1f} s[/]")
    for name, run in (("its own", tests.own), ("the branch's", tests.base)):
        if run is None:
            continue
        mark = "[green]✓[/]" if run.passed else "[red]✗[/]"
        out.print(f"  {mark} {name}: {run.collected} tests, exit {run.exit}, {run.took_s:.1f} s")
        if not run.passed:
            _show_run(run)


def _show_run(run: Run) -> None:
    for words, ids in (("failed", run.failed), ("missing", run.missing)):
        for id_ in ids[:20]:
            out.print(f"    [red]{words}[/] {escape(id_)}", soft_wrap=True)
    for line in run.output.splitlines()[-_OUTPUT_LINES:]:
        out.print(f"    [dim]{escape(line)}[/]", soft_wrap=True)


def show_diff(diff: Diff) -> None:
    """Print a diff as people know it."""
    for file in diff.files:
        out.print(f"\n[bold]{escape(file.change.path)}[/] [dim]{file.change.status}[/]", soft_wrap=True)
        if file.change.binary:
            out.print("  [dim]not text[/]")
        for hunk in file.hunks:
            out.print(f"[cyan]@@ -{hunk.old_start} +{hunk.new_start} @@[/] [dim]{escape(hunk.heading)}[/]")
            for line in hunk.lines:
                tone = {"+": "green", "-": "red"}.get(line.sign, "default")
                out.print(f"[{tone}]{line.sign}{escape(line.text)}[/]", soft_wrap=True)
        if file.cut:
            out.print("[dim]… too long to show whole[/]")


def show_trail(events: Iterable[Event]) -> None:
    """Print what happened to a proposal."""
    out.print("\n[bold]What happened[/]")
    for event in events:
        data = event.data or {}
        more = data.get("problem") or data.get("reason") or data.get("by") or ""
        name = event.type.removeprefix("upgrade.").replace("_", " ")
        out.print(f"  [dim]{when(event.ts)}[/] {name} [dim]{escape(str(more))}[/]", soft_wrap=True)
