"""What each provider cost, day by day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from timmy_core.clock import to_us
from timmy_core.router.costs import DayCost, daily_costs
from timmy_core.store.engine import Connection, Store

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)


def test_costs_are_summed_by_day_and_provider_and_what_has_no_price_is_counted(tmp_path: Path) -> None:
    rows = [
        (datetime(2026, 11, 15, 23, 59, 59, tzinfo=UTC), "far", 900),  # before the seven days
        (datetime(2026, 11, 16, 0, 0, tzinfo=UTC), "far", 1),
        (datetime(2026, 11, 22, 0, 0, tzinfo=UTC), "far", 20),
        (datetime(2026, 11, 22, 13, 0, tzinfo=UTC), "far", 22),
        (datetime(2026, 11, 22, 13, 0, tzinfo=UTC), "near", None),
    ]

    def fill(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO provider_metrics (event_seq, ts, trace_id, attempt, provider, model, outcome, latency_us,"
            " cost_microusd, message) VALUES (0, ?, 't', 0, ?, 'm', 'completed', 1, ?, '')",
            [(to_us(at), provider, cost) for at, provider, cost in rows],
        )

    store = Store.open(tmp_path / "timmy.db")
    try:
        store.write(fill)
        assert daily_costs(store, NOW) == [
            DayCost(date(2026, 11, 16), "far", 1, 0),
            DayCost(date(2026, 11, 22), "far", 42, 0),
            DayCost(date(2026, 11, 22), "near", 0, 1),
        ]
        assert [line.microusd for line in daily_costs(store, NOW, days=1)] == [42, 0]
    finally:
        store.close()
