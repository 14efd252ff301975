"""The ledger in SQL and as frames: what pages and explorers read, without a secret."""

from __future__ import annotations

from timmy_core.ledger.frames import LEDGER_FRAMES
from timmy_core.timmy import Timmy

from .house import NODE, begin, payment_hash, preimage, record, settle_in, settle_out


def test_sql_reads_the_book_as_the_ledger_does(timmy: Timmy) -> None:
    timmy.ledger.opening(NODE, 1_000_000)
    record(timmy.ledger, 1)
    settle_in(timmy.ledger, 1)
    begin(timmy.ledger, 2)
    settle_out(timmy.ledger, 2)
    record(timmy.ledger, 3)
    balance = timmy.ledger.balance(NODE)
    (available,) = timmy.sql(
        "SELECT sum(debits_msat - credits_msat - pending_credits_msat) FROM accounts "
        f"WHERE kind = 'asset' AND node = '{NODE}'"
    ).row(0)
    assert available == balance.available_msat
    assert timmy.sql("SELECT shown, sum(received_msat) FROM invoices GROUP BY shown ORDER BY shown").rows() == [
        ("pending", None), ("settled", 21_000),
    ]  # fmt: skip
    assert timmy.sql("SELECT amount_msat, fee_msat, shown FROM payments").rows() == [(10_000, 500, "settled")]
    query = f"SELECT count(*), max(seq) FROM transfers WHERE node = '{NODE}'"
    assert timmy.sql(query).row(0) == (len(timmy.ledger.transfers()),) * 2
    settle_in(timmy.ledger, 3)
    assert timmy.sql("SELECT count(*) FROM invoices WHERE shown = 'settled'").row(0) == (2,)
    assert timmy.frame("invoices", shown="settled")["payment_hash"].to_list() == [payment_hash(1), payment_hash(3)]


def test_no_frame_holds_a_preimage_or_an_invoice(timmy: Timmy) -> None:
    timmy.ledger.opening(NODE, 1_000_000)
    record(timmy.ledger, 1)
    settle_in(timmy.ledger, 1)
    begin(timmy.ledger, 2)
    settle_out(timmy.ledger, 2)
    for spec in LEDGER_FRAMES:
        shown = str(timmy.frame(spec.name).to_dicts())
        assert all(secret not in shown for secret in (preimage(1), preimage(2), "lnbcrt"))


def test_the_events_of_the_ledger_pass_the_redactor_whole(timmy: Timmy) -> None:
    timmy.ledger.opening(NODE, 1_000_000)
    record(timmy.ledger, 1)
    settle_in(timmy.ledger, 1)
    created, settled = timmy.events.list(family="invoice", order="asc")
    assert created.data is not None
    assert settled.data is not None
    assert (created.data["payment_hash"], created.data["transfers"]) == (payment_hash(1), [2, 2])
    assert settled.data["book"].startswith("t3h")
    assert timmy.ledger.verify().ok
