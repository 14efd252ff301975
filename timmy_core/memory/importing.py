"""Bringing files into memory: in batches, with progress, and again without anything twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from timmy_core.clock import Clock, SystemClock, to_us
from timmy_core.errors import EntryError, TimmyError
from timmy_core.memory import checks
from timmy_core.memory.import_formats import File, Piece, format_of, pieces, read_file
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import SHARED, NewEntry
from timmy_core.memory.rows import AT_ONCE, mark_rewritten
from timmy_core.store.engine import Connection, Store

BATCH: Final = 200
MAX_FILES: Final = 10_000
MAX_PROBLEMS: Final = 20

_IN_FOLDERS: Final = (".md", ".markdown", ".txt", ".text")
_AFTER: Final = """
UPDATE memory_entries SET state = ?, closed_by = coalesce(closed_by, ?), valid_to = coalesce(?, valid_to),
    seen = max(seen, ?) WHERE id = ?
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is.

    Args:
        file: the name of the file that is read.
        done_bytes: how many bytes of all files are read.
        total_bytes: of how many.
        added: entries that are new.
        known: entries that were there already.
        refused: parts that could not be kept.
        problems: why, of the first of them.
    """

    file: str
    done_bytes: int
    total_bytes: int
    added: int = 0
    known: int = 0
    refused: int = 0
    problems: tuple[str, ...] = ()


class Importer:
    """Imports files into one memory.

    Args:
        memory: takes the entries.
        store: the same one that the memory is in.
        clock: stamps what brings no time.
    """

    def __init__(self, memory: Memory, store: Store, clock: Clock | None = None) -> None:
        self._memory = memory
        self._store = store
        self._clock = clock or SystemClock()

    def run(
        self,
        sources: Iterable[Path | File],
        *,
        format: str | None = None,  # noqa: A002 - what it is called everywhere else
        scope: str | None = None,
        agent_id: str | None = None,
        session: str | None = None,
    ) -> Iterator[Progress]:
        """Import files and folders, and say after each batch how far it is; stopping in between keeps what is in.

        Markdown becomes a document a section, text one document, ChatGPT's conversations turns, and JSON lines what
        they were. Everything is shared, unless `scope`, `agent_id` or the JSON lines say otherwise.

        Raises:
            EntryError: a file cannot be read, or is not what its format says.
        """
        wanted = list(_files(sources))
        for one in wanted:
            format_of(one.name, format)
        sizes = [len(one.data) if isinstance(one, File) else _size(one) for one in wanted]
        so_far, before = Progress("", 0, sum(sizes)), 0
        for one, size in zip(wanted, sizes, strict=True):
            file = one if isinstance(one, File) else read_file(one)
            so_far = replace(so_far, file=file.name, done_bytes=before)
            for batch in _batches(pieces(file, format_of(file.name, format))):
                given = [_placed(piece, scope, agent_id, session) for piece in batch]
                so_far = self._take(given, replace(so_far, done_bytes=before + batch[-1].done))
                yield so_far
            before += size
            so_far = replace(so_far, done_bytes=before)
            yield so_far

    def _take(self, batch: Sequence[Piece], so_far: Progress) -> Progress:
        """Put a batch into memory, in one transaction."""
        good: dict[str, Piece] = {}
        problems = [piece.problem for piece in batch if piece.entry is None]
        twice = 0
        for piece in batch:
            if piece.entry is None:
                continue
            try:
                entry = _with_id(piece.entry, self._clock)
            except TimmyError as error:
                problems.append(f"{so_far.file}: {error}")
                continue
            twice += entry.id in good
            good[entry.id or ""] = replace(piece, entry=entry)
        added = self._store.write(lambda connection: self._put(connection, good)) if good else 0
        return replace(
            so_far,
            added=so_far.added + added,
            known=so_far.known + len(good) - added + twice,
            refused=so_far.refused + len(problems),
            problems=(*so_far.problems, *problems)[:MAX_PROBLEMS],
        )

    def _put(self, connection: Connection, good: dict[str, Piece]) -> int:
        held = _held(connection, list(good))
        added = 0
        for id_, piece in good.items():
            # What is there already stays as it is, even where somebody edited it since.
            if id_ in held or piece.entry is None:
                continue
            kept = self._memory.remember_in(connection, piece.entry)
            if kept.id != id_:
                continue
            added += 1
            if piece.after:
                _after(connection, id_, piece)
        return added


def _after(connection: Connection, id_: str, piece: Piece) -> None:
    """Write what an export says of an entry beyond what a new one can."""
    found = piece.after
    state = found.get("state")
    state = state if state in {"proposed", "rejected"} else "stored"
    closed_by = found.get("closed_by")
    ends = found.get("valid_to")
    seen = found.get("seen")
    connection.execute(
        _AFTER,
        (
            state,
            closed_by if isinstance(closed_by, str) else None,
            None if ends is None else to_us(ends),
            seen if isinstance(seen, int) and 0 < seen < 1 << 62 else 1,
            id_,
        ),
    )
    mark_rewritten(connection)


def _with_id(entry: NewEntry, clock: Clock) -> NewEntry:
    """Return the entry with an id that the very same one gets again; one that has an id keeps it."""
    checked = checks.check(entry, clock)
    if entry.id is not None:
        return entry
    made = hashlib.blake2b(checked.scope.encode() + b"\0" + checked.content_hash, digest_size=16).hexdigest()
    return replace(entry, id=f"import-{made}")


def _held(connection: Connection, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        query = f"SELECT id FROM memory_entries WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608 - bound
        found.update(row[0] for row in connection.execute(query, some))
    return found


def _placed(piece: Piece, scope: str | None, agent_id: str | None, session: str | None) -> Piece:
    """Return a piece in the scope that was asked for; what an export says of its own stands otherwise."""
    entry = piece.entry
    if entry is None:
        return piece
    owner = agent_id or entry.agent_id
    place = scope or (None if agent_id else entry.scope) or (None if owner else SHARED)
    return replace(piece, entry=replace(entry, agent_id=owner, session=session or entry.session, scope=place))


def _batches(found: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    for piece in found:
        batch.append(piece)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _files(sources: Iterable[Path | File]) -> Iterator[Path | File]:
    """Yield the files, of a folder the Markdown and text in it, but for hidden ones and links."""
    count = 0
    for source in sources:
        for one in _inside(source) if isinstance(source, Path) and source.is_dir() else [source]:
            count += 1
            if count > MAX_FILES:
                message = f"more than {MAX_FILES:,} files are too many for one import; give fewer"
                raise EntryError(message)
            yield one


def _inside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _IN_FOLDERS and not hidden and path.is_file() and not path.is_symlink():
            yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise EntryError(message) from None
