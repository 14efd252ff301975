"""Reading below the base: events that were pruned from the table, out of their Parquet segments."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import StoreError
from timmy_core.events import ids
from timmy_core.events.segment import Row, Segment, open_parquet, read_segments, reading
from timmy_core.events.selection import COLUMNS, Order, Selection
from timmy_core.store.engine import Store

_NAMES: Final = COLUMNS.split(", ")
_KEPT_GROUPS: Final = 2  # decompressed groups kept, so that reading on does not decompress the same one again
_KEPT_FILES: Final = 512


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group as its statistics describe it: column -> (least, greatest)."""

    index: int
    first_seq: int
    last_seq: int
    ranges: dict[str, tuple[Any, Any]]

    def may_hold(self, chosen: Selection) -> bool:
        """Whether an event of the selection can be in it."""
        equal = [*chosen.texts.items()]
        least_ts, greatest_ts = self.ranges.get("ts", (None, None))
        return (
            (chosen.after is None or self.last_seq > chosen.after)
            and (chosen.before is None or self.first_seq < chosen.before)
            and (chosen.since_us is None or greatest_ts is None or greatest_ts >= chosen.since_us)
            and (chosen.until_us is None or least_ts is None or least_ts < chosen.until_us)
            and all(self._spans(name, value) for name, value in equal)
            and (chosen.types is None or any(self._spans("event_type", name) for name in chosen.types))
        )

    def _spans(self, name: str, value: str) -> bool:
        least, greatest = self.ranges.get(name, (None, None))
        return least is None or least <= value <= greatest


@dataclass(frozen=True, slots=True)
class _File:
    """An open segment: which bytes they are, its metadata and its groups."""

    key: tuple[Any, ...]
    metadata: Any
    groups: tuple[_Group, ...]


class Cold:
    """Answers from the archive what the table no longer holds; safe to use from any thread."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.Lock()
        self._files: OrderedDict[tuple[Any, ...], _File] = OrderedDict()
        self._tables: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._types: dict[str, frozenset[str]] = {}
        self._ids: dict[str, ids.Ids] = {}

    def select(self, chosen: Selection, base: int, limit: int, order: Order) -> list[Row]:
        """Return up to `limit` matching events with a seq of at most `base`, in the order asked for."""
        if chosen.after is not None and chosen.after >= base:
            return []
        found: list[Row] = []
        for segment in self._segments(chosen, base, order):
            if len(found) >= limit:
                break
            found += self._from_segment(segment, chosen, base, limit - len(found), order)
        return found

    def at(self, seqs: Sequence[int], base: int) -> dict[int, Row]:
        """Return the archived events of these seqs."""
        wanted = sorted({seq for seq in seqs if 1 <= seq <= base})
        found: dict[int, Row] = {}
        if not wanted:
            return found
        for segment in self._segments(Selection(after=wanted[0] - 1, before=wanted[-1] + 1), base, "asc"):
            mine = [seq for seq in wanted if segment.first_seq <= seq <= segment.last_seq]
            if mine:
                found |= self._at(segment, mine)
        return found

    def types(self, base: int) -> set[str]:
        """Return every type that occurs at or below `base`; a segment is asked once."""
        present: set[str] = set()
        for segment in self._segments(Selection(), base, "asc"):
            if segment.file not in self._types:
                self._types[segment.file] = frozenset(self._column(segment, "event_type"))
            present |= self._types[segment.file]
        return present

    def by_id(self, wanted: Sequence[str], base: int) -> dict[str, Row]:
        """Return the archived events that have one of these ids."""
        found: dict[str, Row] = {}
        left = set(wanted)
        for segment in self._segments(Selection(), base, "desc"):
            if not left:
                break
            found |= self._ids_in(segment, left, base)
            left -= found.keys()
        return found

    def index_ids(self, segment: Segment) -> Path:
        """Make the side file of a segment's ids where it is missing, and return where it is."""
        side = (self._folder / segment.file).with_suffix(ids.SUFFIX)
        if not ids.is_whole(side, segment.events):
            ids.write_ids(side, self._column(segment, "id"))
        return side

    def forget(self) -> None:
        """Drop what is kept in memory; after a redaction."""
        with self._lock:
            self._tables.clear()

    # One segment ---------------------------------------------------------------------------------------------

    def _segments(self, chosen: Selection, base: int, order: Order) -> Iterator[Segment]:
        """The segments that may hold a match, in order; a hole in them is an error, not a shorter answer."""
        segments = [segment for segment in read_segments(self._store, chosen.after or 0) if segment.first_seq <= base]
        if not segments or segments[-1].last_seq < base:
            message = f"no archive segment holds event {base:,}; put back the database or the archive from a backup"
            raise StoreError(message)
        for segment in segments if order == "asc" else reversed(segments):
            if (
                (chosen.before is None or segment.first_seq < chosen.before)
                and (chosen.since_us is None or segment.last_ts >= chosen.since_us)
                and (chosen.until_us is None or segment.first_ts < chosen.until_us)
            ):
                yield segment

    def _from_segment(self, segment: Segment, chosen: Selection, base: int, limit: int, order: Order) -> list[Row]:
        found: list[Row] = []
        with reading(segment), (self._folder / segment.file).open("rb") as raw:
            file = self._open(segment, raw)
            for group in file.groups if order == "asc" else file.groups[::-1]:
                if group.may_hold(chosen) and group.first_seq <= base:
                    found += self._from_group(raw, file, group, chosen, base, limit - len(found), order)
                if len(found) >= limit:
                    break
        return found

    def _from_group(
        self, raw: Any, file: _File, group: _Group, chosen: Selection, base: int, limit: int, order: Order
    ) -> list[Row]:
        # Seqs are gap-free, so a bound on them is a place in the group.
        start = max(0, (chosen.after or 0) + 1 - group.first_seq)
        stop = min(base + 1, chosen.before if chosen.before is not None else base + 1) - group.first_seq
        filters = [*chosen.texts, *(["event_type"] if chosen.types is not None or chosen.family is not None else [])]
        filters += ["ts"] if chosen.since_us is not None or chosen.until_us is not None else []
        if not filters:
            size = max(0, min(stop, group.last_seq - group.first_seq + 1) - start)
            first = start if order == "asc" else start + max(0, size - limit)
            return _rows(self._table(raw, file, group).slice(first, min(size, limit)), order)
        indices = _matches(self._parquet(raw, file), group, filters, chosen, start, stop)
        if not len(indices):
            return []
        taken = indices.slice(0, limit) if order == "asc" else indices.slice(max(0, len(indices) - limit))
        return _rows(self._table(raw, file, group).take(taken), order)

    def _at(self, segment: Segment, seqs: Sequence[int]) -> dict[int, Row]:
        found: dict[int, Row] = {}
        with reading(segment), (self._folder / segment.file).open("rb") as raw:
            file = self._open(segment, raw)
            for group in file.groups:
                places = [seq - group.first_seq for seq in seqs if group.first_seq <= seq <= group.last_seq]
                if places:
                    rows = _rows(self._table(raw, file, group).take(places), "asc")
                    found |= {row[0]: row for row in rows}
        return found

    def _ids_in(self, segment: Segment, wanted: set[str], base: int) -> dict[str, Row]:
        side = self.index_ids(segment)
        with reading(segment):
            if side.name not in self._ids:
                self._ids[side.name] = ids.Ids(side)
            maybe = self._ids[side.name].may_hold(wanted)
        if not maybe:
            return {}
        with reading(segment), (self._folder / segment.file).open("rb") as raw:
            return self._rows_with_ids(raw, self._open(segment, raw), maybe, base)

    def _rows_with_ids(self, raw: Any, file: _File, wanted: set[str], base: int) -> dict[str, Row]:
        import pyarrow as pa
        import pyarrow.compute as pc

        values = pa.array(sorted(wanted), pa.string())
        found: dict[str, Row] = {}
        for group in file.groups:
            column = self._parquet(raw, file).read_row_group(group.index, columns=["id"], use_threads=False).column(0)
            indices = pc.indices_nonzero(pc.is_in(column, value_set=values))
            if len(indices):
                rows = _rows(self._table(raw, file, group).take(indices), "asc")
                found |= {row[1]: row for row in rows if row[0] <= base}
            if len(found) == len(wanted):
                break
        return found

    def _column(self, segment: Segment, name: str) -> Iterator[str]:
        with reading(segment), (self._folder / segment.file).open("rb") as raw:
            file = self._open(segment, raw)
            for group in file.groups:
                table = self._parquet(raw, file).read_row_group(group.index, columns=[name], use_threads=False)
                yield from (table.column(0).unique() if name == "event_type" else table.column(0)).to_pylist()

    # What is kept --------------------------------------------------------------------------------------------

    def _open(self, segment: Segment, raw: Any) -> _File:
        """The file's metadata, kept by what the file is: a redaction puts another one in its place."""
        state = os.fstat(raw.fileno())
        key = (segment.file, state.st_ino, state.st_mtime_ns, state.st_size)
        with self._lock:
            file = self._files.get(key)
        if file is None:
            metadata = open_parquet(raw).metadata
            file = _File(key, metadata, tuple(_groups(segment, metadata)))
            with self._lock:
                self._files[key] = file
                while len(self._files) > _KEPT_FILES:
                    self._files.popitem(last=False)
        return file

    @staticmethod
    def _parquet(raw: Any, file: _File) -> Any:
        return open_parquet(raw, file.metadata)

    def _table(self, raw: Any, file: _File, group: _Group) -> Any:
        key = (*file.key, group.index)
        with self._lock:
            table = self._tables.get(key)
            if table is not None:
                self._tables.move_to_end(key)
                return table
        table = self._parquet(raw, file).read_row_group(group.index, columns=_NAMES, use_threads=False)
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > _KEPT_GROUPS:
                self._tables.popitem(last=False)
        return table


def _groups(segment: Segment, metadata: Any) -> Iterator[_Group]:
    names = metadata.schema.names
    first = segment.first_seq
    for index in range(metadata.num_row_groups):
        described = metadata.row_group(index)
        ranges = {}
        for name in ("ts", "event_type", "source", "task_id", "agent_id", "trace_id"):
            statistics = described.column(names.index(name)).statistics
            if statistics is not None and statistics.has_min_max:
                ranges[name] = (statistics.min, statistics.max)
        yield _Group(index, first, first + described.num_rows - 1, ranges)
        first += described.num_rows


def _matches(parquet: Any, group: _Group, filters: list[str], chosen: Selection, start: int, stop: int) -> Any:
    """Where in the group the matching events stand; only the columns that are asked about are read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = parquet.read_row_group(group.index, columns=filters, use_threads=False)
    masks = [pc.equal(table.column(name), value) for name, value in chosen.texts.items()]
    if chosen.types is not None:
        masks.append(pc.is_in(table.column("event_type"), value_set=pa.array(chosen.types, pa.string())))
    if chosen.family is not None:
        masks.append(pc.starts_with(table.column("event_type"), chosen.family + "."))
    if chosen.since_us is not None:
        masks.append(pc.greater_equal(table.column("ts"), chosen.since_us))
    if chosen.until_us is not None:
        masks.append(pc.less(table.column("ts"), chosen.until_us))
    mask = masks[0]
    for other in masks[1:]:
        mask = pc.and_kleene(mask, other)
    # Nulls match nothing; the slice keeps the bounds on seq, and its places are moved back by it.
    within = pc.fill_null(mask, fill_value=False).slice(start, max(0, stop - start))
    return pc.add(pc.indices_nonzero(within), pa.scalar(start, pa.uint64()))


def _rows(table: Any, order: Order) -> list[Row]:
    rows = list(zip(*(table.column(name).to_pylist() for name in _NAMES), strict=True))
    return rows if order == "asc" else rows[::-1]
