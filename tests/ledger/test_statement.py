"""Balances and statements: of a node or all, now and at any moment; the past is what the book said then."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from timmy_core.errors import AccountError
from timmy_core.events.log import EventLog
from timmy_core.ledger import accounts, replay
from timmy_core.ledger.book import Book
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Account, Balance
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

from .house import NODE, START, begin, check_whole, payment_hash, record, settle_in, settle_out


def figures(balance: Balance) -> tuple[int, ...]:
    return (
        balance.incoming_total_msat, balance.outgoing_total_msat, balance.fees_paid_msat, balance.net_msat,
        balance.pending_incoming_msat, balance.pending_outgoing_msat, balance.available_msat, balance.posted_msat,
    )  # fmt: skip


def test_a_balance_of_the_past_is_what_it_was_then(funded: Ledger, clock: FakeClock) -> None:
    seen: list[tuple[datetime, tuple[int, ...], list[Account]]] = []

    def look() -> None:
        seen.append((clock.now(), figures(funded.balance()), funded.accounts()))
        clock.advance(10)

    look()
    for step in (
        lambda: record(funded, 1), lambda: settle_in(funded, 1), lambda: begin(funded, 2),
        lambda: settle_out(funded, 2), lambda: begin(funded, 3),
        lambda: funded.fail_payment(NODE, payment_hash(3), reason="x", sure=True), lambda: record(funded, 4),
        lambda: funded.cancel_invoice(NODE, payment_hash(4)),
    ):  # fmt: skip
        step()
        look()
    for moment, balance, book in seen:
        assert figures(funded.balance(as_of=moment)) == balance
        assert figures(funded.balance(NODE, as_of=moment)) == balance
        assert funded.accounts(as_of=moment) == book
    assert figures(funded.balance(as_of=START - timedelta(days=1))) == (0,) * 8


def test_each_node_has_its_own_balance(funded: Ledger) -> None:
    funded.opening("second", 5_000)
    record(funded, 1, node="second")
    settle_in(funded, 1, node="second")
    begin(funded, 2)
    settle_out(funded, 2)
    home, second, both = funded.balance(NODE), funded.balance("second"), funded.balance()
    assert figures(second) == (21_000, 0, 0, 21_000, 0, 0, 26_000, 26_000)
    assert figures(both) == tuple(one + other for one, other in zip(figures(home), figures(second), strict=True))
    assert funded.nodes() == (NODE, "second")
    assert figures(funded.balance("nobody")) == (0,) * 8


def test_a_statement_leads_from_its_opening_to_its_closing_balance(funded: Ledger, clock: FakeClock) -> None:
    for number in range(5):
        clock.advance(60)
        record(funded, number)
        settle_in(funded, number)
    clock.advance(60)
    begin(funded, 50)
    settle_out(funded, 50)
    whole = funded.statement("Assets:LN:home")
    assert (whole.opening_msat, whole.closing_msat, whole.cursor) == (0, funded.balance().posted_msat, None)
    assert whole.closing_msat == whole.opening_msat + sum(line.change_msat for line in whole.lines)
    assert sum(line.pending_change_msat for line in whole.lines) == 0
    assert funded.statement("Income:LN:cli").closing_msat == 5 * 21_000
    part = funded.statement("Assets:LN:home", START + timedelta(seconds=120), START + timedelta(seconds=300))
    assert (part.opening_msat, part.closing_msat) == (1_021_000, 1_084_000)
    assert {line.transfer.at.minute for line in part.lines} == {2, 3, 4}
    assert funded.statement("Assets:LN:home", START + timedelta(days=1)).opening_msat == whole.closing_msat


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_a_statement_in_parts_is_the_whole_one(funded: Ledger, limit: int) -> None:
    for number in range(4):
        record(funded, number)
        settle_in(funded, number)
        begin(funded, number + 10)
        settle_out(funded, number + 10)
    whole = funded.statement("Assets:LN:home")
    lines, cursor = [], None
    while True:
        part = funded.statement("Assets:LN:home", cursor=cursor, limit=limit)
        assert part.opening_msat == (lines[-1].balance_msat if lines else 0)
        lines += part.lines
        cursor = part.cursor
        if cursor is None:
            break
    assert tuple(lines) == whole.lines


def test_an_account_that_there_is_not_is_said_so(funded: Ledger) -> None:
    with pytest.raises(AccountError, match="there is no account"):
        funded.statement("Assets:LN:nobody")
    with pytest.raises(AccountError, match="cursor"):
        funded.statement("Assets:LN:home", cursor="x")
    with pytest.raises(AccountError, match="out of range"):
        funded.statement("Assets:LN:home", limit=0)


def test_checkpoints_shorten_the_replay_and_are_checked(
    funded: Ledger, store: Store, log: EventLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(log, clock)

    def many(connection: Connection) -> None:
        posting = book.begin(connection)
        for number in range(20_500):
            posting.single(f"m{number}", accounts.asset(NODE), accounts.suspense(NODE), 1)
        posting.tell("ledger.adjusted", {"node": NODE})

    store.write(many)
    clock.advance(60)
    record(funded, 1)
    read: list[int] = []
    between = replay.rows_between

    def counted(store: Store, after: int, until: int) -> object:
        read.append(until - after)
        return between(store, after, until)

    monkeypatch.setattr(replay, "rows_between", counted)
    past = funded.balance(as_of=START + timedelta(seconds=59))
    assert past.posted_msat == 1_020_500
    assert read == [501]
    check_whole(funded)
    store.write(
        lambda connection: connection.execute("UPDATE ledger_checkpoints SET debits = debits + 1 WHERE seq = 10000")
    )
    assert {problem.kind for problem in funded.verify().problems} == {"checkpoint"}
