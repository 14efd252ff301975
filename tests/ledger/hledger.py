"""The real hledger: found, or fetched once as root with apt-get; where neither works its tests are left out.

With `CI=true` they fail instead, so that no run in which they were left out is taken for a whole one.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from timmy_core.ledger.export.text import Names

BUILD = Path(__file__).resolve().parents[2] / "build"
FETCH_S, RUN_S = 300, 60
MISSING = (
    "hledger is not installed, and it checks the exported journal; install it with your system's package manager "
    "(Debian and Ubuntu: apt-get install hledger; macOS: brew install hledger)"
)


def program() -> str:
    found = _found()
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@functools.cache
def _found() -> str | None:
    """Look for it, and fetch it where that may be done; one process at a time, since there may be several of them."""
    found = shutil.which("hledger")
    if found or os.geteuid() or shutil.which("apt-get") is None:
        return found
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "hledger.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in ("apt-get update", "apt-get install -y --no-install-recommends hledger"):
            if shutil.which("hledger") is None:
                environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
                subprocess.run(command.split(), capture_output=True, check=False, timeout=FETCH_S, env=environment)
    return shutil.which("hledger")


def run(journal: bytes, *arguments: str) -> str:
    """Run it over a journal; what it says against it is in the assertion."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    command = [program(), "-f", "-", *arguments]
    done = subprocess.run(command, input=journal, capture_output=True, check=False, timeout=RUN_S, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def codes(names: Names) -> dict[str, str]:
    """Return the account of the book for each account of the journal."""
    return {name: code for code, name in names.items()}
