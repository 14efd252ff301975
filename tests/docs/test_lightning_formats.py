"""Lightning formats: every field, problem, format and column is described, and no other is."""

from __future__ import annotations

import dataclasses
from typing import get_args

from timmy_core.ledger.bolt11 import Invoice11
from timmy_core.ledger.bolt11_fields import KNOWN_FEATURES, ProblemKind
from timmy_core.ledger.export import parquet, tables
from timmy_core.ledger.export.formats import FORMATS

from .documents import codes, reference, rows, section

TEXT = reference("lightning-formats")


def test_every_field_of_an_invoice_is_described_and_no_other_is() -> None:
    lines = [line for line in section(TEXT, "Invoices").splitlines() if line.startswith("| `")]
    described = {name for line in lines for name in codes(line.split(" | ")[0])}
    fields = {field.name for field in dataclasses.fields(Invoice11)} | {"fallback"}
    assert described == fields | set(get_args(ProblemKind))


def test_the_features_that_are_understood_are_named() -> None:
    listed = ", ".join(map(str, sorted(KNOWN_FEATURES)))
    assert f"no feature with an even number but {listed.replace(', 48', ' and 48')}" in TEXT


def test_every_format_is_described_with_its_ending_and_no_other_is() -> None:
    described = {name: cells[0] for name, cells in rows(section(TEXT, "Exports")).items()}
    assert described == {each.name: f"`{each.suffix}`" for each in FORMATS.values()}


def test_every_column_is_described_with_the_formats_that_have_it() -> None:
    described = {name: cells[0] for name, cells in rows(section(TEXT, "Columns of `csv` and `parquet`")).items()}
    found = dict.fromkeys(tables.BOOK_COLUMNS, "csv") | dict.fromkeys(parquet.COLUMNS, "parquet")
    both = set(tables.BOOK_COLUMNS) & set(parquet.COLUMNS)
    assert described == {name: "both" if name in both else where for name, where in found.items()}
