"""The book: what transfers may do, what the store itself refuses, and what tampering looks like."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from timmy_core.errors import BookError, EntryStateError, InsufficientFundsError, LedgerError, MoneyError, StoreError
from timmy_core.events.log import EventLog
from timmy_core.ledger import accounts
from timmy_core.ledger.accounts import part
from timmy_core.ledger.book import Book, Posting
from timmy_core.ledger.ledger import Ledger
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

from .house import NODE, begin, check_whole, record, settle_in, settle_out


def write(store: Store, log: EventLog, clock: FakeClock, run: Callable[[Posting], object]) -> object:
    book = Book(log, clock)

    def go(connection: Connection) -> object:
        posting = book.begin(connection)
        found = run(posting)
        posting.tell("ledger.adjusted", {"node": NODE})
        return found

    return store.write(go)


def lifecycle(ledger: Ledger) -> None:
    ledger.opening(NODE, 1_000_000)
    record(ledger, 1)
    settle_in(ledger, 1)
    begin(ledger, 2)
    settle_out(ledger, 2)
    record(ledger, 3)
    begin(ledger, 4)


def test_postings_and_their_event_are_one(ledger: Ledger, log: EventLog) -> None:
    lifecycle(ledger)
    transfers = ledger.transfers()
    assert [transfer.seq for transfer in transfers] == list(range(1, len(transfers) + 1))
    for transfer in transfers:
        data = log.get(transfer.event_seq).data
        assert data is not None
        assert data["transfers"][0] <= transfer.seq <= data["transfers"][1]
    last = log.get(transfers[-1].event_seq).data
    assert last is not None
    assert last["book"] == f"t{transfers[-1].seq}h{transfers[-1].hash}"


def test_an_error_after_transfers_undoes_them_and_the_event(
    funded: Ledger, store: Store, log: EventLog, clock: FakeClock
) -> None:
    before, events = funded.transfers(), log.head()

    def fail(posting: Posting) -> None:
        posting.single("x", accounts.asset(NODE), accounts.suspense(NODE), 5)
        message = "no"
        raise LedgerError(message)

    with pytest.raises(LedgerError, match="no"):
        write(store, log, clock, fail)
    assert funded.transfers() == before
    assert log.head() == events


def test_a_pending_transfer_resolves_once(funded: Ledger, store: Store, log: EventLog, clock: FakeClock) -> None:
    sides = (accounts.payments("echo", NODE), accounts.asset(NODE))
    seq = write(store, log, clock, lambda posting: posting.pending("p", *sides, 100))
    assert isinstance(seq, int)
    with pytest.raises(BookError, match=r"which holds 0\.1 sat"):
        write(store, log, clock, lambda posting: posting.post("p:post", seq, 101))
    write(store, log, clock, lambda posting: posting.post("p:post", seq, 60))
    for again in (lambda posting: posting.post("again", seq, 1), lambda posting: posting.void("again", seq)):
        with pytest.raises(BookError, match="each is resolved once"):
            write(store, log, clock, again)
    with pytest.raises(BookError, match="sets nothing aside"):
        write(store, log, clock, lambda posting: posting.void("v", 1))
    assert funded.balance().posted_msat == 1_000_000 - 60
    assert funded.balance().pending_outgoing_msat == 0
    assert funded.verify().ok


@pytest.mark.parametrize("amount", [0, -1, 1.5, True])
def test_no_amount_but_a_whole_positive_one_is_moved(
    funded: Ledger, store: Store, log: EventLog, clock: FakeClock, amount: int
) -> None:
    with pytest.raises(MoneyError):
        write(
            store, log, clock, lambda posting: posting.single("x", accounts.asset(NODE), accounts.opening(NODE), amount)
        )


def test_the_store_itself_refuses_an_overdraft(funded: Ledger, store: Store, log: EventLog, clock: FakeClock) -> None:
    def overdraw(posting: Posting) -> None:
        posting.single("x", accounts.payments("echo", NODE), accounts.asset(NODE), 1_000_001)

    with pytest.raises(StoreError, match="CHECK constraint"):
        write(store, log, clock, overdraw)
    assert funded.balance().available_msat == 1_000_000


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_transfers SET amount_msat = 1 WHERE seq = 1",
        "DELETE FROM ledger_transfers WHERE seq = 1",
        "DELETE FROM ledger_invoices",
        "DELETE FROM ledger_payments",
        "UPDATE ledger_invoices SET status = 'open', received_msat = NULL, settled_at = NULL WHERE status = 'settled'",
        "UPDATE ledger_invoices SET preimage = NULL WHERE status = 'settled'",
        "UPDATE ledger_invoices SET received_msat = 1 WHERE status = 'settled'",
        "UPDATE ledger_payments SET status = 'failed' WHERE status = 'settled'",
        (
            "INSERT INTO ledger_transfers SELECT seq + 100, 'n', kind, pending_seq, debit, credit, amount_msat, at,"
            " entry_id, payment_hash, event_seq, memo, hash FROM ledger_transfers WHERE seq = 1"
        ),
    ],
)
def test_the_store_itself_refuses_to_take_anything_back(ledger: Ledger, store: Store, statement: str) -> None:
    lifecycle(ledger)
    with pytest.raises(StoreError):
        store.write(lambda connection: connection.execute(statement))
    check_whole(ledger)


def tamper(store: Store, *statements: str) -> None:
    """Change the file as somebody would who does not ask the triggers."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ledger%'"
    triggers = connection.execute(query).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


CUT = (
    "DELETE FROM ledger_checkpoints",
    "UPDATE ledger_payments SET hold_seq = NULL WHERE hold_seq = (SELECT max(seq) FROM ledger_transfers)",
    (
        "UPDATE ledger_accounts SET pending_debits = pending_debits - 11000 WHERE id ="
        " (SELECT debit FROM ledger_transfers ORDER BY seq DESC LIMIT 1)"
    ),
    (
        "UPDATE ledger_accounts SET pending_credits = pending_credits - 11000 WHERE id ="
        " (SELECT credit FROM ledger_transfers ORDER BY seq DESC LIMIT 1)"
    ),
    "DELETE FROM ledger_transfers WHERE seq = (SELECT max(seq) FROM ledger_transfers)",
)


@pytest.mark.parametrize(
    ("kind", "statements"),
    [
        ("altered", ("UPDATE ledger_transfers SET amount_msat = 999 WHERE seq = 1",)),
        ("altered", ("UPDATE ledger_transfers SET memo = 'other' WHERE seq = 2",)),
        ("altered", ("UPDATE ledger_transfers SET entry_id = 'other' WHERE seq = 3",)),
        ("altered", ("UPDATE ledger_accounts SET code = 'Income:LN:else' WHERE code = 'Income:LN:cli'",)),
        ("total", ("UPDATE ledger_accounts SET debits = debits + 1 WHERE kind = 'asset'",)),
        ("entry", ("UPDATE ledger_invoices SET received_msat = 1 WHERE received_msat IS NOT NULL",)),
        ("entry", ("UPDATE ledger_payments SET amount_msat = 1 WHERE status = 'settled'",)),
        ("cut", ("PRAGMA foreign_keys=OFF", "DELETE FROM ledger_transfers WHERE seq = 2")),
        ("anchor", CUT),
    ],
)
def test_tampering_shows(ledger: Ledger, store: Store, kind: str, statements: tuple[str, ...]) -> None:
    lifecycle(ledger)
    assert ledger.verify().ok
    tamper(store, *statements)
    found = ledger.verify()
    assert kind in {problem.kind for problem in found.problems}, found.problems
    assert found.problem


def test_opening_is_booked_once(ledger: Ledger) -> None:
    first = ledger.opening(NODE, 500)
    assert ledger.opening(NODE, 500) == first
    with pytest.raises(EntryStateError, match=r"opened with 0\.5 sat"):
        ledger.opening(NODE, 501)
    assert ledger.opening("other", 0) is None
    assert ledger.balance().available_msat == 500


def test_a_difference_is_booked_under_its_name(funded: Ledger, log: EventLog) -> None:
    funded.suspense(NODE, 70, "channel opened", by="ann")
    funded.suspense(NODE, -30, "on-chain fee", by="ann")
    again = funded.suspense(NODE, -30, "residue", idempotency_key="r1")
    assert funded.suspense(NODE, -30, "residue", idempotency_key="r1") == again
    assert funded.balance().available_msat == 1_000_010
    assert {line.transfer.memo for line in funded.statement("Equity:Suspense").lines} == {
        "channel opened",
        "on-chain fee",
        "residue",
    }
    told = log.list(type="ledger.adjusted")
    assert [event.data["difference_msat"] for event in told if event.data] == [-30, -30, 70]
    check_whole(funded)


@pytest.mark.parametrize(
    ("difference", "reason", "error"),
    [(0, "x", MoneyError), (1.5, "x", MoneyError), (5, " ", LedgerError), (-1_000_001, "x", InsufficientFundsError)],
)
def test_a_difference_that_cannot_be_is_refused(
    funded: Ledger, difference: int, reason: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        funded.suspense(NODE, difference, reason)


def test_names_never_run_together_in_an_account() -> None:
    names = ["a:b", "a%3Ab", "unassigned", "", "%75nassigned", "ä", "a b"]
    assert len({part(name) for name in names}) == len(names)
    assert all(":" not in part(name) for name in names)


def test_a_clock_that_is_set_back_leaves_the_book_in_order(ledger: Ledger, clock: FakeClock) -> None:
    first = ledger.opening(NODE, 10_000)
    clock.set_wall(clock.now().replace(year=2025))
    second = ledger.suspense(NODE, 5, "later")
    assert first is not None
    assert second.at == first.at
    assert ledger.verify().ok
