"""Patterns for paths in a repository: `*` and `?` stay inside a folder, `**` goes through any number of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


class PathSet:
    """The paths that match one of some patterns; letters count alike, whatever their case.

    Where a file system does not tell `Tests` from `tests`, neither may the policy.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._matches = [_compiled(pattern) for pattern in self.patterns]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and any(matches.fullmatch(path) for matches in self._matches)


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    text = ""
    rest = pattern.lstrip("/")
    while rest:
        if rest.startswith("**/"):
            text, rest = text + r"(?:[^/]+/)*", rest[3:]
        elif rest.startswith("**"):
            text, rest = text + r".*", rest[2:]
        elif rest[0] == "*":
            text, rest = text + r"[^/]*", rest[1:]
        elif rest[0] == "?":
            text, rest = text + r"[^/]", rest[1:]
        else:
            text, rest = text + re.escape(rest[0]), rest[1:]
    return re.compile(text, re.IGNORECASE | re.DOTALL)
