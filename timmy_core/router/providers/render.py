"""What the two cloud APIs' forms of a question have in common; does no I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from timmy_core.router.chat import ChatRequest, Image, Message

_LEFT_OUT: Final = Message("user", "(The beginning of the conversation is left out.)")
_OBJECT: Final = "Answer with one JSON object and with nothing else: no words around it, no code fence."


def conversation(messages: Sequence[Message]) -> tuple[str, tuple[Message, ...]]:
    """Return the system's words, and the turns as a provider takes them that insists on its order.

    Turns of one side that follow each other become one, turns without content go, and the user's comes first.
    """
    system = "\n\n".join(turn.content for turn in messages if turn.role == "system" and turn.content)
    turns: list[Message] = []
    for turn in messages:
        if turn.role == "system" or not (turn.content or turn.images or turn.tool_calls or turn.role == "tool"):
            continue
        if turns and turn.role == turns[-1].role and turn.role != "tool" and not turns[-1].tool_calls:
            turns[-1] = _joined(turns[-1], turn)
        else:
            turns.append(turn)
    if not turns:
        # Somebody put the whole question into the system's words, or asks nothing at all.
        return "", (Message("user", system or messages[-1].content),)
    if turns[0].role == "assistant":
        turns.insert(0, _LEFT_OUT)
    return system, tuple(turns)


def _joined(first: Message, second: Message) -> Message:
    content = "\n\n".join(text for text in (first.content, second.content) if text)
    images = first.images + second.images
    return replace(first, content=content, images=images, tool_calls=second.tool_calls)


def wants_json(request: ChatRequest) -> bool:
    """Return whether the answer has to be a JSON."""
    return request.json_mode or request.json_schema is not None


def json_instruction(request: ChatRequest) -> str:
    """Return the words that ask for a JSON, for an API or a model that has no switch for it."""
    if request.json_schema is None:
        return _OBJECT
    schema = json.dumps(request.json_schema, ensure_ascii=False)
    return f"Answer with one JSON value and with nothing else: no words around it, no code fence. Its schema: {schema}"


def is_strict(schema: object) -> bool:
    """Return whether a JSON schema keeps to the rules of strict modes: every object is closed, every key required."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        keys = set(properties) if isinstance(properties, Mapping) else set()
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != keys:
            return False
    return all(is_strict(value) for value in schema.values())


def base64_of(image: Image) -> str:
    """Return a picture as APIs take it."""
    return base64.b64encode(image.data).decode("ascii")


def as_object(text: str) -> dict[str, Any]:
    """Return a tool call's arguments as the object that they should be; what a model botched goes along as text."""
    try:
        parsed = json.loads(text or "{}")
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"arguments": text}
