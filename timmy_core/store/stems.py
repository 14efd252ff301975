"""Words in the form in which FTS5 keeps them: folded and shortened by its own tokenizer, so that both always agree."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from typing import Final

from timmy_core.store.engine import Connection

TOKENIZER: Final = "porter unicode61 remove_diacritics 2"
_KEPT: Final = 50_000  # words that are remembered with their stem


class Stems:
    """Turns words into stems; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._known: dict[str, str] = {}

    def of(self, words: Iterable[str]) -> dict[str, str]:
        """Return the stem of each word; a word is letters and digits, and one that is none has the stem ""."""
        wanted = list(words)
        known = self._known
        new = [word for word in dict.fromkeys(wanted) if word not in known]
        if new:
            with self._lock:
                if len(known) > _KEPT:
                    known = self._known = {}
                    new = list(dict.fromkeys(wanted))
                known.update(self._look(new))
        return {word: known[word] for word in wanted}

    def _look(self, words: list[str]) -> dict[str, str]:
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.execute(f"CREATE VIRTUAL TABLE asked USING fts5 (word, tokenize = '{TOKENIZER}')")
            self._connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab (asked, instance)")
        # Half a surrogate pair is no text, and SQLite refuses it.
        rows = [(number, word.encode(errors="replace").decode()) for number, word in enumerate(words)]
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("INSERT INTO asked (rowid, word) VALUES (?, ?)", rows)
            found = dict(self._connection.execute("SELECT doc, term FROM tokens WHERE offset = 0").fetchall())
        finally:
            self._connection.execute("ROLLBACK")
        return {word: found.get(number, "") for number, word in enumerate(words)}

    def forget(self) -> None:
        """Drop every word that is remembered."""
        self._known = {}

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
