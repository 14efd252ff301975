"""The formats by name, as bytes for an answer or as a file that is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from timmy_core.errors import LedgerError
from timmy_core.events.files import open_aside, put_in_place, writing
from timmy_core.ledger.export.journals import beancount, hledger
from timmy_core.ledger.export.lines import Book, Extract
from timmy_core.ledger.export.parquet import parquet
from timmy_core.ledger.export.qif import qif
from timmy_core.ledger.export.tables import book_csv, cointracker, koinly

_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, how its files end, what they are on the web, for whom it is, and what writes it."""

    name: str
    suffix: str
    media_type: str
    about: str
    write: Callable[[Extract], Iterator[str] | Iterator[bytes]]


_TEXT: Final = "text/plain; charset=utf-8"
_CSV: Final = "text/csv; charset=utf-8"
FORMATS: Final[dict[str, Format]] = {
    each.name: each
    for each in (
        Format("csv", ".csv", _CSV, "every posted transfer, for spreadsheets", book_csv),
        Format("beancount", ".beancount", _TEXT, "for beancount", beancount),
        Format("hledger", ".journal", _TEXT, "for hledger and ledger", hledger),
        Format("qif", ".qif", "application/qif", "for GnuCash, KMyMoney, Quicken and others", qif),
        Format("koinly", ".koinly.csv", _CSV, "for Koinly, in bitcoin", koinly),
        Format("cointracker", ".cointracker.csv", _CSV, "for CoinTracker, in bitcoin", cointracker),
        Format("parquet", ".parquet", "application/vnd.apache.parquet", "for polars, DuckDB and others", parquet),
    )
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a file got."""

    path: Path
    bookings: int
    size: int


def format_of(name: str) -> Format:
    """Return a format.

    Raises:
        LedgerError: there is none of that name.
    """
    if name not in FORMATS:
        message = f"there is no format {name!r:.40}; expected one of {', '.join(FORMATS)}"
        raise LedgerError(message)
    return FORMATS[name]


def file_name(format_: Format, until: datetime | None = None) -> str:
    """Return what a file of it is called."""
    return f"lightning-ledger{f'-until-{until:%Y-%m-%d}' if until else ''}{format_.suffix}"


def export_bytes(
    book: Book, name: str, *, since: datetime | None = None, until: datetime | None = None, node: str | None = None
) -> Iterator[bytes]:
    """Return the file in chunks; `since` is in it, `until` is not, and `node` leaves out all others.

    It does not block for long between two chunks, but it reads the store: run it on a thread.

    Raises:
        LedgerError: there is no such format or no such period, before anything is written.
    """
    return _chunks(format_of(name), Extract(book, since=since, until=until, node=node))


def export_file(
    book: Book,
    name: str,
    path: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    node: str | None = None,
) -> Written:
    """Write the file, for its owner's eyes only; one that is there is replaced once the new one is whole.

    Raises:
        LedgerError: there is no such format or no such period.
        StoreError: it could not be written.
    """
    format_, extract = format_of(name), Extract(book, since=since, until=until, node=node)
    with writing(path):
        with open_aside(path) as file:
            for chunk in _chunks(format_, extract):
                file.write(chunk)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)
    return Written(path, extract.survey.bookings, size)


def _chunks(format_: Format, extract: Extract) -> Iterator[bytes]:
    """Gather small parts, so that an answer is not sent row by row."""
    gathered = bytearray()
    for part in format_.write(extract):
        gathered += part.encode() if isinstance(part, str) else part
        if len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
