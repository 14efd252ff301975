"""Exports: read back, each gives the balances of the book; the same book gives the same file; no cell computes."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import LedgerError, StoreError
from timmy_core.ledger.export.formats import FORMATS, export_bytes, export_file
from timmy_core.ledger.export.lines import Extract
from timmy_core.ledger.export.text import Names, bitcoin, cell, one_line, sats
from timmy_core.ledger.model import Transfer

from . import hledger
from . import read_back as read
from .made_books import BEGAN, NODES, OTHERS, MadeBook, books, invoice, payment

SOME = settings(max_examples=60, deadline=None)
FEW = settings(max_examples=15, deadline=None)


def assets(found: dict[str, int]) -> dict[str, int]:
    return {code: total for code, total in found.items() if code.startswith("Assets:")}


def small() -> MadeBook:
    """An opening, an invoice and a payment with its fee."""
    book = MadeBook()
    book.book("Assets:LN:play", "Equity:Opening", 100_000_000, memo="what the node held")
    received = invoice(1, "=a cup of tea")
    book.book("Assets:LN:play", "Income:LN:web", 21_000, kind="pending", entry=received, after_s=1)
    book.book("Assets:LN:play", "Income:LN:web", 21_000, kind="post", entry=received, after_s=86_400)
    paid = payment(2, 'for "work"')
    book.book("Expenses:LN:Payments:echo", "Assets:LN:play", 5_000_999, kind="post", entry=paid, after_s=3)
    book.book("Expenses:LN:RoutingFees:echo", "Assets:LN:play", 1_001, entry=paid, same=True)
    return book


@given(book=books())
@SOME
def test_csv_parquet_and_qif_give_the_balances_of_the_book(book: MadeBook) -> None:
    expected = book.balances()
    assert read.from_csv(read.exported(book, "csv")) == expected
    assert read.from_parquet(read.exported(book, "parquet")) == expected
    assert read.from_qif(read.exported(book, "qif")) == expected


@given(book=books())
@FEW
def test_beancount_gives_the_balances_of_the_book_and_finds_nothing_wrong(book: MadeBook) -> None:
    assert read.from_beancount(read.exported(book, "beancount")) == book.balances()


@given(book=books())
@FEW
def test_hledger_gives_the_balances_of_the_book_and_finds_nothing_wrong(book: MadeBook) -> None:
    names = Names(Extract(book).survey.accounts)
    assert read.from_hledger(read.exported(book, "hledger"), names) == book.balances()


@given(book=books())
@SOME
def test_koinly_and_cointracker_give_what_the_nodes_hold(book: MadeBook) -> None:
    expected = sum(assets(book.balances()).values())
    assert read.from_koinly(read.exported(book, "koinly")) == expected
    assert read.from_cointracker(read.exported(book, "cointracker")) == expected


@given(book=books(), began_s=st.integers(0, 200_000), lasts_s=st.integers(1, 300_000))
@SOME
def test_a_period_brings_what_was_there_before_and_ends_with_what_is_there_then(
    book: MadeBook, began_s: int, lasts_s: int
) -> None:
    since = BEGAN + timedelta(seconds=began_s)
    until = since + timedelta(seconds=lasts_s)
    found = read.from_csv(read.exported(book, "csv", since=since, until=until))
    assert assets(found) == assets(book.balances(until))
    assert sum(found.values()) == 0
    before, after = book.balances(since), book.balances(until)
    for code in (code for code in OTHERS if code.startswith(("Income", "Expenses"))):
        assert found.get(code, 0) == after.get(code, 0) - before.get(code, 0)
    total = sum(assets(found).values())
    assert read.from_koinly(read.exported(book, "koinly", since=since, until=until)) == total


@given(book=books(most=12), name=st.sampled_from(list(FORMATS)))
@SOME
def test_the_same_book_gives_the_same_bytes(book: MadeBook, name: str) -> None:
    assert read.exported(book, name) == read.exported(book, name)


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_booked_while_it_is_written_is_left_out_whole(name: str) -> None:
    class Growing(MadeBook):
        def transfers(self, after: int = 0, limit: int = 2000) -> list[Transfer]:
            found = super().transfers(after, limit)
            if len(self.made) < 400:
                self.book("Assets:LN:late", "Income:LN:web", 7)
            return found

    growing = Growing(small().made, small().entries)
    extract = Extract(growing)
    first, again = (
        b"".join(part.encode() if isinstance(part, str) else part for part in FORMATS[name].write(extract))
        for _ in range(2)
    )
    assert first == again
    if name == "beancount":
        assert read.from_beancount(first)["Assets:LN:play"] == small().balances()["Assets:LN:play"]


def test_one_node_alone() -> None:
    book = small()
    book.book("Assets:LN:other", "Income:LN:web", 9_000)
    found = read.from_csv(read.exported(book, "csv", node="other"))
    assert found == {"Assets:LN:other": 9_000, "Income:LN:web": -9_000}


def bean_check(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("bean-check")
    return subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)


def test_bean_check_passes_the_file(tmp_path: Path) -> None:
    done = bean_check(export_file(small(), "beancount", tmp_path / "book.beancount").path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_assertions_at_the_end_notice_a_posting_that_was_changed(tmp_path: Path) -> None:
    path = export_file(small(), "beancount", tmp_path / "book.beancount").path
    text = path.read_text(encoding="utf-8")
    assert text.count("21.000 SAT") == 2
    path.write_text(text.replace("21.000 SAT", "21.001 SAT"), encoding="utf-8")
    done = bean_check(path)
    assert done.returncode == 1
    assert "Balance failed" in done.stderr


def test_hledger_check_notices_a_posting_that_was_changed() -> None:
    journal = read.exported(small(), "hledger")
    hledger.run(journal, "check", "--strict", "ordereddates")
    with pytest.raises(AssertionError, match="balance assertion"):
        hledger.run(journal.replace(b"21.000 SAT", b"21.001 SAT"), "check", "--strict")


def test_what_a_beancount_and_an_hledger_transaction_look_like() -> None:
    beancount, journal = (read.exported(small(), name).decode() for name in ("beancount", "hledger"))
    assert '2026-10-31 * "for \\"work\\""\n  seq: "4"\n  time: "2026-10-31T22:00:04.000000Z"\n' in beancount
    assert re.search(r"\n  Expenses:LN:Payments:Echo +5000\.999 SAT\n  Assets:LN:Play +-5002\.000 SAT\n", beancount)
    assert '2026-10-30 open Assets:LN:Play SAT\n  account: "Assets:LN:play"\n' in beancount
    assert "2026-11-01 balance Assets:LN:Play  95019.000 ~ 0.000 SAT\n" in beancount
    assert "\n2026-10-31 * (3) =a cup of tea\n    ; seq:3\n" in journal
    assert "    ; agent:a b|c\n" not in journal


def test_what_koinly_and_cointracker_get() -> None:
    koinly, cointracker = (read.table(read.exported(small(), name)) for name in ("koinly", "cointracker"))
    assert [row["Label"] for row in koinly] == ["", "income", "cost"]
    assert koinly[2]["Date"] == "2026-10-31 22:00:04 UTC"
    assert (koinly[2]["Sent Amount"], koinly[2]["Fee Amount"]) == ("0.00005000999", "0.00000001001")
    assert koinly[1]["Description"] == "'=a cup of tea"
    assert [row["Tag"] for row in cointracker] == ["", "payment", ""]
    assert cointracker[1]["Date"] == "10/31/2026 22:00:01"
    assert cointracker[0]["Received Quantity"] == "0.00100000"


@given(text=st.text(max_size=20) | st.text("=+-@\t\r\n' \uff1d", max_size=6))
def test_a_cell_is_no_formula_and_its_text_can_be_had_back(text: str) -> None:
    shown = cell(text)
    assert not re.match(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", shown)
    assert shown.removeprefix("'") == one_line(text)
    assert len(shown.splitlines()) <= 1


@given(book=books())
@SOME
def test_no_cell_of_any_table_is_a_formula(book: MadeBook) -> None:
    for name in ("csv", "koinly", "cointracker"):
        for row in read.table(read.exported(book, name)):
            assert not [value for value in row.values() if value.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_accounts_whose_names_would_be_the_same_get_numbers_in_the_order_of_the_book() -> None:
    names = Names(["Assets:LN:play", "Assets:LN:Play", "Assets:LN:Play-2", "Income:LN:%3D", "Income:LN:---"])
    assert [name for _, name in names.items()] == [
        "Assets:LN:Play", "Assets:LN:Play-2", "Assets:LN:Play-2-2", "Income:LN:3D", "Income:LN:Unnamed",
    ]  # fmt: skip
    assert len({name for _, name in Names((*NODES, *OTHERS)).items()}) == len(NODES) + len(OTHERS)


def test_amounts_are_exact() -> None:
    assert [sats(amount) for amount in (0, 1, 999, 21_000, -1_001)] == ["0.000", "0.001", "0.999", "21.000", "-1.001"]
    assert [bitcoin(amount) for amount in (1, 1_000, 10**11)] == ["0.00000000001", "0.00000001", "1.00000000"]


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_book_without_anything_makes_a_file_too(name: str, tmp_path: Path) -> None:
    written = export_file(MadeBook(), name, tmp_path / "book")
    assert (written.bookings, written.size) == (0, len(read.exported(MadeBook(), name)))


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no format 'xlsx'; expected one of csv, beancount"):
        export_bytes(small(), "xlsx")
    with pytest.raises(LedgerError, match="before it begins"):
        export_bytes(small(), "csv", since=BEGAN, until=BEGAN)
    with pytest.raises(LedgerError, match="no time zone"):
        export_bytes(small(), "csv", since=datetime(2026, 1, 1))  # noqa: DTZ001 - on purpose
    with pytest.raises(StoreError, match="cannot be written"):
        export_file(small(), "csv", tmp_path / "nowhere" / "book.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_for_its_owner_alone_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text("old", encoding="utf-8")
    written = export_file(small(), "csv", path)
    assert (written.bookings, path.stat().st_size) == (3, written.size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["book.csv"]
