"""A client that survives a kept connection which the server had given up meanwhile."""

from __future__ import annotations

from typing import Any, Final

_MAX_TRIES: Final = 4  # a pool may hold several dead connections; each costs less than a millisecond

# What the transport reports before it connects, and once an answer has begun.
_CONNECTS: Final = ("connection.connect_tcp.started", "connection.connect_unix_socket.started")
_BEGUN: Final = ("http11.receive_response_headers.complete", "http2.receive_response_headers.complete")


def surviving_client(library: Any) -> Any:
    """Return the `AsyncClient` of httpx or httpx2 with one addition.

    A server may close a connection that it keeps open between requests at any moment, also in the one in which the
    next question is sent. Such a question was as good as never read, so it is sent again, without a word, as long as
    the connection was an old one and not a byte of an answer had come. On a new connection a failure is a failure.
    """
    broken = (library.RemoteProtocolError, library.ReadError, library.WriteError)

    class SurvivingClient(library.AsyncClient):  # type: ignore[misc]
        """Sends again what an old connection lost."""

        async def send(self, request: Any, **options: Any) -> Any:
            """Send a request, again if it was lost with an old connection."""
            for _ in range(_MAX_TRIES - 1):
                line = _Line()
                request.extensions = {**request.extensions, "trace": line.trace}
                try:
                    return await super().send(request, **options)
                except broken:
                    if line.is_new or line.has_begun:
                        raise
            return await super().send(request, **options)

    return SurvivingClient


class _Line:
    """What one sending tells about its connection."""

    def __init__(self) -> None:
        self.is_new = False
        self.has_begun = False

    async def trace(self, event: str, info: Any) -> None:
        """Listen to the transport."""
        del info
        self.is_new = self.is_new or event in _CONNECTS
        self.has_begun = self.has_begun or event in _BEGUN
