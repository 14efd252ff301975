"""Ollama, on this machine or another."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Usage
from timmy_core.router.providers.door import Door
from timmy_core.router.providers.failures import parse_body
from timmy_core.router.providers.transport import surviving_client


class OllamaDoor(Door):
    """A provider behind the official `ollama` client."""

    kind = "ollama"
    default_url = "http://127.0.0.1:11434"
    needs_key = False
    lists_all = True
    advice = {  # noqa: RUF012 - read only, and declared so above
        ErrorClass.REFUSED: "start it with `ollama serve`, then `ollama pull {model}`",
        ErrorClass.MODEL_NOT_FOUND: "run `ollama pull {model}`, or set another model in models of {where}",
    }

    def _build(self) -> Any:
        import httpx
        import ollama

        def authorize(request: httpx.Request) -> httpx.Request:
            """Send the configured key and no other; the client would take one from the environment."""
            request.headers.pop("authorization", None)
            if self._key:
                request.headers["authorization"] = f"Bearer {self._key}"
            return request

        async def refuse(response: httpx.Response) -> None:
            """Raise our own error, because the client's forgets the headers and with them how long to wait."""
            kind = response.headers.get("content-type", "")
            # A good reply that is one JSON may hold an error all the same; a stream is left alone.
            if response.is_success and (
                not kind.startswith("application/json") or b'"error"' not in await response.aread()
            ):
                return
            body = parse_body((await response.aread()).decode(errors="replace"))
            if response.is_success and not (isinstance(body, dict) and body.get("error")):
                return
            status = None if response.is_success else response.status_code
            raise self.reply_error(status, response.headers, body, self._asked(response.request))

        class Client(ollama.AsyncClient):
            """The official client on a transport that survives lost connections."""

            def __init__(self, host: str, **options: Any) -> None:
                super(ollama.AsyncClient, self).__init__(surviving_client(httpx), host, **options)

        return Client(
            self.base_url,
            timeout=httpx.Timeout(None, connect=self.connect_s),  # the cascade holds the other limits
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100),
            auth=authorize,
            event_hooks={"response": [refuse]},
            trust_env=not self.loopback,  # a proxy from the environment cannot reach this machine for us
            follow_redirects=False,  # the key goes where the configuration says, and nowhere else
        )

    def _asked(self, request: Any) -> str:
        """The model that a sent request names; its own default where it names none."""
        body = parse_body(request.content.decode(errors="replace"))
        return str(body.get("model", self.default_model)) if isinstance(body, dict) else self.default_model

    def _foreign(self) -> tuple[type[Exception], ...]:
        import httpx
        import ollama

        return ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL

    async def _chat(self, client: Any, request: ChatRequest) -> Completion:
        reply = await client.chat(**_arguments(request), stream=False)
        if not reply.done:
            raise self.error(ErrorClass.TRUNCATED, "its answer is not marked as done", request.model)
        usage = Usage(reply.prompt_eval_count, reply.eval_count)
        return Completion(reply.message.content or "", reply.done_reason or "stop", usage, reply.model or request.model)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        last: list[Chunk] = []
        parts = await client.chat(**_arguments(request), stream=True)
        async for part in self._pieces(parts, last):
            text = part.message.content or ""
            if text or part.message.thinking:
                yield Chunk(text)
            if part.done:
                usage = Usage(part.prompt_eval_count, part.eval_count)
                last.append(Chunk("", part.done_reason or "stop", usage, part.model or request.model))
        for chunk in last[-1:]:
            yield chunk

    async def _list(self, client: Any) -> tuple[str, ...]:
        return tuple(str(model.model) for model in (await client.list()).models)

    def _has(self, found: tuple[str, ...], model: str) -> bool:
        """A name without a tag means the tag `latest`."""
        return (model if ":" in model else f"{model}:latest") in found or model in found

    def _translate(self, error: Exception, model: str) -> ProviderError:
        import ollama

        if isinstance(error, ollama.ResponseError):
            # Only an error inside a stream comes here; replies with a status are refused before.
            return self.reply_error(None, {}, {"error": error.error}, model)
        return super()._translate(error, model)


def _arguments(request: ChatRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    return {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "options": options or None,
    }
