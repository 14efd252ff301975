"""Three wire formats, as a server writes them: OpenAI's chat completions, Anthropic's messages, Ollama's chat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

Tokens = tuple[int, int]


class Format(Protocol):
    """How one API says what a turn has to say."""

    stream_type: str
    finish_reason: str

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is one for this API."""
        ...

    def lists_at(self, path: str) -> bool:
        """Return whether this API lists its models there."""
        ...

    def listing(self, models: Sequence[str]) -> bytes:
        """Write the list of models."""
        ...

    def wants_stream(self, body: Any) -> bool:
        """Return whether a request asks for a stream."""
        ...

    def whole(self, text: str, finish: str | None, usage: Tokens, model: str) -> bytes:
        """Write a whole answer."""
        ...

    def opening(self, usage: Tokens, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        ...

    def piece(self, text: str, model: str) -> bytes:
        """Write one piece."""
        ...

    def closing(self, finish: str, usage: Tokens, model: str) -> bytes:
        """Write the good end of a stream."""
        ...

    def error(self, status: int | None, code: str | None, message: str) -> bytes:
        """Write an error as a whole body."""
        ...

    def stream_error(self, code: str | None, message: str) -> bytes:
        """Write an error inside a stream."""
        ...


class OpenAIFormat:
    """Chat completions."""

    stream_type = "text/event-stream"
    finish_reason = "stop"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is one for this API."""
        return method == "POST" and path.endswith("/chat/completions")

    def lists_at(self, path: str) -> bool:
        """Return whether this API lists its models there; Anthropic's list is read from the same form."""
        return path.endswith("/models")

    def listing(self, models: Sequence[str]) -> bytes:
        """Write the list of models, with the keys of both APIs that ask there."""
        data = [{"id": name, "object": "model", "type": "model", "created": 0, "owned_by": "test"} for name in models]
        return _json({"object": "list", "data": data, "has_more": False})

    def wants_stream(self, body: Any) -> bool:
        """Return whether a request asks for a stream."""
        return bool(body.get("stream"))

    def whole(self, text: str, finish: str | None, usage: Tokens, model: str) -> bytes:
        """Write a whole answer."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        return _json({**_completion("chat.completion", model), "choices": [choice], "usage": _openai_usage(usage)})

    def opening(self, usage: Tokens, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        del usage
        return self._event({"role": "assistant", "content": ""}, None, model)

    def piece(self, text: str, model: str) -> bytes:
        """Write one piece."""
        return self._event({"content": text}, None, model)

    def closing(self, finish: str, usage: Tokens, model: str) -> bytes:
        """Write the good end of a stream."""
        last = {**_completion("chat.completion.chunk", model), "choices": [], "usage": _openai_usage(usage)}
        return self._event({}, finish, model) + _event(last) + b"data: [DONE]\n\n"

    def error(self, status: int | None, code: str | None, message: str) -> bytes:
        """Write an error as a whole body."""
        del status
        return _json({"error": {"message": message, "type": code or "server_error", "code": code, "param": None}})

    def stream_error(self, code: str | None, message: str) -> bytes:
        """Write an error inside a stream."""
        return b"data: " + self.error(None, code, message) + b"\n\n"

    def _event(self, delta: dict[str, Any], finish: str | None, model: str) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**_completion("chat.completion.chunk", model), "choices": [choice]})


class AnthropicFormat:
    """Messages."""

    stream_type = "text/event-stream"
    finish_reason = "end_turn"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is one for this API."""
        return method == "POST" and path.partition("?")[0].endswith("/v1/messages")

    def lists_at(self, path: str) -> bool:
        """Return whether this API lists its models there; OpenAI's form serves both."""
        del path
        return False

    def listing(self, models: Sequence[str]) -> bytes:
        """Write the list of models."""
        return OpenAIFormat().listing(models)

    def wants_stream(self, body: Any) -> bool:
        """Return whether a request asks for a stream."""
        return bool(body.get("stream"))

    def whole(self, text: str, finish: str | None, usage: Tokens, model: str) -> bytes:
        """Write a whole answer."""
        return _json(_message([{"type": "text", "text": text}], finish, usage, model))

    def opening(self, usage: Tokens, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        start = {"type": "message_start", "message": _message([], None, (usage[0], 0), model)}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return _named(start) + _named(block) + _named({"type": "ping"})

    def piece(self, text: str, model: str) -> bytes:
        """Write one piece."""
        del model
        return _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})

    def closing(self, finish: str, usage: Tokens, model: str) -> bytes:
        """Write the good end of a stream."""
        del model
        delta = {"stop_reason": finish, "stop_sequence": None}
        return (
            _named({"type": "content_block_stop", "index": 0})
            + _named({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage[1]}})
            + _named({"type": "message_stop"})
        )

    def error(self, status: int | None, code: str | None, message: str) -> bytes:
        """Write an error as a whole body."""
        del status
        return _json({"type": "error", "error": {"type": code or "api_error", "message": message}})

    def stream_error(self, code: str | None, message: str) -> bytes:
        """Write an error inside a stream."""
        return b"event: error\ndata: " + self.error(None, code, message) + b"\n\n"


class OllamaFormat:
    """Ollama's chat: one JSON a line."""

    stream_type = "application/x-ndjson"
    finish_reason = "stop"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is one for this API."""
        return method == "POST" and path == "/api/chat"

    def lists_at(self, path: str) -> bool:
        """Return whether this API lists its models there."""
        return path == "/api/tags"

    def listing(self, models: Sequence[str]) -> bytes:
        """Write the list of models, each with a tag."""
        tagged = [name if ":" in name else f"{name}:latest" for name in models]
        return _json({"models": [{"name": name, "model": name} for name in tagged]})

    def wants_stream(self, body: Any) -> bool:
        """Return whether a request asks for a stream, which it does unless it says otherwise."""
        return bool(body.get("stream", True))

    def whole(self, text: str, finish: str | None, usage: Tokens, model: str) -> bytes:
        """Write a whole answer; one without a finish reason is not done."""
        part = self._part(text, model)
        if finish is not None:
            part |= _done(finish, usage)
        return _json(part)

    def opening(self, usage: Tokens, model: str) -> bytes:
        """Write nothing: a stream begins with its first piece."""
        del usage, model
        return b""

    def piece(self, text: str, model: str) -> bytes:
        """Write one piece."""
        return _json(self._part(text, model)) + b"\n"

    def closing(self, finish: str, usage: Tokens, model: str) -> bytes:
        """Write the good end of a stream."""
        return _json(self._part("", model) | _done(finish, usage)) + b"\n"

    def error(self, status: int | None, code: str | None, message: str) -> bytes:
        """Write an error as a whole body; this API has no codes."""
        del status, code
        return _json({"error": message})

    def stream_error(self, code: str | None, message: str) -> bytes:
        """Write an error inside a stream."""
        return self.error(None, code, message) + b"\n"

    def _part(self, text: str, model: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"model": model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}


FORMATS: Final[tuple[Format, ...]] = (OpenAIFormat(), AnthropicFormat(), OllamaFormat())


def _done(finish: str, usage: Tokens) -> dict[str, Any]:
    return {"done": True, "done_reason": finish, "prompt_eval_count": usage[0], "eval_count": usage[1]}


def _completion(kind: str, model: str) -> dict[str, Any]:
    return {"id": "made-up", "object": kind, "created": 0, "model": model}


def _openai_usage(usage: Tokens) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def _message(content: list[dict[str, Any]], finish: str | None, usage: Tokens, model: str) -> dict[str, Any]:
    tokens = {"input_tokens": usage[0], "output_tokens": usage[1]}
    head = {"id": "made-up", "type": "message", "role": "assistant", "model": model, "content": content}
    return {**head, "stop_reason": finish, "stop_sequence": None, "usage": tokens}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _event(value: Any) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _named(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\n".encode() + _event(value)
