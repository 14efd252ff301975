"""Memory as JSON lines: all of it or what filters choose, oldest first; `Importer` reads it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from timmy_core.memory.model import Entry
from timmy_core.memory.rows import SELECT, to_entry
from timmy_core.memory.selection import conditions
from timmy_core.store.engine import Store

PAGE: Final = 500
# What belongs to this store alone, or is made anew where it is imported.
_LEFT_OUT: Final = ("seq", "parent", "place", "start", "parts", "embedding")


def export_lines(store: Store, filters: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield one JSON object an entry, with its line's end; what is remembered while it runs may be among them.

    Passages are made anew from their documents, and vectors from the texts, so neither is exported.

    Raises:
        EntryError: a filter is not known.
    """
    for entry in _entries(store, filters or {}):
        plain = {name: value for name, value in entry.as_dict().items() if name not in _LEFT_OUT}
        yield json.dumps(plain, ensure_ascii=False, separators=(",", ":")) + "\n"


def _entries(store: Store, filters: Mapping[str, Any]) -> Iterator[Entry]:
    clauses, values = conditions({name: value for name, value in filters.items() if value is not None})
    where = " AND ".join(["entry.parent_seq IS NULL", "entry.seq > ?", *clauses])
    query = f"{SELECT} WHERE {where} ORDER BY entry.seq LIMIT ?"
    last = 0
    while True:
        # A page a read: a long export must not hold a snapshot, or the write-ahead log grows.
        with store.read() as connection:
            page = [to_entry(row) for row in connection.execute(query, (last, *values, PAGE))]
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1].seq
