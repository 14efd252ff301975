"""The format of an archived segment: one Parquet file, one row an event, in the order of their seqs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from timmy_core.errors import StoreError
from timmy_core.events.chain import ERASED, broken
from timmy_core.events.files import open_aside
from timmy_core.store.engine import Store

ROW_GROUP: Final = 50_000  # events that are compressed, and skipped, together
GROUP_BYTES: Final = 64 << 20  # a group ends early where its data is large, so that memory is bounded

# A row as the chain reads it, from the table and from Parquet alike.
ROW: Final = (
    "seq", "id", "event_type", "source", "task_id", "agent_id", "trace_id", "data", "ts", "v", "hash", "salt",
    "data_hash",
)  # fmt: skip
Row = tuple[Any, ...]
DATA: Final = ROW.index("data")

# Taken from the data so that questions need not parse it: column -> (kind, the names it may have there).
PROMOTED: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "provider": ("text", ("gen_ai.provider.name", "provider")),
    "model": ("text", ("gen_ai.response.model", "gen_ai.request.model", "model")),
    "latency_ms": ("float", ("timmy.latency_ms", "latency_ms")),
    "first_token_ms": ("float", ("timmy.first_token_ms",)),
    "input_tokens": ("int", ("gen_ai.usage.input_tokens",)),
    "output_tokens": ("int", ("gen_ai.usage.output_tokens",)),
    "cost_microusd": ("int", ("timmy.cost_microusd",)),
    "error_type": ("text", ("error.type",)),
}
_NONE_PROMOTED: Final = (None,) * len(PROMOTED)
_HOLDS_SOME: Final = re.compile("|".join(re.escape(f'"{name}"') for _, names in PROMOTED.values() for name in names))
_INT64: Final = 2**63

_DICTIONARY: Final = ("event_type", "source", "task_id", "agent_id", "trace_id", "provider", "model", "error_type")
# No statistics of data, salt and hashes: they would carry content into the footer, and skip nothing.
_STATISTICS: Final = (*_DICTIONARY, "seq", "id", "ts", "latency_ms")


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed run of events: where its file is, what its bytes and its place in the chain have to be."""

    first_seq: int
    last_seq: int
    file: str
    digest: str
    before_hash: bytes
    last_hash: bytes
    first_ts: int
    last_ts: int
    bytes: int
    sealed_at: int
    next_digest: str | None = None

    @property
    def events(self) -> int:
        """How many events it holds."""
        return self.last_seq - self.first_seq + 1

    def __str__(self) -> str:
        """Name it as messages do."""
        return f"{self.file} (events {self.first_seq:,} to {self.last_seq:,})"


SEGMENT_COLUMNS: Final = ", ".join(field.name for field in fields(Segment))


def read_segments(store: Store, after: int = 0) -> list[Segment]:
    """Return the sealed segments that end after a seq, first to last."""
    with store.read() as connection:
        query = f"SELECT {SEGMENT_COLUMNS} FROM segments WHERE last_seq > ? ORDER BY first_seq"  # noqa: S608
        return [Segment(*row) for row in connection.execute(query, (after,))]


def file_name(first_seq: int, last_seq: int) -> str:
    """Return the name of the file that holds these events."""
    return f"events-{first_seq:012d}-{last_seq:012d}.parquet"


def schema() -> Any:
    """Return the Arrow schema of a segment."""
    import pyarrow as pa

    kinds = {"text": pa.string(), "float": pa.float64(), "int": pa.int64()}
    texts = [(name, pa.string()) for name in ROW[1 : DATA + 1]]
    return pa.schema(
        [
            ("seq", pa.int64()),
            *texts,
            ("ts", pa.int64()),
            ("v", pa.int32()),
            *((name, pa.binary()) for name in ("salt", "data_hash", "hash")),
            *((name, kinds[kind]) for name, (kind, _) in PROMOTED.items()),
        ]
    )


def promote(data: str | None) -> tuple[Any, ...]:
    """Return the values of the promoted columns, None where the data has none of the right kind."""
    if data is None or _HOLDS_SOME.search(data) is None:
        return _NONE_PROMOTED
    held = json.loads(data)
    if not isinstance(held, dict):
        return _NONE_PROMOTED
    return tuple(
        next((value for name in names if (value := _as_kind(kind, held.get(name))) is not None), None)
        for kind, names in PROMOTED.values()
    )


def _as_kind(kind: str, value: Any) -> Any:
    if kind == "text":
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if kind == "float":
        return float(value) if abs(value) < _INT64 else None
    return value if isinstance(value, int) and -_INT64 <= value < _INT64 else None


class SegmentWriter:
    """Writes a segment aside, group by group, and checks the chain as the rows go by; used as a context manager."""

    def __init__(self, path: Path, last_seq: int, previous: bytes) -> None:
        self.path = path
        self.last_seq = last_seq
        self.last_hash = previous
        self.first_ts: int | None = None
        self.last_ts: int | None = None
        self._rows: list[Row] = []
        self._bytes = 0
        self._file: Any = None
        self._parquet: Any = None

    def __enter__(self) -> Self:
        """Begin the file aside."""
        self._file = open_aside(self.path)
        self._parquet = _parquet_writer(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make the file durable; after an error, only let go of it."""
        try:
            if kind is None:
                self._flush()
                self._parquet.close()
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            # On a full disk the footer has no room either; what went wrong first is what is said.
            with contextlib.suppress(OSError):
                self._parquet.close()
            with contextlib.suppress(OSError):
                self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Take the next events.

        Raises:
            StoreError: one of them does not follow from the one before.
        """
        for row in rows:
            problem = broken(row, self.last_seq, self.last_hash)
            if problem:
                message = f"the log cannot be archived: {problem.message}; `timmy events verify` says more"
                raise StoreError(message)
            self.last_seq, ts, self.last_hash = row[0], row[8], row[10]
            self.first_ts = ts if self.first_ts is None else min(ts, self.first_ts)
            self.last_ts = ts if self.last_ts is None else max(ts, self.last_ts)
            self._rows.append(row)
            self._bytes += len(row[DATA] or "")
            if len(self._rows) >= ROW_GROUP or self._bytes >= GROUP_BYTES:
                self._flush()

    def add_table(self, table: Any) -> None:
        """Take a group of rows that were checked already, as an Arrow table."""
        self._parquet.write_table(table, row_group_size=max(1, table.num_rows))

    def _flush(self) -> None:
        if self._rows:
            self.add_table(_table(self._rows))
        self._rows, self._bytes = [], 0


def _parquet_writer(file: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        file,
        schema(),
        compression="zstd",
        compression_level=3,
        use_dictionary=list(_DICTIONARY),
        column_encoding={"seq": "DELTA_BINARY_PACKED", "ts": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY"},
        write_statistics=list(_STATISTICS),
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(0)],
    )


def _promoted(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    return dict(zip(PROMOTED, zip(*(promote(row[DATA]) for row in rows), strict=True), strict=True))


def _table(rows: Sequence[Row]) -> Any:
    import pyarrow as pa

    columns: dict[str, Sequence[Any]] = dict(zip(ROW, zip(*rows, strict=True), strict=True)) | _promoted(rows)
    layout = schema()
    return pa.Table.from_arrays([pa.array(columns[field.name], field.type) for field in layout], schema=layout)


# Reading ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(segment: Segment) -> Iterator[None]:
    """Say which segment it was that is gone or damaged.

    Raises:
        StoreError: the file could not be read.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        message = f"the archive segment {segment} is missing; put the file back from a backup of the home"
        raise StoreError(message) from error
    except (OSError, pa.ArrowException, KeyError) as error:
        message = f"the archive segment {segment} is damaged ({error}); put the file back from a backup of the home"
        raise StoreError(message) from error


def open_parquet(file: Any, metadata: Any = None) -> Any:
    """Open a segment's file; a page whose checksum does not match raises as it is read."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, metadata=metadata, page_checksum_verification=True, pre_buffer=False)


def tables(path: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the groups of a segment as Arrow tables, first to last."""
    with path.open("rb") as file, open_parquet(file) as parquet:
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group, columns=columns, use_threads=False)


def rows_of(table: Any) -> list[Row]:
    """Return an Arrow table's events as rows of the chain."""
    return list(zip(*(table.column(name).to_pylist() for name in ROW), strict=True))


def misled(table: Any, rows: Sequence[Row]) -> str:
    """Name a promoted column that does not say what the data says, or return an empty text."""
    import pyarrow as pa

    try:
        promoted = _promoted(rows)
    except ValueError:
        return "data"
    for name, values in promoted.items():
        column = table.column(name).combine_chunks()
        if not column.equals(pa.array(values, column.type)):
            return name
    return ""


def without_data(table: Any, seqs: Collection[int]) -> Any:
    """Return the table with the data, its salt and all that was taken from it removed from these events."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = pc.is_in(table.column("seq"), value_set=pa.array(sorted(seqs), pa.int64()))
    erased = {"salt": ERASED, "data": None, **dict.fromkeys(PROMOTED)}
    for name, value in erased.items():
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        column = pc.if_else(chosen, pa.scalar(value, field.type), table.column(at))
        table = table.set_column(at, field, column)
    return table
