"""Running `timmy` for a test: in this process, which is quicker, or as a process of its own, as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from timmy_core import TimmyError
from timmy_core.cli import app

TIMMY = Path(sys.executable).with_name("timmy")
Done = subprocess.CompletedProcess[str]


def here(*words: str, home: Path, text: str = "") -> Done:
    """Run a command in this process; what `main` does about errors of ours is done here likewise."""
    result = CliRunner().invoke(app, [*words, "--home", str(home)], input=text)
    if isinstance(result.exception, TimmyError):
        return subprocess.CompletedProcess(words, 1, result.stdout, f"{result.stderr}timmy: {result.exception}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)


def typed(*words: str, home: Path, text: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run a command as a process of its own."""
    return subprocess.run(
        [TIMMY, *words, "--home", str(home)],
        input=text, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "240", **(env or {})},
    )  # fmt: skip


def lines(done: Done) -> list[dict[str, Any]]:
    """Return the JSON lines that a command printed; it has to have gone well."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
