"""Looking at a home that was unpacked: database, chain, heads, archive, blobs, book and settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from timmy_core.backup.model import DATABASE, Checked, Manifest
from timmy_core.clock import Clock, to_us
from timmy_core.errors import BackupError, EventError, SettingsError, StoreError
from timmy_core.events.events import Events
from timmy_core.ledger.ledger import Ledger
from timmy_core.settings import load_settings
from timmy_core.store.engine import Store
from timmy_core.store.snapshot import damage

MAX_PROBLEMS: Final = 100


def check_home(folder: Path, manifest: Manifest, clock: Clock) -> Checked:
    """Look at everything that a backup brought; nothing is mended.

    Raises:
        BackupError: there is no database that can be opened.
    """
    database = folder / DATABASE
    if not database.is_file():
        message = f"the backup holds no {DATABASE}, so there is nothing to restore; take another one"
        raise BackupError(message)
    broken = damage(database)
    if broken:
        message = f"the database in the backup is damaged ({broken}); take another one"
        raise BackupError(message)
    try:
        store = Store.open(database)
    except StoreError as error:
        message = f"the database in the backup cannot be opened: {error}"
        raise BackupError(message) from error
    try:
        return _look(store, folder, manifest, clock)
    finally:
        store.close()


def _look(store: Store, folder: Path, manifest: Manifest, clock: Clock) -> Checked:
    events = Events(store, clock, folder)
    try:
        problems = [*_told(_log(events, manifest)), *_told(_blobs(store, events, manifest))]
        transfers, wrong = _book(store, events, clock)
        problems += wrong
        with store.read() as connection:
            blobs = int(connection.execute("SELECT count(*) FROM blobs").fetchone()[0])
        notes = [f"{name} was missing already when the backup was made" for name in manifest.missing]
        return Checked(
            manifest,
            events=events.head()[0],
            blobs=blobs,
            segments=len(events.archive.segments()),
            transfers=transfers,
            problems=tuple(problems[:MAX_PROBLEMS]),
            notes=(*notes, *_settings(folder)),
        )
    finally:
        events.close()


def _told(problems: Iterator[str]) -> Iterator[str]:
    """Yield the problems; that something cannot even be looked at is the last of them."""
    try:
        yield from problems
    except (EventError, StoreError) as error:
        yield str(error)


def _log(events: Events, manifest: Manifest) -> Iterator[str]:
    """The chain from the first event to the last, in archive and table, against the signed heads and the list."""
    if events.head() != (manifest.seq, manifest.head_hash):
        yield f"the log ends at event {events.head()[0]:,}, and the backup's list says {manifest.seq:,}"
    yield from (f"log: {finding.message}" for finding in events.verify().findings if finding.fault)


def _book(store: Store, events: Events, clock: Clock) -> tuple[int, list[str]]:
    """Every transfer from the first to the last, against the events that name the book's head."""
    try:
        found = Ledger(store, events, clock).verify()
    except StoreError as error:
        return 0, [f"ledger: {error}"]
    return found.checked, [f"ledger: {problem.message}" for problem in found.problems]


def _blobs(store: Store, events: Events, manifest: Manifest) -> Iterator[str]:
    """Every blob that the database names and that has not run out is there, with the right bytes."""
    gone = {*manifest.gone, *(path.rpartition("/")[2] for path in manifest.missing)}
    with store.read() as connection:
        query = "SELECT digest FROM blobs WHERE expires_at IS NULL OR expires_at > ?"
        wanted = [row[0] for row in connection.execute(query, (to_us(events.clock.now()),))]
    for digest in wanted:
        if digest not in gone:
            try:
                events.blobs.get(digest)
            except StoreError as error:
                yield str(error)


def _settings(folder: Path) -> Iterator[str]:
    try:
        load_settings(folder)
    except SettingsError as error:
        yield f"the settings have to be mended before it can be served: {error}"
