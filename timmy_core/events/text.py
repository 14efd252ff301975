"""Text search: which words of an event are found, and who keeps the index up with the log."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from timmy_core.errors import StoreBusyError, StoreClosedError, StoreFullError
from timmy_core.events.rows import StoredRows
from timmy_core.events.segment import Row
from timmy_core.events.selection import COLUMNS, Order, Selection
from timmy_core.store.engine import Store
from timmy_core.store.text import PATIENCE_S, TextIndex

# Reads the events that pass every filter, in order, and those of given seqs; a row has the columns `COLUMNS`.
Select: TypeAlias = Callable[[Selection, int, Order], Sequence[Row]]
RowsAt: TypeAlias = Callable[[Sequence[int]], Sequence[Row]]

_AT: Final = {name: place for place, name in enumerate(COLUMNS.split(", "))}

PAUSE_S: Final = 1.0  # how long the follower gathers before it writes; a search never waits for it
CHUNK: Final = 1_000
MANY: Final = 20_000  # so many hits make a word common: then the other filters are asked first

# The names in the data say what a value is and stand in every event; nobody searches for `true` or a broken number.
_NAMES: Final = re.compile(r'"[^"]*":(?:true|false|null|-?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+))?')


def words_of(data_json: str | None) -> str:
    """Return what is searchable of an event's data: its texts and whole numbers, without the names.

    Changing what this returns for any data needs a new `FORMAT` of the index.
    """
    if not data_json or len(data_json) <= len("{}"):
        return ""
    if "\\" not in data_json:
        # Without escapes every quote begins or ends a text, and only a name is followed by a colon.
        return _NAMES.sub(" ", data_json)
    found: list[str] = []
    _gather(json.loads(data_json), found)
    # Half a surrogate pair may be written as an escape, and is no text.
    return " ".join(found).encode(errors="replace").decode()


def _gather(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _gather(item, found)
    elif isinstance(value, list):
        for item in value:
            _gather(item, found)
    elif isinstance(value, int) and not isinstance(value, bool):
        found.append(str(value))


class LogText:
    """The log as the text index reads it."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self.epoch = rows.epoch

    def head(self) -> int:
        """Return the last seq."""
        return self._rows.head()[0]

    def mark(self, seq: int) -> bytes:
        """Return the hash of an event; nothing where there is none."""
        return self._rows.hashes_at([seq]).get(seq, b"") if seq else b""

    def texts(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return the next events' seqs with what is searchable of them."""
        return [(seq, words_of(data)) for seq, data in self._rows.data(after, limit)]


class TextSearch:
    """The log's text search, and the follower that keeps its index up with the log."""

    def __init__(self, store: Store, rows: StoredRows, path: Path) -> None:
        self._store = store
        self.index = TextIndex(path, LogText(rows))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # Searching -----------------------------------------------------------------------------------------------

    def find(
        self, words: str, chosen: Selection, *, select: Select, rows_at: RowsAt, limit: int, order: Order = "desc"
    ) -> list[Row]:
        """Return up to `limit` events that hold every word (see `TextIndex.search`) and pass every filter, in order.

        Raises:
            StoreBusyError: the index is far behind; it says how far.
            StoreError: there is nothing to search for in `words`.
        """
        self.catch_up(PATIENCE_S)
        found: list[Row] = []
        hits = 0
        filtered = chosen != Selection(after=chosen.after, before=chosen.before)
        while len(found) < limit and (hits < MANY or not filtered):
            wanted = CHUNK if filtered else limit - len(found)
            seqs = self.index.search(words, limit=wanted, after=chosen.after, before=chosen.before, order=order)
            found += (row for row in rows_at(seqs) if passes(row, chosen))
            if len(seqs) < wanted:
                return found[:limit]
            hits += len(seqs)
            chosen = _beyond(chosen, seqs[-1], order)
        # The words are common: from here on the other filters choose, and the index is asked about what they leave.
        while len(found) < limit:
            rows = select(chosen, CHUNK, order)
            holding = self.index.among(words, [row[0] for row in rows])
            found += (row for row in rows if row[0] in holding)
            if len(rows) < CHUNK:
                break
            chosen = _beyond(chosen, rows[-1][0], order)
        return found[:limit]

    def catch_up(self, timeout_s: float | None = None) -> int:
        """Index what is new, and return the seq up to which the log is searchable.

        Raises:
            StoreBusyError: that takes longer than `timeout_s`; what was done stays done.
        """
        if not self.index.catch_up(timeout_s=timeout_s, stop=self._stopping.is_set):
            message = (
                f"the text index is being filled: {self.index.indexed():,} events are in it so far; "
                "try again in a moment"
            )
            raise StoreBusyError(message)
        return self.index.indexed()

    def forget(self, events: Sequence[tuple[int, str]], /) -> None:
        """Take events (seq and data, as JSON) out of the index and out of its file; a repetition changes nothing."""
        self.index.forget((seq, words_of(data)) for seq, data in events)

    # Following -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the log on a thread of its own, so that a search finds little to do; starting twice is harmless."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="timmy-text", daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        # A store that is closed first has nothing more to say.
        with contextlib.suppress(StoreClosedError), self._store.watch() as bell:
            while not self._stopping.is_set():
                # Trouble with the index is said to whoever searches; the follower tries again.
                with contextlib.suppress(StoreBusyError, StoreFullError):
                    self.index.catch_up(stop=self._stopping.is_set)
                bell.wait(PAUSE_S)
                self._stopping.wait(PAUSE_S)

    def close(self) -> None:
        """End the follower and give the file back."""
        self._stopping.set()
        if self._thread is not None:
            self._store.ring()
            self._thread.join()
        self.index.close()


def passes(row: Row, chosen: Selection) -> bool:
    """Whether an event passes every filter."""
    seq, type_, ts = row[0], row[2], row[8]
    return (
        (chosen.types is None or type_ in chosen.types)
        and (chosen.family is None or type_.partition(".")[0] == chosen.family)
        and all(row[_AT[name]] == value for name, value in chosen.texts.items())
        and (chosen.since_us is None or ts >= chosen.since_us)
        and (chosen.until_us is None or ts < chosen.until_us)
        and (chosen.after is None or seq > chosen.after)
        and (chosen.before is None or seq < chosen.before)
    )


def _beyond(chosen: Selection, seq: int, order: Order) -> Selection:
    return replace(chosen, after=seq) if order == "asc" else replace(chosen, before=seq)
