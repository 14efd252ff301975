"""The doors: each speaks to one kind of provider through its official client. Importing this loads none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from timmy_core.router.chat import Provider
from timmy_core.router.providers.airllm import AirllmDoor
from timmy_core.router.providers.anthropic import AnthropicDoor
from timmy_core.router.providers.offline import OfflineAnswer
from timmy_core.router.providers.ollama import OllamaDoor
from timmy_core.router.providers.openai import OpenAIDoor
from timmy_core.settings import ProviderKind, ProviderSettings, RouterSettings

__all__ = ["OfflineAnswer", "build_provider"]

_DOORS: Final[dict[ProviderKind, Callable[[ProviderSettings, RouterSettings], Provider]]] = {
    "ollama": OllamaDoor,
    "airllm": AirllmDoor,
    "openai": OpenAIDoor,
    "anthropic": AnthropicDoor,
}


def build_provider(settings: ProviderSettings, router: RouterSettings) -> Provider:
    """Return the door for one `[[providers]]` table; does no I/O and loads no client."""
    return _DOORS[settings.kind](settings, router)
