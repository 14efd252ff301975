"""Ollama, on this machine or another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass
from timmy_core.router.providers import ollama_wire as wire
from timmy_core.router.providers.answers import is_json
from timmy_core.router.providers.door import Door
from timmy_core.router.providers.failures import parse_body
from timmy_core.router.providers.loading import Loading, patience_s
from timmy_core.router.providers.ollama_models import LocalModel, PullProgress, PullTally, local_models
from timmy_core.router.providers.render import wants_json
from timmy_core.router.providers.transport import client_options, surviving_client
from timmy_core.router.tokens import at_least, estimate
from timmy_core.settings import ProviderSettings, RouterSettings

DEFAULT_CONTEXT_TOKENS: Final = 8192
"""The window of a model for which nobody chose one: memory grows with it, and models promise hundreds of thousands."""

_FRESH_S: Final = 5.0  # for so long a model that answered, or was listed, counts as loaded
_MARKS: Final = 8  # tokens that may stand around each message
_NO_SUCH_ADDRESS: Final = frozenset({ErrorClass.MODEL_NOT_FOUND, ErrorClass.BAD_REQUEST})


@dataclass(slots=True)
class _Known:
    """What the door knows of one model."""

    num_ctx: int
    unlisted: bool = False  # the server's list of loaded models says nothing about it
    listed_as: int | None = None  # the window that the list shows where we asked for `num_ctx`
    fresh_until: float = 0.0


class OllamaDoor(Door):
    """A provider behind the official `ollama` client."""

    kind = "ollama"
    default_url = "http://127.0.0.1:11434"
    needs_key = False
    lists_all = True
    advice = {  # noqa: RUF012 - read only, and declared so above
        ErrorClass.REFUSED: "start it with `ollama serve`, then `ollama pull {model}`",
        ErrorClass.MODEL_NOT_FOUND: "run `timmy router pull {name} {model}`, or set another model in models of {where}",
        ErrorClass.LOADING: "ask again in a while; raise first_token_s of {where} to wait for it",
        ErrorClass.CONTEXT_LENGTH: "shorten the conversation, or raise context_tokens of {where} as far as model and "
        "memory allow",
    }

    def __init__(self, settings: ProviderSettings, router: RouterSettings) -> None:
        super().__init__(settings, router)
        self._known: dict[str, _Known] = {}
        self._silence_s = router.load_s
        self._loading = Loading(self._load, router.load_s, self.error)

    # What the cascade sees ----------------------------------------------------------------------------------

    def window_tokens(self, model: str) -> int | None:
        """Return the window that a model is loaded with; before the first question, what was configured."""
        known = self._known.get(model)
        return self._window if known is None else known.num_ctx

    async def close(self) -> None:
        """End every load and close every socket."""
        await self._loading.close()
        await super().close()

    def reply_error(self, status: int | None, headers: Mapping[str, str], body: object, model: str) -> ProviderError:
        """Return the error that a reply amounts to, also where it is one of the server's own runner, passed on."""
        error = super().reply_error(status, headers, wire.unwrapped(body), model)
        if error.error_class in (ErrorClass.BAD_REQUEST, ErrorClass.SERVER) and wire.says_too_long(error.message):
            return self.error(ErrorClass.CONTEXT_LENGTH, error.message, model)
        if error.error_class == ErrorClass.SERVER and wire.says_no_memory(error.message):
            advice = f"choose a smaller model than {model}, lower context_tokens, or free memory on {self.base_url}"
            return ProviderError(error.error_class, error.message, advice=advice)
        return error

    # What people do with its models -------------------------------------------------------------------------

    async def installed(self) -> tuple[LocalModel, ...]:
        """Return the models that the server has on its disk.

        Raises:
            ProviderError: it cannot be asked.
        """
        try:
            client = await self._open()
            tags = await client._request(dict, "GET", "/api/tags")  # noqa: SLF001 - see _ask
            return local_models(tags, await self._running(client, self.default_model))
        except self._caught() as error:
            raise self._translate(error, self.default_model) from None

    async def pull(self, model: str) -> AsyncGenerator[PullProgress, None]:
        """Have the server download a model; yields how far it is, and is done when it ends.

        Closing it stops the download; what has come stays with the server, and the next pull goes on from there.

        Raises:
            ProviderError: there is no such model, no room, or the server fell silent.
        """
        tally, status = PullTally(), ""
        try:
            client = await self._open()
            body = {"model": model, "stream": True}
            lines = await client._request(dict, "POST", "/api/pull", json=body, stream=True)  # noqa: SLF001
            async with aclosing(lines):
                while (line := await self._next_line(lines)) is not None:
                    progress = tally.add(line)
                    status = progress.status
                    yield progress
        except TimeoutError:
            message = f"the pull said nothing for {self._silence_s:g} s"
            raise self.error(ErrorClass.TIMEOUT, message, model) from None
        except self._caught() as error:
            raise self._pull_error(self._translate(error, model), model) from None
        if status != "success":
            raise self.error(ErrorClass.TRUNCATED, "the pull ended before it was complete", model)

    async def _next_line(self, lines: Any) -> Mapping[str, Any] | None:
        async with asyncio.timeout(self._silence_s):
            line: Mapping[str, Any] | None = await anext(lines, None)
        return line

    def _pull_error(self, error: ProviderError, model: str) -> ProviderError:
        if error.error_class not in (ErrorClass.MODEL_NOT_FOUND, ErrorClass.SERVER):
            return error
        advice = f"look {model} up on https://ollama.com/library, and check the disk and the network of its server"
        return ProviderError(error.error_class, error.message, advice=advice)

    # Asking -------------------------------------------------------------------------------------------------

    async def _chat(self, client: Any, request: ChatRequest) -> Completion:
        known = await self._ready(client, request)
        with _doubting(known):
            part = await self._ask(client, known, request, stream=False)
        message = wire.message_of(part)
        if not part.get("done"):
            raise self.error(ErrorClass.TRUNCATED, "its answer is not marked as done", request.model)
        calls = wire.calls_of(message)
        text = message.get("content") or ""
        last = self._end(known, request, part, text, called=bool(calls))
        assert last.finish_reason is not None  # noqa: S101 - every end has one
        assert last.usage is not None  # noqa: S101
        return Completion(text, last.finish_reason, last.usage, last.model or request.model, calls)

    async def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        known = await self._ready(client, request)
        last: list[Chunk] = []
        kept: list[str] = []
        keeps, called = wants_json(request), False
        with _doubting(known):
            parts = await self._ask(client, known, request, stream=True)
            async for part in self._pieces(parts, last):
                message = wire.message_of(part)
                text, calls = message.get("content") or "", wire.calls_of(message)
                called = called or bool(calls)
                if keeps:
                    kept.append(text)
                if text or calls or message.get("thinking"):
                    yield Chunk(text, tool_calls=calls)
                if part.get("done"):
                    last.append(self._end(known, request, part, "".join(kept), called=called))
        for chunk in last[-1:]:
            yield chunk

    async def _ask(self, client: Any, known: _Known, request: ChatRequest, *, stream: bool) -> Any:
        """Send a question through the official client.

        Its `chat` would forget what its types do not know: nested schemas of tools, ids of tool calls, `truncate`.
        """
        body = wire.chat_body(request, known.num_ctx, stream=stream)
        return await client._request(dict, "POST", "/api/chat", json=body, stream=stream)  # noqa: SLF001

    def _end(self, known: _Known, request: ChatRequest, part: Mapping[str, Any], text: str, *, called: bool) -> Chunk:
        """Check the end of an answer, note that the model is loaded, and return it as the last piece."""
        usage, finish = wire.usage_of(part), wire.finish_of(part, called=called)
        known.fresh_until = time.monotonic() + _FRESH_S
        read = usage.input_tokens or 0
        # A server that cuts a question to its window says so nowhere but in how much of it was read.
        cut = _may_be_long(request, known.num_ctx) and _is_cut(request, known.num_ctx, read)
        if read >= known.num_ctx or cut:
            message = f"it read {read:,} tokens of a longer question: its window is {known.num_ctx:,}"
            raise self.error(ErrorClass.CONTEXT_LENGTH, message, request.model)
        if not called and wire.must_call(request):
            message = "it answered without the tool call that was required, which this API cannot enforce"
            raise self.error(ErrorClass.BAD_REQUEST, message, request.model)
        only_object = request.json_schema is None
        if text and finish == "stop" and wants_json(request) and not is_json(text, only_object=only_object):
            raise self.error(ErrorClass.MALFORMED, "its answer is not the JSON that was asked for", request.model)
        return Chunk("", finish, usage, part.get("model") or request.model)

    # Getting ready ------------------------------------------------------------------------------------------

    async def _ready(self, client: Any, request: ChatRequest) -> _Known:
        """Return once the model is in memory and the question surely not too long for it."""
        model, began = request.model, time.monotonic()
        known = self._known.get(model)
        if known is None:
            known = self._known.setdefault(model, await self._look_up(client, model))
        need = _at_least(request) if _may_be_long(request, known.num_ctx) else 0
        if need >= known.num_ctx:
            message = f"the question has at least {need:,} tokens, and the window is {known.num_ctx:,}"
            raise self.error(ErrorClass.CONTEXT_LENGTH, message, model)
        if known.unlisted or known.fresh_until > time.monotonic():
            return known
        if self._loading.is_loading(model) or not await self._is_loaded(client, known, model):
            await self._loading.wait(model, patience_s(request) - (time.monotonic() - began))
        return known

    async def _look_up(self, client: Any, model: str) -> _Known:
        """Choose the model's window: the configured one, its owner's, or a modest one, as far as it was trained."""
        try:
            body = {"model": model}
            shown = await client._request(dict, "POST", "/api/show", json=body)  # noqa: SLF001 - see _ask
        except ProviderError as error:
            # A server without this address, or without this model; what of both, the question itself will tell.
            if error.error_class not in _NO_SUCH_ADDRESS:
                raise
            shown = {}
        wanted = self._window or wire.chosen_window(shown) or DEFAULT_CONTEXT_TOKENS
        trained = wire.trained_window(shown)
        return _Known(min(wanted, trained or wanted), unlisted=wire.is_remote(shown))

    async def _is_loaded(self, client: Any, known: _Known, model: str) -> bool:
        running = await self._running(client, model)
        if running is None:
            known.unlisted = True
            return True
        found, window = _entry(running, model)
        if not found or (window is not None and window not in (known.num_ctx, known.listed_as)):
            return False
        known.fresh_until = time.monotonic() + _FRESH_S
        return True

    async def _running(self, client: Any, model: str) -> Mapping[str, Any] | None:
        """Return what is in the server's memory; None where it does not say."""
        del model
        try:
            running: Mapping[str, Any] = await client._request(dict, "GET", "/api/ps")  # noqa: SLF001 - see _ask
        except ProviderError as error:
            if error.error_class not in _NO_SUCH_ADDRESS:
                raise
            return None
        return running if isinstance(running.get("models"), list) else None

    async def _load(self, model: str) -> None:
        """Have the server read a model into memory, without a question."""
        known = self._known[model]
        try:
            client = await self._open()
            # A server that only passes questions on takes this for one; so it shall be a short one.
            options = {"num_ctx": known.num_ctx, "num_predict": 1}
            body = {"model": model, "options": options, "stream": False}
            try:
                await client._request(dict, "POST", "/api/generate", json=body)  # noqa: SLF001 - see _ask
            except ProviderError as error:
                if error.error_class != ErrorClass.BAD_REQUEST:
                    raise
            running = await self._running(client, model)
        except self._caught() as error:
            raise self._translate(error, model) from None
        found, window = _entry(running or {}, model)
        # What is not in the list right after it was loaded never will be.
        known.unlisted = not found
        if window is not None and window < known.num_ctx:
            known.num_ctx = window
        known.listed_as = window
        known.fresh_until = time.monotonic() + _FRESH_S

    # What the client is -------------------------------------------------------------------------------------

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
            auth=authorize,
            event_hooks={"response": [refuse]},
            **client_options(httpx, connect_s=self.connect_s, loopback=self.loopback),
        )

    def _asked(self, request: Any) -> str:
        """The model that a sent request names; its own default where it names none."""
        body = parse_body(request.content.decode(errors="replace"))
        return str(body.get("model", self.default_model)) if isinstance(body, dict) else self.default_model

    def _foreign(self) -> tuple[type[Exception], ...]:
        import httpx
        import ollama

        return ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL

    async def _list(self, client: Any) -> tuple[str, ...]:
        return tuple(str(model.model) for model in (await client.list()).models)

    def _has(self, found: tuple[str, ...], model: str) -> bool:
        return any(wire.same_model(model, name) for name in found)

    def _translate(self, error: Exception, model: str) -> ProviderError:
        import ollama

        if isinstance(error, ollama.ResponseError):
            # Only an error inside a stream comes here; replies with a status are refused before.
            return self.reply_error(None, {}, {"error": error.error}, model)
        return super()._translate(error, model)


@contextmanager
def _doubting(known: _Known) -> Iterator[None]:
    """After a failure, or a caller's leaving, nobody knows whether the model is still loaded."""
    try:
        yield
    except BaseException:
        known.fresh_until = 0.0
        raise


def _at_least(request: ChatRequest) -> int:
    """A number of tokens that the question surely has; how much a picture costs depends on the model."""
    messages = tuple(replace(message, images=()) if message.images else message for message in request.messages)
    return at_least(messages, request.tools)


def _may_be_long(request: ChatRequest, num_ctx: int) -> bool:
    """Whether it is worth a count: no token is shorter than a byte, and most questions are short."""
    if request.tools or any(message.tool_calls for message in request.messages):
        return True
    return sum(4 * len(message.content) + _MARKS for message in request.messages) > num_ctx // 2


def _is_cut(request: ChatRequest, num_ctx: int, read: int) -> bool:
    """Whether a server that read so many tokens left some out; one may count oddly while the window is far."""
    return 0 < read < _at_least(request) and estimate(request.messages, request.tools) > num_ctx // 2


def _entry(running: Mapping[str, Any], model: str) -> tuple[bool, int | None]:
    """Whether a model is in the list of those in memory, and with which window."""
    for entry in running.get("models") or ():
        name = entry.get("model") or entry.get("name")
        if isinstance(name, str) and wire.same_model(name, model):
            window = entry.get("context_length")
            return True, window if isinstance(window, int) and window > 0 else None
    return False, None
