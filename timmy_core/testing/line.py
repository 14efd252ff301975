"""One connection of a `WireServer`: HTTP/1.1 byte by byte, so that it can be cut in the middle of anything."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from timmy_core.testing.turn import Received

MAX_REQUEST: Final = 32 * 1024 * 1024
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class UnreadableRequestError(ValueError):
    """The request is none that this server can read; `status` is what it deserves."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Line:
    """A connection, and what can be done to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self.served = 0
        self._reader = reader
        self._writer = writer

    async def read(self) -> Received:
        """Read one request.

        Raises:
            UnreadableRequestError: it is too large, or its body is no JSON object.
        """
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, _, rest = head[0].partition(" ")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        raw = await self._body(headers)
        try:
            body = json.loads(raw) if raw else {}
        except ValueError as error:
            message = f"the body is not JSON: {error}"
            raise UnreadableRequestError(HTTPStatus.BAD_REQUEST, message) from None
        if not isinstance(body, dict):
            message = f"the body is a JSON {type(body).__name__}; expected an object"
            raise UnreadableRequestError(HTTPStatus.BAD_REQUEST, message)
        return Received(method, rest.partition(" ")[0], headers, body, connection=self.number)

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            length = int(headers.get("content-length", "0"))
            self._check(length)
            return await self._reader.readexactly(length)
        body = bytearray()
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            self._check(len(body) + size)
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return bytes(body)

    def _check(self, length: int) -> None:
        if length > MAX_REQUEST:
            message = f"the body has {length} bytes; at most {MAX_REQUEST} are taken"
            raise UnreadableRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)

    async def pause(self, seconds: float | None) -> None:
        """Wait, for ever when None.

        Raises:
            ConnectionAbortedError: the client went away meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                if not await self._reader.read(1):
                    message = "the client went away"
                    raise ConnectionAbortedError(message)
                await asyncio.Event().wait()  # it sent something out of turn; wait on all the same
        except TimeoutError:
            return

    async def whole(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Send a whole reply; the connection stays open."""
        self.head(status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})})
        await self.write(body)
        return True

    async def json(self, value: Any, status: int = HTTPStatus.OK) -> bool:
        """Send a whole JSON."""
        return await self.whole(status, "application/json", json.dumps(value, ensure_ascii=False).encode())

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a reply's first line and headers."""
        lines = [f"HTTP/1.1 {status} Made To Order", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode("latin-1"))

    async def write(self, data: bytes) -> None:
        """Send a part of a body whose length was said before."""
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Send a part of a body whose length is not known."""
        if data:
            await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> bool:
        """End such a body; the connection stays open."""
        await self.write(b"0\r\n\r\n")
        return True

    def reset(self) -> bool:
        """Cut the connection so that the other side reads a reset, not an end."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._writer.transport.abort()
        return False
