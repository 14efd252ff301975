"""Events out to files, and in from files: bounded in memory, and safe to repeat."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, get_args

from timmy_core.clock import iso
from timmy_core.errors import EventDataError, EventError
from timmy_core.events.feed import as_json
from timmy_core.events.log import EventLog
from timmy_core.events.model import EVENT_TYPES, MAX_FIELD_CHARS, OWN_PREFIX, Event, NewEvent, prepare
from timmy_core.events.wanted import Wanted
from timmy_core.store.foreign import is_sqlite, read_table

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
PAGE: Final = 5_000  # events held in memory at once on the way out
BATCH: Final = 1_000  # events written in one transaction on the way in
MAX_LINE_CHARS: Final = 2_000_000  # of a line of JSON; the data of an event is at most 256 KiB

COLUMNS: Final = ("seq", "id", "type", "ts", "source", "task_id", "agent_id", "trace_id", "data", "v", "hash")
_EVENT_LOG: Final = "event_log"
_EVENT_LOG_COLUMNS: Final = ("id", "event_type", "source", "task_id", "agent_id", "data", "timestamp")
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9_.]+")
_TYPE: Final = re.compile(r"^x(\.[a-z][a-z0-9_]*)+$")


# Out ---------------------------------------------------------------------------------------------------------


def matching(log: EventLog, wanted: Wanted, *, limit: int | None = None) -> Iterator[list[Event]]:
    """Yield the events that match, oldest first, in batches; with `limit` only that many of the newest.

    What is written while it runs is not among them.
    """
    head, last = log.head()[0], 0
    if limit is not None:
        newest: list[int] = []
        for batch in _pages(log, wanted, order="desc", start=head + 1):
            newest += [event.seq for event in batch]
            if len(newest) >= limit:
                break
        if not newest:
            return
        last = newest[:limit][-1] - 1
    for batch in _pages(log, wanted, order="asc", start=last):
        kept = [event for event in batch if event.seq <= head]
        if kept:
            yield kept
        if len(kept) < len(batch):
            return


def _pages(log: EventLog, wanted: Wanted, *, order: Literal["asc", "desc"], start: int) -> Iterator[list[Event]]:
    place, listing = start, wanted.listing()
    while True:
        here: dict[str, Any] = {"after": place} if order == "asc" else {"before": place}
        found = log.list(**listing, **here, order=order, limit=PAGE)
        if not found:
            return
        place = found[-1].seq
        yield [event for event in found if wanted.takes(event)]
        if len(found) < PAGE:
            return


def write_events(batches: Iterable[list[Event]], format_: str, out: IO[bytes]) -> int:
    """Write batches of events into a binary file and return how many there were.

    JSONL holds what `Event.as_dict` gives, and can be imported again. In CSV and Parquet the data is one column of
    JSON text; empty where it was redacted.

    Raises:
        EventError: the format is not known.
    """
    writers = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}
    if format_ not in writers:
        message = f"the format {format_!r} is not known; expected one of {', '.join(FORMATS)}"
        raise EventError(message)
    return writers[format_](batches, out)


def _write_jsonl(batches: Iterable[list[Event]], out: IO[bytes]) -> int:
    count = 0
    for batch in batches:
        out.write("".join(f"{as_json(event)}\n" for event in batch).encode())
        count += len(batch)
    return count


def _write_csv(batches: Iterable[list[Event]], out: IO[bytes]) -> int:
    count = 0
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for batch in batches:
        writer.writerows([_formula_free(value) for value in _row(event)] for event in batch)
        out.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
        count += len(batch)
    out.write(text.getvalue().encode())
    return count


def _formula_free(value: Any) -> Any:
    """Keep a spreadsheet from computing what an event says: a leading = + - @ gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _write_parquet(batches: Iterable[list[Event]], out: IO[bytes]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in batches:
            columns = zip(*(_row(event) for event in batch), strict=True)
            values = dict(zip(COLUMNS, columns, strict=True)) | {"ts": [event.ts for event in batch]}
            if batch:
                writer.write_table(pa.table({name: list(values[name]) for name in COLUMNS}, schema=schema))
            count += len(batch)
    return count


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"seq": pa.int64(), "ts": pa.timestamp("us", tz="UTC"), "v": pa.int32()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])


def _row(event: Event) -> tuple[Any, ...]:
    data = None if event.data is None else json.dumps(event.data, ensure_ascii=False, separators=(",", ":"))
    return (
        event.seq, event.id, event.type, iso(event.ts), event.source, event.task_id, event.agent_id, event.trace_id,
        data, event.v, event.hash,
    )  # fmt: skip


# In ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Imported:
    """What an import did so far; `renamed` counts events by the type that they got instead of their own."""

    read: int = 0
    added: int = 0
    zoneless: int = 0
    renamed: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """How many events were in the log already."""
        return self.read - self.added


def import_file(log: EventLog, path: Path, *, store_path: Path) -> Imported:
    """Write the events of a file: JSONL as `export` makes it, or the earlier system's SQLite file.

    Ids and times are kept; seq and hash are this log's own. Each 1,000 events are written all or none. What is in
    the log already is not written twice, so after an error, or a kill, the same call goes on where it ended.

    Args:
        log: where they go.
        path: the file.
        store_path: this home's own database, which is never read as a foreign one.

    Raises:
        EventError: a line or row cannot be an event; the message names it.
        StoreError: the file cannot be read, or the events cannot be kept.
    """
    rows = _from_event_log(path, store_path) if is_sqlite(path) else _from_jsonl(path)
    done = Imported()
    batch: list[_Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            _write(log, path, batch, done)
            batch = []
    _write(log, path, batch, done)
    return done


@dataclass(frozen=True, slots=True)
class _Row:
    """An event to be, with where in the file it stood."""

    place: str
    event: NewEvent
    own_type: str
    zoneless: bool


def _write(log: EventLog, path: Path, batch: list[_Row], done: Imported) -> None:
    if not batch:
        return
    before = log.head()[0]
    try:
        written = log.append_many([row.event for row in batch])
    except EventError as error:
        raise _named(path, batch, error) from error
    done.read += len(batch)
    done.added += len({event.seq for event in written if event.seq > before})
    done.zoneless += sum(row.zoneless for row in batch)
    for row in batch:
        if row.own_type != row.event.type:
            done.renamed[row.event.type] = done.renamed.get(row.event.type, 0) + 1


def _named(path: Path, batch: list[_Row], error: EventError) -> EventError:
    """Return the error with the row that it is about, where it names the row's id, else with the batch."""
    row = next((row for row in batch if repr(row.event.id) in str(error)), None)
    place = row.place if row else f"{batch[0].place} to {batch[-1].place}"
    return type(error)(f"{path}, {place}: {error}; nothing from {batch[0].place} on was imported")


def _from_jsonl(path: Path) -> Iterator[_Row]:
    with path.open(encoding="utf-8") as file:
        number = 0
        while True:
            try:
                line = file.readline(MAX_LINE_CHARS + 1)
            except UnicodeDecodeError as error:
                message = f"{path}, line {number + 1}: this is not UTF-8 text ({error.reason}); expected JSON lines"
                raise EventDataError(message) from error
            if not line:
                return
            number += 1
            if line.strip():
                yield _checked(path, f"line {number}", _parsed, line, number)


def _from_event_log(path: Path, store_path: Path) -> Iterator[_Row]:
    for number, values in read_table(path, _EVENT_LOG, _EVENT_LOG_COLUMNS, not_this=store_path):
        yield _checked(path, f"row {number}", _from_earlier, values, number)


def _checked(path: Path, place: str, make: Callable[[Any, int], _Row], source: Any, number: int) -> _Row:
    """Make a row and check that the log would take it, so that the error can name the place."""
    try:
        row = make(source, number)
        prepare(row.event)
    except EventError as error:
        message = f"{path}, {place}: {error}; the up to {BATCH:,} before it in its batch were not imported either"
        raise type(error)(message) from error
    return row


def _parsed(line: str, number: int) -> _Row:
    if len(line) > MAX_LINE_CHARS:
        message = f"the line is longer than {MAX_LINE_CHARS:,} characters"
        raise EventDataError(message)
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        message = f"this is not JSON: {error}"
        raise EventDataError(message) from None
    if not isinstance(found, dict) or not isinstance(found.get("type"), str) or "source" not in found:
        message = "expected an object with at least 'type' and 'source', as `timmy events export` writes them"
        raise EventDataError(message)
    ts, zoneless = _moment(found.get("ts"))
    event = NewEvent(
        _known_type(found["type"]),
        found["source"],
        # A redacted event has no data any more; that there was some is kept.
        data={"imported": "redacted"} if found.get("data", {}) is None else found.get("data", {}),
        task_id=found.get("task_id"),
        agent_id=found.get("agent_id"),
        trace_id=found.get("trace_id"),
        id=found.get("id") or _made_id(line.strip(), number),
        ts=ts,
    )
    return _Row(f"line {number}", event, found["type"], zoneless)


def _from_earlier(values: tuple[Any, ...], number: int) -> _Row:
    id_, type_, source, task_id, agent_id, data, timestamp = values
    ts, zoneless = _moment(timestamp)
    name = _text(type_) or "unnamed"
    event = NewEvent(
        _known_type(name),
        _text(source) or "imported",
        data=_object(data),
        task_id=_text(task_id),
        agent_id=_text(agent_id),
        id=_text(id_) or _made_id(repr(values), number),
        ts=ts,
    )
    return _Row(f"row {number}", event, name, zoneless)


def _known_type(name: str) -> str:
    """Return a declared type, or one's own, as it is, and any other below `x.imported`."""
    if name in EVENT_TYPES or (name.startswith(OWN_PREFIX) and _TYPE.match(name)):
        return name
    words = [re.sub(r"^[^a-z]+", "", word) for word in _NOT_A_NAME.sub("_", name.lower()).split(".")]
    rest = ".".join(word.strip("_") for word in words if word.strip("_")) or "unnamed"
    return f"{OWN_PREFIX}imported.{rest}"[:MAX_FIELD_CHARS]


def _moment(text: Any) -> tuple[datetime | None, bool]:
    """Read a time; one without a zone is taken as UTC, which the second value tells."""
    if text is None or text == "":
        message = "the time is missing; expected ISO 8601, such as 2026-05-01T12:00:00Z"
        raise EventDataError(message)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        message = f"{str(text)[:60]!r} is not a time; expected ISO 8601, such as 2026-05-01T12:00:00Z"
        raise EventDataError(message) from None
    return (moment, False) if moment.tzinfo else (moment.replace(tzinfo=UTC), True)


def _object(data: Any) -> Mapping[str, Any]:
    """Return the earlier data as an object: what is not JSON stands under `text`, another value under `value`."""
    if data is None or data == "":
        return {}
    try:
        found = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return {"text": data.decode(errors="replace") if isinstance(data, bytes) else str(data)}
    return found if isinstance(found, dict) else {"value": found}


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _made_id(content: str, number: int) -> str:
    """Return an id that the same line of the same file gets again."""
    return hashlib.blake2b(f"{number}:{content}".encode(), digest_size=16).hexdigest()
