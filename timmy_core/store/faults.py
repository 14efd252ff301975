"""What SQLite and the disk refuse, in the house's words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from timmy_core.errors import StoreError, StoreFullError

# SQLite's primary result codes in the house's words: (error, what was wrong, what to do).
_ERRORS: Final[dict[int, tuple[type[StoreError], str, str]]] = {
    sqlite3.SQLITE_FULL: (StoreFullError, "the disk is full", "free some room and try again; nothing was changed"),
    sqlite3.SQLITE_IOERR: (StoreError, "the disk failed to read or write", "check the disk; nothing was acknowledged"),
    sqlite3.SQLITE_CORRUPT: (StoreError, "the database file is damaged", "restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (StoreError, "the file is not a database", "move it away or name another home"),
    sqlite3.SQLITE_READONLY: (StoreError, "the database cannot be written", "give yourself write access to the home"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "the database cannot be opened", "check that the home exists and is yours"),
    sqlite3.SQLITE_BUSY: (StoreError, "the database stayed locked", "close other programs that have it open"),
}


def translate(error: BaseException, path: Path) -> StoreError:
    """Return the house's error for a foreign one; it names the file, what was wrong and what to do."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        message = f"{path}: {error.strerror or error}; check the disk and the rights of the home"
        return StoreError(message)
    code = getattr(error, "sqlite_errorcode", None)
    kind, what, mend = _ERRORS.get((code or 0) & 0xFF, (StoreError, f"the database refused ({error})", ""))
    return kind(f"{path}: {what}" + (f"; {mend}" if mend else ""))
