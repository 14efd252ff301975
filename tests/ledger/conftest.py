"""What the tests of the ledger share: a book, one that has funds, and two real LNbits servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from timmy_core.events.log import EventLog
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .house import NODE
from .peer import LNbits, Tunnel, Wallet, running

FEE_PERCENT = 0.5


@pytest.fixture
def ledger(store: Store, log: EventLog, clock: FakeClock) -> Ledger:
    return Ledger(store, log, clock)


@pytest.fixture
def funded(ledger: Ledger) -> Ledger:
    ledger.opening(NODE, 1_000_000)
    return ledger


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LNbits]:
    """The first LNbits: all its sats are made up."""
    with running(LNbits(tmp_path_factory.mktemp("hub"))) as started:
        yield started


@pytest.fixture(scope="session")
def line(hub: LNbits) -> Iterator[Tunnel]:
    """What the second server reaches the first by."""
    made = Tunnel(hub.port)
    yield made
    made.close()


@pytest.fixture(scope="session")
def branch(hub: LNbits, line: Tunnel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LNbits]:
    """The second LNbits, which pays and is paid through a wallet of the first, with fees."""
    funds = hub.wallet("branch", 1_000_000)
    earned = hub.wallet("fees")
    hub.configure(
        lnbits_service_fee=FEE_PERCENT,
        lnbits_service_fee_wallet=earned.id,
        lnbits_service_fee_ignore_internal=False,
    )
    with running(LNbits(tmp_path_factory.mktemp("branch"), behind=(line.url, funds.admin_key))) as started:
        started.configure(lnbits_funding_source_pay_invoice_wait_seconds=30)
        yield started


@pytest.fixture(scope="session")
def shop(hub: LNbits) -> Wallet:
    """Somebody to pay, at the first server."""
    return hub.wallet("shop")
