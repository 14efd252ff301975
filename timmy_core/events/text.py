"""Text search: which words of an event are found, and who keeps the index up with the log."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from timmy_core.errors import EventError, StoreBusyError, StoreClosedError, StoreError
from timmy_core.store.engine import Store
from timmy_core.store.text import MAX_WORDS, TextIndex

# (how many at most, only after, only before) -> the seqs of the events that pass every other filter, in order
Passing: TypeAlias = Callable[[int, int | None, int | None], list[int]]

PATIENCE_S: Final = 10.0  # how long a search waits for an index that is far behind
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


class TextSearch:
    """The log's text search; in each process that has one, at most one follower runs."""

    def __init__(self, store: Store, source: Source, path: Path) -> None:
        self._store = store
        self.index = TextIndex(path, source)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # Searching -----------------------------------------------------------------------------------------------

    def find(
        self,
        words: str,
        keep: Keep,
        candidates: Candidates | None,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        order: Literal["desc", "asc"] = "desc",
    ) -> list[int]:
        """Return the seqs of up to `limit` events that hold every word and pass every other filter, in order.

        Args:
            words: see `TextIndex.search`.
            keep: returns those of the seqs whose events pass the other filters.
            candidates: returns the next seqs that pass the other filters; None where there is no other filter.
            limit: how many at most.
            after: only events after this seq.
            before: only events before this seq.
            order: `desc` for the newest first.

        Raises:
            EventError: there is nothing to search for in `words`.
            StoreBusyError: the index is being filled and far behind; what is left is said.
        """
        self.catch_up()
        try:
            return self._find(words, keep, candidates, _Walk(limit, after, before, order))
        except StoreBusyError:
            raise
        except StoreClosedError:
            raise

    def catch_up(self, timeout_s: float = PATIENCE_S) -> None:
        """Index what is new.

        Raises:
            StoreBusyError: that takes longer than `timeout_s`; what was done stays done.
        """
