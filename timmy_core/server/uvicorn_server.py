"""uvicorn, with three things it does not do itself: cut a connection, say goodbye first, survive its own signal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from timmy_core.server.ws import ABORT

if TYPE_CHECKING:
    import socket
    from types import FrameType

_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


class AbortableWebSocket(WebSocketsSansIOProtocol):
    """Lets the application drop a client that does not read; ASGI itself has no word for that."""

    def handle_connect(self, event: Any) -> None:
        """Add the way to cut the connection to the scope, before the application sees it."""
        super().handle_connect(event)
        if self.handshake_complete:
            return  # the handshake was refused, so there is no application
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[ABORT] = self.transport.abort


class Server(uvicorn.Server):
    """Calls back when it listens and before it closes anything, and returns after a stopping signal."""

    def __init__(
        self, config: uvicorn.Config, *, on_listening: Callable[[], None], before_close: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._on_listening, self._before_close = on_listening, before_close
        self.stopped_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so."""
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application say goodbye, then close."""
        await self._before_close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal. uvicorn would raise it again afterwards, which ends the process before Timmy is closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second Ctrl-C does not wait for anybody."""
        self.stopped_by = self.stopped_by or sig
        super().handle_exit(sig, frame)
