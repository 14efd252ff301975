"""OpenAI, and every server that speaks its chat completions (llama.cpp, vLLM, LM Studio and many more)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Usage
from timmy_core.router.providers.door import NO_KEY
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
        reply = await client.chat.completions.create(**self._arguments(request))
        if isinstance(reply, str):
            raise self._wrong_form(reply, request.model)
        if not getattr(reply, "choices", None):
            # The client reads any JSON object as a completion; this one is something else.
            raise self._wrong_form(json.dumps(reply.model_dump(mode="json")), request.model)
        choice = reply.choices[0]
        if choice.finish_reason is None:
            raise self.error(ErrorClass.TRUNCATED, "its answer has no finish reason", request.model)
        text = choice.message.content or getattr(choice.message, "refusal", None) or ""
        return Completion(text, choice.finish_reason, _usage(reply.usage), reply.model or request.model)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        stream = await client.chat.completions.create(
            **self._arguments(request), stream=True, stream_options={"include_usage": True}
        )
        await self._expect_events(stream.response, request.model)
        finish: list[str] = []
        usage, model = Usage(), request.model
        async for event in self._pieces(stream, finish):
            model = event.model or model
            usage = _usage(event.usage) if event.usage is not None else usage
            for choice in event.choices[:1]:
                finish += [choice.finish_reason] if choice.finish_reason else []
                text = choice.delta.content or getattr(choice.delta, "refusal", None) or ""
                if text or getattr(choice.delta, "reasoning_content", None):
                    yield Chunk(text)
        if finish:
            # Only now, because the usage comes behind the finish reason.
            yield Chunk(finish_reason=finish[-1], usage=usage, model=model)

    async def _list(self, client: Any) -> tuple[str, ...]:
        page = await client.models.list()
        if isinstance(page, str):
            raise self._wrong_form(page, self.default_model)
        return tuple(str(model.id) for model in page.data)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        if request.temperature is not None:
            arguments["temperature"] = request.temperature
        if request.max_tokens is not None:
            # OpenAI itself renamed it; most compatible servers know the old name only.
            name = "max_completion_tokens" if self.base_url == self.default_url else "max_tokens"
            arguments[name] = request.max_tokens
        return arguments

    def _translate(self, error: Exception, model: str) -> ProviderError:
        import openai

        if isinstance(error, openai.APIStatusError):
            return self.reply_error(error.status_code, error.response.headers, error.body, model)
        # Exactly this class: an error event inside a stream; the classes below it are about the connection.
        if type(error) is openai.APIError:
            return self.reply_error(None, {}, error.body or {"message": error.message}, model)
        return super()._translate(error, model)


def _usage(usage: Any) -> Usage:
    return Usage() if usage is None else Usage(usage.prompt_tokens, usage.completion_tokens)
