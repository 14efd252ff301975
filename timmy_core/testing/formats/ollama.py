"""Ollama's chat, as a server writes it: one JSON a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from timmy_core.router.chat import Image
from timmy_core.testing.formats.base import HALF, as_json, good, picture, reported
from timmy_core.testing.turn import Api, Turn

_MAGIC: dict[bytes, str] = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class OllamaFormat:
    """Ollama's chat."""

    api: Api = "ollama"
    stream_type = "application/x-ndjson"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is a question to this API."""
        return method == "POST" and path == "/api/chat"

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Return whether a question asks for a stream, which it does unless it says otherwise."""
        return bool(body.get("stream", True))

    def images(self, body: Mapping[str, Any]) -> tuple[Image, ...]:
        """Return the pictures that a question carries; what they are is seen in their first bytes."""
        messages = body.get("messages")
        found: list[Image] = []
        for message in messages if isinstance(messages, list) else ():
            for data in message.get("images") or ():
                bare = picture("application/octet-stream", data)
                kind = next((kind for magic, kind in _MAGIC.items() if bare.data.startswith(magic)), bare.media_type)
                found.append(Image(kind, bare.data))
        return tuple(found)

    def whole(self, turn: Turn, model: str) -> bytes:
        """Write a whole answer; one without a finish reason is not done."""
        part = self._part(turn, turn.text, model)
        if turn.thinking:
            part["message"]["thinking"] = turn.thinking
        if turn.tool_calls:
            part["message"]["tool_calls"] = _calls(turn)
        return as_json(part | (_done(turn) if good(turn) else {}))

    def opening(self, turn: Turn, model: str) -> bytes:
        """Write nothing: a stream begins with its first piece."""
        del turn, model
        return b""

    def thinking(self, turn: Turn, model: str) -> bytes:
        """Write what the model thinks aloud."""
        if not turn.thinking:
            return b""
        part = self._part(turn, "", model)
        part["message"]["thinking"] = turn.thinking
        return as_json(part) + b"\n"

    def piece(self, turn: Turn, text: str, model: str) -> bytes:
        """Write one piece."""
        return as_json(self._part(turn, text, model)) + b"\n"

    def malformed(self) -> bytes:
        """Write a line that holds half a JSON."""
        return f"{HALF}\n".encode()

    def calls(self, turn: Turn, model: str) -> Iterator[bytes]:
        """Write the tool calls, which come whole and in one piece."""
        if turn.tool_calls:
            part = self._part(turn, "", model)
            part["message"]["tool_calls"] = _calls(turn)
            yield as_json(part) + b"\n"

    def closing(self, turn: Turn, model: str) -> bytes:
        """Write the good end of a stream."""
        return as_json(self._part(turn, "", model) | _done(turn)) + (b"\n" if turn.marker else b"")

    def error(self, turn: Turn) -> bytes:
        """Write an error as a whole body; this API has no codes."""
        return as_json({"error": turn.message})

    def stream_error(self, turn: Turn) -> bytes:
        """Write an error inside a stream."""
        return self.error(turn) + b"\n"

    def _part(self, turn: Turn, text: str, model: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        name = turn.model or model
        return {"model": name, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}


def _done(turn: Turn) -> dict[str, Any]:
    tokens = turn.tokens
    counts = reported(prompt_eval_count=tokens.input_tokens, eval_count=tokens.output_tokens)
    return {"done": True, "done_reason": turn.finish_reason or "stop", **counts}


def _calls(turn: Turn) -> list[dict[str, Any]]:
    """The arguments are an object here, not its text."""
    return [
        {"id": call.id, "function": {"index": index, "name": call.name, "arguments": json.loads(call.arguments)}}
        for index, call in enumerate(turn.tool_calls)
    ]
