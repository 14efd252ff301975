"""How much care a change needs, judged by its paths, its size and how it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from timmy_core.upgrades.model import FileChange, Kind, Risk
from timmy_core.upgrades.paths import PathSet

_NAMED: Final = 3  # paths that a reason names; more are counted


@dataclass(frozen=True, slots=True)
class Classes:
    """Where the classes begin.

    Args:
        tests: paths that decide how changes are tested.
        protected: paths that decide what is allowed, built or deployed.
        high: further paths of high risk.
        low: paths of low risk.
        high_lines: more changed lines than this are of high risk.
        low_lines: up to this many may be of low risk.
        high_kinds: ways of proposing that are of high risk.
    """

    tests: PathSet
    protected: PathSet
    high: PathSet
    low: PathSet
    high_lines: int
    low_lines: int
    high_kinds: frozenset[str]

    def is_protected(self, path: str) -> bool:
        """Whether a person has to look at each change of this path."""
        return path in self.tests or path in self.protected


def assess(files: Sequence[FileChange], *, kind: Kind, quarantined: bool, classes: Classes) -> Risk:
    """Return the risk of a change, and every reason for it."""
    protected = tuple(sorted(change.path for change in files if classes.is_protected(change.path)))
    high = tuple(_high(files, kind, quarantined=quarantined, classes=classes))
    if high:
        return Risk("high", high, protected)
    lines = sum(change.added + change.removed for change in files)
    plain = [change for change in files if change.path in classes.low and change.status != "removed"]
    if len(plain) == len(files) and lines <= classes.low_lines:
        return Risk("low", (f"{lines} lines in paths of low risk",), protected)
    return Risk("normal", (f"{lines} lines in {len(files)} {'file' if len(files) == 1 else 'files'}",), protected)


def _high(files: Sequence[FileChange], kind: Kind, *, quarantined: bool, classes: Classes) -> Iterator[str]:
    if quarantined:
        yield "the same change was applied before and rolled back"
    if kind in classes.high_kinds:
        yield f"it was proposed as {kind}"
    tests: Callable[[FileChange], bool] = lambda change: change.path in classes.tests  # noqa: E731 - one of a row
    for words, chosen in (
        ("it changes how changes are tested", tests),
        ("it changes what is protected", lambda change: change.path in classes.protected and not tests(change)),
        ("it changes paths of high risk", lambda change: change.path in classes.high),
        ("nobody can read what changes in", lambda change: change.binary),
        ("it changes what may be run", _mode_changed),
    ):
        paths = sorted(change.path for change in files if chosen(change))
        if paths:
            yield f"{words}: {_some(paths)}"
    lines = sum(change.added + change.removed for change in files)
    if lines > classes.high_lines:
        yield f"{lines:,} lines change, more than {classes.high_lines:,}"


def _mode_changed(change: FileChange) -> bool:
    return bool(change.old_mode and change.new_mode and change.old_mode != change.new_mode)


def _some(paths: Sequence[str]) -> str:
    more = len(paths) - _NAMED
    return ", ".join(paths[:_NAMED]) + (f" and {more} more" if more > 0 else "")
