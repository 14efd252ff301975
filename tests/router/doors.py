"""What the tests of the doors share: doors to a server on loopback, and asking through them."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, Message, Provider, ToolCall, Usage
from timmy_core.router.providers import build_provider
from timmy_core.settings import ProviderSettings, RouterSettings

KINDS = ("openai", "anthropic", "ollama")
CLOUD = ("openai", "anthropic")
KEY = "secret-key-1234"
ASK = ChatRequest((Message("system", "be brief"), Message("user", "hi")), "tiny", timeout_s=5, first_token_s=5)

both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
cloud = pytest.mark.parametrize("kind", CLOUD)


def question(*messages: Message, model: str = "tiny", **more: Any) -> ChatRequest:
    return ChatRequest(messages or ASK.messages, model, timeout_s=5, first_token_s=5, **more)


def door(kind: str, url: str, *, router: RouterSettings | None = None, **more: object) -> Provider:
    path = "/v1" if kind == "openai" else ""
    table = {"name": "p", "kind": kind, "base_url": url + path, "api_key": KEY, "models": {"default": "tiny"}, **more}
    return build_provider(ProviderSettings.model_validate(table), router or RouterSettings())


async def chunks_of(provider: Provider, request: ChatRequest = ASK) -> list[Chunk]:
    async with aclosing(provider.stream(request)) as stream:
        return [chunk async for chunk in stream]


async def ask(provider: Provider, streamed: bool, request: ChatRequest = ASK) -> Completion:
    """Ask for a whole answer, or put one together from a stream."""
    if not streamed:
        return await provider.chat(request)
    chunks = await chunks_of(provider, request)
    last = chunks[-1]
    assert last.finish_reason is not None
    calls: tuple[ToolCall, ...] = tuple(call for chunk in chunks for call in chunk.tool_calls)
    text = "".join(chunk.text for chunk in chunks)
    return Completion(text, last.finish_reason, last.usage or Usage(), last.model or "", calls)


async def failure(provider: Provider, streamed: bool = False, request: ChatRequest = ASK) -> ProviderError:
    """Ask, and return the error that comes instead of an answer."""
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed, request)
    return caught.value
