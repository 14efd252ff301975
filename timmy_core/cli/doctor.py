"""`timmy doctor`: what is there, what is not, and what to do about each."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, out
from timmy_core.errors import SandboxError, TimmyError
from timmy_core.events.archive import SEGMENT
from timmy_core.ledger.money import words as sats
from timmy_core.settings import Settings, load_settings
from timmy_core.store.engine import SQLITE_VERSION
from timmy_core.store.lock import lock_is_stuck
from timmy_core.timmy import Timmy, open_timmy

LOW_DISK_BYTES: Final = 1 << 30
SLOW_SYNC_MS: Final = 50.0
WAL_RESET_FIXED: Final = (3, 51, 3)

_MARKS: Final = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    state: Literal["ok", "warn", "fail"]
    what: str
    found: str
    mend: str = ""


def doctor(home: Home = None) -> None:
    """Look at versions, home, lock, disk, log, ledger, nodes and providers; exit status 1 when something is broken."""
    failed = False
    for check in examine(home):
        failed |= check.state == "fail"
        out.print(f"{_MARKS[check.state]} [bold]{escape(check.what)}[/]: {escape(check.found)}", soft_wrap=True)
        if check.mend:
            out.print(f"    {escape(check.mend)}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def examine(home: Path | None) -> Iterator[Check]:
    """Yield every check as it is done; nodes and providers, which are asked over the network, come last."""
    yield from _versions()
    try:
        settings = load_settings(home)
    except TimmyError as error:
        yield Check("fail", "configuration", str(error), "mend the file or the variable that is named")
        return
    file = settings.toml_path
    yield Check("ok", "configuration", str(file) if file.exists() else f"defaults; {file} is not there")
    yield from _home(settings)
    try:
        timmy = open_timmy(settings.home)
    except TimmyError as error:
        yield Check("fail", "store", str(error))
        return
    with timmy:
        yield from _store(timmy)
        yield from _upkeep(timmy)
        yield from _ledger(timmy)
        yield from _nodes(timmy)
        yield from _upgrades(timmy)
        yield from _providers(timmy)


def _versions() -> Iterator[Check]:
    yield Check("ok", "Timmy Workbench", version("timmy-workbench"))
    yield Check("ok", "Python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    numbers = tuple(int(part) for part in SQLITE_VERSION.split("."))
    note = "" if numbers >= WAL_RESET_FIXED else "; before 3.51.3, so Timmy's lock serialises its checkpoints"
    yield Check("ok", "SQLite", SQLITE_VERSION + note)
    yield Check("ok", "DuckDB", version("duckdb"))
    yield Check("ok", "marimo", version("marimo"))
    if sys.platform == "win32":
        yield Check("fail", "platform", "Windows has no flock", "run it under WSL")
    elif not sys.platform.startswith("linux"):
        yield Check("warn", "platform", "no inotify here: events of other processes are seen within a second")


def _home(settings: Settings) -> Iterator[Check]:
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_ms = _sync_ms(home)
    except OSError as error:
        mend = "name another with --home or TIMMY_HOME, or give yourself the rights"
        yield Check("fail", "home", f"{home} cannot be written: {error.strerror}", mend)
        return
    yield Check("ok", "home", str(home))
    free = shutil.disk_usage(home).free
    state: Literal["ok", "warn"] = "ok" if free >= LOW_DISK_BYTES else "warn"
    yield Check(state, "disk", f"{free / 1e9:,.1f} GB free", "" if state == "ok" else "free some room soon")
    slow = sync_ms > SLOW_SYNC_MS
    mend = "each write waits for this; a local SSD is faster than a network folder" if slow else ""
    yield Check("warn" if slow else "ok", "sync to disk", f"{sync_ms:.1f} ms", mend)


def _sync_ms(folder: Path) -> float:
    probe = folder / f".doctor-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            begin = time.perf_counter()
            os.fsync(file.fileno())
            return (time.perf_counter() - begin) * 1000
    finally:
        probe.unlink(missing_ok=True)


def _store(timmy: Timmy) -> Iterator[Check]:
    lock = f"{timmy.settings.database_path}.lock"
    if lock_is_stuck(timmy.settings.database_path):
        mend = f"`fuser {lock}` names the process; end it, and the kernel frees the lock"
        yield Check("fail", "write lock", "held by another process for 2 s; writes wait for it", mend)
    else:
        yield Check("ok", "write lock", "free")
    seq, head = timmy.events.head()
    yield Check("ok", "event log", f"{seq:,} events, head {head[:12]}…; `timmy events verify` walks the whole chain")


def _upkeep(timmy: Timmy) -> Iterator[Check]:
    head = timmy.events.head()[0]
    for finding in timmy.unmended:
        yield Check("fail", "log", finding.message, "`timmy events verify` says more; a backup has what is lost")
    segments = timmy.events.archive.segments()
    archived = f"up to event {segments[-1].last_seq:,} in {len(segments)} files" if segments else "nothing yet"
    waiting = head - (segments[-1].last_seq if segments else 0)
    late = waiting > 2 * SEGMENT
    mend = "`timmy events seal` archives them; `timmy up` does so by itself" if late else ""
    yield Check("warn" if late else "ok", "archive", f"{archived}; {waiting:,} events wait", mend)
    lines = timmy.events.heads.lines()
    signed = json.loads(lines[-1])["seq"] if lines else 0
    yield Check("ok", "signed heads", f"{len(lines):,}, up to event {signed:,} of {head:,}")
    yield Check("ok", "text index", f"{timmy.events.text.index.indexed():,} of {head:,} events")


def _upgrades(timmy: Timmy) -> Iterator[Check]:
    room = timmy.upgrading
    if not room.configured:
        yield Check("ok", "upgrades", "off: no repository is named in [upgrades]")
        return
    problem = room.problem()
    if problem:
        yield Check("fail", "upgrades", problem, "mend [upgrades] in timmy.toml, or the repository")
        return
    waiting, people = f"{room.pending():,} on their way", len(room.approvals.people())
    try:
        level = room.sandbox.find().level
    except SandboxError as error:
        yield Check(
            "fail", "upgrades", f"{waiting}; tests cannot be shut in: {error}", "see docs/reference/security.md"
        )
        return
    said = f"{waiting}, tests are shut in by {level}, {people} may decide"
    mend = "" if people else "`timmy upgrades pin` sets the first PIN"
    if level != "bubblewrap":
        mend = mend or "install bubblewrap, which shuts tests in best"
    yield Check("warn" if mend else "ok", "upgrades", said, mend)


def _ledger(timmy: Timmy) -> Iterator[Check]:
    balance, pending = timmy.ledger.balance(), timmy.ledger.pending()
    waits = f"{len(pending):,} pending"
    if pending:
        age = timmy.clock.now() - pending[0].created_at
        waits += f", the oldest for {age.total_seconds() / 3600:,.1f} h"
    found = f"{sats(balance.available_msat)} available; {waits}; `timmy ledger verify` walks the whole book"
    yield Check("ok", "ledger", found)
    findings = timmy.payments.open_findings()
    mend = "`timmy ledger findings` lists them" if findings else ""
    yield Check("warn" if findings else "ok", "ledger and nodes", f"{findings:,} findings to look at", mend)


def _nodes(timmy: Timmy) -> Iterator[Check]:
    infos = {info.name: info for info in timmy.payments.nodes()}
    for name, health in timmy.payments.health().items():
        info = infos[name]
        what = f"node {name} ({info.kind}, {info.network}{', default' if info.default else ''})"
        mend = "" if health.ok else f"look at its table under [[nodes]] in {timmy.settings.toml_path}"
        yield Check("ok" if health.ok else "warn", what, health.message, mend)


def _providers(timmy: Timmy) -> Iterator[Check]:
    results = timmy.router.test_sync()
    for name, health in results:
        yield Check("ok" if health.ok else "warn", f"provider {name}", health.message, health.advice)
    if not any(health.ok for _, health in results):
        mend = (
            f"do one of the above, or name a provider in {timmy.settings.toml_path}; until then Timmy answers offline"
        )
        yield Check("warn", "providers", "none can answer now", mend)
