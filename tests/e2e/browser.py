"""Finding a Chromium for the tests: the machine's own, Playwright's own, or one that is fetched now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMED_BY = "TIMMY_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Somebody else may be installing something at the moment.
APT_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300")
FETCH_S = 600
PROBE_S = 60

Run = Callable[..., subprocess.CompletedProcess[str]]


class NoBrowserError(Exception):
    """No browser is here and none could be fetched; the message says what to do."""


def flags() -> list[str]:
    """Return what Chromium is started with; its sandbox refuses to work for root, and only for root."""
    return [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)


@contextmanager
def chromium(path: str | None = None) -> Iterator[Browser]:
    """Start a headless browser, that at the path or whichever is found, and end it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path or find_browser(), args=flags())
        yield browser
        browser.close()


def find_browser(
    environ: Mapping[str, str] = os.environ, *, run: Run = subprocess.run, root: bool | None = None
) -> str:
    """Return the path of a Chromium that starts, fetching one where there is none.

    Raises:
        NoBrowserError: says what was tried and what to do.
    """
    named = environ.get(NAMED_BY)
    if named:
        if _starts(named, run):
            return named
        message = f"{NAMED_BY} names {named}, which does not start; name a Chromium or Chrome, or unset it"
        raise NoBrowserError(message)
    tried: list[str] = []
    for path in _candidates(environ, run, tried, root=os.geteuid() == 0 if root is None else root):
        if _starts(path, run):
            return path
        tried.append(f"{path} is there but does not start")
    raise NoBrowserError(_instruction(tried))


def _candidates(environ: Mapping[str, str], run: Run, tried: list[str], *, root: bool) -> Iterator[str]:
    """Yield paths, the cheapest first; what fetches is reached only when nothing before it started."""
    path = environ.get("PATH", os.defpath)
    yield from _installed(path)
    tried.append(f"none of {', '.join(NAMES)} on PATH starts")
    own = _playwrights_own(run)
    if own is not None and Path(own).exists():
        yield own
    _fetch([sys.executable, "-m", "playwright", "install", "chromium"], environ, run, tried)
    if own is not None and Path(own).exists():
        yield own
    if not root or shutil.which("apt-get", path=path) is None:
        tried.append("the system's package manager was not used: that takes root and apt-get")
        return
    _fetch(["apt-get", "update"], environ, run, tried)
    _fetch([*APT_INSTALL, "chromium"], environ, run, tried)
    yield from _installed(path)


def _installed(path: str) -> list[str]:
    found = (shutil.which(name, path=path) for name in NAMES)
    return [one for one in found if one is not None]


def _playwrights_own(run: Run) -> str | None:
    """Ask Playwright where its Chromium would lie, in a process of its own: here its loop would linger."""
    code = (
        "from playwright.sync_api import sync_playwright as start\nwith start() as p: print(p.chromium.executable_path)"
    )
    try:
        asked = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def _fetch(command: Sequence[str], environ: Mapping[str, str], run: Run, tried: list[str]) -> None:
    shown = " ".join(command)
    env = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = run(list(command), capture_output=True, text=True, timeout=FETCH_S, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired) as error:
        tried.append(f"`{shown}`: {error}")
        return
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        tried.append(f"`{shown}` ended with status {done.returncode}: {last}")


def _starts(path: str, run: Run) -> bool:
    """Whether the program runs at all: a stub of a package manager or a missing library shows here."""
    try:
        return run([path, "--version"], capture_output=True, text=True, timeout=PROBE_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _instruction(tried: Sequence[str]) -> str:
    return (
        "the end-to-end tests need a Chromium and none could be found or fetched.\n"
        "Do one of these and run the tests again:\n"
        "  - install Chromium or Chrome with your system's package manager (Debian: apt-get install chromium)\n"
        f"  - {sys.executable} -m playwright install --with-deps chromium\n"
        f"  - set {NAMED_BY} to the path of a Chromium or Chrome\n"
        "What was tried:\n" + "\n".join(f"  - {line}" for line in tried)
    )
