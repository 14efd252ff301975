"""Verifying: the whole chain is walked, in the archive and in the table, and what does not hold is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from timmy_core.errors import StoreError
from timmy_core.events.archive import BATCH, Archive
from timmy_core.events.chain import GENESIS, Broken, broken, link
from timmy_core.events.findings import Finding, Verification
from timmy_core.events.segment import ROW, Row, Segment
from timmy_core.store.engine import Store

MAX_RUNS: Final = 20  # runs of redacted events that are named one by one
MAX_FINDINGS: Final = 100  # past this the walk ends: whoever has to mend the log knows enough
_ROW: Final = ", ".join(ROW)
# Bytes that are no text must still be read, to say which event they are in.
_TEXTS: Final = range(1, 8)
_RAW_ROW: Final = ", ".join(f"CAST({name} AS BLOB)" if at in _TEXTS else name for at, name in enumerate(ROW))

CheckHeads = Callable[[], Sequence[Finding]]


def verify(store: Store, archive: Archive, check_heads: CheckHeads | None = None) -> Verification:
    """Walk the archive and the table and compare every hash; reads in short batches, so writers go on."""
    base, base_hash = _base(store)
    segments = archive.segments()
    below = _Walk(redacted_to=base)
    _walk_archive(archive, segments, below, base, base_hash)
    above = _Walk(base, base_hash)
    _walk_table(store, above, {segment.last_seq: segment for segment in segments if segment.last_seq > base})
    findings = [*below.findings, *above.findings]
    if segments and segments[-1].last_seq > above.seq:
        message = f"events {above.seq + 1:,} to {segments[-1].last_seq:,} are archived and no longer in the database"
        findings.append(Finding("cut", above.seq + 1, message))
    if check_heads is not None:
        findings += check_heads()
    named = {finding.seq for finding in findings}
    runs = [run for run in [*below.redactions, *above.redactions][:MAX_RUNS] if run[0] not in named]
    findings += [_on_record(store, run) for run in runs]
    faults = [finding for finding in findings if finding.fault]
    checked = max(0, min((finding.seq for finding in faults), default=above.seq + 1) - 1)
    problem = faults[0].message if faults else ""
    return Verification(problem, checked, below.redacted + above.redacted, above.previous.hex(), tuple(findings))


class _Walk:
    """One walk along the chain; after a fault it takes up the thread again, so that each is found by itself."""

    def __init__(self, seq: int = 0, previous: bytes = GENESIS, redacted_to: int | None = None) -> None:
        self.seq = seq
        self.previous = previous
        self.redacted = 0
        self.findings: list[Finding] = []
        self.redactions: list[tuple[int, int, str]] = []
        self.runs = 0
        self._redacted_to = redacted_to
        self._also: bytes | None = None  # what the hash before may be, where it was that hash that was changed
        self._erased: tuple[int, int] | None = None

    @property
    def full(self) -> bool:
        """Whether enough was found."""
        return len(self.findings) >= MAX_FINDINGS

    def say(self, kind: str, seq: int, message: str) -> None:
        """Note a finding."""
        if not self.full:
            self.findings.append(Finding(kind, seq, message))

    def take(self, rows: Sequence[Row], where: str = "") -> None:
        """Check the next rows, which stand one after the other; `where` is said behind what is wrong."""
        for row in rows:
            if row[0] <= self.seq:
                if not any(finding.seq == row[0] for finding in self.findings):
                    self.say("reordered", row[0], f"event {row[0]} stands after event {self.seq}{where}")
                continue
            problem = self._problem(row)
            if problem is not None:
                self._explain(problem, row, rows, where)
            else:
                self.seq, self.previous = row[0], row[10]
            if row[7] is None:
                self._note_redacted(row[0])
            if self.full:
                return

    def _problem(self, row: Row) -> Broken | None:
        problem = broken(row, self.seq, self.previous)
        if problem is not None and self._also is not None and broken(row, self.seq, self._also) is None:
            problem = None
        self._also = None
        return problem

    def _explain(self, problem: Broken | None, row: Row, rows: Sequence[Row], where: str) -> None:
        """Name what is wrong with a row, and go on behind it."""
        while problem is not None and problem.kind == "cut":
            moved = _find(rows, self.previous, self.seq + 1)
            if moved is None:
                self.say("cut", self.seq + 1, problem.message + where)
                # What comes before is gone, so only the row's own data can be checked.
                own = broken(row, row[0] - 1, self.previous)
                problem = own if own is not None and own.kind == "data" else None
            else:
                self._say_moved(moved, where)
                self.seq, self.previous = self.seq + 1, moved[10]
                problem = self._problem(row) if row is not moved else None
        previous = row[10]
        if problem is not None:
            moved = _find(rows, self.previous, row[0]) if problem.kind == "link" else None
            if moved is not None:
                self._say_moved(moved, where)
                previous = moved[10]
            else:
                self.say("altered", row[0], problem.message + where)
                self._also = link(row, self.previous, row[0])
        self.seq, self.previous = row[0], previous

    def _say_moved(self, moved: Row, where: str) -> None:
        expected = self.seq + 1
        self.say("reordered", expected, f"event {expected} stands at the place of event {moved[0]}{where}")

    def _note_redacted(self, seq: int) -> None:
        if self._redacted_to is not None and seq > self._redacted_to:
            return
        self.redacted += 1
        if self._erased is None or self._erased[1] != seq - 1:
            self.tell_redacted()
            self._erased = (seq, seq)
        self._erased = (self._erased[0] if self._erased else seq, seq)

    def tell_redacted(self) -> None:
        """Say which run of events was redacted."""
        if self._erased is not None:
            first, last = self._erased
            which = f"event {first} was" if first == last else f"events {first} to {last} were"
            self.runs += 1
            if self.runs <= MAX_RUNS:
                self.redactions.append((first, last, f"{which} redacted; the chain holds without the data"))
        self._erased = None


def _find(rows: Iterable[Row], previous: bytes, seq: int) -> Row | None:
    """The row that is the event `seq` after this hash, wherever it stands."""
    return next((row for row in rows if link(row, previous, seq) == row[10]), None)


def _walk_archive(archive: Archive, segments: Sequence[Segment], walk: _Walk, base: int, base_hash: bytes) -> None:
    """Walk every segment; at the base, the chain of the archive has to meet the one of the table."""
    for segment in segments:
        if segment.first_seq != walk.seq + 1:
            message = f"no archive segment holds events {walk.seq + 1:,} to {segment.first_seq - 1:,}"
            walk.say("segment_missing", walk.seq + 1, message)
        elif segment.before_hash != walk.previous:
            walk.say("rewritten", segment.first_seq, f"the archive segment {segment} does not follow the one before")
        walk.seq, walk.previous = segment.first_seq - 1, segment.before_hash
        _walk_segment(archive, segment, walk, base, base_hash)
        walk.seq, walk.previous = segment.last_seq, segment.last_hash
        if walk.full:
            return
    if walk.seq < base:
        walk.say("segment_missing", walk.seq + 1, f"no archive segment holds events {walk.seq + 1:,} to {base:,}")
    walk.tell_redacted()


def _walk_segment(archive: Archive, segment: Segment, walk: _Walk, base: int, base_hash: bytes) -> None:
    found = archive.check_file(segment)
    if found is not None:
        walk.say(found.kind, found.seq, found.message)
        if found.kind == "segment_missing":
            return
    where, before = f", in the archive segment {segment.file}", len(walk.findings)
    try:
        for rows in archive.groups(segment):
            walk.take(rows, where)
            if rows and rows[0][0] <= base <= rows[-1][0]:
                meets = any(row[0] == base and row[10] == base_hash for row in rows)
                if not meets:
                    walk.say("rewritten", base, f"the table does not go on where the archive ends, at event {base:,}")
    except StoreError as error:
        if found is None and len(walk.findings) == before:
            walk.say("segment_altered", segment.first_seq, str(error))
        return
    if (walk.seq, walk.previous) != (segment.last_seq, segment.last_hash) and len(walk.findings) == before:
        walk.say("rewritten", segment.first_seq, f"the archive segment {segment} does not end as it was sealed")


def _walk_table(store: Store, walk: _Walk, sealed: Mapping[int, Segment]) -> None:
    cursor = walk.seq
    while not walk.full:
        rows = _read(store, cursor)
        if not rows:
            break
        base, base_hash = _base(store) if rows[0][0] != cursor + 1 else (0, b"")
        if base > cursor:
            # Pruned while this walk went on; the archive that holds them was walked before.
            cursor = walk.seq = base
            walk.previous = base_hash
            continue
        walk.take(rows)
        cursor = rows[-1][0]
        for row in rows:
            segment = sealed.get(row[0])
            if segment is not None and segment.last_hash != row[10]:
                message = f"the database does not hold what was sealed in {segment}"
                walk.say("rewritten", segment.first_seq, message)
    walk.tell_redacted()


def _read(store: Store, after: int) -> list[Row]:
    query = "SELECT {} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
    try:
        with store.read() as connection:
            return connection.execute(query.format(_ROW), (after, BATCH)).fetchall()
    except StoreError:
        # Bytes that are no UTF-8 cannot be fetched as text; a file that cannot be read at all raises here again.
        with store.read() as connection:
            return [_decoded(row) for row in connection.execute(query.format(_RAW_ROW), (after, BATCH))]


def _decoded(row: Row) -> Row:
    return tuple(
        value.decode(errors="surrogateescape") if at in _TEXTS and value is not None else value
        for at, value in enumerate(row)
    )


def _on_record(store: Store, run: tuple[int, int, str]) -> Finding:
    """Say of a run of redacted events whether somebody asked for it."""
    first, last, message = run
    with store.read() as connection:
        query = "SELECT count(*) FROM redactions WHERE seq BETWEEN ? AND ?"
        asked = connection.execute(query, (first, last)).fetchone()[0]
    if asked > last - first:
        return Finding("redacted", first, message)
    return Finding("erased", first, f"{message}, but no request is on record")


def _base(store: Store) -> tuple[int, bytes]:
    with store.read() as connection:
        row: tuple[int, bytes] | None = connection.execute("SELECT seq, hash FROM log_base").fetchone()
    return row or (0, GENESIS)
