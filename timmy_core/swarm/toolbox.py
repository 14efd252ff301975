"""The tools of local agents: sums, what memory holds, what the log says, and proposing a change where one is asked for.

A tool that reads what the home keeps is offered only where its words may be told to whoever answers.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from timmy_core.errors import SwarmError
from timmy_core.swarm.calling import Tools
from timmy_core.swarm.own_code import Said

MAX_SUM: Final = 500
MAX_ROWS: Final = 50
MAX_SAID: Final = 8_000
_MAX_POWER: Final = 1000
_MAX_DIGITS: Final = 1000

_DOES: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip


class Keeps(Protocol):
    """What the home keeps, for agents to read."""

    def search(self, words: str) -> Sequence[str]:
        """Return what memory holds about words, best first."""

    def query(self, sql: str) -> str:
        """Return what the tables say, as text; raises `TimmyError` where the query is wrong."""


class Toolbox:
    """The tools of one agent for one task; each blocks.

    Args:
        names: which of them it has.
        keeps: what the home keeps; None where nothing of it may be told.
        changes: proposes changes; None where it may not.
    """

    def __init__(self, names: Sequence[str], keeps: Keeps | None, changes: Tools | None) -> None:
        self._keeps = keeps
        self._changes = changes
        able: dict[str, Callable[[str], str]] = {"calculate": _calculate}
        if keeps is not None:
            able |= {"search_memory": self._search, "query_tables": self._query}
        self._able = {name: run for name, run in able.items() if name in names}

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as models are told of them."""
        return [_SHOWN[name] for name in self._able] + (self._changes.offered if self._changes else [])

    def wanted(self, question: str) -> bool:
        """Whether there is anything to call; the words do not matter."""
        del question
        return bool(self._able) or self._changes is not None

    def call(self, name: str, arguments: str, trace_id: str) -> Said:
        """Do what a model asked for.

        Raises:
            TimmyError: it cannot be done; the message is for the model.
        """
        run = self._able.get(name)
        if run is None and self._changes is not None:
            return self._changes.call(name, arguments, trace_id)
        if run is None:
            message = f"there is no tool {name[:40]!r}; there are {', '.join(self._able)}"
            raise SwarmError(message)
        try:
            given = json.loads(arguments or "{}")
        except ValueError as error:
            message = f"the arguments are no JSON: {error}; send one JSON object"
            raise SwarmError(message) from error
        value = next(iter(given.values()), None) if isinstance(given, dict) and len(given) == 1 else None
        if not isinstance(value, str) or not value.strip():
            message = "the arguments have to be one JSON object with one text in it, as the tool's form says"
            raise SwarmError(message)
        text = run(value)
        return Said(text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}\n… and more; ask more narrowly")

    def _search(self, words: str) -> str:
        found = self._keeps.search(words) if self._keeps else ()
        return "\n".join(f"- {each}" for each in found) or "memory holds nothing about it"

    def _query(self, sql: str) -> str:
        return self._keeps.query(sql) if self._keeps else ""


def _calculate(text: str) -> str:
    if len(text) > MAX_SUM:
        message = f"the sum has {len(text)} characters; at most {MAX_SUM} are taken"
        raise SwarmError(message)
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, OverflowError, ValueError, RecursionError) as error:
        message = f"{text!r} cannot be calculated: {error}; send a sum such as (3 + 4) * 2.5"
        raise SwarmError(message) from error
    return repr(value)


def _value(node: ast.AST) -> int | float:
    """Return the value of a sum; there are numbers and operators in it, and nothing else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _DOES:
        return _bounded(_DOES[type(node.op)](_value(node.operand)))
    if isinstance(node, ast.BinOp) and type(node.op) in _DOES:
        return _bounded(_DOES[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = _value(node.left), _value(node.right)
        if abs(power) > _MAX_POWER or abs(base) > 10**9:
            message = "the power is too large"
            raise ValueError(message)
        raised = base**power
        if isinstance(raised, complex):
            message = "the root of a negative number is none"
            raise ValueError(message)  # noqa: TRY004 - the value is wrong, whatever its type
        return _bounded(raised)
    message = f"{type(node).__name__} is no part of a sum"
    raise ValueError(message)


def _bounded(value: float) -> int | float:
    if isinstance(value, int) and value.bit_length() > 4 * _MAX_DIGITS:
        message = f"it has more than {_MAX_DIGITS} digits"
        raise ValueError(message)
    return value


def _shown(name: str, description: str, argument: str, meaning: str) -> dict[str, Any]:
    form = {"type": "object", "properties": {argument: {"type": "string", "description": meaning}}}
    whole = {**form, "required": [argument], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": whole}}


_SHOWN: Final = {
    "calculate": _shown("calculate", "Calculate a sum exactly.", "sum", "Numbers with + - * / // % ** and ( )."),
    "search_memory": _shown(
        "search_memory", "Find what is remembered, in this home, about something.", "words", "What to look for."
    ),
    "query_tables": _shown(
        "query_tables", f"Ask this home's tables in DuckDB's SQL; at most {MAX_ROWS} rows. SHOW TABLES lists them.",
        "sql", "One SELECT, SHOW or DESCRIBE.",
    ),
}  # fmt: skip
