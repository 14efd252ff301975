"""What a wire format has to be able to say, and the small writing tools that all of them use."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from timmy_core.router.chat import Image
from timmy_core.testing.turn import Api, Turn

HALF: str = '{"half": "a JSO'
"""What stands where a JSON should."""


class Format(Protocol):
    """How one API says what a turn has to say."""

    api: Api
    stream_type: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is a question to this API."""
        ...

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Return whether a question asks for a stream."""
        ...

    def images(self, body: Mapping[str, Any]) -> tuple[Image, ...]:
        """Return the pictures that a question carries; raises ValueError where one cannot be read."""
        ...

    def whole(self, turn: Turn, model: str) -> bytes:
        """Write a whole answer; one whose ending is not good has no finish reason."""
        ...

    def opening(self, turn: Turn, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        ...

    def thinking(self, turn: Turn, model: str) -> bytes:
        """Write what the model thinks aloud, in front of the first piece."""
        ...

    def piece(self, turn: Turn, text: str, model: str) -> bytes:
        """Write one piece."""
        ...

    def malformed(self) -> bytes:
        """Write an event that holds half a JSON."""
        ...

    def calls(self, turn: Turn, model: str) -> Iterator[bytes]:
        """Write the tool calls, in as many pieces as the API sends them."""
        ...

    def closing(self, turn: Turn, model: str) -> bytes:
        """Write the good end of a stream."""
        ...

    def error(self, turn: Turn) -> bytes:
        """Write an error as a whole body."""
        ...

    def stream_error(self, turn: Turn) -> bytes:
        """Write an error inside a stream."""
        ...


def as_json(value: object) -> bytes:
    """Write a JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


def event(value: object) -> bytes:
    """Write a server-sent event without a name."""
    return b"data: " + as_json(value) + b"\n\n"


def named(value: Mapping[str, Any]) -> bytes:
    """Write a server-sent event under its own type."""
    return f"event: {value['type']}\n".encode() + event(value)


def good(turn: Turn) -> bool:
    """Return whether a whole answer to this turn is finished."""
    return turn.ending != "end"


def reported(**counts: int | None) -> dict[str, int]:
    """Return the counts that are known."""
    return {name: count for name, count in counts.items() if count is not None}


def in_halves(text: str) -> tuple[str, ...]:
    """Cut a text into two pieces, as a stream brings the arguments of a call."""
    half = len(text) // 2
    return tuple(part for part in (text[:half], text[half:]) if part)


def blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the blocks of content of all messages."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for block in content if isinstance(content, list) else ():
            if isinstance(block, Mapping):
                yield block


def picture(media_type: str, data: object) -> Image:
    """Read a picture from base64.

    Raises:
        ValueError: it is none.
    """
    try:
        return Image(media_type, base64.b64decode(str(data), validate=True))
    except binascii.Error as error:
        message = f"an image is not valid base64: {error}"
        raise ValueError(message) from None
