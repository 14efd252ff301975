"""What tokens cost: the price file is sane, the owner's price wins, and every sum is in whole micro-dollars."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.router.chat import Usage
from timmy_core.router.pricing import LongPrompt, Price, Prices, cost_microusd, most_microusd
from timmy_core.router.providers import build_provider
from timmy_core.settings import PriceSettings, ProviderSettings, RouterSettings, load_settings

RAW: dict[str, Any] = json.loads(resources.files("timmy_core.router").joinpath("prices.json").read_text("utf-8"))
NAMES = ("input", "output", "cached_input", "cache_write")


def table(kind: str = "openai", **more: Any) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": "p", "kind": kind, **more})


# The file --------------------------------------------------------------------------------------------------------


def test_the_file_says_of_when_it_is_and_where_its_prices_stand() -> None:
    assert date(2026, 1, 1) <= date.fromisoformat(RAW["as_of"])
    assert RAW["source"]
    assert "micro-dollars" in RAW["unit"]
    for vendor in RAW["vendors"].values():
        assert vendor["page"].startswith("https://")


@pytest.mark.parametrize("name", RAW["models"])
def test_every_model_is_priced_in_whole_numbers_that_make_sense(name: str) -> None:
    row = RAW["models"][name]
    assert set(row) <= {*NAMES, "vendor", "context_tokens", "aliases", "long_prompt", "note"}
    assert row["vendor"] in RAW["vendors"]
    for prices in (row, row.get("long_prompt", row)):
        for kind in NAMES:
            assert kind not in prices or (type(prices[kind]) is int and prices[kind] > 0)
        assert prices["input"] < prices["output"] <= 10 * prices["input"]
        assert prices.get("cached_input", 0) < prices["input"] <= prices.get("cache_write", prices["input"])
    assert type(row["context_tokens"]) is int
    assert 100_000 <= row["context_tokens"] <= 2_000_000
    long = row.get("long_prompt")
    assert long is None or (long["input"] > row["input"] and 0 < long["above_tokens"] < row["context_tokens"])


def test_no_name_is_given_twice() -> None:
    names = [name for model, row in RAW["models"].items() for name in (model, *row.get("aliases", ()))]
    assert len(names) == len(set(names))


def test_the_models_of_the_default_cascade_are_priced(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    paid = [one for one in load_settings(tmp_path).providers if one.kind != "ollama"]
    assert len(paid) == 2
    for one in paid:
        assert Prices.load().at(one, one.models["default"]) is not None


# Finding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("claude-opus-4-20250514", "claude-opus-4-0"),
    ],
)
def test_a_snapshot_costs_what_its_model_does(name: str, model: str) -> None:
    prices = Prices.load()
    assert prices.find(name) is prices.find(model)
    assert prices.find(name) is not None


@pytest.mark.parametrize(
    "name", ["gpt-4o-audio-preview", "gpt-99", "gpt-5-mini-tuned", "ft:gpt-4o:me", "openai/gpt-4o", ""]
)
def test_what_is_not_in_the_file_has_no_price_and_no_window(name: str) -> None:
    prices = Prices.load()
    assert prices.find(name) is None
    assert prices.window(name) is None


def test_the_window_is_that_of_the_model() -> None:
    assert Prices.load().window("claude-haiku-4-5-20251001") == 200_000


def test_the_owners_price_wins_over_the_file() -> None:
    own = table(price={"input": "0.15", "output": 0.6, "cached_input": "0.000001"})
    assert Prices.load().at(own, "gpt-4o") == Price(150_000, 600_000, 1)


def test_a_price_of_the_file_holds_at_the_vendors_own_address_only() -> None:
    prices = Prices.load()
    assert prices.at(table(), "gpt-4o") == prices.models["gpt-4o"].price
    assert prices.at(table(base_url="https://api.openai.com/v1"), "gpt-4o") is not None
    assert prices.at(table(base_url="https://gateway.example/v1"), "gpt-4o") is None
    assert prices.at(table(), "claude-haiku-4-5") is None
    assert prices.at(table("anthropic"), "claude-haiku-4-5") is not None


# Sums ------------------------------------------------------------------------------------------------------------

SMALL = Price(1_000_000, 5_000_000, 100_000, 1_250_000)


def test_cached_and_written_tokens_are_part_of_the_input_and_have_prices_of_their_own() -> None:
    usage = Usage(1000, 100, cached_tokens=600, cache_write_tokens=300, reasoning_tokens=90)
    assert cost_microusd(SMALL, usage) == 100 * 1 + 600 // 10 + 300 * 125 // 100 + 100 * 5


def test_a_part_of_a_micro_dollar_is_rounded_up() -> None:
    assert cost_microusd(Price(1, 1), Usage(1, 0)) == 1
    assert cost_microusd(Price(1, 1), Usage(0, 0)) == 0


def test_tokens_without_a_price_of_their_own_cost_as_much_as_any() -> None:
    assert cost_microusd(Price(1_000_000, 0), Usage(10, 0, cached_tokens=5, cache_write_tokens=5)) == 10


def test_a_long_question_makes_the_whole_call_dearer() -> None:
    price = Price(1_000_000, 2_000_000, long_prompt=LongPrompt(100, Price(2_000_000, 3_000_000)))
    assert cost_microusd(price, Usage(100, 10)) == 120
    assert cost_microusd(price, Usage(101, 10)) == 232


@pytest.mark.parametrize("usage", [Usage(), Usage(1, None), Usage(None, 1)])
def test_what_was_not_counted_has_no_cost(usage: Usage) -> None:
    assert cost_microusd(SMALL, usage) is None
    assert cost_microusd(None, Usage(1, 1)) is None


COUNT = st.integers(0, 2_000_000)


@given(COUNT, COUNT, st.none() | COUNT, st.none() | COUNT)
def test_a_cost_is_a_whole_number_and_never_more_than_was_set_aside(
    asked: int, said: int, cached: int | None, written: int | None
) -> None:
    cost = cost_microusd(SMALL, Usage(asked, said, cached_tokens=cached, cache_write_tokens=written))
    assert type(cost) is int
    assert 0 <= cost <= most_microusd(SMALL, asked, said)


@given(st.decimals(0, 1000, places=6), st.decimals(0, 1000, places=6), COUNT, COUNT)
def test_the_owners_price_is_reckoned_exactly(put: Decimal, got: Decimal, asked: int, said: int) -> None:
    own = table(price=PriceSettings(input=put, output=got).model_dump())
    exact = put * asked + got * said  # dollars for a million tokens are micro-dollars for one
    cost = cost_microusd(Prices.load().at(own, "any"), Usage(asked, said))
    assert cost is not None
    assert 0 <= cost - exact < 1


def test_a_door_knows_the_window_of_its_vendors_models_and_the_configured_one_wins() -> None:
    models = {"default": "gpt-4o"}
    official = build_provider(table(api_key="x", models=models), RouterSettings())
    own = build_provider(table(api_key="x", models=models, context_tokens=5000), RouterSettings())
    elsewhere = build_provider(table(base_url="https://gateway.example/v1", models=models), RouterSettings())
    assert [door.window_tokens("gpt-4o") for door in (official, own, elsewhere)] == [128_000, 5000, None]
    assert official.window_tokens("gpt-99") is None
