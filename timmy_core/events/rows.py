"""The log as heads, proofs and the text index read it: single rows and runs of them, from the table and the archive."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from timmy_core.events.segment import ROW, Row, Segment, open_parquet, read_segments, reading, rows_of
from timmy_core.store.engine import Store

_ROW: Final = ", ".join(ROW)
_KEPT_GROUPS: Final = 2  # so that rows that stand side by side are decompressed once


class StoredRows:
    """Reads what is stored, as it is stored; what left the table comes from the archive."""

    def __init__(self, store: Store, archive: Path) -> None:
        self._store = store
        self._archive = archive
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        with store.read() as connection:
            self.epoch: str = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]

    def head(self) -> tuple[int, str]:
        """Return the last seq and its hash in hex; (0, 64 zeros) for an empty log."""
        with self._store.read() as connection:
            row = connection.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            row = row or connection.execute("SELECT seq, hash FROM log_base").fetchone()
        return row[0], row[1].hex()

    def raw(self, seq: int) -> Row | None:
        """Return an event as it is stored, or None where there is none."""
        with self._store.read() as connection:
            row: Row | None = connection.execute(f"SELECT {_ROW} FROM events WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
        if row is not None:
            return row
        return next((row for table in self._cold(seq, seq, ROW) for row in rows_of(table)), None)

    def hashes(self, first: int, last: int) -> list[bytes]:
        """Return the hashes of events `first` to `last`, in order; fewer where some are gone."""
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT seq, hash FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
            ).fetchall()
        hot = [row[1] for row in rows]
        end = rows[0][0] - 1 if rows else last
        cold = [chained for table in self._cold(first, end, ("hash",)) for chained in table.column("hash").to_pylist()]
        return cold + hot

    def hashes_at(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """Return the hashes of single events by seq; what is not there is left out."""
        wanted = sorted(set(seqs))
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ", ".join("?" * len(some))
            with self._store.read() as connection:
                found |= connection.execute(f"SELECT seq, hash FROM events WHERE seq IN ({marks})", some).fetchall()  # noqa: S608
        missing = [seq for seq in wanted if seq not in found]
        return found | self._cold_hashes(missing) if missing else found

    def _cold_hashes(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """The hashes of archived events; a segment is read once, however many are asked for."""
        found: dict[int, bytes] = {}
        left = list(reversed(seqs))
        for segment in read_segments(self._store, seqs[0] - 1):
            mine = []
            while left and left[-1] <= segment.last_seq:
                mine.append(left.pop())
            mine = [seq for seq in mine if seq >= segment.first_seq]
            if not mine:
                continue
            for table in self._of_segment(segment, mine[0], mine[-1], ("seq", "hash")):
                first = table.column("seq")[0].as_py()
                here = [seq for seq in mine if first <= seq < first + table.num_rows]
                hashes = table.column("hash").take([seq - first for seq in here]).to_pylist()
                found |= zip(here, hashes, strict=True)
        return found

    def data(self, after: int, limit: int) -> list[tuple[int, str | None]]:
        """Return the next events' seqs and data as JSON, in order; data is None where it was redacted."""
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT seq, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            ).fetchall()
        if rows and rows[0][0] == after + 1:
            return rows
        end = min(after + limit, rows[0][0] - 1 if rows else after + limit)
        found: list[tuple[int, str | None]] = []
        for table in self._cold(after + 1, end, ("seq", "data")):
            found += zip(table.column("seq").to_pylist(), table.column("data").to_pylist(), strict=True)
        return found

    # The archive ---------------------------------------------------------------------------------------------

    def _cold(self, first: int, last: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield the archived rows `first` to `last` as slices of Arrow tables, in order."""
        if first > last:
            return
        for segment in read_segments(self._store, first - 1):
            if segment.first_seq > last:
                return
            yield from self._of_segment(segment, first, last, columns)

    def _of_segment(self, segment: Segment, first: int, last: int, columns: Sequence[str]) -> Iterator[Any]:
        import os

        with reading(segment), (self._archive / segment.file).open("rb") as raw:
            state = os.fstat(raw.fileno())
            parquet = open_parquet(raw)
            at = segment.first_seq
            for number in range(parquet.metadata.num_row_groups):
                rows = parquet.metadata.row_group(number).num_rows
                low, high = max(first, at), min(last, at + rows - 1)
                if low <= high:
                    key = (segment.file, state.st_ino, state.st_mtime_ns, number, *columns)
                    yield self._group(key, parquet, number, columns).slice(low - at, high - low + 1)
                at += rows

    def _group(self, key: tuple[Any, ...], parquet: Any, number: int, columns: Sequence[str]) -> Any:
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key]
        table = parquet.read_row_group(number, columns=list(columns), use_threads=False)
        with self._lock:
            self._groups[key] = table
            while len(self._groups) > _KEPT_GROUPS:
                self._groups.popitem(last=False)
        return table
