"""The doors: each speaks to one kind of provider through its official client. Importing this loads none of them."""

from __future__ import annotations

from typing import Final

from timmy_core.router.chat import Provider
from timmy_core.router.providers.absent import AbsentDoor
from timmy_core.router.providers.anthropic import AnthropicDoor
from timmy_core.router.providers.door import Door
from timmy_core.router.providers.offline import OfflineAnswer
from timmy_core.router.providers.ollama import OllamaDoor
from timmy_core.router.providers.openai import OpenAIDoor
from timmy_core.settings import ProviderSettings, RouterSettings

__all__ = ["OfflineAnswer", "build_provider"]

_DOORS: Final[dict[str, type[Door]]] = {"ollama": OllamaDoor, "openai": OpenAIDoor, "anthropic": AnthropicDoor}


def build_provider(settings: ProviderSettings, router: RouterSettings) -> Provider:
    """Return the door for one `[[providers]]` table; does no I/O and loads no client."""
    door = _DOORS.get(settings.kind)
    if door is not None:
        return door(settings, router)
    problem = f"this version has no door for {settings.kind} yet"
    advice = 'serve the model with `ollama serve` or llama.cpp and use kind = "ollama" or "openai" instead'
    return AbsentDoor(settings, problem, advice)
