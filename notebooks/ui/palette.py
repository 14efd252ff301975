"""One fixed colour a provider kind and an event family, the same on every page and chart.

Every colour has a contrast of at least 3:1 against the light and the dark ground, so one value serves both.
The hues follow Okabe and Ito; families that are seen side by side stay apart for colour-blind eyes.
A colour never stands alone: an icon or a word is always beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timmy_core import Timmy

LIGHT_GROUND = "#fafaf9"
DARK_GROUND = "#131517"

NEUTRAL = "#717a84"
_SRGB_LINEAR = 0.04045  # below it sRGB is linear

FAMILIES: dict[str, str] = {
    "chat": "#0072b2",
    "llm": "#8b5cd6",
    "circuit": "#d55e00",
    "provider": "#c4562f",
    "router": "#5b7a9d",
    "task": "#009270",
    "agent": "#3289bf",
    "bid": "#a87000",
    "auction": "#7d7200",
    "tool": "#b8618f",
    "system": "#717a84",
    "invoice": "#4f8a10",
    "payment": "#a0662b",
    "budget": "#00808a",
    "ledger": "#8a7a2a",
    "memory": "#6a6fd6",
    "upgrade": "#d1477a",
    "log": "#64748b",
    "alert": "#c2410c",
}

PROVIDERS: dict[str, str] = {
    "ollama": "#0072b2",
    "openai": "#009270",
    "anthropic": "#d55e00",
    "airllm": "#8b5cd6",
    "offline": "#717a84",
}

KINDS: dict[str, str] = {"conversation": "#0072b2", "fact": "#d55e00", "document": "#009270"}

# For the second provider of a kind, and the third: as far from the five above as there is room.
SPARE: tuple[str, ...] = ("#a87000", "#b8618f", "#00808a", "#6a6fd6", "#7d7200", "#d1477a")


def family_color(family: str) -> str:
    """Return the colour of an event family; families of one's own (`x.`) are neutral."""
    return FAMILIES.get(family, NEUTRAL)


def provider_color(kind: str) -> str:
    """Return the colour of a provider kind."""
    return PROVIDERS.get(kind, NEUTRAL)


def provider_colors(kinds: Mapping[str, str]) -> dict[str, str]:
    """Return one colour a provider, by its name: that of its kind, and others for further ones of the same kind.

    It does not depend on the order in which they are asked, so steering them changes no colour.
    """
    found = dict.fromkeys(kinds, "")
    spare = itertools.cycle(SPARE)
    for name, kind in sorted(kinds.items()):
        color = provider_color(kind)
        found[name] = color if color not in found.values() else next(spare)
    return found


def colors_of(timmy: Timmy) -> dict[str, str]:
    """Return one colour a provider, in the order in which they are asked."""
    return provider_colors({info.name: info.kind for info in timmy.router.providers()})


def luminance(color: str) -> float:
    """Return the relative luminance of `#rrggbb`, as WCAG defines it."""
    red, green, blue = (_linear(int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= _SRGB_LINEAR else ((channel + 0.055) / 1.055) ** 2.4
