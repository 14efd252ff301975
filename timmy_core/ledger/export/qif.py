"""QIF (Quicken Interchange Format): a register for each node, in sats; all other accounts are its categories."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Final

from timmy_core.ledger.export.lines import Extract, Line
from timmy_core.ledger.export.text import one_line, sats

CLEARING: Final = "Assets:LN:Clearing"
_ASSETS: Final = "Assets:"


def qif(extract: Extract) -> Iterator[str]:
    """Yield one register after the other.

    A transfer between two nodes is in both registers, each naming the other in brackets, as the format has it. One
    that touches no node goes through a register of its own, which it leaves as it was.
    """
    for account in [code for code in extract.survey.accounts if code.startswith(_ASSETS)]:
        yield _header(account)
        for line in extract.lines():
            yield from _records(line, account)
    yield from _cleared(extract)


def _records(line: Line, account: str) -> Iterator[str]:
    transfer = line.transfer
    for side, other, sign in ((transfer.debit, transfer.credit, 1), (transfer.credit, transfer.debit, -1)):
        if side == account:
            yield _record(line, sign * transfer.amount_msat, f"[{other}]" if other.startswith(_ASSETS) else other)


def _cleared(extract: Extract) -> Iterator[str]:
    is_open = False
    for line in extract.lines():
        transfer = line.transfer
        if transfer.debit.startswith(_ASSETS) or transfer.credit.startswith(_ASSETS):
            continue
        if not is_open:
            yield _header(CLEARING)
            is_open = True
        yield _record(line, transfer.amount_msat, transfer.credit)
        yield _record(line, -transfer.amount_msat, transfer.debit)


def _header(account: str) -> str:
    return f"!Account\nN{account}\nTBank\n^\n!Type:Bank\n"


def _record(line: Line, change: int, category: str) -> str:
    transfer, entry = line.transfer, line.entry
    fields = (
        f"D{transfer.at.astimezone(UTC).strftime('%m/%d/%Y')}",
        f"T{sats(change)}",
        f"N{transfer.seq}",
        f"P{one_line((entry.memo if entry else '') or transfer.memo)}",
        f"M{one_line(transfer.payment_hash)}",
        f"L{category}",
    )
    return "\n".join((*(field for field in fields if len(field) > 1), "^\n"))
