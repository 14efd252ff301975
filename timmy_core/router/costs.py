"""What each provider cost, day by day: one line a provider and day, exact however many attempts there were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from timmy_core.clock import to_us
from timmy_core.store.engine import Store

MAX_DAYS: Final = 400
_LINES: Final = 10_000

_COSTS: Final = """
SELECT date(ts / 1000000, 'unixepoch') AS day, provider, coalesce(sum(cost_microusd), 0), sum(cost_microusd IS NULL)
FROM provider_metrics WHERE ts >= ? GROUP BY day, provider ORDER BY day, provider LIMIT ?"""


@dataclass(frozen=True, slots=True)
class DayCost:
    """What one provider cost on one day of UTC, in micro-dollars; `unpriced` attempts have no known cost."""

    day: date
    provider: str
    microusd: int
    unpriced: int


def daily_costs(store: Store, now: datetime, *, days: int = 7) -> list[DayCost]:
    """Return the costs of the last days, today included, oldest first; a day without attempts has no line.

    Args:
        store: where the attempts are.
        now: which day is today.
        days: how many; at most `MAX_DAYS`.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=min(max(days, 1), MAX_DAYS) - 1)
    with store.read() as connection:
        rows = connection.execute(_COSTS, (to_us(first), _LINES)).fetchall()
    return [DayCost(date.fromisoformat(day), provider, cost, unpriced) for day, provider, cost, unpriced in rows]
