"""OpenAI's form of questions and answers, from and to the router's words; does no I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from timmy_core.router.chat import ChatRequest, Message, Tool, ToolCall, Usage
from timmy_core.router.providers.render import base64_of, conversation, is_strict, json_instruction, wants_json

_MAX_ID: Final = 40
_JSON_WORD: Final = re.compile(r"\bjson\b", re.IGNORECASE)

# OpenAI's own thinking models take no temperature but their own.
_NO_TEMPERATURE: Final = re.compile(r"^(o\d|gpt-[5-9])", re.IGNORECASE)

_FINISH: Final[dict[str, str]] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
}

FAILED_FINISHES: Final = frozenset({"error", "insufficient_system_resource", "abort"})
"""Finish reasons by which compatible servers say that they failed."""


def finish_of(reason: str, *, called: bool, refused: bool = False) -> str:
    """Return a finish reason in the house's words."""
    if refused:
        return "content_filter"
    word = _FINISH.get(reason.lower(), "stop")
    if called and word == "stop":
        return "tool_calls"
    return "stop" if word == "tool_calls" and not called else word


def chat_arguments(request: ChatRequest, *, official: bool) -> dict[str, Any]:
    """Return the arguments of a chat completion.

    Args:
        request: what is asked.
        official: whether it goes to OpenAI itself. Compatible servers know the older names only, and render the turns
            with a model's own template, which often insists on its order.
    """
    messages: Sequence[Message] = request.messages
    if not official:
        system, turns = conversation(messages)
        messages = (Message("system", system), *turns) if system else turns
    arguments: dict[str, Any] = {"model": request.model, "messages": _messages(messages)}
    if request.prefill:
        arguments["messages"].append({"role": "assistant", "content": request.prefill})
    if request.temperature is not None and not (official and _NO_TEMPERATURE.match(request.model)):
        arguments["temperature"] = request.temperature
    if request.max_tokens is not None:
        arguments["max_completion_tokens" if official else "max_tokens"] = request.max_tokens
    if request.tools:
        arguments["tools"] = [_tool(tool) for tool in request.tools]
        arguments["tool_choice"] = _choice(request.tool_choice)
    if wants_json(request):
        _ask_for_json(arguments, request)
    return arguments


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    rendered: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []  # the pictures of tools' results, which only a user may show
    for message in messages:
        if message.role != "tool" and seen:
            rendered.append({"role": "user", "content": seen})
            seen = []
        if message.role == "tool":
            seen = seen + _pictures(message)
        rendered.append(_message(message))
    if seen:
        rendered.append({"role": "user", "content": seen})
    return rendered


def _message(message: Message) -> dict[str, Any]:
    one: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        one["tool_call_id"] = _short(message.tool_call_id or "")
    elif message.images:
        text = [{"type": "text", "text": message.content}] if message.content else []
        one["content"] = text + _pictures(message)
    if message.tool_calls:
        one["content"] = one["content"] or None
        one["tool_calls"] = [_call(call) for call in message.tool_calls]
    return one


def _pictures(message: Message) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{base64_of(image)}"}}
        for image in message.images
    ]


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": _short(call.id), "type": "function", "function": function}


def _short(id_: str) -> str:
    """This API takes no longer ids; another provider's may be longer."""
    return id_ if len(id_) <= _MAX_ID else f"call_{hashlib.blake2b(id_.encode(), digest_size=16).hexdigest()}"


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _choice(choice: str) -> Any:
    if choice in ("auto", "required", "none"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _ask_for_json(arguments: dict[str, Any], request: ChatRequest) -> None:
    if request.json_schema is not None:
        # Strict mode holds the model to the schema, and refuses one that does not keep to its rules.
        strict = is_strict(request.json_schema)
        form = {"name": "answer", "schema": dict(request.json_schema), "strict": strict}
        arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        return
    arguments["response_format"] = {"type": "json_object"}
    if not any(_JSON_WORD.search(message.content) for message in request.messages):
        # This mode is refused where no message names it.
        words = json_instruction(request)
        first = arguments["messages"][0]
        if first["role"] == "system":
            first["content"] = f"{first['content']}\n\n{words}"
        else:
            arguments["messages"].insert(0, {"role": "system", "content": words})


def usage_of(usage: Any) -> Usage:
    """Return the tokens as reported; this API counts cached ones and those of thinking into their sums already."""
    if usage is None:
        return Usage()
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = prompt.cached_tokens if prompt is not None else getattr(usage, "prompt_cache_hit_tokens", None)
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=cached,
        reasoning_tokens=completion.reasoning_tokens if completion is not None else None,
        cache_write_tokens=prompt.cache_write_tokens if prompt is not None else None,
    )
