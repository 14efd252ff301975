"""Anthropic, and every server that speaks its messages."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass
from timmy_core.router.providers import anthropic_wire as wire
from timmy_core.router.providers.answers import CallParts, Unwrapped, checked_calls
from timmy_core.router.providers.door import NO_KEY
from timmy_core.router.providers.render import wants_json
from timmy_core.router.providers.sse import SseDoor
from timmy_core.settings import ProviderSettings, RouterSettings


class AnthropicDoor(SseDoor):
    """A provider behind the official `anthropic` client."""

    kind = "anthropic"
    default_url = "https://api.anthropic.com"
    needs_key = True
    lists_all = False

    def __init__(self, settings: ProviderSettings, router: RouterSettings) -> None:
        super().__init__(settings, router)
        # It is said of the door, so all its models have to be able to.
        self.can_prefill = bool(self.models) and all(wire.can_prefill(model) for model in self.models.values())

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
        reply = await client.messages.create(**wire.chat_arguments(request))
        if isinstance(reply, str):
            raise self._wrong_form(reply, request.model)
        if getattr(reply, "content", None) is None:
            # The client reads any JSON object as a message; this one is something else.
            raise self._wrong_form(json.dumps(reply.model_dump(mode="json")), request.model)
        if reply.stop_reason is None:
            raise self.error(ErrorClass.TRUNCATED, "its answer has no stop reason", request.model)
        text = "".join(block.text for block in reply.content if block.type == "text")
        unwrapped = _unwrapped(request)
        if unwrapped is not None:
            text = unwrapped.feed(wire.begun_json(request) + text)
        uses = (wire.call_of(block, json.dumps(block.input)) for block in reply.content if block.type == "tool_use")
        calls = checked_calls(uses, cut=reply.stop_reason == "max_tokens")
        finish = wire.finish_of(reply.stop_reason, called=bool(calls))
        self._check_json(request, text, finish)
        return Completion(text, finish, wire.usage_of(reply.usage), reply.model or request.model, calls)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        stream = await client.messages.create(**wire.chat_arguments(request), stream=True)
        await self._expect_events(stream.response, request.model)
        answer = _Answer(request)
        async for event in self._pieces(stream, answer.finish):
            piece = answer.take(event)
            if piece is not None:
                yield piece
        if answer.finish:
            calls = answer.calls.whole(cut=answer.finish[-1] == "max_tokens")
            finish = wire.finish_of(answer.finish[-1], called=bool(calls))
            self._check_json(request, "".join(answer.json), finish)
            if calls:
                yield Chunk(tool_calls=calls)
            yield Chunk(finish_reason=finish, usage=wire.usage_of(*reversed(answer.reports)), model=answer.model)

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


class _Answer:
    """A streamed answer, as far as it has come."""

    def __init__(self, request: ChatRequest) -> None:
        self.model = request.model
        self.finish: list[str] = []
        self.reports: list[Any] = []
        self.calls = CallParts()
        self.json: list[str] = []
        self._begun = wire.begun_json(request)
        self._keeps = wants_json(request)
        self._unwrapped = _unwrapped(request)

    def take(self, event: Any) -> Chunk | None:
        """Take an event; returns what the caller is to see of it. A chunk without text says: it is at work."""
        if event.type == "content_block_delta":
            return self._delta(event)
        if event.type == "content_block_start" and event.content_block.type == "tool_use":
            block = event.content_block
            self.calls.add(event.index, block.id, block.name, json.dumps(block.input) if block.input else None)
            return Chunk()
        if event.type == "message_start":
            self.model = event.message.model or self.model
            self.reports.append(event.message.usage)
        elif event.type == "message_delta":
            self.finish += [event.delta.stop_reason] if event.delta.stop_reason else []
            self.reports.append(event.usage)
        return None

    def _delta(self, event: Any) -> Chunk | None:
        delta = event.delta
        if delta.type == "text_delta":
            return self._text(delta.text)
        if delta.type == "input_json_delta":
            self.calls.add(event.index, None, None, delta.partial_json)
            return Chunk() if delta.partial_json else None
        return Chunk() if getattr(delta, "thinking", None) else None

    def _text(self, text: str) -> Chunk | None:
        if not self._keeps:
            return Chunk(text) if text else None
        if self._unwrapped is not None:
            text, self._begun = self._unwrapped.feed(self._begun + text), ""
        self.json.append(text)
        return Chunk(text)


def _unwrapped(request: ChatRequest) -> Unwrapped | None:
    """What takes a JSON out of the words around it, where only words asked for it."""
    kind = "object" if request.json_schema is None else request.json_schema.get("type", "object")
    only_asked = wants_json(request) and not wire.has_json_format(request)
    return Unwrapped() if only_asked and kind in ("object", "array") else None
