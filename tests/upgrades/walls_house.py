"""What the tests of the sandbox share: which levels this machine reaches, and how a piece of Python is run there."""

from __future__ import annotations

import functools
import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.upgrades.model import LEVELS, Level
from timmy_core.upgrades.sandbox.job import Bounds, Job, Outcome
from timmy_core.upgrades.sandbox.levels import Sandbox, never

# The virtual environment of a test run may lie where nobody else may look, so the system's interpreter stands in.
PYTHONS = (None, Path("/usr/bin/python3"))
SMALL = Bounds(
    time_s=20.0,
    memory_bytes=256 << 20,
    processes=24,
    open_files=256,
    disk_bytes=8 << 20,
    output_bytes=1 << 20,
)


@functools.cache
def sandbox_at(level: Level) -> Sandbox | str:
    """Return a sandbox of this very level, or why there is none here."""
    refused = ""
    for python in PYTHONS:
        if python is None or python.exists():
            sandbox = Sandbox(python=python, only=level)
            reached = sandbox.attempt(level)
            if not reached.refused:
                return sandbox
            refused = reached.refused
    return refused


def needed(level: Level) -> Sandbox:
    """Return a sandbox of a level; skips where this machine has none."""
    found = sandbox_at(level)
    if isinstance(found, str):
        pytest.skip(f"this machine does not reach {level}: {found}")
    return found


every_level = pytest.mark.parametrize("level", LEVELS)


def run(
    level: Level,
    folder: Path,
    code: str,
    *,
    bounds: Bounds = SMALL,
    copied: bool = False,
    stopped: Callable[[], bool] = never,
) -> Outcome:
    """Run a piece of Python behind a wall of this level; `folder` is where its tree is made."""
    sandbox = needed(level)
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "attack.py").write_text(textwrap.dedent(code), encoding="utf-8")
    return sandbox.run(
        Job((str(sandbox.python), "attack.py", "{report}"), tree, copied=copied), bounds, stopped=stopped
    )


def processes_with(word: str) -> list[int]:
    """Return the processes that have a word among their arguments or variables."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                seen = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:
                continue
            if word.encode() in seen:
                found.append(int(path.name))
    return found
