"""Verifying: the whole chain is walked, in the archive and in the table, and what does not hold is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from timmy_core.errors import StoreError
from timmy_core.events.archive import BATCH, Archive
from timmy_core.events.chain import GENESIS, broken, link
from timmy_core.events.findings import Finding, Verification
from timmy_core.events.segment import ROW, Row, Segment
from timmy_core.store.engine import Store

MAX_FINDINGS: Final = 100  # past this the walk ends: whoever has to mend the log knows enough
_ROW: Final = ", ".join(ROW)
# Bytes that are no text must still be read, to say which event they are in.
_RAW_ROW: Final = ", ".join(f"CAST({name} AS BLOB)" if 1 <= at <= 7 else name for at, name in enumerate(ROW))  # noqa: PLR2004

CheckHeads = Callable[[], Sequence[Finding]]


def verify(store: Store, archive: Archive, check_heads: CheckHeads | None = None) -> Verification:
    """Walk the archive and the table and compare every hash; reads in short batches, so writers go on."""
    base, base_hash = _base(store)
    walk = _Walk()
    segments = archive.segments()
    _walk_archive(archive, segments, walk, base, base_hash)
    redacted_below = walk.redacted_to_base
    sealed = {segment.last_seq: segment for segment in segments if segment.last_seq > base}
    above = _walk_table(store, base, base_hash, sealed, walk)
    findings = [*walk.findings, *above.findings]
    if sealed and max(sealed) > above.seq and not findings:
        message = f"events {above.seq + 1:,} to {max(sealed):,} are in the archive and no longer in the database"
        findings.append(Finding("cut", above.seq + 1, message))
    if check_heads is not None:
        findings += check_heads()
    return _summary(findings, above, redacted_below + above.redacted)


def _summary(findings: Sequence[Finding], above: _Walk, redacted: int) -> Verification:
    faults = [finding for finding in findings if finding.fault]
    problem = faults[0].message if faults else ""
    places = [finding.seq for finding in faults if finding.seq]
    checked = max(0, min(places) - 1) if places else above.seq
    return Verification(problem, checked, redacted, above.previous.hex(), tuple(findings))


class _Walk:
    """One walk along the chain; after a fault it takes up the thread again, so that each is found by itself."""

    def __init__(self, seq: int = 0, previous: bytes = GENESIS) -> None:
        self.seq = seq
        self.previous = previous
        self.redacted = 0
        self.redacted_to_base = 0
        self.findings: list[Finding] = []
        self._also: bytes | None = None  # what the hash before may have been, where it was the hash that was changed
        self._erased: tuple[int, int] | None = None

    @property
    def full(self) -> bool:
        """Whether enough was found."""
        return len(self.findings) >= MAX_FINDINGS

    def take(self, rows: Sequence[Row], where: str = "") -> None:
        """Check the next rows, which follow each other."""
        for row in rows:
            problem = broken(row, self.seq, self.previous)
            if problem is not None and self._also is not None and broken(row, self.seq, self._also) is None:
                problem = None
            self._also = None
            if problem is not None:
                if self.full:
                    return
                if self._put_right(problem.kind, problem.message + where, row, rows):
                    continue
            self.seq, self.previous = row[0], row[10]
            if row[7] is None:
                self._note_redacted(row[0])

    def _put_right(self, kind: str, message: str, row: Row, rows: Sequence[Row]) -> bool:
        """Name a fault; True where the row that belongs here stands elsewhere and was taken as the one before."""
        expected = self.seq + 1
        if kind != "data":
            moved = _find(rows, self.previous, expected)
            if moved is not None:
                text = f"the events are reordered: event {expected} stands at seq {moved[0]}"
                self.findings.append(Finding("reordered", expected, text))
                self.seq, self.previous = (row[0] if kind == "link" else expected), moved[10]
                return kind == "link"
        if kind == "cut":
            self.findings.append(Finding("cut", expected, message))
            return False
        self.findings.append(Finding("altered", row[0], message))
        if kind == "link":
            self._also = _link(row, self.previous, row[0])
        return False

    def _note_redacted(self, seq: int) -> None:
        self.redacted += 1
        first, last = self._erased or (seq, seq - 1)
        if last != seq - 1:
            self.tell_redacted()
            first = seq
        self._erased = (first, seq)

    def tell_redacted(self) -> None:
        """Say which run of events was redacted."""
        if self._erased is not None and not self.full:
            first, last = self._erased
            which = f"event {first} was" if first == last else f"events {first} to {last} were"
            self.findings.append(Finding("redacted", first, f"{which} redacted; the chain holds without the data"))
        self._erased = None


def _link(row: Row, previous: bytes, seq: int) -> bytes | None:
    try:
        return link(row, previous, seq)
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return None


def _find(rows: Iterable[Row], previous: bytes, seq: int) -> Row | None:
    """The row that is the event `seq` after this hash, wherever it stands."""
    return next((row for row in rows if _link(row, previous, seq) == row[10]), None)


def _walk_archive(archive: Archive, segments: Sequence[Segment], walk: _Walk, base: int, base_hash: bytes) -> None:
    """Walk every segment; at the base the chain of the archive has to meet the one of the table."""
    at_base = GENESIS if base == 0 else None
    for segment in segments:
        _check_place(segment, walk)
        walk.seq, walk.previous = segment.first_seq - 1, segment.before_hash
        found = archive.check_file(segment)
        if found is not None:
            walk.findings.append(found)
        if found is None or found.kind != "segment_missing":
            _walk_segment(archive, segment, walk, damaged=found is not None)
        if segment.first_seq <= base <= segment.last_seq:
            at_base = _hash_at(archive, segment, base)
        if (walk.seq, walk.previous) != (segment.last_seq, segment.last_hash) and found is None:
            message = f"the archive segment {segment} does not end as it was sealed"
            walk.findings.append(Finding("rewritten", segment.first_seq, message))
        walk.seq, walk.previous = segment.last_seq, segment.last_hash
        if segment.last_seq <= base:
            walk.redacted_to_base = walk.redacted
        if walk.full:
            return
    walk.tell_redacted()
