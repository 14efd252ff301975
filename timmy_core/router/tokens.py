"""How many tokens a text has, by a rule of thumb: for what a provider did not count, and before it could.

No tokenizer is loaded: each provider has its own, some are secret, and all need megabytes of tables. Characters are
counted by kind instead, and each kind has a weight that was fitted to two real tokenizers (o200k of OpenAI, and the
one that Anthropic published) on prose in 13 languages, code, JSON, tables and logs. There `estimate` is 0.6 to 1.6
times the larger of the two, and `at_least` 0.2 to 0.6 times the smaller; `docs/reference/router.md` has the figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

from timmy_core.router.chat import ChatRequest, Message, Tool, ToolCall, Usage

Words = str | Sequence[Message]

IMAGE_TOKENS: Final = 1600
"""A picture, whatever its size: what the large providers charge for one that is scaled to about a megapixel."""
MESSAGE_TOKENS: Final = 4
"""What marks the beginning and end of each message."""
TOOL_TOKENS: Final = 12
"""What stands around the description of each tool."""

_LOWER: Final = bytes(range(ord("a"), ord("z") + 1))
_UPPER: Final = bytes(range(ord("A"), ord("Z") + 1))
_DIGITS: Final = b"0123456789"
_SPACES: Final = b" \t\r\x0b\x0c"
_PUNCTUATION: Final = bytes(set(range(128)) - set(_LOWER + _UPPER + _DIGITS + _SPACES + b"\n"))

# Kinds of characters, the others by the first byte of their UTF-8: hundredths of a token, about and at least.
_KINDS: Final[tuple[tuple[bytes, int, int], ...]] = (
    (_LOWER, 22, 14),
    (_UPPER, 100, 14),
    (_DIGITS, 55, 20),
    (_SPACES, 4, 0),
    (b"\n", 20, 0),
    (_PUNCTUATION, 80, 10),
)
_WIDE: Final[tuple[tuple[bytes, int, int], ...]] = (
    (bytes(range(0xC2, 0xCC)), 150, 14),  # Latin with accents
    (bytes(range(0xCC, 0xD6)), 80, 14),  # Greek, Cyrillic, Armenian
    (bytes(range(0xD6, 0xE0)), 110, 20),  # Hebrew, Arabic
    (b"\xe0", 140, 16),  # the scripts of India, Thai
    (b"\xe1", 220, 16),  # Georgian, Khmer, Vietnamese
    (b"\xe2\xef", 100, 10),  # signs
    (bytes(range(0xE3, 0xEA)), 110, 35),  # Chinese, Japanese
    (bytes(range(0xEA, 0xEE)), 140, 30),  # Korean
    (bytes(range(0xF0, 0xF5)), 320, 20),  # emoji and rare characters
)
# Rules and leaders are few tokens in every vocabulary, however long. Spaces and line ends count for nothing anyway.
_RULES: Final = tuple(4 * sign for sign in "-=_*#.~+─━═")
_RUN: Final = re.compile(r"([^\w\s]|_)\1{3,}")


def estimate(words: Words, tools: Sequence[Tool] = ()) -> int:
    """Return about how many tokens a text or a history has, rather too many than too few."""
    if isinstance(words, str):
        return _about(words)
    total = sum(_message(message) for message in words)
    return total + sum(TOOL_TOKENS + _about(_tool(tool)) for tool in tools)


def at_least(words: Words, tools: Sequence[Tool] = ()) -> int:
    """Return a number of tokens that no usual tokenizer stays below, so that more than a window is surely too much."""
    texts = [words] if isinstance(words, str) else [text for message in words for text in _texts(message)]
    return _count("".join(texts) + "".join(_tool(tool) for tool in tools), least=True)


def estimated_usage(request: ChatRequest, text: str = "", tool_calls: Sequence[ToolCall] = ()) -> Usage:
    """Return what a call used whose provider did not say it: all of the question, and the answer as far as it came."""
    output = _about(text) + sum(_about(call.name) + _about(call.arguments) for call in tool_calls)
    question = estimate(request.messages, request.tools) + _about(request.prefill)
    return Usage(input_tokens=question, output_tokens=output, estimated=True)


def _message(message: Message) -> int:
    return MESSAGE_TOKENS + sum(_about(text) for text in _texts(message)) + IMAGE_TOKENS * len(message.images)


def _texts(message: Message) -> list[str]:
    return [message.content, *(text for call in message.tool_calls for text in (call.name, call.arguments))]


def _tool(tool: Tool) -> str:
    parameters = json.dumps(dict(tool.parameters), ensure_ascii=False, default=str)
    return f"{tool.name} {tool.description} {parameters}"


def _about(text: str) -> int:
    return _count(text, least=False) if text else 0


def _count(text: str, *, least: bool) -> int:
    """Add the weights up, in hundredths; each kind is counted in one pass of C."""
    if least and any(rule in text for rule in _RULES):
        text = _RUN.sub(r"\1", text)
    data = text.encode(errors="replace")
    kinds = _KINDS if len(data) == len(text) else (*_KINDS, *_WIDE)
    size = len(data)
    hundredths = 0
    for kind, about, lowest in kinds:
        hundredths += (size - len(data.translate(None, kind))) * (lowest if least else about)
    return hundredths // 100 if least else -(-hundredths // 100)
