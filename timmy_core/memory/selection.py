"""Filters over entries as conditions in SQL, shared by lists, counts and forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from timmy_core.errors import EntryError
from timmy_core.memory.checks import check_subject, check_time

COLUMNS: Final = (
    "kind", "state", "scope", "agent_id", "session", "task_id", "trace_id", "source", "speaker", "subject", "id", "seq",
)  # fmt: skip
FILTERS: Final = (*COLUMNS, "since", "until", "valid_at", "metadata")
MAX_VALUES: Final = 500  # of one filter


def conditions(filters: Mapping[str, Any], table: str = "entry") -> tuple[list[str], list[Any]]:
    """Return filters as conditions over `memory_entries`, and the values to bind.

    A column's filter is a value or several; `since` (included) and `until` (not) bound `created_at`; `valid_at` is a
    moment; `metadata` has keys with the values that they have to have.

    Raises:
        EntryError: a filter is not known, or its value makes no sense.
    """
    clauses: list[str] = []
    values: list[Any] = []
    for name, wanted in filters.items():
        if name in COLUMNS:
            several = _listed(name, wanted)
            clauses.append(f"{table}.{name} IN ({', '.join('?' * len(several))})")
            values += several
        elif name in {"since", "until"}:
            clauses.append(f"{table}.created_at {'>=' if name == 'since' else '<'} ?")
            values.append(_moment(name, wanted))
        elif name == "valid_at":
            moment = _moment(name, wanted)
            clauses.append(f"{table}.valid_from <= ? AND ({table}.valid_to IS NULL OR {table}.valid_to > ?)")
            values += [moment, moment]
        elif name == "metadata":
            _metadata(wanted, table, clauses, values)
        else:
            message = f"{name!r} is no filter; expected one or more of {', '.join(FILTERS)}"
            raise EntryError(message)
    return clauses, values


def _listed(name: str, wanted: Any) -> list[Any]:
    several = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
    kind = int if name == "seq" else str
    wrong = next((value for value in several if not isinstance(value, kind) or isinstance(value, bool)), None)
    if wrong is not None or None in several or len(several) > MAX_VALUES:
        message = f"the filter {name} needs {kind.__name__}, or at most {MAX_VALUES} of them, not {wanted!r:.80}"
        raise EntryError(message)
    return [check_subject(value) for value in several] if name == "subject" else several


def _moment(name: str, wanted: Any) -> int:
    if not isinstance(wanted, datetime):
        message = f"the filter {name} needs a moment with a zone, not {wanted!r:.80}"
        raise EntryError(message)
    return check_time(name, wanted)


def _metadata(wanted: Any, table: str, clauses: list[str], values: list[Any]) -> None:
    """Ask for keys of the metadata by equality; keys are bound like values, so any key may be asked for."""
    if not isinstance(wanted, Mapping):
        message = f"the filter metadata needs keys with their values, such as {{'topic': 'x'}}, not {wanted!r:.80}"
        raise EntryError(message)
    for key, value in wanted.items():
        if value is not None and not isinstance(value, (str, int, float, bool)):
            message = f"metadata is compared with text, numbers, true, false or null, not {value!r:.80}"
            raise EntryError(message)
        kind, bound = _json_type(value)
        clauses.append(
            f"EXISTS (SELECT 1 FROM json_each({table}.metadata) AS pair "  # noqa: S608 - the value is bound
            f"WHERE pair.key = ? AND {kind} AND pair.atom IS ?)"
        )
        values += [key, bound]


def _json_type(value: object) -> tuple[str, Any]:
    """Return how JSON's kind of a value is asked for, and the value as `json_each` gives it."""
    if value is None:
        return "pair.type = 'null'", None
    if isinstance(value, bool):
        return f"pair.type = '{'true' if value else 'false'}'", int(value)
    return ("pair.type = 'text'" if isinstance(value, str) else "pair.type IN ('integer', 'real')"), value
