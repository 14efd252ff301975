"""A server on loopback that speaks three wire formats, and misbehaves exactly as it is told.

It speaks OpenAI's chat completions, Anthropic's messages and Ollama's chat, each whole and streamed, byte by byte
over plain asyncio, so that a connection can be cut by a reset in the middle of a piece.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from timmy_core.testing.fault import Fault
from timmy_core.testing.formats import FORMATS, Format
from timmy_core.testing.line import Line, UnreadableRequestError
from timmy_core.testing.ollama_host import OllamaHost
from timmy_core.testing.reply import reply
from timmy_core.testing.turn import Api, Received, Turn

MAX_KEPT: Final = 10_000
_BACKLOG: Final = 1024


class WireServer:
    """Serves each question by the next entry of its script; the last entry is repeated for ever.

        async with WireServer(Turn(status=500), FAULTS["stall"], Turn()) as server:
            ... server.url ...

    A fault does what the API of the question does when it fails so. Requests that are no questions, for the list of
    models and for what `ollama` answers, do not use up entries.

    Attributes:
        requests: what came, the latest 10,000.
        connections: how many were made.
        ollama: the models of an Ollama server, and how it loads and pulls them.
    """

    def __init__(self, *script: Turn | Fault) -> None:
        self.requests: collections.deque[Received] = collections.deque(maxlen=MAX_KEPT)
        self.connections = 0
        self.ollama = OllamaHost()
        self._script: collections.deque[Turn | Fault] = collections.deque(script or (Turn(),))
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens; OpenAI's clients want `/v1` behind it."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open now; one that its client has closed goes within a moment."""
        return len(self._handlers)

    @property
    def questions(self) -> list[Received]:
        """The requests that were questions to a model."""
        return [request for request in self.requests if request.api is not None]

    def base_url(self, api: Api) -> str:
        """Return the address that clients of an API are given."""
        return f"{self.url}/v1" if api == "openai" else self.url

    def then(self, *script: Turn | Fault) -> None:
        """Replace what is left of the script."""
        self._script = collections.deque(script)

    async def start(self) -> None:
        """Listen; on the same port as before when it was stopped."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, backlog=_BACKLOG)
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
        line = Line(reader, writer, self.connections)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(line):
                    line.served += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, line: Line) -> bool:
        """Serve one request; returns whether the connection stays open for another."""
        try:
            request = await line.read()
            speaks = next((known for known in FORMATS if known.matches(request.method, request.path)), None)
            if speaks is not None:
                request = _understood(request, speaks)
        except UnreadableRequestError as error:
            await line.json({"error": {"message": str(error), "type": "invalid_request_error"}}, error.status)
            return False
        self.requests.append(request)
        if speaks is None:
            return await self._other(line, request)
        turn = self._turn(speaks.api, line)
        if turn.drop_reused and line.served:
            return line.reset()
        if speaks.api == "ollama" and turn.status == HTTPStatus.OK and not (turn.hang or turn.drop):
            model = str(request.body.get("model", ""))
            if not self.ollama.knows(model):
                return await self.ollama.missing(line, model)
            await self.ollama.load(line, request.body)
        return await reply(line, turn, speaks, request)

    async def _other(self, line: Line, request: Received) -> bool:
        """Answer what is no question, unless the next turn says that the server is sick."""
        path = request.path.partition("?")[0]
        speaks = FORMATS[2] if path.startswith("/api/") else FORMATS[0]
        turn = self._resolve(self._script[0], speaks.api)
        if turn.status != HTTPStatus.OK or turn.hang or turn.drop:
            return await reply(line, turn, speaks, request)
        if request.method == "GET" and path.endswith("/models"):
            return await line.json(_listing(turn.models))
        if await self.ollama.serve(line, request, turn.models) is None:
            message = f"{request.method} {path} is not served here"
            return await line.json({"error": {"message": message, "type": "not_found_error"}}, HTTPStatus.NOT_FOUND)
        return True

    def _turn(self, api: Api, line: Line) -> Turn:
        """Take the next entry; one that drops reused connections waits for a new one."""
        turn = self._resolve(self._script[0], api)
        if len(self._script) > 1 and not (turn.drop_reused and line.served):
            self._script.popleft()
        return turn

    def _resolve(self, entry: Turn | Fault, api: Api) -> Turn:
        if isinstance(entry, Turn):
            return entry
        try:
            return entry.turn(api)
        except ValueError as error:
            return Turn(status=501, message=str(error))


def _understood(request: Received, speaks: Format) -> Received:
    """Note what a question is.

    Raises:
        UnreadableRequestError: a picture in it cannot be read.
    """
    try:
        images = speaks.images(request.body)
    except ValueError as error:
        raise UnreadableRequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
    return dataclasses.replace(request, api=speaks.api, streamed=speaks.wants_stream(request.body), images=images)


def _listing(models: Sequence[str]) -> dict[str, Any]:
    """The list of models, with the keys of both APIs that ask there."""
    data = [{"id": name, "object": "model", "type": "model", "created": 0, "owned_by": "test"} for name in models]
    return {"object": "list", "data": data, "has_more": False}
