"""Anthropic, and every server that speaks its messages."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Usage
from timmy_core.router.providers.door import NO_KEY
from timmy_core.router.providers.sse import SseDoor

_MAX_TOKENS: Final = 4096  # this API insists on a number

_FINISH: Final[dict[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "refusal": "content_filter",
}


class AnthropicDoor(SseDoor):
    """A provider behind the official `anthropic` client."""

    kind = "anthropic"
    default_url = "https://api.anthropic.com"
    needs_key = True
    lists_all = False

    def _build(self) -> Any:
        import anthropic

        http = self._http_client()
        client = anthropic.AsyncAnthropic(
            api_key=self._key or NO_KEY,
            webhook_key="",
            base_url=self.base_url,
            timeout=http.timeout,
            max_retries=0,
            open_telemetry=False,
            http_client=http,
        )
        client._custom_headers = {}  # noqa: SLF001 - ANTHROPIC_CUSTOM_HEADERS has no other switch
        return client

    def _foreign(self) -> tuple[type[Exception], ...]:
        import anthropic
        import httpx2

        return anthropic.AnthropicError, httpx2.HTTPError, httpx2.InvalidURL

    async def _chat(self, client: Any, request: ChatRequest) -> Completion:
        reply = await client.messages.create(**_arguments(request))
        if isinstance(reply, str):
            raise self._wrong_form(reply, request.model)
        if getattr(reply, "content", None) is None:
            # The client reads any JSON object as a message; this one is something else.
            raise self._wrong_form(json.dumps(reply.model_dump(mode="json")), request.model)
        if reply.stop_reason is None:
            raise self.error(ErrorClass.TRUNCATED, "its answer has no stop reason", request.model)
        text = "".join(block.text for block in reply.content if block.type == "text")
        usage = Usage(reply.usage.input_tokens, reply.usage.output_tokens)
        return Completion(text, _finish(reply.stop_reason), usage, reply.model or request.model)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        stream = await client.messages.create(**_arguments(request), stream=True)
        await self._expect_events(stream.response, request.model)
        finish: list[str] = []
        model, input_tokens, output_tokens = request.model, None, None
        async for event in self._pieces(stream, finish):
            if event.type == "message_start":
                model = event.message.model or model
                input_tokens = event.message.usage.input_tokens
            elif event.type == "content_block_delta":
                # Thinking has no text, and says that the model is at work.
                yield Chunk(event.delta.text if event.delta.type == "text_delta" else "")
            elif event.type == "message_delta":
                finish += [event.delta.stop_reason] if event.delta.stop_reason else []
                output_tokens = event.usage.output_tokens
        if finish:
            yield Chunk(finish_reason=_finish(finish[-1]), usage=Usage(input_tokens, output_tokens), model=model)

    async def _list(self, client: Any) -> tuple[str, ...]:
        page = await client.models.list(limit=1000)
        if isinstance(page, str):
            raise self._wrong_form(page, self.default_model)
        return tuple(str(model.id) for model in page.data)

    def _translate(self, error: Exception, model: str) -> ProviderError:
        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            # An error event inside a stream comes with the status of its beginning, which was good.
            status = error.status_code if error.response.is_error or error.response.is_redirect else None
            return self.reply_error(status, error.response.headers, error.body, model)
        return super()._translate(error, model)


def _finish(reason: str) -> str:
    return _FINISH.get(reason, reason)


def _arguments(request: ChatRequest) -> dict[str, Any]:
    """This API keeps the system's words apart from the turns."""
    arguments: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or _MAX_TOKENS,
        "messages": [
            {"role": turn.role, "content": turn.content} for turn in request.messages if turn.role != "system"
        ],
    }
    system = "\n\n".join(turn.content for turn in request.messages if turn.role == "system")
    if system:
        arguments["system"] = system
    if request.temperature is not None:
        arguments["temperature"] = request.temperature
    return arguments
