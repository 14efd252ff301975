"""Parquet: every posted transfer as a row with types of its own, for polars, DuckDB and the like."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any, Final

from timmy_core.ledger.export.lines import Extract, Line

_ROW_GROUP: Final = 20_000
COLUMNS: Final = (
    "seq", "at", "debit", "credit", "amount_msat", "memo", "node", "direction", "entry_id", "payment_hash",
    "agent_id", "task_id", "source", "trace_id", "event_seq",
)  # fmt: skip


def parquet(extract: Extract) -> Iterator[bytes]:
    """Yield the file, a group of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.int64() for name in ("seq", "amount_msat", "event_seq")} | {"at": pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    sink = _Sink()
    lines = extract.lines()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        while rows := [_row(line) for line in itertools.islice(lines, _ROW_GROUP)]:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(values, kind.type) for values, kind in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            yield sink.take()
    yield sink.take()


def _row(line: Line) -> tuple[Any, ...]:
    transfer, entry = line.transfer, line.entry
    return (
        transfer.seq, transfer.at, transfer.debit, transfer.credit, transfer.amount_msat,
        (entry.memo if entry else "") or transfer.memo, transfer.node, entry.direction if entry else None,
        transfer.entry_id, transfer.payment_hash, entry.agent_id if entry else None, entry.task_id if entry else None,
        line.source or None, entry.trace_id if entry else None, transfer.event_seq,
    )  # fmt: skip


class _Sink(io.RawIOBase):
    """A file to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._at += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return what came since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
