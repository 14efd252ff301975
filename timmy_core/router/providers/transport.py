"""The transport of all doors: httpx and httpx2 clients on aiohttp, which survive a kept connection that had died."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ErrorClass
from timmy_core.router.providers.connector import LINE, Line, open_session

if TYPE_CHECKING:
    import aiohttp

MAX_CONNECTIONS: Final = 1000
_MAX_KEPT: Final = 100
_BIG_BODY: Final = 1 << 20  # aiohttp wants more than this as a file

# aiohttp's exceptions, narrow before wide, and the names of what httpx and httpx2 call the same.
_ERRORS: Final[tuple[tuple[str, str], ...]] = (
    ("ConnectionTimeoutError", "ConnectTimeout"),
    ("ServerTimeoutError", "ReadTimeout"),
    ("ClientProxyConnectionError", "ProxyError"),
    ("ClientHttpProxyError", "ProxyError"),
    ("ClientConnectorError", "ConnectError"),
    ("ServerFingerprintMismatch", "ConnectError"),
    ("ServerDisconnectedError", "RemoteProtocolError"),
    ("ClientPayloadError", "RemoteProtocolError"),
    ("ClientConnectionError", "ReadError"),
    ("InvalidURL", "UnsupportedProtocol"),
    ("NonHttpUrlClientError", "UnsupportedProtocol"),
    ("ClientResponseError", "DecodingError"),  # what came is not HTTP
)

_Translate = Callable[[BaseException], BaseException]


def client_options(library: Any, *, connect_s: float, loopback: bool) -> dict[str, Any]:
    """Return the arguments that every door gives to its client, for httpx and httpx2 alike."""
    return {
        "timeout": library.Timeout(None, connect=connect_s),  # the cascade holds the other limits
        "limits": library.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=_MAX_KEPT),
        "trust_env": not loopback,  # a proxy from the environment cannot reach this machine for us
        "follow_redirects": False,  # the key goes where the configuration says, and nowhere else
    }


def transport_errors() -> tuple[type[Exception], ...]:
    """Return what aiohttp raises, where it is in use."""
    loaded = sys.modules.get("aiohttp")
    return () if loaded is None else (loaded.ClientError,)


@functools.cache
def surviving_client(library: Any) -> Any:
    """Return the class of an `AsyncClient` of httpx or httpx2 that stands on aiohttp, with one addition.

    A server may close a connection that it keeps open between requests at any moment, also in the one in which the
    next question is sent. Such a question was as good as never read, so it is sent once more, without a word and on a
    connection that is surely new, as long as the old one had served before and not a byte of an answer had come.
    On a new connection a failure is a failure. aiohttp's own retry, which makes no such difference, is off.
    """
    transport = _transport_class(library)

    class SurvivingClient(library.AsyncClient):  # type: ignore[misc]
        """The library's client, on that transport, also where the environment names a proxy."""

        def _init_transport(self, **options: Any) -> Any:
            return options.get("transport") or transport(**options)

        def _init_proxy_transport(self, proxy: Any, **options: Any) -> Any:
            if proxy.url.scheme not in ("http", "https"):
                message = f"the environment names a proxy of kind {proxy.url.scheme}, which is not supported"
                advice = "name an HTTP proxy in ALL_PROXY instead, or the provider's host in NO_PROXY"
                raise ProviderError(ErrorClass.NOT_CONFIGURED, message, advice=advice)
            return transport(proxy=proxy, **options)

    return SurvivingClient


def _transport_class(library: Any) -> Any:
    import aiohttp

    # Both, whichever is wanted: openai looks into httpx as soon as that is there, also while another thread loads it.
    import httpx_aiohttp
    import httpx_aiohttp.httpx2

    base: Any = (httpx_aiohttp.httpx2 if library.__name__ == "httpx2" else httpx_aiohttp).AiohttpTransport
    translated = _translator(library)
    body = _body_class(library, translated)

    class Transport(base):  # type: ignore[misc]
        """Sends over aiohttp, and once more what an old connection lost."""

        client: Any

        def get_client(self) -> aiohttp.ClientSession:
            """Open the session; the first call does, because it belongs to that call's loop."""
            return open_session(self.ssl_context, self.limits)

        async def handle_async_request(self, request: Any) -> Any:
            """Send a request and return its reply's head."""
            if self.client is None:
                self.client = self.get_client()
            line = Line()
            LINE.set(line)
            try:
                try:
                    reply = await self.client.request(**_arguments(request, self.proxy))
                except aiohttp.ClientConnectionError:
                    if self.client.closed or not line.was_lost():
                        raise
                    line.fresh = True
                    reply = await self.client.request(**_arguments(request, self.proxy))
            except (aiohttp.ClientError, OSError) as error:
                raise translated(error) from error
            reason = (reply.reason or "").encode("ascii", errors="replace")
            extensions = {"http_version": b"HTTP/1.1", "reason_phrase": reason}
            return library.Response(reply.status, headers=reply.raw_headers, stream=body(reply), extensions=extensions)

    return Transport


def _translator(library: Any) -> _Translate:
    """Return what puts aiohttp's exceptions into the words of httpx or httpx2."""
    import aiohttp

    errors = tuple((getattr(aiohttp, ours), getattr(library, theirs)) for ours, theirs in _ERRORS)

    def translated(error: BaseException) -> BaseException:
        found: type[BaseException] = next(
            (theirs for ours, theirs in errors if isinstance(error, ours)), library.ReadError
        )
        return found(str(error))

    return translated


def _body_class(library: Any, translated: _Translate) -> Any:
    import aiohttp

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        """An answer's body, as it comes."""

        def __init__(self, reply: aiohttp.ClientResponse) -> None:
            self._reply = reply

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for piece in self._reply.content.iter_any():
                    yield piece
            except (aiohttp.ClientError, OSError) as error:
                raise translated(error) from error

        async def aclose(self) -> None:
            """Give the connection back where it was read to its end, and close it otherwise."""
            self._reply.release()
            await self._reply.wait_for_close()

    return Body


def _arguments(request: Any, proxy: Any) -> dict[str, Any]:
    """Put a request of httpx into the words of aiohttp."""
    # The client above made a header of an address's user and password; aiohttp wants either.
    url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url
    limits = request.extensions.get("timeout", {})
    content = request.content or None
    arguments = {
        "method": request.method,
        "url": str(url),
        "headers": request.headers,
        "data": io.BytesIO(content) if content is not None and len(content) > _BIG_BODY else content,
        "allow_redirects": False,
        "timeout": _timeout(limits.get("connect"), limits.get("read"), limits.get("pool")),
        "server_hostname": request.extensions.get("sni_hostname"),
    }
    if proxy is not None:
        # What the proxy wants to know of us goes to it alone: before the tunnel to a server that speaks TLS, and with
        # the question where the proxy itself passes that on.
        told = _proxy_headers(proxy)
        arguments |= {"proxy": str(proxy.url), "proxy_headers": told}
        if request.url.scheme == "http":
            arguments["headers"] = {**request.headers, **told}
    return arguments


@functools.lru_cache(maxsize=64)
def _timeout(connect_s: float | None, read_s: float | None, pool_s: float | None) -> aiohttp.ClientTimeout:
    import aiohttp

    # Its `connect` is the wait for the pool, the look-up of the name and the connection together.
    return aiohttp.ClientTimeout(connect=pool_s or connect_s, sock_connect=connect_s, sock_read=read_s)


def _proxy_headers(proxy: Any) -> dict[str, str]:
    headers = dict(proxy.headers)
    if proxy.raw_auth is not None:
        import aiohttp

        user, password = (part.decode("utf-8", errors="replace") for part in proxy.raw_auth)
        headers["proxy-authorization"] = aiohttp.encode_basic_auth(user, password)
    return headers
