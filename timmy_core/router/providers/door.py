"""What all doors share: opening a client late, translating every failure once, and saying what to do about it."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Health
from timmy_core.router.pricing import Prices
from timmy_core.router.providers import failures
from timmy_core.router.providers.transport import transport_errors
from timmy_core.settings import ProviderSettings, RouterSettings

NO_KEY: Final = "none"
"""What stands for a key where a server wants none; the official clients insist on something."""

UNPAID_S: Final = 600.0
"""How long a provider is left alone whose quota or credit is used up; somebody has to pay first."""

_UNPAID_ADVICE: Final = (
    "pay, or raise the spending limit, under billing in the account of {where}; "
    "until then another provider has to answer, and this one is asked again every 10 minutes"
)
_IMPORT_ADVICE: Final = "install what it names; if it is about a proxy, unset ALL_PROXY or name an HTTP proxy there"
_TAIL_S: Final = 0.5
_MAX_PIECES: Final = 1_000_000

# What a client raises when an answer has another form than it expects.
SHAPE_ERRORS: Final = (ValueError, TypeError, AttributeError, LookupError)

_ADVICE: Final[dict[ErrorClass, str]] = {
    ErrorClass.REFUSED: "start the server that should listen at {url}, or correct base_url of {where}",
    ErrorClass.CONNECTION: "check the network, and base_url ({url}) of {where}",
    ErrorClass.TIMEOUT: "check that {url} is reachable; raise first_token_s of {where} if the model is slow",
    ErrorClass.RATE_LIMITED: "wait, raise the limit with the provider, or add a second provider to timmy.toml",
    ErrorClass.AUTH: "set a valid api_key for {where}",
    ErrorClass.MODEL_NOT_FOUND: "choose a model that `timmy router test {name}` lists and set it in models of {where}; "
    "if it lists none, correct base_url ({url})",
    ErrorClass.CONTEXT_LENGTH: "shorten the conversation, or choose a model with a larger window",
    ErrorClass.CONTENT_FILTER: "ask in other words",
    ErrorClass.BAD_REQUEST: "check base_url ({url}) and models of {where}",
    ErrorClass.SERVER: "try again later; the fault is on the side of {url}",
    ErrorClass.OVERLOADED: "try again in a minute; {url} is busy or still loading",
    ErrorClass.MALFORMED: "check that base_url ({url}) of {where} is the address of such an API, with its path",
    ErrorClass.TRUNCATED: "try again; if it lasts, look at the log of the server at {url}",
    ErrorClass.LOADING: "wait until the server at {url} has read its model",
    ErrorClass.NOT_CONFIGURED: "complete {where}",
}


class Door(ABC):
    """A provider behind an official client, which is built by the first call and on that call's loop.

    Args:
        settings: the provider's table in `timmy.toml`.
        router: the limits that hold for all.
    """

    kind: str
    default_url: ClassVar[str]
    needs_key: ClassVar[bool]  # at its own address; a server of somebody else's decides for itself
    lists_all: ClassVar[bool]  # a model that its list does not name cannot be asked
    can_prefill: bool = False
    advice: ClassVar[Mapping[ErrorClass, str]] = {}

    def __init__(self, settings: ProviderSettings, router: RouterSettings) -> None:
        self.name = settings.name
        self.models: Mapping[str, str] = dict(settings.models)
        self.default_model = settings.models.get("default") or next(iter(settings.models.values()), "")
        self.priority = settings.priority
        self.first_token_s = settings.first_token_s
        self.base_url = settings.base_url or self.default_url
        self.official = self.base_url.rstrip("/") == self.default_url
        self.loopback = is_loopback(self.base_url)
        self.local = self.loopback if settings.local is None else settings.local
        # What runs on a machine of the owner's costs nothing, as long as nobody named a price.
        self.free = self.local if settings.price is None else settings.price.input == settings.price.output == 0
        self.max_concurrency = settings.max_concurrency
        self._window = settings.context_tokens
        self.connect_s = router.connect_s
        self._key = settings.api_key.get_secret_value() if settings.api_key is not None else None
        self._problem = self._find_problem(settings)
        self._opening = asyncio.Lock()
        self._client: Any = None

    # What each door does ------------------------------------------------------------------------------------

    @abstractmethod
    def _build(self) -> Any:
        """Import the library and return its client; runs on a worker thread, because both take long."""

    @abstractmethod
    async def _chat(self, client: Any, request: ChatRequest) -> Completion:
        """Ask for a whole answer."""

    @abstractmethod
    def _stream(self, client: Any, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Ask for a stream."""

    @abstractmethod
    async def _list(self, client: Any) -> tuple[str, ...]:
        """Return the names of the models that can be asked."""

    @abstractmethod
    def _foreign(self) -> tuple[type[Exception], ...]:
        """Return what the library and its transport raise."""

    def _caught(self) -> tuple[type[Exception], ...]:
        try:
            foreign = self._foreign()
        except ImportError:
            foreign = ()  # then the library raised nothing: `_open` says that it is not there
        return (*foreign, *transport_errors(), *SHAPE_ERRORS, OSError, ProviderError)

    # What the cascade sees ----------------------------------------------------------------------------------

    def problem(self) -> tuple[str, str] | None:
        """Return (what is missing, what to do) when it cannot be asked at all; does no I/O."""
        return self._problem

    def window_tokens(self, model: str) -> int | None:
        """Return how many tokens a question and its answer may have together: as configured, or as its vendor says."""
        if self._window is not None or not self.official:
            return self._window
        return Prices.load().window(model)

    async def chat(self, request: ChatRequest) -> Completion:
        """Return the whole answer.

        Raises:
            ProviderError: there is none; says why and what to do.
        """
        try:
            return await self._chat(await self._open(), request)
        except self._caught() as error:
            # Without the cause: a foreign text may repeat the key, and tracebacks are logged.
            raise self._translate(error, request.model) from None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer in chunks, the last with the finish reason.

        Raises:
            ProviderError: it failed, or the stream was cut.
        """
        began = False
        try:
            async with aclosing(self._stream(await self._open(), request)) as chunks:
                async for chunk in chunks:
                    began = began or bool(chunk.text)
                    yield chunk
                    if chunk.finish_reason is not None:
                        return
        except self._caught() as error:
            failure = self._translate(error, request.model)
            if began and failure.error_class == ErrorClass.CONNECTION:
                raise self.error(ErrorClass.TRUNCATED, failure.message, request.model) from None
            raise failure from None
        raise self.error(ErrorClass.TRUNCATED, "its stream ended before the answer was finished", request.model)

    async def check(self, *, timeout_s: float) -> Health:
        """Ask whether it would answer, without spending tokens; does network I/O."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._open()
                found = await self._list(client)
        except TimeoutError:
            failed = self.error(ErrorClass.TIMEOUT, f"it did not answer within {timeout_s:.3g} s", self.default_model)
        except self._caught() as error:
            failed = self._translate(error, self.default_model)
        else:
            return self._health(found, (time.monotonic() - began) * 1000)
        return Health(ok=False, message=failed.message, advice=failed.advice, latency_ms=_since_ms(began))

    async def close(self) -> None:
        """Close every socket."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _pieces(self, source: Any, finish: Sequence[object]) -> AsyncGenerator[Any, None]:
        """Yield from a client's stream and close it in the end, whatever its own type is.

        Once the answer has a `finish` the rest is read for the connection's sake alone, so that it can be used again:
        neither silence nor a fault there can spoil the answer.
        """
        try:
            for _ in range(_MAX_PIECES):
                try:
                    if finish:
                        async with asyncio.timeout(_TAIL_S):
                            item = await anext(source, None)
                    else:
                        item = await anext(source, None)
                except self._caught():
                    if finish:
                        return
                    raise
                if item is None:
                    return
                yield item
        finally:
            close = getattr(source, "aclose", None) or source.close
            await close()

    # What the doors use -------------------------------------------------------------------------------------

    def error(
        self, kind: ErrorClass, message: str, model: str, *, retry_after_s: float | None = None, advice: str = ""
    ) -> ProviderError:
        """Return the error in the house's words: without secrets, and with what to do."""
        where = f'[[providers]] name = "{self.name}" in timmy.toml'
        template = advice or self.advice.get(kind) or _ADVICE.get(kind, "")
        told = template.format(name=self.name, model=model, url=shown_url(self.base_url), where=where)
        secret = None if self._key == NO_KEY else self._key
        return ProviderError(kind, failures.scrub(message, secret), advice=told, retry_after_s=retry_after_s)

    def reply_error(self, status: int | None, headers: Mapping[str, str], body: object, model: str) -> ProviderError:
        """Return the error that a reply, or an error inside a stream (`status` None), amounts to."""
        kind, said, unpaid = failures.from_reply(status, body)
        if status is not None and 300 <= status < 400:  # noqa: PLR2004 - where HTTP puts its redirects
            said = f"it redirects to {shown_url(headers.get('location', ''))}, which is not followed"
        number = "an error inside its answer" if status is None else f"HTTP {status}"
        message = f"{number}: {said}" if said else number
        if unpaid:
            # What is used up does not come back in a minute, whatever the headers say.
            return self.error(kind, message, model, retry_after_s=UNPAID_S, advice=_UNPAID_ADVICE)
        wait_s = failures.retry_after_s(headers) if status is not None else None
        return self.error(kind, message, model, retry_after_s=wait_s)

    def _translate(self, error: Exception, model: str) -> ProviderError:
        """Put an exception into the house's words; doors add what only their library knows."""
        if isinstance(error, ProviderError):
            return error
        kind, message = failures.from_exception(error)
        if kind == ErrorClass.TIMEOUT and "connection" in message:
            message = f"no connection was made within {self.connect_s:.3g} s"
        return self.error(kind, message, model)

    def _find_problem(self, settings: ProviderSettings) -> tuple[str, str] | None:
        where = f'[[providers]] name = "{self.name}" in timmy.toml'
        unset = ", ".join(settings.unset_variables)
        key = self._key or ""
        keyless = self.needs_key and not key and self.official
        found: tuple[tuple[object, str, str], ...] = (
            (not settings.enabled, "it is switched off", f"set enabled = true for {where}"),
            (unset, f"the environment variable {unset} is not set", f"set {unset} and start Timmy again"),
            (not _host(self.base_url), "its base_url is not an address", f"correct the base_url of {where}"),
            (not (key.isascii() and key.isprintable()), "its api_key cannot be sent", f"correct api_key of {where}"),
            (not self.default_model, "it has no model", f'add models = {{ default = "…" }} to {where}'),
            (keyless, "it has no api_key", f"add an api_key to {where}"),
        )
        return next(((problem, advice) for wrong, problem, advice in found if wrong), None)

    def _health(self, found: tuple[str, ...], latency_ms: float) -> Health:
        model = self.default_model
        if self._has(found, model):
            return Health(ok=True, message=f"answers, and has {model}", models=found, latency_ms=latency_ms)
        official = self.lists_all or self.official
        missing = self.error(ErrorClass.MODEL_NOT_FOUND, f"answers, but does not list the model {model}", model)
        advice = missing.advice if official else f"if {model} is not what you meant: {missing.advice}"
        return Health(ok=not official, message=missing.message, advice=advice, models=found, latency_ms=latency_ms)

    def _has(self, found: tuple[str, ...], model: str) -> bool:
        return model in found

    async def _open(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    try:
                        self._client = await asyncio.to_thread(self._build)
                    except ImportError as error:
                        # One of them makes a client while it is loaded, and so may fail over the environment's proxy.
                        message = f"its library cannot be loaded: {error}"
                        raise self.error(ErrorClass.NOT_CONFIGURED, message, "", advice=_IMPORT_ADVICE) from None
        return self._client


def is_loopback(url: str) -> bool:
    """Return whether an address is this machine's own, which no proxy can reach for us."""
    host = _host(url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_url(url: str) -> str:
    """Return an address without the user and password it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _host(url: str) -> str:
    """The host that an address names; nothing where it is no address."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:
        return ""
    return (parts.hostname or "") if usable else ""


def _since_ms(began: float) -> float:
    return (time.monotonic() - began) * 1000
