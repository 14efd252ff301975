"""Three wire formats, as a server writes them: OpenAI's chat completions, Anthropic's messages, Ollama's chat."""

from __future__ import annotations

from typing import Final

from timmy_core.testing.formats.anthropic import AnthropicFormat
from timmy_core.testing.formats.base import Format
from timmy_core.testing.formats.ollama import OllamaFormat
from timmy_core.testing.formats.openai import OpenAIFormat

FORMATS: Final[tuple[Format, ...]] = (OpenAIFormat(), AnthropicFormat(), OllamaFormat())

__all__ = ["FORMATS", "AnthropicFormat", "Format", "OllamaFormat", "OpenAIFormat"]
