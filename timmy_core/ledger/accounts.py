"""The accounts of the book: what they are called, and which kind each is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from timmy_core.errors import AccountError
from timmy_core.ledger.model import PERIODS, Period

Kind = Literal["asset", "income", "payment", "fee", "equity", "budget"]

NOBODY: Final = "unassigned"  # stands where no agent or source was named
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@ ")


@dataclass(frozen=True, slots=True)
class Place:
    """An account at a node; `node` is empty for budgets, which belong to none."""

    code: str
    node: str
    kind: Kind


def asset(node: str) -> Place:
    """What a node holds."""
    return Place(f"Assets:LN:{part(node)}", node, "asset")


def income(source: str, node: str) -> Place:
    """What came in through a source."""
    return Place(f"Income:LN:{part(source)}", node, "income")


def payments(agent_id: str | None, node: str) -> Place:
    """What an agent paid."""
    return Place(f"Expenses:LN:Payments:{part(agent_id)}", node, "payment")


def fees(agent_id: str | None, node: str) -> Place:
    """What routing an agent's payments cost."""
    return Place(f"Expenses:LN:RoutingFees:{part(agent_id)}", node, "fee")


def opening(node: str) -> Place:
    """What a node held when its book began."""
    return Place("Equity:Opening", node, "equity")


def suspense(node: str) -> Place:
    """Differences between book and node, each under its name."""
    return Place("Equity:Suspense", node, "equity")


def budget(agent_id: str, period: Period, since: datetime) -> Place:
    """What an agent spent in one day, week or month; it counts beside the money and holds none."""
    return Place(f"Budget:{part(agent_id)}:{period}:{since:%Y-%m-%d}", "", "budget")


BUDGETS: Final = Place("Budget", "", "budget")
"""The other side of every budget."""


def part(name: str | None) -> str:
    """Return a name as one part of an account's code; two names never give the same."""
    if not name:
        return NOBODY
    if name == NOBODY:
        return f"%{ord(name[0]):02X}{name[1:]}"
    return "".join(sign if sign in _PLAIN else "".join(f"%{byte:02X}" for byte in sign.encode()) for sign in name)


def window(period: Period, at: datetime) -> tuple[datetime, datetime]:
    """Return the day, week (from Monday) or month of UTC that a moment is in: its first moment, and the one after.

    Raises:
        AccountError: there is no such period.
    """
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day, day + timedelta(days=1)
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    if period == "month":
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    message = f"there is no period {period!r}; expected one of {', '.join(PERIODS)}"
    raise AccountError(message)
