"""aiohttp's pool of connections, with what it does not tell: whether a connection is old, and whether it spoke."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import aiohttp

_MAX_HEADER: Final = 65_536


class Line:
    """What one sending learns of its connection; made before it, in the same context."""

    __slots__ = ("fresh", "handler", "reused")

    def __init__(self) -> None:
        self.fresh = False  # it wants a connection that nobody had
        self.reused = False
        self.handler: Any = None

    def was_lost(self) -> bool:
        """Return whether the connection is an old one that gave not a byte this time."""
        return self.reused and not self.fresh and not self.handler.heard


LINE: Final[ContextVar[Line]] = ContextVar("line")


def open_session(ssl_context: Any, limits: Any) -> aiohttp.ClientSession:
    """Open a session with a pool of its own; belongs to the running loop."""
    import aiohttp

    connector = _connector_class()(
        limit=limits.max_connections or 0, keepalive_timeout=limits.keepalive_expiry, ssl=ssl_context
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # the client above keeps its own
        auto_decompress=False,  # and unpacks
        max_line_size=_MAX_HEADER,
        max_field_size=_MAX_HEADER,
    )
    session._retry_connection = False  # noqa: SLF001 - it has no other switch, and would also ask twice on a new one
    return session


@functools.cache
def _connector_class() -> type[aiohttp.TCPConnector]:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

    class Handler(ResponseHandler):
        """One connection."""

        uses = 0
        heard = False

        def data_received(self, data: bytes) -> None:
            """Take what came."""
            self.heard = True
            super().data_received(data)

    class Connector(aiohttp.TCPConnector):
        """A pool that tells each sending about its connection, and gives a new one to whom wants it."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._factory: Any = functools.partial(Handler, loop=self._loop)

        async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's own
            """Return a connection, from the pool or new."""
            connection = await super().connect(req, traces, timeout)
            line, handler = LINE.get(), connection.protocol
            assert isinstance(handler, Handler)  # noqa: S101 - what our own factory made
            line.handler, line.reused = handler, handler.uses > 0
            handler.uses += 1
            handler.heard = False
            return connection

        async def _get(self, key: Any, traces: Any) -> Any:
            return None if LINE.get().fresh else await super()._get(key, traces)

    return Connector
