"""A server on loopback that speaks three wire formats, and misbehaves exactly as it is told.

It speaks OpenAI's chat completions, Anthropic's messages and Ollama's chat, each whole and streamed, byte by byte
over plain asyncio, so that a connection can be cut by a reset in the middle of a piece.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Literal, Self

from timmy_core.testing.formats import FORMATS, Format

Ending = Literal["finish", "end", "reset", "hang", "error", "linger"]

MAX_REQUEST: Final = 16 * 1024 * 1024
MAX_KEPT: Final = 10_000
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of one request.

    Args:
        pieces: the answer's text, piece by piece.
        ending: what happens behind the pieces: `finish` is a good end; `end` closes politely without one; `reset`
            cuts the connection; `hang` says nothing more; `error` sends an error inside the stream, or the body;
            `linger` finishes well but does not end the stream.
        after: how many pieces are sent before the ending; all when None.
        pause_s: the wait before each piece, which makes a drip.
        first_s: the wait before the headers.
        finish_reason: in the format's own words; its ordinary one when None.
        status: of the reply; one that is not 200 sends `body`, or the format's own error with `code` and `message`.
        headers: to be added to the reply.
        body: sent as it is instead of an answer, for instance HTML or half a JSON.
        content_type: the reply's, when not the format's own.
        code: of an error, in the format's own words.
        message: of an error.
        hang: accept the request and never send a byte.
        drop: accept the request and reset the connection.
        usage: (input, output) tokens that the reply reports.
        models: what the list of models holds.
    """

    pieces: tuple[str, ...] = ("Hello", " there", ".")
    ending: Ending = "finish"
    after: int | None = None
    pause_s: float = 0.0
    first_s: float = 0.0
    finish_reason: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str | None = None
    code: str | None = None
    message: str = "made to fail"
    hang: bool = False
    drop: bool = False
    usage: tuple[int, int] = (11, 7)
    models: tuple[str, ...] = ("tiny",)

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class WireServer:
    """Serves each request by the next turn of its script; the last turn is repeated for ever.

        async with WireServer(Turn(status=500), Turn()) as server:
            ... server.url ...

    Requests for the list of models do not use up turns.
    """

    def __init__(self, *script: Turn) -> None:
        self.requests: collections.deque[Received] = collections.deque(maxlen=MAX_KEPT)
        self.connections = 0
        self._script: collections.deque[Turn] = collections.deque(script or (Turn(),))
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens; OpenAI's clients want `/v1` behind it."""
        return f"http://127.0.0.1:{self._port}"

    def then(self, *script: Turn) -> None:
        """Replace what is left of the script."""
        self._script = collections.deque(script)

    async def start(self) -> None:
        """Listen; on the same port as before when it was stopped."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut those that are open."""
        if self._server is not None:
            self._server.close()
        for handler in tuple(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own, so that stopping can cancel it and wait for it.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection stays open for another."""
        request = await _read(reader)
        self.requests.append(request)
        format_ = next((known for known in FORMATS if known.matches(request.method, request.path)), None)
        if request.method == "GET":
            turn = self._script[0]
            if turn.status == HTTPStatus.OK and not turn.hang and not turn.drop:
                path = request.path.partition("?")[0]
                listing = next((known.listing(turn.models) for known in FORMATS if known.lists_at(path)), b"{}")
                return await _whole(writer, 200, "application/json", listing, {})
        else:
            turn = self._script.popleft() if len(self._script) > 1 else self._script[0]
        if turn.hang:
            await asyncio.Event().wait()
        if turn.drop:
            _reset(writer)
            return False
        if turn.first_s:
            await asyncio.sleep(turn.first_s)
        return await _reply(writer, turn, format_ or FORMATS[0], request)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    raw = await reader.readexactly(min(int(headers.get("content-length", "0")), MAX_REQUEST))
    return Received(method, path, headers, json.loads(raw) if raw else {})


async def _reply(writer: asyncio.StreamWriter, turn: Turn, speaks: Format, request: Received) -> bool:
    streamed = speaks.wants_stream(request.body)
    if turn.status != HTTPStatus.OK:
        body = turn.body if turn.body is not None else speaks.error(turn.status, turn.code, turn.message)
        kind = turn.content_type or "application/json"
        return await _whole(writer, turn.status, kind, body, turn.headers)
    if turn.body is not None:
        kind = turn.content_type or (speaks.stream_type if streamed else "application/json")
        return await _whole(writer, 200, kind, turn.body, turn.headers)
    if streamed:
        return await _stream(writer, turn, speaks, request)
    if turn.ending == "error":
        body = speaks.error(None, turn.code, turn.message)
    else:
        # A whole answer without a good end has no finish reason.
        finish = turn.finish_reason or (speaks.finish_reason if turn.ending != "end" else None)
        body = speaks.whole(turn.text, finish, turn.usage, request.body.get("model", ""))
    if turn.ending in ("reset", "hang") or turn.pause_s:
        return await _slow_body(writer, turn, body)
    return await _whole(writer, 200, "application/json", body, turn.headers)


async def _stream(writer: asyncio.StreamWriter, turn: Turn, speaks: Format, request: Received) -> bool:
    kind = turn.content_type or speaks.stream_type
    _head(writer, 200, {"content-type": kind, "transfer-encoding": "chunked", **turn.headers})
    model = request.body.get("model", "")
    await _chunk(writer, speaks.opening(turn.usage, model))
    for piece in turn.pieces[: turn.after]:
        if turn.pause_s:
            await asyncio.sleep(turn.pause_s)
        await _chunk(writer, speaks.piece(piece, model))
    if turn.ending == "hang":
        await asyncio.Event().wait()
    if turn.ending == "reset":
        _reset(writer)
        return False
    if turn.ending == "error":
        await _chunk(writer, speaks.stream_error(turn.code, turn.message))
    if turn.ending in ("finish", "linger"):
        await _chunk(writer, speaks.closing(turn.finish_reason or speaks.finish_reason, turn.usage, model))
    if turn.ending == "linger":
        await asyncio.Event().wait()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _slow_body(writer: asyncio.StreamWriter, turn: Turn, body: bytes) -> bool:
    """Send the promised length in small parts, or only half of it."""
    _head(writer, 200, {"content-type": "application/json", "content-length": str(len(body)), **turn.headers})
    cut = turn.ending in ("reset", "hang")
    half = body[: len(body) // 2] if cut else body
    step = max(1, len(half) // 20)
    for start in range(0, len(half), step):
        await asyncio.sleep(turn.pause_s)
        writer.write(half[start : start + step])
        await writer.drain()
    if turn.ending == "hang":
        await asyncio.Event().wait()
    if turn.ending == "reset":
        _reset(writer)
    return not cut


async def _whole(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> bool:
    _head(writer, status, {"content-type": kind, "content-length": str(len(body)), **headers})
    writer.write(body)
    await writer.drain()
    return True


def _head(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Made To Order", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Cut the connection so that the other side reads a reset, not an end."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()
