"""Ollama's door for its tests: made, asked, waited for."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Completion, Message, Usage
from timmy_core.router.providers import build_provider
from timmy_core.router.providers.ollama import OllamaDoor
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import WireServer

ASK = ChatRequest((Message("user", "hi"),), "tiny", timeout_s=5, first_token_s=5)
HASTY = replace(ASK, first_token_s=0.05)

both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def make(server: WireServer, load_s: float = 5, **more: object) -> OllamaDoor:
    table = {"name": "p", "kind": "ollama", "base_url": server.url, "models": {"default": "tiny"}, **more}
    made = build_provider(ProviderSettings.model_validate(table), RouterSettings(load_s=load_s))
    assert isinstance(made, OllamaDoor)
    return made


async def ask(door: OllamaDoor, streamed: bool, request: ChatRequest = ASK) -> Completion:
    if not streamed:
        return await door.chat(request)
    async with aclosing(door.stream(request)) as stream:
        chunks = [chunk async for chunk in stream]
    last = chunks[-1]
    assert last.finish_reason is not None
    calls = tuple(call for chunk in chunks for call in chunk.tool_calls)
    text = "".join(chunk.text for chunk in chunks)
    return Completion(text, last.finish_reason, last.usage or Usage(), last.model or "", calls)


async def failure(door: OllamaDoor, request: ChatRequest = ASK, streamed: bool = False) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(door, streamed, request)
    return caught.value


def paths(server: WireServer) -> list[str]:
    return [request.path for request in server.requests]


def body(server: WireServer) -> dict[str, Any]:
    sent: dict[str, Any] = server.questions[-1].body
    return sent
