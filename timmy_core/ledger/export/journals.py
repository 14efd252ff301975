"""Beancount and hledger: every booking as a transaction, every account declared, every balance asserted at the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from timmy_core.ledger.export.lines import Booking, Extract
from timmy_core.ledger.export.text import Names, one_line, sats, utc

_COMMODITY: Final = "SAT"
_NAME_COLUMNS: Final = 46
_AMOUNT_COLUMNS: Final = 24


def beancount(extract: Extract) -> Iterator[str]:
    """Yield the file for beancount."""
    survey = extract.survey
    names = Names(survey.accounts)
    yield f'option "title" "Lightning ledger"\noption "operating_currency" "{_COMMODITY}"\n'
    if survey.first_at is None or survey.last_at is None:
        return
    first = _day(survey.first_at)
    yield f'\n{first} commodity {_COMMODITY}\n  name: "satoshi"\n\n'
    for code, name in names.items():
        yield f"{first} open {name} {_COMMODITY}\n  account: {_quoted(code)}\n"
    for booking in extract.bookings():
        yield _beancount_transaction(booking, names)
    # An assertion holds at the beginning of its day, so these stand on the day behind the last.
    after = _day(survey.last_at + timedelta(days=1))
    yield "\n"
    for code, balance in survey.accounts.items():
        yield f"{after} balance {names.of(code)}  {sats(balance)} ~ 0.000 {_COMMODITY}\n"


def hledger(extract: Extract) -> Iterator[str]:
    """Yield the journal for hledger."""
    survey = extract.survey
    names = Names(survey.accounts)
    yield f"; Lightning ledger\ndecimal-mark .\ncommodity 1000.000 {_COMMODITY}\n\n"
    for code, name in names.items():
        yield f"account {name}  ; account:{code}\n"
    for booking in extract.bookings():
        yield _hledger_transaction(booking, names)
    if survey.last_at is None:
        return
    yield f"\n{_day(survey.last_at)} * Balances at the end\n"
    for code, balance in survey.accounts.items():
        yield f"{_posting(names.of(code), 0, 4)} = {sats(balance)} {_COMMODITY}\n"


def _beancount_transaction(booking: Booking, names: Names) -> str:
    changes = booking.changes()
    if not changes:
        return ""
    lines = [f"\n{_day(booking.first.at)} * {_quoted(booking.memo)}"]
    lines += [f"  {name}: {_quoted(value)}" for name, value in _facts(booking)]
    lines += [_posting(names.of(code), change, 2) for code, change in changes.items()]
    return "\n".join(lines) + "\n"


def _hledger_transaction(booking: Booking, names: Names) -> str:
    changes = booking.changes()
    if not changes:
        return ""
    # A semicolon would begin a comment.
    memo = one_line(booking.memo).replace(";", ",")
    lines = [f"\n{_day(booking.first.at)} * ({booking.first.seq}) {memo}".rstrip()]
    lines += [f"    ; {name}:{value.replace(',', ' ')}" for name, value in _facts(booking)]
    lines += [_posting(names.of(code), change, 4) for code, change in changes.items()]
    return "\n".join(lines) + "\n"


def _facts(booking: Booking) -> Iterator[tuple[str, str]]:
    """Yield what else is known of a booking, as far as it is."""
    first, entry = booking.first, booking.entry
    yield "seq", str(first.seq)
    yield "time", utc(first.at)
    known = (
        ("entry", first.entry_id),
        ("payment_hash", first.payment_hash),
        ("agent", entry.agent_id if entry else None),
        ("task", entry.task_id if entry else None),
        ("source", booking.lines[0].source),
        ("trace", entry.trace_id if entry else None),
    )
    for name, value in known:
        if plain := one_line(value):
            yield name, plain


def _posting(name: str, change: int, indent: int) -> str:
    """Return one posting, its amount in a column; two spaces at least end an account's name."""
    amount = f"{sats(change):>{_AMOUNT_COLUMNS}}"
    return f"{' ' * indent}{name:<{_NAME_COLUMNS}}  {amount} {_COMMODITY}"


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d")


def _quoted(text: str) -> str:
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
