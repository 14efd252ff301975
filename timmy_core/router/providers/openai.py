"""OpenAI, and every server that speaks its chat completions (llama.cpp, vLLM, LM Studio and many more)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, ToolCall
from timmy_core.router.providers.answers import CallParts, checked_calls
from timmy_core.router.providers.door import NO_KEY
from timmy_core.router.providers.openai_wire import FAILED_FINISHES, chat_arguments, finish_of, usage_of
from timmy_core.router.providers.render import wants_json
from timmy_core.router.providers.sse import SseDoor


class OpenAIDoor(SseDoor):
    """A provider behind the official `openai` client."""

    kind = "openai"
    default_url = "https://api.openai.com/v1"
    needs_key = True
    lists_all = False

    def _build(self) -> Any:
        import openai

        http = self._http_client()
        client = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            admin_api_key="",
            webhook_secret="",
            base_url=self.base_url,
            timeout=http.timeout,
            max_retries=0,
            http_client=http,
        )
        # The client reads these from the environment when nothing is given, and takes no "none" for an answer.
        client.organization = None
        client.project = None
        client._custom_headers = {}  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS has no other switch
        return client

    def _foreign(self) -> tuple[type[Exception], ...]:
        import httpx2
        import openai

        return openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL

    async def _chat(self, client: Any, request: ChatRequest) -> Completion:
        reply = await client.chat.completions.create(**chat_arguments(request, official=self.official))
        if isinstance(reply, str):
            raise self._wrong_form(reply, request.model)
        if not getattr(reply, "choices", None):
            # The client reads any JSON object as a completion; this one is something else.
            raise self._wrong_form(json.dumps(reply.model_dump(mode="json")), request.model)
        choice, message = reply.choices[0], reply.choices[0].message
        self._check_finish(choice, request.model)
        if choice.finish_reason is None:
            raise self.error(ErrorClass.TRUNCATED, "its answer has no finish reason", request.model)
        named = (call for call in message.tool_calls or () if call.type != "custom")
        whole = (ToolCall(call.id or "", call.function.name or "", _written(call.function.arguments)) for call in named)
        calls = checked_calls(whole, cut=choice.finish_reason == "length")
        refusal = getattr(message, "refusal", None)
        finish = finish_of(choice.finish_reason, called=bool(calls), refused=bool(refusal))
        text = message.content or refusal or ""
        self._check_json(request, text, finish)
        return Completion(text, finish, usage_of(reply.usage), reply.model or request.model, calls)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        arguments = chat_arguments(request, official=self.official)
        stream = await client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True})
        await self._expect_events(stream.response, request.model)
        answer = _Answer(request)
        async for event in self._pieces(stream, answer.finish):
            answer.model = event.model or answer.model
            answer.usage = event.usage or answer.usage
            for choice in (event.choices or ())[:1]:
                if choice.finish_reason:
                    self._check_finish(choice, request.model)
                    answer.finish.append(choice.finish_reason)
                piece = answer.take(choice.delta)
                if piece is not None:
                    yield piece
        if answer.finish:
            calls = answer.calls.whole(cut=answer.finish[-1] == "length")
            finish = finish_of(answer.finish[-1], called=bool(calls), refused=answer.refused)
            self._check_json(request, "".join(answer.json), finish)
            if calls:
                yield Chunk(tool_calls=calls)
            # Only now, because the usage comes behind the finish reason.
            yield Chunk(finish_reason=finish, usage=usage_of(answer.usage), model=answer.model)

    def _check_finish(self, choice: Any, model: str) -> None:
        """Refuse an answer whose end says that the server failed."""
        if choice.finish_reason in FAILED_FINISHES:
            body = {"error": getattr(choice, "error", None) or {"message": f"it ended with {choice.finish_reason}"}}
            raise self.reply_error(None, {}, body, model)

    async def _list(self, client: Any) -> tuple[str, ...]:
        page = await client.models.list()
        if isinstance(page, str):
            raise self._wrong_form(page, self.default_model)
        return tuple(str(model.id) for model in page.data)

    def _translate(self, error: Exception, model: str) -> ProviderError:
        import openai

        if isinstance(error, openai.APIStatusError):
            return self.reply_error(error.status_code, error.response.headers, error.body, model)
        # Exactly this class: an error event inside a stream; the classes below it are about the connection.
        if type(error) is openai.APIError:
            return self.reply_error(None, {}, error.body or {"message": error.message}, model)
        return super()._translate(error, model)


def _written(arguments: Any) -> str:
    """Some servers send the arguments as the object itself."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)


class _Answer:
    """A streamed answer, as far as it has come."""

    def __init__(self, request: ChatRequest) -> None:
        self.model = request.model
        self.finish: list[str] = []
        self.usage: Any = None
        self.calls = CallParts()
        self.refused = False
        self.json: list[str] = []
        self._keeps = wants_json(request)

    def take(self, delta: Any) -> Chunk | None:
        """Take a piece; returns what the caller is to see of it. A chunk without text says: it is at work.

        Servers send empty pieces to keep the line open; these say nothing of the kind.
        """
        if delta.tool_calls:
            for part in delta.tool_calls:
                function = part.function
                name, arguments = (function.name, function.arguments) if function is not None else (None, None)
                self.calls.add(part.index, part.id, name, arguments)
        if delta.content:
            if self._keeps:
                self.json.append(delta.content)
            return Chunk(delta.content)
        self.refused = self.refused or bool(delta.refusal)
        thinks = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        return Chunk() if delta.tool_calls or delta.refusal or thinks else None
