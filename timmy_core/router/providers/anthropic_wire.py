"""Anthropic's form of questions and answers, from and to the router's words; does no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from timmy_core.router.chat import ChatRequest, Message, Tool, ToolCall, Usage
from timmy_core.router.providers.render import as_object, base64_of, conversation, json_instruction, wants_json

MAX_TOKENS: Final = 4096
"""How long an answer may get where nobody says so; this API insists on a number."""

_CONTINUE: Final = "Please go on."
_NOT_IN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")

_NEW_NAME: Final = re.compile(r"claude-[a-z]+-(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)", re.IGNORECASE)
_OLD_NAME: Final = re.compile(r"claude-(?P<major>\d)(?:[-.](?P<minor>\d))?(?!\d)", re.IGNORECASE)

_LAST_WITH_PREFILL: Final = (4, 5)  # a newer model refuses a conversation that ends with its own words
_FIRST_WITH_FORMAT: Final = (4, 1)  # since then an answer can be held to a JSON schema
_LAST_WITH_TEMPERATURE: Final = (4, 6)  # a newer model refuses any

_FINISH: Final[dict[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def version_of(model: str) -> tuple[int, int] | None:
    """Return the version that a Claude's name holds; None for any other model, and where the name does not say."""
    match = _NEW_NAME.search(model) or _OLD_NAME.search(model)
    return None if match is None else (int(match["major"]), int(match["minor"] or 0))


def can_prefill(model: str) -> bool:
    """Return whether a model goes on from the beginning of an answer; only what is known to does."""
    version = version_of(model)
    return version is not None and version <= _LAST_WITH_PREFILL


def finish_of(reason: str, *, called: bool) -> str:
    """Return a stop reason in the house's words."""
    word = _FINISH.get(reason, "stop")
    return "stop" if word == "tool_calls" and not called else word


def chat_arguments(request: ChatRequest) -> dict[str, Any]:
    """Return the arguments of a message; this API keeps the system's words apart from the turns."""
    system, turns = conversation(request.messages)
    arguments: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or MAX_TOKENS,
        "messages": _messages(turns),
    }
    if wants_json(request):
        system = _ask_for_json(arguments, request, system)
    if system:
        arguments["system"] = system
    version = version_of(request.model)
    if request.temperature is not None and (version is None or version <= _LAST_WITH_TEMPERATURE):
        # The client has forgotten the word, because its newest models refuse it; all others know it.
        arguments["extra_body"] = {"temperature": request.temperature}
    _add_tools(arguments, request)
    _end(arguments["messages"], request)
    return arguments


def begun_json(request: ChatRequest) -> str:
    """Return what is put into a model's mouth so that its answer is a JSON object."""
    plain = request.json_mode and request.json_schema is None and not request.tools
    return "{" if plain and not request.prefill and can_prefill(request.model) else ""


def has_json_format(request: ChatRequest) -> bool:
    """Return whether the API itself holds the answer to the schema."""
    return request.json_schema is not None and (version_of(request.model) or (0, 0)) >= _FIRST_WITH_FORMAT


def _ask_for_json(arguments: dict[str, Any], request: ChatRequest, system: str) -> str:
    if has_json_format(request):
        from anthropic import transform_schema

        schema = transform_schema(dict(request.json_schema or {}))
        arguments["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return system
    return "\n\n".join(part for part in (system, json_instruction(request)) if part)


def _end(messages: list[dict[str, Any]], request: ChatRequest) -> None:
    """See to it that the conversation ends as the model wants it."""
    begun = request.prefill.rstrip() or begun_json(request)
    if begun:
        messages.append({"role": "assistant", "content": begun})
    elif messages[-1]["role"] == "assistant" and not can_prefill(request.model):
        messages.append({"role": "user", "content": _CONTINUE})


def _messages(turns: Sequence[Message]) -> list[dict[str, Any]]:
    rendered: list[dict[str, Any]] = []
    for turn in turns:
        role, blocks = ("assistant" if turn.role == "assistant" else "user"), _blocks(turn)
        if rendered and rendered[-1]["role"] == role:
            # Tools' results are the user's, all of one turn, and stand before what the user says.
            rendered[-1]["content"] += blocks
        else:
            rendered.append({"role": role, "content": blocks})
    for message in rendered:
        if len(message["content"]) == 1 and message["content"][0]["type"] == "text":
            message["content"] = message["content"][0]["text"]
    return rendered


def _blocks(turn: Message) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": turn.content}] if turn.content.strip() else []
    blocks: list[dict[str, Any]] = [*(_picture(turn, at) for at in range(len(turn.images))), *text]
    if turn.role == "tool":
        result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(turn.tool_call_id or "")}
        return [{**result, "content": blocks} if blocks else result]
    uses = [
        {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": as_object(call.arguments)}
        for call in turn.tool_calls
    ]
    return [*blocks, *uses] or [{"type": "text", "text": "(empty)"}]


def _picture(turn: Message, at: int) -> dict[str, Any]:
    image = turn.images[at]
    source = {"type": "base64", "media_type": image.media_type, "data": base64_of(image)}
    return {"type": "image", "source": source}


def _id(id_: str) -> str:
    """This API takes letters, digits, dash and underscore; another provider's id may hold more."""
    return _NOT_IN_ID.sub("_", id_)


def _add_tools(arguments: dict[str, Any], request: ChatRequest) -> None:
    tools = [_tool(tool) for tool in request.tools]
    if tools:
        arguments["tools"], arguments["tool_choice"] = tools, _choice(request.tool_choice)
        return
    names = {call.name for message in request.messages for call in message.tool_calls}
    if names:
        # A conversation in which tools were called is refused where none is named.
        empty = {"type": "object", "properties": {}}
        arguments["tools"] = [_tool(Tool(name, "", empty)) for name in sorted(names)]
        arguments["tool_choice"] = {"type": "none"}


def _tool(tool: Tool) -> dict[str, Any]:
    one: dict[str, Any] = {"name": tool.name, "input_schema": dict(tool.parameters)}
    return {**one, "description": tool.description} if tool.description else one


def _choice(choice: str) -> dict[str, Any]:
    known = {"auto": "auto", "required": "any", "none": "none"}
    return {"type": known[choice]} if choice in known else {"type": "tool", "name": choice}


def call_of(block: Any, arguments: str) -> ToolCall:
    """Return the tool call that a block holds."""
    return ToolCall(block.id or "", block.name or "", arguments)


def usage_of(*reports: Any) -> Usage:
    """Return the tokens as reported, the later report before the earlier.

    This API counts what came from its cache, and what went there, apart from the input; the house counts them in.
    """
    fresh, output = _latest(reports, "input_tokens"), _latest(reports, "output_tokens")
    cached, written = _latest(reports, "cache_read_input_tokens"), _latest(reports, "cache_creation_input_tokens")
    details = next((found for one in reports if (found := getattr(one, "output_tokens_details", None))), None)
    return Usage(
        input_tokens=None if fresh is None else fresh + (cached or 0) + (written or 0),
        output_tokens=output,
        cached_tokens=cached,
        reasoning_tokens=getattr(details, "thinking_tokens", None),
        cache_write_tokens=written,
    )


def _latest(reports: Sequence[Any], name: str) -> int | None:
    return next((found for one in reports if (found := getattr(one, name, None)) is not None), None)
