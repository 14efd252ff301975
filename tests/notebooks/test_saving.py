"""Tables as files: what is shown comes out whole, as CSV and as Parquet, and what goes wrong is said."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from timmy_core.errors import QueryError
from ui import saving

ROWS = pl.DataFrame(
    {
        "ts": [datetime(2026, 11, 22, 14, 2, tzinfo=UTC)],
        "text": ['a "quoted", word'],
        "n": [3],
        "tags": [["a", "b"]],
        "of": [{"k": 1}],
    }
)


class Browser:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.data = b""

    def send(self, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self.told.append(message)
        self.data += b"".join(buffers or [])


def test_parquet_keeps_every_type() -> None:
    assert pl.read_parquet(io.BytesIO(saving.written(ROWS, "parquet"))).equals(ROWS)


def test_csv_has_one_line_a_row_and_json_where_values_are_nested() -> None:
    back = pl.read_csv(io.BytesIO(saving.written(ROWS, "csv")))
    assert back.columns == ROWS.columns
    assert back.row(0)[1:] == ('a "quoted", word', 3, '["a", "b"]', '{"k": 1}')


def test_csv_computes_nothing_that_somebody_wrote() -> None:
    said = ["=1+1", "@now", "-2", "plain", None, "'quoted", "\uff1dx"]
    back = pl.read_csv(io.BytesIO(saving.written(pl.DataFrame({"memo": said, "n": range(7)}), "csv")))
    assert back["memo"].to_list() == ["'=1+1", "'@now", "'-2", "plain", None, "''quoted", "'\uff1dx"]


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_file_comes_with_its_name_and_how_many_rows_it_has(format_: str) -> None:
    browser = Browser()
    saving.send_table(browser.send, lambda: ROWS, "attempts", format_)
    assert browser.data == saving.written(ROWS, format_)
    assert browser.told[-1]["name"] == f"attempts.{format_}"
    assert browser.told[-1]["words"] == f"1 row saved as attempts.{format_}."


def test_of_too_many_rows_the_newest_are_saved_and_that_is_said() -> None:
    browser = Browser()
    many = pl.DataFrame({"n": range(saving.MOST + 5)})
    saving.send_table(browser.send, lambda: many, "attempts", "parquet")
    assert len(pl.read_parquet(io.BytesIO(browser.data))) == saving.MOST
    assert browser.told[-1]["words"] == "100,000 rows saved as attempts.parquet: the newest 100,000."


def test_a_table_that_cannot_be_read_is_a_sentence() -> None:
    def failing() -> pl.DataFrame:
        message = "it took too long"
        raise QueryError(message)

    browser = Browser()
    saving.send_table(browser.send, failing, "attempts", "csv")
    assert browser.told == [{"kind": "said", "words": "It took too long."}]


def test_both_buttons_name_their_table() -> None:
    text = saving.links("attempts")
    assert text.count("data-save=") == 2
    assert "attempts" in text
