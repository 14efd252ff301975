"""Ollama's own form of questions and answers, from and to the router's words; does no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from timmy_core.router.chat import ChatRequest, Message, ToolCall, Usage
from timmy_core.router.providers.answers import checked_calls
from timmy_core.router.providers.render import as_object, base64_of

_NUM_CTX: Final = re.compile(r"^num_ctx\s+(?P<tokens>\d+)\s*$", re.MULTILINE)

# Ollama has no codes; these are its own and its runners' words for a question that is too long.
_TOO_LONG: Final = re.compile(
    r"exceeds? the (?:available )?context|longer than the context length|exceeded max context length"
    r"|input length exceeds|exceeds maximum context length",
    re.IGNORECASE,
)
_NO_MEMORY: Final = re.compile(r"more system memory|out[ -]of[ -]memory|insufficient memory", re.IGNORECASE)


def chat_body(request: ChatRequest, num_ctx: int, *, stream: bool) -> dict[str, Any]:
    """Return the body of `/api/chat` for a question.

    `truncate` false makes a recent server refuse a question that does not fit, instead of forgetting its beginning.
    """
    options: dict[str, Any] = {"num_ctx": num_ctx}
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request.messages),
        "options": options,
        "stream": stream,
        "truncate": False,
    }
    tools = _tools(request)
    if tools:
        body["tools"] = tools
    if request.json_schema is not None:
        body["format"] = dict(request.json_schema)
    elif request.json_mode:
        body["format"] = "json"
    return body


def must_call(request: ChatRequest) -> bool:
    """Return whether the question insists on a tool, which this API has no word for."""
    return bool(request.tools) and request.tool_choice not in ("auto", "none")


def _tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools that the model may see: none, all, or the only one that is wanted."""
    if request.tool_choice == "none":
        return []
    named = [tool for tool in request.tools if tool.name == request.tool_choice]
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in named or request.tools
    ]


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    rendered: list[dict[str, Any]] = []
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        one: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.images:
            one["images"] = [base64_of(image) for image in message.images]
        if message.tool_calls:
            one["tool_calls"] = [_call_body(call, index) for index, call in enumerate(message.tool_calls)]
        if message.tool_call_id is not None:
            one["tool_call_id"] = message.tool_call_id
            one["tool_name"] = names.get(message.tool_call_id, "")
        rendered.append(one)
    return rendered


def _call_body(call: ToolCall, index: int) -> dict[str, Any]:
    return {"id": call.id, "function": {"index": index, "name": call.name, "arguments": as_object(call.arguments)}}


def calls_of(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Return the tool calls of an answer, or of a piece of one, in which they are always whole.

    Raises:
        ValueError, LookupError, TypeError: they have another form than the API promises.
    """
    calls = message.get("tool_calls")
    return checked_calls(map(_call, calls), cut=False) if calls else ()


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    # Servers before the id was invented leave it out.
    return ToolCall(str(call.get("id") or ""), str(function["name"] or ""), written)


def message_of(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the message of an answer, or of a piece of one.

    Raises:
        ValueError: it has another form than the API promises.
    """
    message = part["message"]
    if not isinstance(message, Mapping) or not isinstance(message.get("content") or "", str):
        text = "an answer without a message"
        raise ValueError(text)  # noqa: TRY004 - a foreign form, not a wrong argument
    return message


def usage_of(part: Mapping[str, Any]) -> Usage:
    """Return the tokens that the last part of an answer reports."""
    return Usage(_count(part.get("prompt_eval_count")), _count(part.get("eval_count")))


def finish_of(part: Mapping[str, Any], *, called: bool) -> str:
    """Return why an answer ended; this API says `stop` also where a tool is to be called."""
    reason = str(part.get("done_reason") or "stop")
    return "tool_calls" if called and reason == "stop" else reason


def trained_window(shown: Mapping[str, Any]) -> int | None:
    """Return the largest window that a model was trained for, from what `/api/show` says of it."""
    info = shown.get("model_info")
    if not isinstance(info, Mapping):
        return None
    found = [_count(value) for key, value in info.items() if str(key).endswith(".context_length")]
    return next((count for count in found if count), None)


def chosen_window(shown: Mapping[str, Any]) -> int | None:
    """Return the window that the model's owner wrote into its Modelfile."""
    match = _NUM_CTX.search(str(shown.get("parameters") or ""))
    return int(match["tokens"]) if match else None


def is_remote(shown: Mapping[str, Any]) -> bool:
    """Return whether the server only passes questions on, so that nothing is ever in its memory."""
    return bool(shown.get("remote_host") or shown.get("remote_model"))


def same_model(one: str, other: str) -> bool:
    """Return whether two names mean one model: a name without a tag means the tag `latest`."""
    return _tagged(one) == _tagged(other)


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def unwrapped(body: object) -> object:
    """Return an error's body, taken out of the string in which the server passes its runner's own on."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, str) or not error.lstrip().startswith("{"):
        return body
    try:
        inner = json.loads(error)
    except ValueError:
        return body
    return inner if isinstance(inner, dict) and inner else body


def says_too_long(text: str) -> bool:
    """Return whether an error speaks of a question that is longer than the window."""
    return _TOO_LONG.search(text) is not None


def says_no_memory(text: str) -> bool:
    """Return whether an error speaks of memory that is not enough for the model."""
    return _NO_MEMORY.search(text) is not None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
