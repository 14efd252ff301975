"""A server that speaks just enough of OpenAI's chat completions to answer at once; in a process of its own.

Its cost is the same for every caller and falls on another core, so that only the callers differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKENS = 200
_HEAD = {"id": "made-up", "created": 0, "model": "tiny"}
_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "Hello there, this is an answer of a usual kind."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _event(**parts: Any) -> bytes:
    data = b"data: " + json.dumps({**_HEAD, "object": "chat.completion.chunk", **parts}).encode() + b"\n\n"
    return b"%x\r\n" % len(data) + data + b"\r\n"


def _choice(content: str | None, finish: str | None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}]


def _stream() -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = b"".join(_event(choices=_choice(f"token{index} ", None)) for index in range(TOKENS))
    end = _event(choices=_choice(None, "stop")) + _event(choices=[], usage=_USAGE)
    return head + pieces + end + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Responder(asyncio.Protocol):
    """Finds where a request ends, and writes the same bytes every time."""

    whole, stream = _whole(), _stream()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.waiting = transport, b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        head, found, body = self.waiting.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.waiting = body[length:]
        streamed = b'"stream":true' in body.replace(b" ", b"")
        self.transport.write(self.stream if streamed else self.whole)


async def serve() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(Responder, "127.0.0.1", 0)
    os.write(1, f"{server.sockets[0].getsockname()[1]}\n".encode())
    await stopped.wait()
    server.close()


@contextlib.contextmanager
def responder() -> Iterator[str]:
    """Start the server and yield the `base_url` for it."""
    process = subprocess.Popen([sys.executable, str(Path(__file__))], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve())
