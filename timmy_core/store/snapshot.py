"""Copies of the database as one file: made while others write, and looked at before anybody relies on them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from timmy_core.store.faults import translate
from timmy_core.store.readers import Readable

_FOUND = 5  # what the check of a damaged file says at most


def snapshot(store: Readable, target: Path) -> None:
    """Copy the database as it is at one moment into a file of its own; writers go on meanwhile.

    The copy is read in one transaction, so the write-ahead log grows by what is written until it is done.

    Raises:
        StoreFullError: the disk is full.
        StoreError: the file exists already, cannot be written, or the database cannot be read.
    """
    try:
        # Created here for its mode: it holds what the database holds.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with store.read() as source, contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source.backup(copy)
            # One file that needs no others beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except (sqlite3.Error, OSError) as error:
        raise translate(error, target) from error


def damage(path: Path) -> str:
    """Say what is wrong with the pages and indexes of a database that nobody uses; nothing where all is well."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_FOUND})")]
            found += [f"a row of {row[0]} names one that is not there"
                      for row in connection.execute("PRAGMA foreign_key_check").fetchmany(_FOUND)]  # fmt: skip
    except sqlite3.Error as error:
        return str(translate(error, path))
    return "" if found == ["ok"] else "; ".join(line for line in found if line != "ok")


def is_open(path: Path) -> bool:
    """Whether another process, or another part of this one, has a database open; a damaged one is never.

    What a process that died left in the write-ahead log is moved into the file by this.
    """
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as connection:
            # It leaves write-ahead logging only when it is alone; the next who opens it goes back.
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    except sqlite3.DatabaseError:
        return False
    return False
