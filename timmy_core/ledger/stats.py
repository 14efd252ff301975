"""What settled, by day, agent, task and source; what is pending, failed or expired counts nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from timmy_core.clock import Clock, to_us
from timmy_core.errors import AccountError
from timmy_core.ledger.model import Stats, Sum
from timmy_core.store.engine import Store

MAX_DAYS: Final = 3_660
MOST: Final = 1_000  # agents, tasks and sources that are told; the largest

_DAY_US: Final = 24 * 3600 * 1_000_000
_IN: Final = """
SELECT {key} AS key, sum(received_msat), 0, 0, count(*), 0 FROM ledger_invoices
WHERE settled_at >= :since AND settled_at < :until GROUP BY key"""
_OUT: Final = """
SELECT {key} AS key, 0, sum(amount_msat), sum(fee_msat), 0, count(*) FROM ledger_payments
WHERE settled_at >= :since AND settled_at < :until GROUP BY key"""


class Numbers:
    """Reads what settled; never writes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def stats(self, days: int) -> Stats:
        """Return what settled in a number of days of UTC, the present one among them.

        Raises:
            AccountError: the number is out of range.
        """
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= MAX_DAYS:
            message = f"{days!r} days are out of range; expected 1 to {MAX_DAYS:,}"
            raise AccountError(message)
        today = self._clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since, until = today - timedelta(days=days - 1), today + timedelta(days=1)
        by_day = self._sums(f"settled_at / {_DAY_US}", f"settled_at / {_DAY_US}", since, until)
        every = tuple(_day(by_day, since + timedelta(days=number)) for number in range(days))
        return Stats(
            since=since,
            until=until,
            total=_total(every),
            by_day=every,
            by_agent=_largest(self._sums("coalesce(agent_id, '')", "coalesce(agent_id, '')", since, until)),
            by_task=_largest(self._sums("coalesce(task_id, '')", "coalesce(task_id, '')", since, until)),
            # Where money came from is known of what came in alone.
            by_source=_largest(self._sums("source", None, since, until)),
        )

    def _sums(self, key_in: str, key_out: str | None, since: datetime, until: datetime) -> dict[str, Sum]:
        queries = [_IN.format(key=key_in)] + ([] if key_out is None else [_OUT.format(key=key_out)])
        asked = {"since": to_us(since), "until": to_us(until)}
        found: dict[str, Sum] = {}
        with self._store.read() as connection:
            for query in queries:
                for row in connection.execute(query, asked):
                    key = str(row[0])
                    found[key] = _add(found.get(key, Sum(key, 0, 0, 0, 0, 0)), row[1:])
        return found


def _add(one: Sum, more: Sequence[Any]) -> Sum:
    incoming, outgoing, fees, invoices, payments = more
    return Sum(
        one.key,
        one.incoming_msat + incoming,
        one.outgoing_msat + outgoing,
        one.fees_msat + fees,
        one.invoices + invoices,
        one.payments + payments,
    )


def _values(one: Sum) -> tuple[int, int, int, int, int]:
    return one.incoming_msat, one.outgoing_msat, one.fees_msat, one.invoices, one.payments


def _day(by_day: dict[str, Sum], day: datetime) -> Sum:
    found = by_day.get(str(to_us(day) // _DAY_US))
    return _add(Sum(f"{day:%Y-%m-%d}", 0, 0, 0, 0, 0), _values(found) if found else (0, 0, 0, 0, 0))


def _total(sums: Iterable[Sum]) -> Sum:
    total = Sum("", 0, 0, 0, 0, 0)
    for one in sums:
        total = _add(total, _values(one))
    return total


def _largest(sums: dict[str, Sum]) -> tuple[Sum, ...]:
    def size(one: Sum) -> tuple[int, str]:
        return -(one.incoming_msat + one.outgoing_msat + one.fees_msat), one.key

    return tuple(sorted(sums.values(), key=size)[:MOST])
