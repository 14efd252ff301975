"""What all formats are written from: the posted transfers of the book in their order, grouped as they were booked.

What is only set aside is not there, and budgets, which count beside the money, are neither. A period begins with
one booking that brings its accounts forward.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from timmy_core.errors import LedgerError
from timmy_core.ledger.model import Entry, Invoice, Transfer

BATCH: Final = 2000
OPENING: Final = "Equity:Opening"
_POSTED: Final = ("single", "post")
_KEPT_ENTRIES: Final = 2048


class Book(Protocol):
    """What an export reads of the ledger."""

    def transfers(self, after: int = 0, limit: int = BATCH) -> list[Transfer]:
        """Return the transfers behind a seq, in order."""
        ...

    def get(self, entry_id: str) -> Entry:
        """Return the invoice or payment with that id."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One posted transfer, with the invoice or payment that it belongs to."""

    transfer: Transfer
    entry: Entry | None = None

    @property
    def source(self) -> str:
        """What asked for the invoice; empty for anything else."""
        return self.entry.source if isinstance(self.entry, Invoice) else ""


@dataclass(frozen=True, slots=True)
class Booking:
    """What was booked at once: for a payment its amount and its fee."""

    lines: tuple[Line, ...]

    @property
    def first(self) -> Transfer:
        """The first transfer, which says when it was and what about."""
        return self.lines[0].transfer

    @property
    def entry(self) -> Entry | None:
        """The invoice or payment that it is about."""
        return self.lines[0].entry

    @property
    def memo(self) -> str:
        """What it was for: the words on the invoice or payment, or else those of the booking."""
        return (self.entry.memo if self.entry else "") or self.first.memo

    def changes(self) -> dict[str, int]:
        """Return what it adds to each account, debits positive, in the order of the book; together they are 0."""
        found: dict[str, int] = {}
        for line in self.lines:
            transfer = line.transfer
            found[transfer.debit] = found.get(transfer.debit, 0) + transfer.amount_msat
            found[transfer.credit] = found.get(transfer.credit, 0) - transfer.amount_msat
        return {code: change for code, change in found.items() if change}


@dataclass(slots=True)
class Survey:
    """What is known of an extract before it is written."""

    accounts: dict[str, int] = field(default_factory=dict)  # its balance at the end, in the order of appearance
    brought_forward: dict[str, int] = field(default_factory=dict)
    first_at: datetime | None = None
    last_at: datetime | None = None
    last_seq: int = 0
    bookings: int = 0


class Extract:
    """The part of the book that is exported: a period (`since` is in it, `until` is not), and one node or all."""

    def __init__(
        self, book: Book, *, since: datetime | None = None, until: datetime | None = None, node: str | None = None
    ) -> None:
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                message = f"{name} has no time zone ({moment.isoformat()}); give one, for instance UTC"
                raise LedgerError(message)
        if since and until and since >= until:
            message = f"the period ends at {until.isoformat()} before it begins at {since.isoformat()}; swap them"
            raise LedgerError(message)
        self._book = book
        self._since = since
        self._until = until
        self._node = node

    @functools.cached_property
    def survey(self) -> Survey:
        """Read it once, for its accounts, its ends and what it begins with; later transfers are left out of it."""
        found = Survey()
        for transfer in self._transfers(None):
            found.last_seq = transfer.seq
            if self._since and transfer.at < self._since:
                _carry(found.brought_forward, transfer)
        found.brought_forward = _permanent(found.brought_forward)
        for booking in self._bookings(found, details=False):
            found.bookings += 1
            found.first_at = found.first_at or booking.first.at
            found.last_at = booking.first.at
            for line in booking.lines:
                _carry(found.accounts, line.transfer)
        return found

    def bookings(self) -> Iterator[Booking]:
        """Yield them in the order of the book."""
        return self._bookings(self.survey, details=True)

    def lines(self) -> Iterator[Line]:
        """Yield their transfers, one by one."""
        return itertools.chain.from_iterable(booking.lines for booking in self.bookings())

    def _bookings(self, survey: Survey, *, details: bool) -> Iterator[Booking]:
        if survey.brought_forward and self._since:
            yield _opening(survey.brought_forward, self._since)
        transfers = (
            transfer
            for transfer in self._transfers(survey.last_seq)
            if not (self._since and transfer.at < self._since) and transfer.amount_msat
        )
        find = functools.lru_cache(_KEPT_ENTRIES)(self._book.get)
        for _, group in itertools.groupby(transfers, key=lambda transfer: (transfer.event_seq, transfer.entry_id)):
            yield Booking(
                tuple(Line(each, find(each.entry_id) if details and each.entry_id else None) for each in group)
            )

    def _transfers(self, last_seq: int | None) -> Iterator[Transfer]:
        """Yield what was posted before the end of the period, up to a seq."""
        after = 0
        while batch := self._book.transfers(after, BATCH):
            after = batch[-1].seq
            for transfer in batch:
                # The book is in the order of time, so nothing that belongs to the period comes behind its end.
                if (last_seq is not None and transfer.seq > last_seq) or (self._until and transfer.at >= self._until):
                    return
                if transfer.kind in _POSTED and self._is_wanted(transfer):
                    yield transfer

    def _is_wanted(self, transfer: Transfer) -> bool:
        is_money = not transfer.debit.startswith("Budget") and not transfer.credit.startswith("Budget")
        return is_money and self._node in (None, transfer.node)


def balances(bookings: Iterable[Booking]) -> dict[str, int]:
    """Return the balance of every account after these, debits positive."""
    found: dict[str, int] = {}
    for booking in bookings:
        for line in booking.lines:
            _carry(found, line.transfer)
    return found


def _carry(totals: dict[str, int], transfer: Transfer) -> None:
    totals[transfer.debit] = totals.get(transfer.debit, 0) + transfer.amount_msat
    totals[transfer.credit] = totals.get(transfer.credit, 0) - transfer.amount_msat


def _permanent(totals: dict[str, int]) -> dict[str, int]:
    """Return what is brought forward: income and expenses begin each period at 0, and the opening takes them up."""
    return {
        code: total
        for code, total in totals.items()
        if total and code != OPENING and code.startswith(("Assets:", "Equity:"))
    }


def _opening(brought_forward: dict[str, int], at: datetime) -> Booking:
    """Return the booking that brings the accounts forward."""
    plain = Transfer(
        seq=0, id="opening", kind="single", pending_seq=None, debit=OPENING, credit=OPENING, amount_msat=0, at=at,
        node="", entry_id=None, payment_hash=None, event_seq=0, memo="Brought forward", hash="",
    )  # fmt: skip
    lines = []
    for code, total in brought_forward.items():
        debit, credit = (code, OPENING) if total > 0 else (OPENING, code)
        lines.append(Line(replace(plain, debit=debit, credit=credit, amount_msat=abs(total))))
    return Booking(tuple(lines))
