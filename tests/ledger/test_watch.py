"""The watcher: what a node tells is booked once, whatever it leaves out, repeats or breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.waiting import until
from timmy_core.ledger import watch
from timmy_core.ledger.progress import EVENTS, Progress
from timmy_core.testing import FakeClock

from .lightning import House


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SWEEP_S", 0.05)
    monkeypatch.setattr(watch, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(watch, "LAST_WAIT_S", 0.05)


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    with House(tmp_path, clock) as opened:
        yield opened


def only_events(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing looked up by itself, so that what is booked was heard."""
    monkeypatch.setattr(watch, "SWEEP_S", 3600.0)
    house.room.start()

    def hears() -> bool:
        """Whether the stream is open by now: something that happens is heard."""
        house.do(house.node.neighbour_pays(house.made(1_000).payment_hash))
        return house.room.watcher.states()[0].heard > 0

    until(hears)


def settled_events(house: House, payment_hash: str) -> int:
    events = house.events.list(type="invoice.settled", limit=1000)
    return sum((event.data or {}).get("payment_hash") == payment_hash for event in events)


def test_a_settlement_is_heard_and_booked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.made()
    only_events(house, monkeypatch)
    house.do(house.node.neighbour_pays(made.payment_hash))
    until(lambda: house.invoice(made.payment_hash).status == "settled")
    assert house.ledger.verify().ok


def test_the_same_news_many_times_is_booked_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.node.repeat_events = 5
    made = [house.made() for _ in range(3)]
    only_events(house, monkeypatch)
    for one in made:
        house.do(house.node.neighbour_pays(one.payment_hash))
    until(lambda: all(house.invoice(one.payment_hash).status == "settled" for one in made))
    until(lambda: house.room.watcher.states()[0].heard >= 15)
    assert [settled_events(house, one.payment_hash) for one in made] == [1, 1, 1]
    assert house.ledger.verify().ok


def test_what_was_not_told_is_found_by_looking(house: House, clock: FakeClock) -> None:
    house.node.lose_events = True
    made = house.made()
    house.room.start()
    house.do(house.node.neighbour_pays(made.payment_hash))
    clock.advance(10)
    until(lambda: house.invoice(made.payment_hash).status == "settled")
    house.agrees()


def test_a_payment_in_flight_is_settled_when_the_node_says_so(house: House, clock: FakeClock) -> None:
    paid = house.held_payment(house.asked())
    house.room.start()
    house.do(house.node.release(paid.payment_hash))
    clock.advance(10)
    until(lambda: house.ledger.get(paid.id).status == "settled")
    house.agrees()


def test_a_node_that_was_away_is_followed_again_and_what_happened_meanwhile_is_booked(
    house: House, clock: FakeClock
) -> None:
    made = house.made()
    house.room.start()
    until(lambda: house.room.watcher.states()[0].connected)
    house.node.stop()
    until(lambda: not house.room.watcher.states()[0].connected)
    assert "stopped" in house.room.watcher.states()[0].problem
    house.node.start()
    house.do(house.node.neighbour_pays(made.payment_hash))
    clock.advance(10)
    until(lambda: house.invoice(made.payment_hash).status == "settled")
    until(lambda: house.room.watcher.states()[0].connected)
    assert house.room.watcher.states()[0].problem == ""


def test_the_next_process_goes_on_where_the_stream_was_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.made()
    only_events(house, monkeypatch)
    house.do(house.node.neighbour_pays(made.payment_hash))
    progress = Progress(house.store, house.clock)
    until(lambda: house.invoice(made.payment_hash).status == "settled")
    until(lambda: progress.cursor("fake", EVENTS) is not None)
    house.do(house.room.watcher.close())
    again = house.made()
    house.do(house.node.neighbour_pays(again.payment_hash))
    # Nothing listened as it was paid; the saved cursor tells the node what to say again.
    house.room.start()
    until(lambda: house.invoice(again.payment_hash).status == "settled")


def test_open_invoices_run_out_by_themselves(house: House, clock: FakeClock) -> None:
    made = house.made(expiry_s=60)
    house.room.start()
    clock.advance(200)
    until(lambda: house.invoice(made.payment_hash).status == "expired")
    assert house.ledger.balance().pending_incoming_msat == 0


def test_one_waits_no_longer_than_the_news_takes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = house.made()
    only_events(house, monkeypatch)
    house.do(house.node.neighbour_pays(made.payment_hash))
    calls = house.node.calls.count("find_invoice")
    assert house.payments.wait_settled(made, timeout_s=5).status == "settled"
    assert house.node.calls.count("find_invoice") <= calls + 2


def test_starting_twice_and_closing_twice_is_harmless(house: House) -> None:
    house.room.start()
    house.room.start()
    assert len(house.payments.watching()) == 1
    house.do(house.room.watcher.close())
    house.do(house.room.watcher.close())


def test_events_in_any_order_and_number_give_the_same_balances(tmp_path: Path, clock: FakeClock) -> None:
    ends = set()
    for seed in range(6):
        chance = Random(seed)  # noqa: S311 - a seed, not a secret
        with House(tmp_path / str(seed), clock) as house:
            made = [house.made(10_000 + number) for number in range(4)]
            paid = [house.payments.pay(house.asked(20_000 + number)) for number in range(2)]
            for one in made[:3]:
                house.do(house.node.neighbour_pays(one.payment_hash))
            house.do(house.node.cancel(made[3].payment_hash))
            news = [*made, *paid] * 3
            chance.shuffle(news)
            for entry in news:
                house.payments.check(entry)
            house.agrees()
            balance = house.ledger.balance()
            ends.add((balance.incoming_total_msat, balance.outgoing_total_msat, balance.available_msat))
    assert len(ends) == 1
