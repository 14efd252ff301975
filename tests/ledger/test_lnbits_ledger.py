"""The whole way of a sat over a real LNbits: from the payment handler to the book, and each settled exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from timmy_core.clock import SystemClock
from timmy_core.events.log import EventLog
from timmy_core.ledger.build import LightningRoom
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Entry, Payment
from timmy_core.ledger.payments import PaymentHandler
from timmy_core.loop import LoopThread
from timmy_core.settings import Settings
from timmy_core.store.engine import Store

from .peer import LNbits, Tunnel, Wallet, node_settings

pytestmark = pytest.mark.slow

START_MSAT = 100_000_000


class Home:
    """A home whose only node is a wallet of the second LNbits."""

    def __init__(self, folder: Path, server: LNbits, wallet: Wallet) -> None:
        self.store = Store.open(folder / "timmy.db")
        self.events = EventLog(self.store, SystemClock())
        self.loop = LoopThread("test-loop")
        table = node_settings(server, wallet, timeout_s=15)
        settings = Settings.model_validate({"home": folder, "providers": (), "nodes": (table,)})
        self.room = LightningRoom(settings, store=self.store, events=self.events, loop=self.loop, clock=SystemClock())

    @property
    def payments(self) -> PaymentHandler:
        return self.room.payments

    @property
    def ledger(self) -> Ledger:
        return self.room.ledger

    def events_of(self, payment_hash: str, kind: str) -> int:
        """Return how many events of a type tell of a hash."""
        events = self.events.list(type=kind, limit=1000)
        return sum((event.data or {}).get("payment_hash") == payment_hash for event in events)

    def agrees(self) -> None:
        """The book holds, nothing is under way, and the node holds what the book says."""
        verified = self.ledger.verify()
        assert verified.ok, verified.problem
        standing = self.payments.balance()
        assert standing.at_node is not None
        assert standing.at_node.pending_out_msat == 0
        assert standing.difference_msat == 0

    def close(self) -> None:
        self.room.close()
        self.loop.close()
        self.store.close()


@pytest.fixture
def wallet(branch: LNbits) -> Wallet:
    return branch.wallet("alice", START_MSAT // 1000)


@pytest.fixture
def home(tmp_path: Path, branch: LNbits, wallet: Wallet) -> Iterator[Home]:
    opened = Home(tmp_path, branch, wallet)
    yield opened
    opened.close()


def is_settled(home: Home, entry: Entry) -> Callable[[], bool]:
    return lambda: home.ledger.get(entry.id).status == "settled"


def settled_once(home: Home, paid: Payment, amount_msat: int, fee_msat: int) -> None:
    """Check that a payment is in the book once, whoever else says again that it is settled."""
    for _ in range(2):
        home.payments.check(paid)
        home.payments.reconcile(dry_run=False)
    found = home.ledger.get(paid.id)
    assert isinstance(found, Payment)
    assert (found.status, found.amount_msat, found.fee_msat) == ("settled", amount_msat, fee_msat)
    assert home.events_of(found.payment_hash, "payment.settled") == 1
    balance = home.ledger.balance()
    assert (balance.outgoing_total_msat, balance.fees_paid_msat) == (amount_msat, fee_msat)
    assert balance.pending_outgoing_msat == 0
    home.agrees()


def test_a_payment_through_a_second_lnbits_is_booked_with_its_fee(home: Home, hub: LNbits, shop: Wallet) -> None:
    bolt11 = hub.make_invoice(shop, 1000, "coffee")["bolt11"]
    paid = home.payments.pay(bolt11, agent_id="echo")
    assert (paid.status, paid.fee_msat, paid.memo) == ("settled", 5_000, "coffee")
    settled_once(home, paid, 1_000_000, 5_000)


def test_a_payment_into_a_frozen_node_is_booked_as_settled_exactly_once(
    home: Home, hub: LNbits, shop: Wallet, line: Tunnel
) -> None:
    bolt11 = hub.make_invoice(shop, 700)["bolt11"]
    line.cut()
    hub.freeze()
    try:
        paid = home.payments.pay(bolt11, wait_s=3)
        assert paid.shown == "pending"
        assert home.ledger.balance().available_msat < START_MSAT - 700_000, "what may have left is set aside"
    finally:
        hub.thaw()
    home.room.start()
    until(is_settled(home, paid), 60)
    settled_once(home, paid, 700_000, 3_500)


def test_a_server_killed_in_the_middle_of_a_payment_is_reconciled_to_one_settlement(
    home: Home, branch: LNbits, hub: LNbits, shop: Wallet, line: Tunnel
) -> None:
    made = hub.make_invoice(shop, 300)
    line.hold()
    try:
        paid = home.payments.pay(made["bolt11"], wait_s=4)
        assert paid.shown == "pending"
        branch.kill()
    finally:
        line.release()
    branch.start()
    assert hub.show(shop, made["payment_hash"])["paid"]

    def reconciled() -> bool:
        home.payments.reconcile(dry_run=False)
        return is_settled(home, paid)()

    until(reconciled, 60)
    settled_once(home, paid, 300_000, 1_500)


def test_a_settlement_told_twice_is_booked_once(home: Home, branch: LNbits) -> None:
    home.room.start()
    until(lambda: home.room.watcher.states()[0].connected)
    made = home.payments.create_invoice(amount_msat=21_000, memo="tea", agent_id="echo")
    payer = branch.wallet("payer", 100)
    branch.pay(payer, made.bolt11)
    until(is_settled(home, made), 60)
    until(lambda: home.room.watcher.states()[0].heard >= 2, 60)
    assert home.events_of(made.payment_hash, "invoice.settled") == 1
    assert home.ledger.balance().incoming_total_msat == 21_000
    home.agrees()


def test_a_payment_that_lnbits_refuses_sets_nothing_aside(home: Home, hub: LNbits, shop: Wallet) -> None:
    bolt11 = hub.make_invoice(shop, 1000)["bolt11"]
    failed = home.payments.pay(bolt11, fee_limit_msat=9_999)
    assert failed.status == "failed"
    assert "more than the limit of 9999" in (failed.failure or "")
    assert home.ledger.balance().available_msat == START_MSAT
    home.agrees()
