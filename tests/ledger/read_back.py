"""Exports read back, each by the program that it is for, or as its format is specified."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

from timmy_core.ledger.export.formats import export_bytes
from timmy_core.ledger.export.lines import Book
from timmy_core.ledger.export.text import Names

from . import hledger

Balances = dict[str, int]


def exported(book: Book, name: str, **period: Any) -> bytes:
    return b"".join(export_bytes(book, name, **period))


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def sat(text: str) -> int:
    """Return the msat of an amount in sats; nothing may be left over."""
    return whole(Decimal(text) * 1000)


def btc(text: str) -> int:
    """Return the msat of an amount in bitcoin."""
    return whole(Decimal(text or 0).scaleb(11))


def whole(amount: Decimal) -> int:
    assert amount == int(amount)
    return int(amount)


def add(found: Balances, code: str, change: int) -> None:
    found[code] = found.get(code, 0) + change


def without_zeros(found: Balances) -> Balances:
    return {code: total for code, total in found.items() if total}


def from_csv(content: bytes) -> Balances:
    found: Balances = {}
    for row in table(content):
        assert sat(row["amount_sat"]) == int(row["amount_msat"])
        add(found, row["debit"], int(row["amount_msat"]))
        add(found, row["credit"], -int(row["amount_msat"]))
    return without_zeros(found)


def from_parquet(content: bytes) -> Balances:
    import pyarrow.parquet as pq

    found: Balances = {}
    for row in pq.read_table(io.BytesIO(content)).to_pylist():
        add(found, row["debit"], row["amount_msat"])
        add(found, row["credit"], -row["amount_msat"])
    return without_zeros(found)


def from_beancount(content: bytes) -> Balances:
    """Read it as bean-check does; every error counts, an assertion that fails too."""
    from beancount import loader
    from beancount.core import data

    entries, errors, _ = loader.load_string(content.decode(), dedent=False)
    assert errors == []
    opened = {each.account: each.meta["account"] for each in entries if isinstance(each, data.Open)}
    found: Balances = {}
    for entry in entries:
        for posting in entry.postings if isinstance(entry, data.Transaction) else ():
            assert posting.units.currency == "SAT"
            add(found, opened[posting.account], whole(posting.units.number * 1000))
    return without_zeros(found)


def from_hledger(content: bytes, names: Names) -> Balances:
    """Have it checked strictly, and its balances told."""
    hledger.run(content, "check", "--strict", "ordereddates")
    codes = hledger.codes(names)
    found: Balances = {}
    for row in csv.DictReader(io.StringIO(hledger.run(content, "balance", "--flat", "--no-total", "-O", "csv"))):
        number, commodity = row["balance"].rsplit(" ", 1)
        assert commodity == "SAT"
        add(found, codes[row["account"]], sat(number))
    return without_zeros(found)


def from_qif(content: bytes) -> Balances:
    """Read the registers; what a transfer between two of them says in brackets is booked in the other one."""
    found: Balances = {}
    account, record = "", dict[str, str]()
    is_account = False
    for line in content.decode().splitlines():
        if line.startswith("!"):
            is_account = line == "!Account"
        elif line != "^":
            record[line[0]] = line[1:]
        elif is_account:
            account, record = record["N"], {}
        else:
            change, category = sat(record["T"]), record["L"]
            add(found, account, change)
            if not category.startswith("["):
                add(found, category, -change)
            record = {}
    return without_zeros(found)


def from_koinly(content: bytes) -> int:
    """Return what came in less what went out and the fees."""
    rows = table(content)
    assert all(row["Sent Amount"] or row["Received Amount"] for row in rows)
    return sum(btc(row["Received Amount"]) - btc(row["Sent Amount"]) - btc(row["Fee Amount"]) for row in rows)


def from_cointracker(content: bytes) -> int:
    """Return what came in less what went out and the fees."""
    rows = table(content)
    return sum(btc(row["Received Quantity"]) - btc(row["Sent Quantity"]) - btc(row["Fee Amount"]) for row in rows)
