"""The guard: what a query in SQL may be. It is read as a tree, and only what is known to be harmless passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from timmy_core.errors import QueryError

if TYPE_CHECKING:
    import duckdb

MAX_QUERY_CHARS: Final = 100_000
MAX_MADE: Final = 10_000  # how long a value may be that a function makes out of nothing

# A statement of type SELECT can still write (WITH … AS (INSERT …)), so the tree's own nodes are looked at.
_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES: Final = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT", "SHOW_REF", "COLUMN_DATA"}
)
_SCHEMAS: Final = frozenset({"", "main", "information_schema", "pg_catalog"})
_TABLE_FUNCTIONS: Final = frozenset(
    {
        "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types", "duckdb_views",
        "generate_series", "json_each", "json_tree", "pg_timezone_names", "pragma_table_info", "pragma_version",
        "range", "unnest",
    }
)  # fmt: skip
# Of the functions that do more than compute, these are harmless.
_HARMLESS: Final = frozenset(
    {
        "current_connection_id", "current_query", "current_query_id", "current_transaction_id", "error",
        "gen_random_uuid", "random", "setseed", "uuid", "uuidv4", "uuidv7",
    }
)  # fmt: skip
# DuckDB neither counts nor interrupts the making of one value, so its length has to be a small number in the text:
# function -> the place of the argument, or None for all of them.
_MAKERS: Final[Mapping[str, int | None]] = {
    "array_resize": 1,
    "bitstring": 1,
    "generate_series": None,
    "list_resize": 1,
    "lpad": 1,
    "range": None,
    "repeat": 1,
    "rpad": 1,
}
_NEVER: Final = re.compile("[\\0\ud800-\udfff]")
_FORMATS: Final = frozenset({"format", "printf"})
_LONG_WIDTH: Final = re.compile(r"\d{5}|\*|\{[^}]*\{")


def check_text(query: str) -> None:
    """Check that a query is a text of bounded length that DuckDB can read at all.

    Raises:
        QueryError: it is not.
    """
    # Surrogates are halves of characters, which no text in UTF-8 has.
    if not isinstance(query, str) or len(query) > MAX_QUERY_CHARS or _NEVER.search(query):
        message = f"a query is a text of at most {MAX_QUERY_CHARS:,} characters"
        raise QueryError(message)


class Guard:
    """Reads queries with DuckDB's own parser and refuses all that is not a plain question."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        effects = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE has_side_effects AND function_type = 'scalar'"
        ).fetchall()
        self._refused = frozenset(name for (name,) in effects) - _HARMLESS

    def tables(self, connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
        """Check that a query is exactly one question, and return the names of tables that it mentions.

        Raises:
            QueryError: it is something else, or it calls what is not allowed.
        """
        return self._walk(self._tree(connection, query)["node"])

    def condition(self, connection: duckdb.DuckDBPyConnection, where: str) -> set[str]:
        """Check that a text is one condition, such as may stand after WHERE, and return the tables it mentions.

        Raises:
            QueryError: it is something else.
        """
        node = self._tree(connection, f"SELECT (\n{where}\n)")["node"]
        plain = node["type"] == "SELECT_NODE" and node.get("from_table", {}).get("type") == "EMPTY"
        rest = ("where_clause", "having", "qualify", "sample")
        items = node.get("select_list") or [{}]
        plain = plain and len(items) == 1 and items[0].get("function_name") != "row"
        if not plain or node["modifiers"] or any(node.get(name) for name in rest):
            message = (
                f"where has to be one condition, such as \"agent_id = 'echo' AND latency_ms > 100\", not {where!r}"
            )
            raise QueryError(message)
        return self._walk(node)

    def _tree(self, connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
        check_text(query)
        ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        answer: dict[str, Any] = json.loads(text)
        if answer["error"]:
            if answer.get("error_type") == "not implemented":
                raise QueryError(_only())
            message = f"the query cannot be read: {answer['error_message']}"
            raise QueryError(message)
        statements: list[dict[str, Any]] = answer["statements"]
        if len(statements) != 1:
            raise QueryError(_only(len(statements)))
        return statements[0]

    def _walk(self, root: dict[str, Any]) -> set[str]:
        tables: set[str] = set()
        for node, as_table in _nodes(root):
            kind = node.get("type")
            if not isinstance(kind, str):
                continue
            if kind.endswith("_NODE"):
                if kind not in _NODES:
                    raise QueryError(_only())
            elif "function_name" in node:
                self._check_function(node, as_table=as_table)
            elif "class" not in node and "sample" in node and kind not in _SOURCES:
                message = f"the query reads from a {kind.lower().replace('_', ' ')}, which is not allowed here"
                raise QueryError(message)
            if kind == "BASE_TABLE":
                tables.add(_table(node))
        return tables

    def _check_function(self, node: Mapping[str, Any], *, as_table: bool) -> None:
        name = str(node["function_name"]).lower()
        if as_table:
            if name not in _TABLE_FUNCTIONS:
                message = f"{name}(…) cannot be read from here; queries read Timmy's tables only (SHOW TABLES)"
                raise QueryError(message)
            return
        if name in self._refused:
            message = f"{name}(…) does more than compute, and queries only read"
            raise QueryError(message)
        if name in _MAKERS and not _short(_values(node), _MAKERS[name]):
            message = (
                f"the lengths in {name}(…) have to be whole numbers up to {MAX_MADE:,}, written out; "
                "for more rows use FROM range(…)"
            )
            raise QueryError(message)
        if name in _FORMATS and not _narrow(_values(node)):
            message = f"the format of {name}(…) has to be a text, written out, with widths below 10,000"
            raise QueryError(message)


def _nodes(root: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield every object of the tree, and whether it is a function that stands as a table."""
    waiting: list[tuple[Any, bool]] = [(root, False)]
    while waiting:
        item, as_table = waiting.pop()
        if isinstance(item, dict):
            yield item, as_table
            is_source = item.get("type") == "TABLE_FUNCTION"
            waiting += [(value, is_source and name == "function") for name, value in item.items()]
        elif isinstance(item, list):
            waiting += [(value, False) for value in item]


def _table(node: Mapping[str, Any]) -> str:
    name = str(node["table_name"])
    if str(node.get("schema_name", "")).lower() not in _SCHEMAS or "/" in name or "." in name:
        message = f"{name!r} cannot be read here; queries read Timmy's tables only (SHOW TABLES)"
        raise QueryError(message)
    return name.lower()


def _values(call: Mapping[str, Any]) -> list[int | str | None]:
    """The arguments that are written out; None for one that is computed, and nothing where some go by name."""
    arguments = call.get("arguments") or []
    if any(argument["name"] for argument in arguments):
        return []
    literals = [argument["expression"].get("literal") or {} for argument in arguments]
    return [int(literal["text"]) if literal.get("kind") == "INTEGER" else literal.get("text") for literal in literals]


def _short(values: Sequence[int | str | None], place: int | None) -> bool:
    chosen = values if place is None else values[place : place + 1]
    return bool(chosen) and all(isinstance(value, int) and abs(value) <= MAX_MADE for value in chosen)


def _narrow(values: Sequence[int | str | None]) -> bool:
    return bool(values) and isinstance(values[0], str) and _LONG_WIDTH.search(values[0]) is None


def _only(statements: int = 1) -> str:
    found = "" if statements == 1 else f", not {statements}"
    return (
        f"exactly one statement that reads is answered here{found}: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE or "
        "SHOW; nothing can be written, attached, copied, installed or set"
    )
