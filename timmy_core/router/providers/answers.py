"""Checking what a model answered: tool calls that came in pieces, and JSON that has to be one; does no I/O."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any, Final

from timmy_core.router.chat import ToolCall

MAX_CALLS: Final = 1000
_OPENING: Final = "{["
_CLOSING: Final = "}]"


class CallParts:
    """Tool calls as they come in a stream, piece by piece; each is one only when its arguments are complete."""

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        self._parts: list[list[str]] = []
        self._at: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, index: int | None, id_: str | None, name: str | None, arguments: str | None) -> None:
        """Take a piece; what it does not say again is what came before.

        Raises:
            ValueError: a piece belongs to no call, or there are too many.
        """
        key = index if index is not None else max(self._at, default=-1) + bool(name)
        at = self._at.get(key)
        # Some servers number every call 0; another id then says that it is another call.
        if at is None or (id_ and self._calls[at].id and id_ != self._calls[at].id):
            if len(self._calls) >= MAX_CALLS:
                text = f"more than {MAX_CALLS} tool calls"
                raise ValueError(text)
            at = self._at[key] = len(self._calls)
            self._calls.append(ToolCall("", "", ""))
            self._parts.append([])
        known = self._calls[at]
        self._calls[at] = ToolCall(known.id or id_ or "", known.name or name or "", "")
        if arguments:
            self._parts[at].append(arguments)

    def whole(self, *, cut: bool) -> tuple[ToolCall, ...]:
        """Return the calls.

        Args:
            cut: the answer reached its length, so a call whose arguments are not complete is left out.

        Raises:
            ValueError: a call has no name, or its arguments are no JSON object.
        """
        pairs = zip(self._calls, self._parts, strict=True)
        return checked_calls((ToolCall(call.id, call.name, "".join(parts)) for call, parts in pairs), cut=cut)


def checked_calls(calls: Iterable[ToolCall], *, cut: bool) -> tuple[ToolCall, ...]:
    """Return tool calls whose arguments are JSON objects; see `CallParts.whole`."""
    result: list[ToolCall] = []
    for call in calls:
        problem = _problem(call)
        if problem is None:
            # The history needs an id to tell results apart, and some servers give none.
            result.append(
                ToolCall(call.id or f"call_{secrets.token_hex(6)}", call.name, call.arguments.strip() or "{}")
            )
        elif not cut:
            raise ValueError(problem)
    return tuple(result)


def _problem(call: ToolCall) -> str | None:
    if not call.name:
        return "it calls a tool without a name"
    try:
        parsed: Any = json.loads(call.arguments.strip() or "{}")
    except ValueError:
        parsed = None
    return None if isinstance(parsed, dict) else f"its arguments for the tool {call.name} are no JSON object"


def is_json(text: str, *, only_object: bool) -> bool:
    """Return whether a text is a JSON, or a JSON object."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return False
    return isinstance(parsed, dict) or not only_object


class Unwrapped:
    """A JSON without the words and the fence that a model put around it, piece by piece.

    What stands before the first bracket is dropped. What stands behind a closing one waits for the next closing one, so
    that what stands behind the last is never shown.
    """

    def __init__(self) -> None:
        self._begun = False
        self._closed = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece; returns what of all that came is surely part of the JSON."""
        text = self._held + text
        self._held = ""
        if not self._begun:
            start = min((at for at in map(text.find, _OPENING) if at >= 0), default=None)
            if start is None:
                return ""
            self._begun, text = True, text[start:]
        sure = max(map(text.rfind, _CLOSING)) + 1
        if not sure and not self._closed:
            return text
        self._closed, self._held = True, text[sure:]
        return text[:sure]
