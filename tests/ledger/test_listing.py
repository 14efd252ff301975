"""Lists: every filter, in parts that neither miss nor repeat, and statistics of what settled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from timmy_core.errors import AccountError
from timmy_core.ledger.ledger import Ledger
from timmy_core.testing import FakeClock

from .house import NODE, START, begin, payment_hash, record, settle_in, settle_out


@pytest.fixture
def full(funded: Ledger, clock: FakeClock) -> Ledger:
    for number in range(6):
        clock.advance(60)
        record(funded, number, task_id=f"t{number % 2}", agent_id="echo", source="cli" if number % 3 else "page")
        if number == 5:
            record(funded, 60, expires_at=clock.now(), memo="Ünique 100%_x")
        begin(funded, number + 100, task_id="t0")
    settle_in(funded, 0)
    settle_in(funded, 1, 30_000)
    settle_out(funded, 100)
    funded.fail_payment(NODE, payment_hash(101), reason="no route", sure=True)
    funded.expire_due()
    return funded


def ids(ledger: Ledger, **filters: Any) -> list[str]:
    return [entry.payment_hash for entry in ledger.list(**filters).entries]


def hashes(*numbers: int) -> list[str]:
    return [payment_hash(number) for number in numbers]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"status": "settled"}, (1, 100, 0)),
        ({"status": "settled", "direction": "in"}, (1, 0)),
        ({"status": "failed"}, (101,)),
        ({"status": "expired"}, (60,)),
        ({"status": ["open"]}, (5, 4, 3, 2)),
        ({"status": "initiated"}, (105, 104, 103, 102)),
        ({"status": ["expired", "failed"]}, (60, 101)),
        ({"task_id": "t1"}, (5, 3, 1)),
        ({"source": "page"}, (3, 0)),
        ({"agent_id": "nobody"}, ()),
        ({"node": "other"}, ()),
        ({"text": "ünique"}, ()),
        ({"text": "Ünique"}, (60,)),
        ({"text": "100%_"}, (60,)),
        ({"text": payment_hash(3)[:20]}, (3,)),
        ({"since": START + timedelta(seconds=361)}, ()),
        ({"until": START + timedelta(seconds=120), "direction": "in"}, (0,)),
    ],
)
def test_filters_find_what_they_say(full: Ledger, filters: dict[str, Any], numbers: tuple[int, ...]) -> None:
    assert sorted(ids(full, **filters)) == sorted(hashes(*numbers))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 13])
@pytest.mark.parametrize("filters", [{}, {"direction": "out"}, {"status": "pending"}])
def test_parts_neither_miss_nor_repeat(full: Ledger, limit: int, filters: dict[str, Any]) -> None:
    found: list[str] = []
    cursor = None
    while True:
        page = full.list(**filters, cursor=cursor, limit=limit)
        found += [entry.id for entry in page.entries]
        cursor = page.cursor
        if cursor is None:
            break
    whole = full.list(**filters)
    assert found == [entry.id for entry in whole.entries]
    assert whole.cursor is None
    moments = [entry.created_at for entry in whole.entries]
    assert moments == sorted(moments, reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "paid"}, {"status": []}, {"direction": "up"}, {"limit": 0}, {"limit": 10_001}, {"cursor": "x"},
        {"cursor": "1."}, {"cursor": "٣.a"}, {"text": ""}, {"text": "x" * 201},
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(full: Ledger, wrong: dict[str, Any]) -> None:
    with pytest.raises(AccountError):
        full.list(**wrong)


def test_what_has_no_end_yet_comes_oldest_first(full: Ledger) -> None:
    found = full.pending()
    assert len(found) == 8
    assert [entry.created_at for entry in found] == sorted(entry.created_at for entry in found)
    assert all(entry.shown == "pending" for entry in found)
    assert {entry.direction for entry in full.pending(direction="in")} == {"in"}


def test_only_what_settled_is_counted(full: Ledger) -> None:
    stats = full.stats(3)
    total = stats.total
    assert (total.incoming_msat, total.outgoing_msat, total.fees_msat) == (51_000, 10_000, 500)
    assert (total.invoices, total.payments) == (2, 1)
    assert [one.key for one in stats.by_day] == ["2025-12-30", "2025-12-31", "2026-01-01"]
    assert [one.incoming_msat for one in stats.by_day] == [0, 0, 51_000]
    assert [(one.key, one.incoming_msat, one.outgoing_msat) for one in stats.by_agent] == [("echo", 51_000, 10_000)]
    assert {one.key: one.incoming_msat for one in stats.by_task} == {"t0": 21_000, "t1": 30_000}
    assert {one.key: one.incoming_msat for one in stats.by_source} == {"page": 21_000, "cli": 30_000}
    balance = full.balance()
    assert (total.incoming_msat, total.outgoing_msat, total.fees_msat) == (
        balance.incoming_total_msat, balance.outgoing_total_msat, balance.fees_paid_msat,
    )  # fmt: skip
    with pytest.raises(AccountError):
        full.stats(0)
