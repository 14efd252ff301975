"""What tokens cost: a dated price file, the owner's own prices before it, and whole micro-dollars throughout.

The formula is that of the vendors' price pages: tokens read from a cache and tokens written to one are part of the
input and have prices of their own; thinking is output; some models charge the whole of a call more when its question
is long. A model that is not in the file has no price: nothing is guessed.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

from timmy_core.router.chat import Usage
from timmy_core.settings import PriceSettings, ProviderSettings

MILLION: Final = 1_000_000

# A snapshot costs what its model does: gpt-4o-2024-08-06, claude-haiku-4-5-20251001, claude-3-7-sonnet-latest.
_SNAPSHOT: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """The micro-dollars that a million tokens cost."""

    input: int
    output: int
    cached_input: int | None = None  # None: as much as any input
    cache_write: int | None = None  # so too
    long_prompt: LongPrompt | None = None

    @property
    def free(self) -> bool:
        """Whether nothing is paid."""
        return not (self.input or self.output or self.cached_input or self.cache_write or self.long_prompt)


@dataclass(frozen=True, slots=True)
class LongPrompt:
    """The price of a whole call whose input is longer than so many tokens."""

    above_tokens: int
    price: Price


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of the price file."""

    vendor: str
    price: Price
    context_tokens: int | None


class Prices:
    """The price file; `Prices.load()` reads the one that came with this version."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.as_of = date.fromisoformat(data["as_of"])
        self.source: str = data["source"]
        self._hosts: dict[str, str] = {vendor: about["host"] for vendor, about in data["vendors"].items()}
        self.models: dict[str, Listed] = {}
        for name, row in data["models"].items():
            listed = Listed(row["vendor"], _price(row), row.get("context_tokens"))
            for alias in (name, *row.get("aliases", ())):
                self.models[alias] = listed

    @staticmethod
    @functools.cache
    def load() -> Prices:
        """Return the prices that came with this version; the file is read at the first call."""
        text = resources.files("timmy_core.router").joinpath("prices.json").read_text(encoding="utf-8")
        return Prices(json.loads(text))

    def find(self, model: str) -> Listed | None:
        """Return what is known of a model by its name, or by that of a snapshot of it; None where nothing is."""
        return self.models.get(model) or self.models.get(_SNAPSHOT.sub("", model))

    def window(self, model: str) -> int | None:
        """Return how many tokens a question and its answer may have together; None where that is not known."""
        listed = self.find(model)
        return None if listed is None else listed.context_tokens

    def at(self, table: ProviderSettings, model: str) -> Price | None:
        """Return what a provider charges: its own `price`, else the file's at the vendor's own address, else None."""
        if table.price is not None:
            return from_settings(table.price)
        listed = self.find(model)
        if listed is None or table.kind != listed.vendor:
            return None
        # Whoever else serves a model of that name has prices of their own.
        host = urlsplit(table.base_url).hostname if table.base_url else self._hosts[listed.vendor]
        return listed.price if host == self._hosts[listed.vendor] else None


def from_settings(price: PriceSettings) -> Price:
    """Return the owner's price; dollars for a million tokens become micro-dollars for a million."""
    cached = None if price.cached_input is None else int(price.cached_input * MILLION)
    return Price(int(price.input * MILLION), int(price.output * MILLION), cached)


def cost_microusd(price: Price | None, usage: Usage) -> int | None:
    """Return what a call costs in whole micro-dollars, rounded up; None without a price or without counted tokens."""
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    if price.long_prompt is not None and usage.input_tokens > price.long_prompt.above_tokens:
        price = price.long_prompt.price
    # More from the cache than there was input would make the rest cost less than nothing.
    cached = min(max(usage.cached_tokens or 0, 0), usage.input_tokens)
    written = min(max(usage.cache_write_tokens or 0, 0), usage.input_tokens - cached)
    total = (usage.input_tokens - cached - written) * price.input
    total += cached * (price.input if price.cached_input is None else price.cached_input)
    total += written * (price.input if price.cache_write is None else price.cache_write)
    total += usage.output_tokens * price.output
    return -(-total // MILLION)


def most_microusd(price: Price, input_tokens: int, output_tokens: int) -> int:
    """Return what a call with so many tokens costs at most: nothing read from a cache, all written to it."""
    dearest = Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)
    plain = Usage(input_tokens, output_tokens)
    return max(cost_microusd(price, dearest) or 0, cost_microusd(price, plain) or 0)


def _price(row: Mapping[str, Any]) -> Price:
    long = row.get("long_prompt")
    return Price(
        input=row["input"],
        output=row["output"],
        cached_input=row.get("cached_input"),
        cache_write=row.get("cache_write"),
        long_prompt=None if long is None else LongPrompt(long["above_tokens"], _price(long)),
    )
