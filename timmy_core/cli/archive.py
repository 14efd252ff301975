"""The commands of `timmy events` that prove the log, archive it, forget of it, and move it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, err, out
from timmy_core.cli.filters import (
    Agent,
    Family,
    Provider,
    Since,
    Source,
    Task,
    Text,
    Trace,
    Type,
    Until,
    age,
    wanted_of,
)
from timmy_core.errors import EventError, StoreError
from timmy_core.events.transfer import FORMATS, Imported, import_file, matching, write_events
from timmy_core.events.wanted import Wanted
from timmy_core.timmy import Timmy, open_timmy

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_SUFFIXES: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_SHOWN: Final = 20  # findings; what a broken log has more of says the same


# Proving -----------------------------------------------------------------------------------------------------


def verify(home: Home = None) -> None:
    """Walk the hash chain, the archive and the signed heads; exit status 1 where something does not hold."""
    with open_timmy(home) as timmy:
        found = timmy.events.verify()
    for finding in found.findings[:_SHOWN]:
        mark = "[bold red]✗[/]" if finding.fault else "[dim]·[/]"
        err.print(f"{mark} {finding.kind.replace('_', ' ')}: {escape(finding.message)}", soft_wrap=True)
    if len(found.findings) > _SHOWN:
        err.print(f"  and {len(found.findings) - _SHOWN:,} findings more")
    if found.ok:
        note = f", {found.redacted:,} of them redacted" if found.redacted else ""
        out.print(f"[green]✓[/] the chain holds over {found.checked:,} events{note}; its head is {found.head_hash}")
        return
    err.print(f"[bold red]✗[/] {escape(found.problem)}; {found.checked:,} events before it hold", soft_wrap=True)
    raise typer.Exit(1)


def prove(
    seq: Annotated[int, typer.Argument(min=1, help="The event's number in the log.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="A file; otherwise it is printed.", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Make a proof that an event stands in the log, which anybody can check with the public key."""
    with open_timmy(home) as timmy:
        proof = timmy.events.prove(seq)
    text = json.dumps(proof, ensure_ascii=False, indent=2)
    if to is None:
        print(text)
        return
    _into_file(to, lambda file: file.write((text + "\n").encode()))
    out.print(f"[green]✓[/] the proof of event {seq:,} is in {escape(str(to))}; its public key is", soft_wrap=True)
    out.print(proof["public_key"], soft_wrap=True)


def check(
    proof: Annotated[Path, typer.Argument(help="A proof, as `timmy events prove` makes it.")],
    key: Annotated[
        str | None,
        typer.Option(help="The public key that its owner gave you; this home's own otherwise.", show_default=False),
    ] = None,
    home: Home = None,
) -> None:
    """Check a proof; exit status 1 where it does not hold."""
    from timmy_core.events.proof import check_proof

    try:
        text = proof.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{proof} cannot be read: {error}"
        raise StoreError(message) from error
    if key is None:
        with open_timmy(home) as timmy:
            key = timmy.events.heads.public_key()
        if not key:
            message = "this home has signed nothing yet, so it has no key; give the one of the proof's owner with --key"
            raise EventError(message)
        err.print(f"[dim]checked with this home's own key {key}[/]", soft_wrap=True)
    found = check_proof(text, key)
    if not found.ok:
        err.print(f"[bold red]✗[/] {escape(found.problem)}")
        raise typer.Exit(1)
    event = json.loads(text)["event"]
    note = "; its data was redacted" if found.redacted else ""
    out.print(f"[green]✓[/] the proof holds: event {event['seq']:,}, {escape(event['type'])}{note}")


# Keeping -----------------------------------------------------------------------------------------------------


def seal(home: Home = None) -> None:
    """Archive every closed part of the log as Parquet, and sign the log's head."""
    with open_timmy(home) as timmy:
        sealed = timmy.events.seal()
        head = timmy.events.sign_head()
    for segment in sealed:
        size = segment.bytes / 1e6
        out.print(f"[green]✓[/] events {segment.first_seq:,} to {segment.last_seq:,}: {segment.file}, {size:.1f} MB")
    if not sealed:
        out.print("no closed part waits to be archived")
    if head is not None:
        out.print(f"[green]✓[/] head {head.n:,} signs the log up to event {head.seq:,}")


def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="An age, such as 90d, 12h or 4w.")],
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Remove old, archived events from the database; they stay in the archive and stay provable."""
    limit = age(older_than)
    with open_timmy(home) as timmy:
        if not yes:
            _confirm(
                f"Remove archived events older than {older_than} from {timmy.settings.database_path}? "
                "They stay in the archive."
            )
        done = timmy.events.prune(limit)
    if not done.events:
        out.print(f"nothing to prune: no whole archived segment is older than {older_than}")
        return
    back = f"{done.bytes_back / 1e6:,.1f} MB"
    out.print(f"[green]✓[/] {done.events:,} events in {done.segments} segments left the database; {back} came back")


def redact(
    seqs: Annotated[list[int] | None, typer.Argument(help="Numbers of events.", show_default=False)] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
    by: Annotated[str, typer.Option(help="Who asks; it stays on record.", show_default="you")] = "",
    type_: Type = None,
    family: Family = None,
    source: Source = None,
    task: Task = None,
    agent: Agent = None,
    trace: Trace = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    home: Home = None,
) -> None:
    """Remove what events say, for good and everywhere; that they were there stays provable."""
    wanted = wanted_of(type_, family, source, task, agent, trace, since=since, until=until)
    where = wanted.listing()
    if bool(seqs) == bool(where):
        message = "say what to redact: either numbers of events, or filters such as --task t1"
        raise EventError(message)
    if not reason.strip():
        message = "--reason is missing; it stays on record in the log"
        raise EventError(message)
    asked_by = by or os.environ.get("USER") or os.environ.get("LOGNAME") or "cli"
    with open_timmy(home) as timmy:
        if not yes:
            what = _events(len(seqs) if seqs else _count(timmy, wanted))
            _confirm(f"Remove the data of {what} from the database, the archive and the index? It cannot be undone.")
        done = timmy.events.redact(seq=seqs or None, where=where or None, reason=reason, by=asked_by)
    note = f" in {done.segments} archived segments too" if done.segments else ""
    verb = "was" if done.count == 1 else "were"
    out.print(f"[green]✓[/] {_events(done.count)} {verb} redacted{note}; the chain holds as before")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


def _count(timmy: Timmy, wanted: Wanted) -> int:
    # Read in pages, so memory is bounded however many there are.
    return sum(len(batch) for batch in matching(timmy.events, wanted))


def _confirm(question: str) -> None:
    if not typer.confirm(question, default=False, err=True):
        err.print("nothing was changed")
        raise typer.Exit(1)


# Moving ------------------------------------------------------------------------------------------------------


def export(
    to: Annotated[Path, typer.Argument(help="The file; - prints JSON lines or CSV.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="jsonl, csv or parquet; by the file's name otherwise.", show_default=False),
    ] = None,
    type_: Type = None,
    family: Family = None,
    source: Source = None,
    task: Task = None,
    agent: Agent = None,
    trace: Trace = None,
    provider: Provider = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.", show_default=False)] = None,
    home: Home = None,
) -> None:
    """Write the events that match into a file, oldest first; JSON lines can be imported again."""
    wanted = wanted_of(type_, family, source, task, agent, trace, provider, text, since, until)
    kind = format_ or _SUFFIXES.get(to.suffix.lower(), "jsonl" if str(to) == "-" else "")
    if kind not in FORMATS or (str(to) == "-" and kind == "parquet"):
        message = f"the format of {str(to)!r} is not clear; give --format jsonl, csv or parquet (to a file)"
        raise EventError(message)
    with open_timmy(home) as timmy:
        batches = matching(timmy.events, wanted, limit=limit)
        if str(to) == "-":
            write_events(batches, kind, sys.stdout.buffer)
            return
        count = _into_file(to, lambda file: write_events(batches, kind, file))
    out.print(f"[green]✓[/] {_events(count)} {'is' if count == 1 else 'are'} in {escape(str(to))}", soft_wrap=True)


def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines of an export, or the earlier system's SQLite file.")],
    home: Home = None,
) -> None:
    """Write the events of a file into the log; repeating it writes nothing twice."""
    with open_timmy(home) as timmy:
        done = import_file(timmy.events, file, store_path=timmy.settings.database_path)
    verb = "was" if done.added == 1 else "were"
    out.print(f"[green]✓[/] {_events(done.added)} {verb} added; {done.known:,} were there already")
    _notes(done)


def _notes(done: Imported) -> None:
    if done.zoneless:
        out.print(f"  {done.zoneless:,} times had no zone and were taken as UTC")
    for name, count in sorted(done.renamed.items()):
        out.print(f"  {count:,} of a type that is not declared here are now {escape(name)}")


def _into_file(path: Path, write: Callable[[BinaryIO], int]) -> int:
    """Write a file aside and put it in place when it is whole, so that no half of it is ever taken for all."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("wb") as file:
            count = write(file)
        aside.replace(path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}; name a file in a folder that is yours"
        raise StoreError(message) from error
    finally:
        aside.unlink(missing_ok=True)
    return count
