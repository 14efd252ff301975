"""The canonical history: what callers write, in the house's own form, with whatever they may have meant refused."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, get_args

from timmy_core.router.chat import Image, Message, Role, Tool, ToolCall

ROLES: Final[tuple[str, ...]] = get_args(Role)
MAX_IMAGE_BYTES: Final = 20 << 20

_DATA_URL: Final = re.compile(r"data:(?P<type>image/[a-z0-9.+-]+);base64,(?P<data>[A-Za-z0-9+/=\s]+)", re.IGNORECASE)


def as_messages(messages: Sequence[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return canonical messages from `Message`s, or from mappings in the form of OpenAI's chat completions.

    A mapping has `role` and `content` (a text, or a list of text and image parts); an assistant's may have
    `tool_calls`, a tool's has `tool_call_id`, and a system's with `local_only` stays on the owner's machines.

    Raises:
        ValueError: no messages, an unknown role, content of another kind, a tool's result that belongs to no call.
    """
    result = tuple(message if isinstance(message, Message) else _as_message(message) for message in messages)
    if not result:
        text = "no message was given; expected at least one, such as {'role': 'user', 'content': 'hi'}"
        raise ValueError(text)
    _check_tools(result)
    return result


def as_tools(tools: Sequence[Tool | Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Return tools from `Tool`s, or from mappings in the form of OpenAI's chat completions.

    Raises:
        ValueError: a tool without a name, or two of one name.
    """
    result = tuple(tool if isinstance(tool, Tool) else _as_tool(tool) for tool in tools)
    names = [tool.name for tool in result]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        text = f"two tools are named {twice!r}; every name has to differ"
        raise ValueError(text)
    return result


def _as_message(message: Mapping[str, Any]) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        text = f"message role {role!r} is not known; expected one of {', '.join(map(repr, ROLES))}"
        raise ValueError(text)
    calls = tuple(_as_call(call) for call in message.get("tool_calls") or ())
    if content is None and calls:
        content = ""
    words, images = _content(content)
    hidden = message.get("local_only") is True
    if hidden and role != "system":
        text = f"local_only is for what the system says, not for a message of role {role!r}"
        raise ValueError(text)
    return Message(cast("Role", role), words, images, calls, message.get("tool_call_id"), hidden)


def _content(content: object) -> tuple[str, tuple[Image, ...]]:
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, (list, tuple)):
        text = f"message content has to be text, or a list of text and image parts, not {type(content).__name__}"
        raise ValueError(text)  # noqa: TRY004 - one error for every wrong message
    words: list[str] = []
    images: list[Image] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            words.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), Mapping):
            images.append(_as_image(str(part["image_url"].get("url", ""))))
        else:
            text = f"a message part of type {kind!r} is not known; expected 'text' or 'image_url' with a data: address"
            raise ValueError(text)
    return "\n".join(words), tuple(images)


def _as_image(url: str) -> Image:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        text = "an image has to be given as data:image/…;base64,…; addresses of other hosts are not fetched"
        raise ValueError(text)
    try:
        data = base64.b64decode(match["data"])
    except binascii.Error as error:
        text = f"an image's base64 cannot be decoded: {error}"
        raise ValueError(text) from error
    if len(data) > MAX_IMAGE_BYTES:
        text = f"an image has {len(data):,} bytes; at most {MAX_IMAGE_BYTES:,} are taken"
        raise ValueError(text)
    return Image(match["type"].lower(), data)


def _as_call(call: ToolCall | Mapping[str, Any]) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    function = call.get("function")
    if not isinstance(function, Mapping) or not call.get("id") or not function.get("name"):
        text = "a tool call needs an id and a function with a name and arguments"
        raise ValueError(text)
    arguments = function.get("arguments") or "{}"
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(str(call["id"]), str(function["name"]), written)


def _as_tool(tool: Mapping[str, Any]) -> Tool:
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not function.get("name"):
        text = "a tool needs a name, such as {'name': 'search', 'description': '…', 'parameters': {…}}"
        raise ValueError(text)
    empty = {"type": "object", "properties": {}}
    return Tool(str(function["name"]), str(function.get("description", "")), dict(function.get("parameters") or empty))


def _check_tools(messages: Sequence[Message]) -> None:
    """A tool's result has to follow the call that it answers; every provider refuses it otherwise, in its own way."""
    known: set[str] = set()
    for message in messages:
        known.update(call.id for call in message.tool_calls)
        if message.role == "tool" and message.tool_call_id not in known:
            text = f"a tool's result names the call {message.tool_call_id!r}, which no message before it made"
            raise ValueError(text)
