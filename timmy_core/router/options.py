"""What a caller may ask of one request, checked once for all of the router's faces."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, cast

from timmy_core.router.chat import Tool
from timmy_core.router.history import as_tools

MAX_DEADLINE_S: Final = 86_400.0
MAX_TOKENS: Final = 10_000_000

_CHOICES: Final = ("auto", "required", "none")


class ChatOptions(TypedDict, total=False):
    """The options of `chat` and `stream`; each may be left out."""

    deadline_s: float | None  # for the whole request, over all who are asked; None: the router's
    model: str  # "default", another of the names under `models`, or a provider's own name of it
    max_tokens: int | None
    temperature: float | None
    tools: Sequence[Tool | Mapping[str, Any]]
    tool_choice: str  # "auto", "required", "none", or the name of a tool
    json_mode: bool  # the answer has to be one JSON object
    json_schema: Mapping[str, Any] | None  # and of this form
    local_only: bool  # nothing of it may leave this machine
    provider: str | None  # only this one is asked


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one request, checked."""

    deadline_s: float | None = None
    model: str = "default"
    max_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    json_mode: bool = False
    json_schema: Mapping[str, Any] | None = None
    local_only: bool = False
    provider: str | None = None

    @property
    def plain(self) -> bool:
        """Whether the answer is a text that another provider could go on with."""
        return not (self.tools or self.json_mode)


PLAIN: Final = Options()


def check_options(options: ChatOptions | Mapping[str, Any]) -> Options:
    """Return the options of a request.

    Raises:
        ValueError: an unknown option, or a value that cannot be meant; says what is expected.
    """
    if not options:
        return PLAIN
    given: dict[str, Any] = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise ValueError(_unknown(name))
        given[name] = check(name, value)
    if given.get("json_schema") is not None:
        given["json_mode"] = True
    _check_choice(given.get("tool_choice", "auto"), given.get("tools", ()))
    return Options(**given)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _CHECKS, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"the option {name!r} is not known; {meant}expected one of {', '.join(_CHECKS)}"


def _wrong(name: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{name} is {value!r}; expected {expected}")


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0 < cast("float", value) <= MAX_DEADLINE_S:
        raise _wrong(name, value, f"a positive number of seconds, at most {MAX_DEADLINE_S:.0f}")
    return float(cast("float", value))


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_TOKENS:
        raise _wrong(name, value, f"a whole number of tokens from 1 to {MAX_TOKENS}, or None for the model's own limit")
    return value


def _temperature(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0 <= cast("float", value) <= 2:  # noqa: PLR2004 - the widest that providers take
        raise _wrong(name, value, "a number from 0 to 2, or None for the model's own")
    return float(cast("float", value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, value, "a name")
    return value


def _name_or_none(name: str, value: object) -> str | None:
    return None if value is None else _name(name, value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "True or False")
    return value


def _schema(name: str, value: object) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, Mapping):
        raise _wrong(name, value, "a JSON schema, such as {'type': 'object', 'properties': {…}}, or None")
    return value


def _tools(name: str, value: object) -> tuple[Tool, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise _wrong(
            name, value, "a list of tools, such as [{'name': 'search', 'description': '…', 'parameters': {…}}]"
        )
    return as_tools(value)


def _check_choice(choice: str, tools: Sequence[Tool]) -> None:
    names = [tool.name for tool in tools]
    if choice in {"auto", "none"} or (choice == "required" and names) or choice in names:
        return
    if not names:
        message = f"tool_choice is {choice!r}, but no tools are given; give tools, or leave tool_choice out"
        raise ValueError(message)
    name = "tool_choice"
    raise _wrong(name, choice, f"one of {', '.join((*_CHOICES, *names))}")


_CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "deadline_s": _seconds,
    "model": _name,
    "max_tokens": _count,
    "temperature": _temperature,
    "tools": _tools,
    "tool_choice": _name,
    "json_mode": _flag,
    "json_schema": _schema,
    "local_only": _flag,
    "provider": _name_or_none,
}
