"""Anthropic's messages, as a server writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from timmy_core.router.chat import Image, ToolCall, Usage
from timmy_core.testing.formats.base import HALF, as_json, blocks, good, in_halves, named, picture, reported
from timmy_core.testing.turn import Api, Turn


class AnthropicFormat:
    """Messages."""

    api: Api = "anthropic"
    stream_type = "text/event-stream"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is a question to this API."""
        return method == "POST" and path.partition("?")[0].endswith("/v1/messages")

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Return whether a question asks for a stream."""
        return bool(body.get("stream"))

    def images(self, body: Mapping[str, Any]) -> tuple[Image, ...]:
        """Return the pictures that a question carries."""
        sources = [block.get("source", {}) for block in blocks(body) if block["type"] == "image"]
        return tuple(picture(str(source.get("media_type")), source.get("data")) for source in sources)

    def whole(self, turn: Turn, model: str) -> bytes:
        """Write a whole answer."""
        content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
        if turn.thinking:
            content.insert(0, {"type": "thinking", "thinking": turn.thinking, "signature": "made-up"})
        content += [_use(call, json.loads(call.arguments)) for call in turn.tool_calls]
        return as_json(_message(turn, content, _finish(turn) if good(turn) else None, _usage(turn.tokens), model))

    def opening(self, turn: Turn, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        usage = {**_usage(turn.tokens), "output_tokens": 0}
        usage.pop("output_tokens_details", None)
        begun = _message(turn, [], None, usage, model)
        text = b"" if turn.thinking else self._text_begins(0)
        return named({"type": "message_start", "message": begun}) + text + named({"type": "ping"})

    def thinking(self, turn: Turn, model: str) -> bytes:
        """Write the block in which the model thinks aloud, and begin the text's."""
        del model
        if not turn.thinking:
            return b""
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        return (
            named({"type": "content_block_start", "index": 0, "content_block": empty})
            + _delta(0, {"type": "thinking_delta", "thinking": turn.thinking})
            + _delta(0, {"type": "signature_delta", "signature": "made-up"})
            + named({"type": "content_block_stop", "index": 0})
            + self._text_begins(1)
        )

    def piece(self, turn: Turn, text: str, model: str) -> bytes:
        """Write one piece."""
        del model
        return _delta(_text_index(turn), {"type": "text_delta", "text": text})

    def malformed(self) -> bytes:
        """Write an event that holds half a JSON."""
        return f"event: content_block_delta\ndata: {HALF}\n\n".encode()

    def calls(self, turn: Turn, model: str) -> Iterator[bytes]:
        """Write the tool calls: a block each, with its arguments in pieces."""
        del model
        first = _text_index(turn) + 1
        if turn.tool_calls:
            yield named({"type": "content_block_stop", "index": first - 1})
        for index, call in enumerate(turn.tool_calls, first):
            yield named({"type": "content_block_start", "index": index, "content_block": _use(call, {})})
            for part in in_halves(call.arguments):
                yield _delta(index, {"type": "input_json_delta", "partial_json": part})
            yield named({"type": "content_block_stop", "index": index})

    def closing(self, turn: Turn, model: str) -> bytes:
        """Write the good end of a stream."""
        del model
        delta = {"stop_reason": _finish(turn), "stop_sequence": None}
        end = b"" if turn.tool_calls else named({"type": "content_block_stop", "index": _text_index(turn)})
        end += named({"type": "message_delta", "delta": delta, "usage": _usage(turn.tokens)})
        return end + (named({"type": "message_stop"}) if turn.marker else b"")

    def error(self, turn: Turn) -> bytes:
        """Write an error as a whole body."""
        kind = turn.error_type or turn.code or "api_error"
        return as_json({"type": "error", "error": {"type": kind, "message": turn.message}, "request_id": "made-up"})

    def stream_error(self, turn: Turn) -> bytes:
        """Write an error inside a stream."""
        return b"event: error\ndata: " + self.error(turn) + b"\n\n"

    def _text_begins(self, index: int) -> bytes:
        return named({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})


def _finish(turn: Turn) -> str:
    return turn.finish_reason or ("tool_use" if turn.tool_calls else "end_turn")


def _use(call: ToolCall, arguments: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _text_index(turn: Turn) -> int:
    return 1 if turn.thinking else 0


def _delta(index: int, delta: Mapping[str, Any]) -> bytes:
    return named({"type": "content_block_delta", "index": index, "delta": delta})


def _message(
    turn: Turn, content: list[dict[str, Any]], finish: str | None, usage: Mapping[str, Any], model: str
) -> dict[str, Any]:
    head = {"id": "made-up", "type": "message", "role": "assistant", "model": turn.model or model, "content": content}
    return {**head, "stop_reason": finish, "stop_sequence": None, "usage": usage}


def _usage(tokens: Usage) -> dict[str, Any]:
    """This API counts what came from its cache, and what went there, apart from the rest of the input."""
    cached, written = tokens.cached_tokens or 0, tokens.cache_write_tokens or 0
    counts: dict[str, Any] = reported(
        cache_read_input_tokens=tokens.cached_tokens, cache_creation_input_tokens=tokens.cache_write_tokens
    )
    if tokens.reasoning_tokens is not None:
        counts["output_tokens_details"] = {"thinking_tokens": tokens.reasoning_tokens}
    return {
        "input_tokens": (tokens.input_tokens or 0) - cached - written,
        "output_tokens": tokens.output_tokens or 0,
        **counts,
    }
