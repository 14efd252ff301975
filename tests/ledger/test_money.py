"""Amounts: whole msat inside, sats at the edges, and nothing between."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import MoneyError
from timmy_core.ledger.money import MAX_MSAT, Msat, check_msat, words

AMOUNTS = st.integers(0, MAX_MSAT)


@pytest.mark.parametrize("wrong", [1.0, 1.5, True, False, "21", None, -1, MAX_MSAT + 1, Decimal(1)])
def test_what_is_no_whole_msat_is_refused(wrong: object) -> None:
    with pytest.raises(MoneyError):
        Msat(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", ["0.0001", "1e3", "-1", "", "1_000", "٣", "nan", Decimal("NaN"), Decimal("0.0001"), 1.0, True]
)
def test_sats_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(MoneyError):
        Msat.from_sats(wrong)  # type: ignore[arg-type]


@given(AMOUNTS)
def test_sats_are_exact_both_ways(amount: int) -> None:
    assert Msat.from_sats(Msat(amount).sats) == amount
    assert Msat.from_sats(str(Msat(amount).sats)) == amount


@given(AMOUNTS)
def test_rounding_goes_where_it_is_told_to(amount: int) -> None:
    msat = Msat(amount)
    assert msat.sats_rounded("floor") * 1000 <= amount <= msat.sats_rounded("ceil") * 1000
    assert abs(msat.sats_rounded("half_even") * 1000 - amount) <= 500


def test_a_rounding_that_there_is_not_is_refused() -> None:
    with pytest.raises(MoneyError, match="expected one of floor, ceil, half_even"):
        Msat(1).sats_rounded("up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (21_000, "21 sat"),
        (0, "0 sat"),
        (1, "0.001 sat"),
        (1_234_560, "1,234.56 sat"),
        (-3_000, "-3 sat"),
        (-1, "-0.001 sat"),
    ],
)
def test_amounts_are_said_exactly(amount: int, said: str) -> None:
    assert words(amount) == said


def test_an_amount_below_the_least_is_refused_with_both_figures() -> None:
    with pytest.raises(MoneyError, match="received_msat is 0 msat; expected at least 1"):
        check_msat("received_msat", 0, least=1)


@given(AMOUNTS, AMOUNTS)
def test_sums_and_differences_are_plain_integers(one: int, other: int) -> None:
    assert Msat(one) + Msat(other) == one + other
    assert Msat(one) - Msat(other) == one - other
