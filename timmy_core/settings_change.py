"""Changes single values in the text of `timmy.toml`, and leaves every other line and comment as it is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from timmy_core.errors import SettingsError
from timmy_core.settings_file import keys_of

KeyPath = tuple[str | int, ...]
Value = bool | int | float | str | None

# The value of a line: a string, or whatever comes before a comment.
_LINE: Final = re.compile(r"""^(?P<head>\s*[^=#]+?\s*=\s*)(?P<value>"[^"]*"|'[^']*'|[^#]*?)(?P<tail>\s*(?:\#.*)?)$""")


def changed(text: str, changes: Mapping[KeyPath, Value]) -> str:
    """Return the text with these values.

    Args:
        text: of a `timmy.toml`.
        changes: where (such as `("router", "deadline_s")` or `("providers", 1, "priority")`) -> the new value; None
            removes the key.

    Raises:
        SettingsError: it is not written so that this can be done line by line; says which line to write by hand.
    """
    new = text
    for path, value in changes.items():
        new = _one(new, path, value)
    wanted = tomllib.loads(text)
    for path, value in changes.items():
        _put(wanted, path, value)
    try:
        same = tomllib.loads(new) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        lines = ", ".join(f"{_dotted(path)} = {shown(value)}" for path, value in changes.items())
        message = (
            f"the file is written in a way in which single values cannot be changed safely; write by hand: {lines}"
        )
        raise SettingsError(message)
    return new


def shown(value: Value) -> str:
    """Return a value as TOML writes it; `(none)` where there is none."""
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value) if isinstance(value, int) or not value.is_integer() else str(int(value))


def _one(text: str, path: KeyPath, value: Value) -> str:
    lines = text.splitlines()
    *table, key = path
    ends = header = None
    for number, where, found in keys_of(text):
        if where != tuple(table):
            continue
        if found == key:
            lines[number - 1 : number] = _line(lines[number - 1], value)
            return "\n".join(lines) + "\n"
        ends = number
        header = number if found is None else header
    if value is None:
        return text
    if ends is None:
        if len(table) != 1:
            message = f"the file has no table for {_dotted(path)}; write one, with {key} = {shown(value)}"
            raise SettingsError(message)
        lines += ["", f"[{table[0]}]"] if lines and lines[-1].strip() else [f"[{table[0]}]"]
        ends = len(lines)
    lines.insert(ends, f"{key} = {shown(value)}")
    return "\n".join(lines) + "\n"


def _line(line: str, value: Value) -> Iterator[str]:
    """Yield the line with another value; nothing where the key goes."""
    if value is None:
        return
    found = _LINE.match(line)
    yield line if found is None else f"{found['head']}{shown(value)}{found['tail']}"


def _put(data: dict[str, Any], path: KeyPath, value: Value) -> None:
    place: Any = data
    for part in path[:-1]:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    if value is None:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
