"""From the command to the first page, and what importing the package costs.

    python tests/bench/start.py

Beside `timmy up`, in turns: `marimo run` on a notebook with one heading, which is the least that such a page needs,
and Python itself. The browser runs already; the first round, which fills the system's cache of files, is not counted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from browsing import chromium, free_port, plain_environment, running, timmy_command, timmy_up
from figures import load, machine, options, scratch, spread, table, verdict
from playwright.sync_api import Browser

PYTHON = sys.executable
NOTEBOOK = """import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md("# First page")


if __name__ == "__main__":
    app.run()
"""
COMMANDS = {
    "`python -c pass`": [PYTHON, "-c", "pass"],
    "`import timmy_core`": [PYTHON, "-c", "import timmy_core"],
    "`from timmy_core import open_timmy`": [PYTHON, "-c", "from timmy_core import open_timmy"],
    "`import marimo`": [PYTHON, "-c", "import marimo"],
    "`timmy --version`": [*timmy_command(), "--version"],
}


def command_s(command: list[str], folder: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=plain_environment(), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def page_s(browser: Browser, command: list[str], folder: Path, url: str, ready: str) -> tuple[float, float]:
    """Return the seconds from the command to (it answers, its first page's heading is visible)."""
    page = browser.new_context().new_page()
    began = time.monotonic()
    with running(command, folder, url + ready) as ready_s:
        page.goto(url)
        page.locator("h1").filter(visible=True).first.wait_for(timeout=60_000)
        seen_s = time.monotonic() - began
        page.context.close()
    return ready_s, seen_s


def measure(folder: Path, browser: Browser, index: int, results: dict[str, list[float]]) -> None:
    """One round of everything, each on a new home."""
    for name, command in COMMANDS.items():
        results.setdefault(name, []).append(command_s(command, folder))
    home, port = folder / f"home-{index}", free_port()
    ready, seen = page_s(browser, timmy_up(home, port), folder, f"http://127.0.0.1:{port}", "/readyz")
    results.setdefault("`timmy up` to `/readyz`", []).append(ready)
    results.setdefault("`timmy up` to the first page", []).append(seen)
    notebook, port = folder / "notebook.py", free_port()
    notebook.write_text(NOTEBOOK, encoding="utf-8")
    command = [PYTHON, "-m", "marimo", "run", str(notebook), "--headless", "--no-token", "--port", str(port)]
    ready, seen = page_s(browser, command, folder, f"http://127.0.0.1:{port}", "/health")
    results.setdefault("`marimo run`, one heading, to its health page", []).append(ready)
    results.setdefault("`marimo run`, one heading, to its page", []).append(seen)


def main() -> None:
    given = options(__doc__ or "", rounds=5)
    before = load()
    results: dict[str, list[float]] = {}
    with scratch(given.folder) as folder, chromium() as browser:
        for index in range(given.rounds + 1):
            measure(folder, browser, index, results)
    counted = {name: values[1:] for name, values in results.items()}
    print(f"Start. {machine(given.folder)}; {before} before, {load()} after; {given.rounds} rounds.\n")
    print(table(("What", "seconds"), [[name, spread(values)] for name, values in counted.items()]), end="\n\n")
    seen = statistics.median(counted["`timmy up` to the first page"])
    print(verdict("`timmy up` to the first page", seen, " s", at_most=4.0))


if __name__ == "__main__":
    main()
