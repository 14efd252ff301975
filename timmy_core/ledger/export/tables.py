"""Files of comma-separated values: the whole book for spreadsheets, and what Koinly and CoinTracker import."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from timmy_core.ledger.export.lines import Booking, Extract, Line
from timmy_core.ledger.export.text import bitcoin, cell, sats, utc

_BITCOIN: Final = "BTC"
_FEES: Final = "Expenses:LN:RoutingFees:"

BOOK_COLUMNS: Final = (
    "seq", "time", "debit", "credit", "amount_msat", "amount_sat", "memo", "node", "direction", "entry_id",
    "payment_hash", "agent_id", "task_id", "source", "trace_id", "event_seq",
)  # fmt: skip
_KOINLY: Final = (
    "Date", "Sent Amount", "Sent Currency", "Received Amount", "Received Currency", "Fee Amount", "Fee Currency",
    "Net Worth Amount", "Net Worth Currency", "Label", "Description", "TxHash",
)  # fmt: skip
_COINTRACKER: Final = (
    "Date", "Received Quantity", "Received Currency", "Sent Quantity", "Sent Currency", "Fee Amount", "Fee Currency",
    "Tag",
)  # fmt: skip


def book_csv(extract: Extract) -> Iterator[str]:
    """Yield every posted transfer as a row."""
    return _rows(BOOK_COLUMNS, map(_book_row, extract.lines()))


def koinly(extract: Extract) -> Iterator[str]:
    """Yield what changed the sats one holds, in Koinly's universal format."""
    return _rows(_KOINLY, (_koinly_row(booking, move) for booking, move in _moves(extract)))


def cointracker(extract: Extract) -> Iterator[str]:
    """Yield what changed the sats one holds, in CoinTracker's format."""
    return _rows(_COINTRACKER, (_cointracker_row(booking, move) for booking, move in _moves(extract)))


@dataclass(frozen=True, slots=True)
class _Move:
    """What a booking did to all nodes together; the fee is in neither of the two amounts."""

    received_msat: int
    sent_msat: int
    fee_msat: int
    is_income: bool
    is_expense: bool


def _moves(extract: Extract) -> Iterator[tuple[Booking, _Move]]:
    for booking in extract.bookings():
        changes = booking.changes()
        net = sum(change for code, change in changes.items() if code.startswith("Assets:"))
        fee = max(0, sum(change for code, change in changes.items() if code.startswith(_FEES)))
        # Only a fee left: it is what was sent, since a row has to have an amount.
        fee = 0 if net + fee == 0 else fee
        move = _Move(
            received_msat=max(0, net + fee),
            sent_msat=max(0, -net - fee),
            fee_msat=fee,
            is_income=any(code.startswith("Income:") for code in changes),
            is_expense=any(code.startswith("Expenses:") for code in changes),
        )
        if net or fee:
            yield booking, move


def _book_row(line: Line) -> tuple[str, ...]:
    transfer, entry = line.transfer, line.entry
    return (
        str(transfer.seq), utc(transfer.at), cell(transfer.debit), cell(transfer.credit), str(transfer.amount_msat),
        sats(transfer.amount_msat), cell((entry.memo if entry else "") or transfer.memo), cell(transfer.node),
        entry.direction if entry else "", cell(transfer.entry_id), cell(transfer.payment_hash),
        cell(entry.agent_id if entry else ""), cell(entry.task_id if entry else ""), cell(line.source),
        cell(entry.trace_id if entry else ""), str(transfer.event_seq),
    )  # fmt: skip


def _koinly_row(booking: Booking, move: _Move) -> tuple[str, ...]:
    label = "income" if move.is_income and move.received_msat else "cost" if move.is_expense and move.sent_msat else ""
    date = booking.first.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        date, *_amount(move.sent_msat), *_amount(move.received_msat), *_amount(move.fee_msat), "", "", label,
        cell(booking.memo), cell(booking.first.payment_hash),
    )  # fmt: skip


def _cointracker_row(booking: Booking, move: _Move) -> tuple[str, ...]:
    tag = "payment" if move.is_income and move.received_msat else ""
    date = booking.first.at.astimezone(UTC).strftime("%m/%d/%Y %H:%M:%S")
    return (date, *_amount(move.received_msat), *_amount(move.sent_msat), *_amount(move.fee_msat), tag)


def _amount(amount_msat: int) -> tuple[str, str]:
    return (bitcoin(amount_msat), _BITCOIN) if amount_msat else ("", "")


def _rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the header and each row as RFC 4180 has them."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(header)
    yield written.getvalue()
    for row in rows:
        written.seek(0)
        written.truncate()
        writer.writerow(row)
        yield written.getvalue()
