"""What the doors to nodes share: one way to ask over HTTP, and its failures in the words of the house."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from timmy_core.errors import Bolt11Error
from timmy_core.ledger.bolt11 import decode
from timmy_core.ledger.node import NodeError, NodeErrorKind

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 5.0
MAX_BYTES: Final = 32 << 20  # of one answer
MAX_WORDS: Final = 200  # of what a node says went wrong

_KEPT: Final = 10
_SPACE: Final = re.compile(r"\s+")

# What httpx says went wrong, narrow before wide: our word for it, and whether the request surely never left.
_FAILURES: Final[tuple[tuple[str, NodeErrorKind, bool], ...]] = (
    ("ConnectTimeout", "unreachable", True),
    ("PoolTimeout", "timeout", True),
    ("TimeoutException", "timeout", False),
    ("ConnectError", "unreachable", True),
    ("UnsupportedProtocol", "misconfigured", True),
    ("InvalidURL", "misconfigured", True),
    ("RemoteProtocolError", "protocol", False),
    ("TransportError", "unreachable", False),
    ("DecodingError", "protocol", False),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole; `body` is its JSON, or its text where it is none."""

    status: int
    body: Any

    def field(self, name: str) -> str:
        """Return a field of the answer that is a text, else an empty one."""
        found = self.body.get(name) if isinstance(self.body, Mapping) else None
        return found if isinstance(found, str) else ""


class Wire:
    """The connections to one node.

    Args:
        name: what people call the node, for messages.
        url: where it is.
        headers: what goes with each request, among it the key.
        timeout_s: how long a call may take that says nothing else.
        verify: how its certificate is checked; None: as this machine does.
        keep: how many connections are kept open for the next request. A kept one may have died meanwhile, and then
            nobody knows whether the request was read. So what pays keeps none: it gets a new one or surely did nothing.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        verify: ssl.SSLContext | None = None,
        keep: int = _KEPT,
    ) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._secrets = tuple(value for value in headers.values() if value)
        self._timeout_s = timeout_s
        self._verify = verify
        self._keep = keep
        self._client: httpx.AsyncClient | None = None

    @property
    def place(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(self._url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        limit_s: float | None = None,
    ) -> Reply:
        """Send a request and return its answer, whatever its status.

        Raises:
            NodeError: there was no answer.
        """
        limit_s = self._timeout_s if limit_s is None else limit_s
        try:
            async with asyncio.timeout(limit_s), self._sent(method, path, params, body) as response:
                data = bytearray()
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > MAX_BYTES:
                        text = f"the node {self.name} answered with more than {MAX_BYTES >> 20} MiB; look what it is"
                        raise NodeError(kind="protocol", message=text, sure=False)
        except TimeoutError as error:
            text = f"the node {self.name} did not answer within {limit_s:g} s; it may still do what it was asked"
            raise NodeError(kind="timeout", message=text, sure=False) from error
        return Reply(response.status_code, parsed(bytes(data)))

    @contextlib.asynccontextmanager
    async def lines(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[tuple[int, AsyncIterator[Any]]]:
        """Send a request, and hand out its status and the JSON of each line as it comes, without a limit in time."""
        async with self._sent(method, path, params, body) as response:
            yield response.status_code, _lines(response, self.name)

    def words(self, text: str) -> str:
        """Return what a node said as one short line without the key."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        line = _SPACE.sub(" ", text).strip()
        return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"

    async def close(self) -> None:
        """Give the connections back."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def _sent(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: Mapping[str, Any] | None
    ) -> AsyncIterator[httpx.Response]:
        import httpx

        if self._client is None:
            self._client = self._open()
        try:
            async with self._client.stream(method, path, params=params, json=body) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._translated(error) from error

    def _open(self) -> httpx.AsyncClient:
        import httpx

        return httpx.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=CONNECT_S, pool=CONNECT_S),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=self._keep),
            verify=True if self._verify is None else self._verify,
            trust_env=not is_loopback(self._url),  # a proxy from the environment cannot reach this machine for us
            follow_redirects=False,  # the key goes where the settings say, and nowhere else
        )

    def _translated(self, error: Exception) -> NodeError:
        import httpx

        kind, sure = next(
            ((kind, sure) for name, kind, sure in _FAILURES if isinstance(error, getattr(httpx, name))),
            ("protocol", False),
        )
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            text = (
                f"the certificate of the node {self.name} is not the one that is trusted: {self.words(str(error))}; "
                "give its own with tls_cert_path, or mend the host name in url"
            )
            return NodeError(kind="misconfigured", message=text, sure=True)
        what = self.words(str(error)) or type(error).__name__
        text = f"the node {self.name} at {self.place} cannot be asked: {what}; see that it runs and that url is right"
        return NodeError(kind=kind, message=text, sure=sure)


async def _lines(response: httpx.Response, name: str) -> AsyncIterator[Any]:
    rest = b""
    async for piece in response.aiter_bytes():
        rest += piece
        if len(rest) > MAX_BYTES:
            text = f"the node {name} sent a line of more than {MAX_BYTES >> 20} MiB; look what it is"
            raise NodeError(kind="protocol", message=text, sure=False)
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.strip():
                yield parsed(line)
    if rest.strip():
        yield parsed(rest)


def parsed(data: bytes) -> Any:
    """Return JSON, or the text where it is none."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def payment_hash_of(bolt11: str) -> str:
    """Return the payment hash of an invoice.

    Raises:
        NodeError: it cannot be read.
    """
    try:
        return decode(bolt11).payment_hash.hex()
    except Bolt11Error as error:
        raise NodeError(kind="rejected", message=str(error), sure=True) from error


def is_loopback(url: str) -> bool:
    """Return whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
