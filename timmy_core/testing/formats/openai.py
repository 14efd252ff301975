"""OpenAI's chat completions, as a server writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timmy_core.router.chat import Image, ToolCall
from timmy_core.testing.formats.base import HALF, as_json, blocks, event, good, in_halves, picture, reported
from timmy_core.testing.turn import Api, Turn


class OpenAIFormat:
    """Chat completions."""

    api: Api = "openai"
    stream_type = "text/event-stream"

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is a question to this API."""
        return method == "POST" and path.endswith("/chat/completions")

    def wants_stream(self, body: Mapping[str, Any]) -> bool:
        """Return whether a question asks for a stream."""
        return bool(body.get("stream"))

    def images(self, body: Mapping[str, Any]) -> tuple[Image, ...]:
        """Return the pictures that a question carries as data URLs."""
        urls = [str(block.get("image_url", {}).get("url")) for block in blocks(body) if block["type"] == "image_url"]
        return tuple(_from_url(url) for url in urls)

    def whole(self, turn: Turn, model: str) -> bytes:
        """Write a whole answer."""
        text = None if turn.refusal is not None or (turn.tool_calls and not turn.text) else turn.text
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": turn.refusal}
        if turn.thinking:
            message["reasoning_content"] = turn.thinking
        if turn.tool_calls:
            message["tool_calls"] = [_call(call) for call in turn.tool_calls]
        choice = {"index": 0, "message": message, "finish_reason": _finish(turn) if good(turn) else None}
        reply = {**_completion("chat.completion", turn, model), "choices": [choice]}
        return as_json(reply if turn.usage is None else {**reply, "usage": _usage(turn)})

    def opening(self, turn: Turn, model: str) -> bytes:
        """Write what stands before a stream's first piece."""
        return self._event(turn, {"role": "assistant", "content": ""}, None, model)

    def thinking(self, turn: Turn, model: str) -> bytes:
        """Write what the model thinks aloud, as local servers of this API send it."""
        return self._event(turn, {"reasoning_content": turn.thinking}, None, model) if turn.thinking else b""

    def piece(self, turn: Turn, text: str, model: str) -> bytes:
        """Write one piece."""
        return self._event(turn, {"content": text} if turn.refusal is None else {"refusal": text}, None, model)

    def malformed(self) -> bytes:
        """Write an event that holds half a JSON."""
        return f"data: {HALF}\n\n".encode()

    def calls(self, turn: Turn, model: str) -> Iterator[bytes]:
        """Write the tool calls: each one's name first, then its arguments in pieces."""
        for index, call in enumerate(turn.tool_calls):
            head = {"index": index, **_call(ToolCall(call.id, call.name, ""))}
            yield self._event(turn, {"tool_calls": [head]}, None, model)
            for part in in_halves(call.arguments):
                more = {"index": index, "function": {"arguments": part}}
                yield self._event(turn, {"tool_calls": [more]}, None, model)

    def closing(self, turn: Turn, model: str) -> bytes:
        """Write the good end of a stream."""
        end = self._event(turn, {}, _finish(turn), model)
        if turn.usage is not None:
            end += event({**_completion("chat.completion.chunk", turn, model), "choices": [], "usage": _usage(turn)})
        return end + (b"data: [DONE]\n\n" if turn.marker else b"")

    def error(self, turn: Turn) -> bytes:
        """Write an error as a whole body."""
        kind = turn.error_type or turn.code or "server_error"
        return as_json({"error": {"message": turn.message, "type": kind, "code": turn.code, "param": None}})

    def stream_error(self, turn: Turn) -> bytes:
        """Write an error inside a stream."""
        return b"data: " + self.error(turn) + b"\n\n"

    def _event(self, turn: Turn, delta: dict[str, Any], finish: str | None, model: str) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({**_completion("chat.completion.chunk", turn, model), "choices": [choice]})


def _finish(turn: Turn) -> str:
    return turn.finish_reason or ("tool_calls" if turn.tool_calls else "stop")


def _completion(kind: str, turn: Turn, model: str) -> dict[str, Any]:
    return {"id": "made-up", "object": kind, "created": 0, "model": turn.model or model}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(turn: Turn) -> dict[str, Any]:
    tokens = turn.tokens
    total = (tokens.input_tokens or 0) + (tokens.output_tokens or 0)
    counts: dict[str, Any] = {
        "prompt_tokens": tokens.input_tokens,
        "completion_tokens": tokens.output_tokens,
        "total_tokens": total,
    }
    prompt = reported(cached_tokens=tokens.cached_tokens, cache_write_tokens=tokens.cache_write_tokens)
    completion = reported(reasoning_tokens=tokens.reasoning_tokens)
    return (
        counts
        | ({"prompt_tokens_details": prompt} if prompt else {})
        | ({"completion_tokens_details": completion} if completion else {})
    )


def _from_url(url: str) -> Image:
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        message = f"an image is not a data URL but {url[:40]!r}"
        raise ValueError(message)
    return picture(head.removeprefix("data:"), data)
