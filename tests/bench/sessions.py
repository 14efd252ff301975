"""What open pages cost beside a long log: how soon each opens, what a session weighs, and whether one blocks another.

    python tests/bench/sessions.py --events 1000000 --sessions 20

Once `timmy up` has done with the log that it finds, each page is opened alone, then twenty windows are opened at
once, page after page in turns. Inside each window a clock that starts with the navigation notes when the page's
content is visible. Then the slowest page is opened again with a question that was not asked before, and another page
beside it while it still works; all the time a thread asks the server whether it is ready. At the end the windows are
closed, and the sessions run out.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx
from browsing import chromium, free_port, running, timmy_up
from crowd import resident_mib
from figures import load, machine, number, options, percentile, scratch, spread, table, verdict
from make_log import WORDS, make
from playwright.sync_api import Browser, BrowserContext, Page

from timmy_core.server.pages import PAGES, SESSION_TTL_S

LONG_MS = 180_000
QUIET_S, IDLE = 8, 0.05  # it has settled once it used less than this share of a core for so long
EACH_S = 0.05
# What stands on a page once it has come; the heading alone, where nothing else is sure to be there.
CONTENT = {
    "/": ".tw-chat",
    "/swarm/live": ".tw-feed[data-state=open] [data-seq]",
    "/swarm/events": ".tw-found-row[data-seq]",
    "/lightning/ledger": ".tw-card-first .tw-card-number",
    "/memory": ".tw-seek[data-busy=false]",
}
# Notes when a heading, and what a page is for, are visible; in milliseconds after the navigation began.
CLOCK = """content => {
  window.came = { heading: 0, content: 0 };
  // Widgets draw into shadow roots, which a plain question to the document leaves out.
  const every = (root, selector) => [
    ...root.querySelectorAll(selector),
    ...[...root.querySelectorAll("*")].flatMap((one) => one.shadowRoot ? every(one.shadowRoot, selector) : []),
  ];
  const seen = (selector) => every(document, selector).some((one) => one.getClientRects().length);
  const look = () => {
    window.came.heading ||= seen("h1") ? performance.now() : 0;
    if (window.came.heading && seen(content)) window.came.content = performance.now(); else setTimeout(look, 25);
  };
  look();
}"""


@dataclass(slots=True)
class Result:
    """What was measured, in seconds and MiB."""

    alone: dict[str, list[float]] = field(default_factory=dict)
    together: list[float] = field(default_factory=list)
    beside: list[tuple[float, float]] = field(default_factory=list)  # (the slow page, the other one)
    answers: list[float] = field(default_factory=list)
    refused: list[bool] = field(default_factory=list)
    mib: dict[str, float] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)

    def weigh(self, when: str, pid: int) -> None:
        """Note how much memory and how many threads the server has."""
        self.mib[when] = resident_mib(pid)
        self.threads[when] = len(list(Path(f"/proc/{pid}/task").iterdir()))


def begin(context: BrowserContext, url: str, path: str, query: str = "") -> Page:
    """Begin to open a page, without waiting for it."""
    page = context.new_page()
    page.add_init_script(f"({CLOCK})({json.dumps(CONTENT.get(path, 'h1'))})")
    page.goto(f"{url}{path}{query}", wait_until="commit", timeout=LONG_MS)
    return page


def came_s(page: Page) -> float:
    """Wait until a page has come, and return after how many seconds that was."""
    page.wait_for_function("window.came?.content", timeout=LONG_MS)
    return float(page.evaluate("window.came.content")) / 1000


def window(browser: Browser) -> BrowserContext:
    """Return a window that shares nothing with another one but the browser's cache of programs."""
    return browser.new_context(viewport={"width": 1280, "height": 900})


@contextmanager
def asking(url: str, answers: list[float], refused: list[bool]) -> Iterator[None]:
    """Ask the server all the time whether it is ready; note the seconds of each answer, and whether it was no."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not over.wait(EACH_S):
                began = time.monotonic()
                ready = client.get(f"{url}/readyz").status_code == HTTPStatus.OK
                answers.append(time.monotonic() - began)
                refused.append(not ready)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        over.set()
        asker.join()


def each_alone(result: Result, context: BrowserContext, url: str, rounds: int) -> None:
    """Open every page alone; the first round reads the log and fills the browser's cache."""
    for index, place in itertools.product(range(rounds + 1), PAGES):
        page = begin(context, url, place.path)
        took = came_s(page)
        page.close()
        if index:
            result.alone.setdefault(place.path, []).append(took)


def all_together(result: Result, browser: Browser, url: str, sessions: int) -> list[BrowserContext]:
    """Open many windows at once, one page each; return them, open."""
    windows = [window(browser) for _ in range(sessions)]
    pages = [begin(one, url, PAGES[index % len(PAGES)].path) for index, one in enumerate(windows)]
    result.together = [came_s(page) for page in pages]
    return windows


def slow_beside_quick(result: Result, browser: Browser, url: str, rounds: int) -> None:
    """Open a page that has much to count, and while it does another one."""
    both = window(browser)
    for index in range(rounds):
        slow = begin(both, url, "/swarm/events", f"?text={WORDS[index]}*+{WORDS[index + rounds]}*")
        quick = begin(both, url, "/")
        quick_s = came_s(quick)
        result.beside.append((came_s(slow), quick_s))
        slow.close()
        quick.close()
    both.close()


def settle(pid: int) -> None:
    """Wait until the server has done with the log that it finds: indexed its text, sealed it, read it into memory."""
    while True:
        before = ticks(pid)
        time.sleep(QUIET_S)
        if ticks(pid) - before < IDLE * QUIET_S * os.sysconf("SC_CLK_TCK"):
            return


def ticks(pid: int) -> int:
    """Return the processor's time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def run(folder: Path, events: int, sessions: int, rounds: int) -> Result:
    home, result = folder / "home", Result()
    home.mkdir()
    make(home, events)
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    with running(timmy_up(home, int(url.rpartition(":")[2])), folder, f"{url}/readyz"), chromium() as browser:
        pid = int(json.loads((home / "serve.lock").read_text(encoding="utf-8"))["pid"])
        settle(pid)
        first = window(browser)
        each_alone(result, first, url, rounds)
        first.close()
        time.sleep(SESSION_TTL_S + 10)
        result.weigh("before", pid)
        with asking(url, result.answers, result.refused):
            windows = all_together(result, browser, url, sessions)
            time.sleep(5)
            result.weigh("with them", pid)
            slow_beside_quick(result, browser, url, rounds)
        for one in windows:
            one.close()
        time.sleep(SESSION_TTL_S + 10)
        result.weigh("after them", pid)
    return result


def main() -> None:
    given = options(__doc__ or "", events=1_000_000, sessions=20, rounds=3)
    before = load()
    with scratch(given.folder) as folder:
        result = run(folder, given.events, given.sessions, given.rounds)
    print(f"Sessions. {machine(given.folder)}; {given.events:,} events; {before} before, {load()} after.\n")
    rows = [[f"`{path}`", spread(times)] for path, times in result.alone.items()]
    rows.append([f"{given.sessions} windows at once, the middle one", number(statistics.median(result.together))])
    rows.append([f"{given.sessions} windows at once, the last one", number(max(result.together))])
    rows.append(["`/` beside a search that is under way", spread([quick for _, quick in result.beside])])
    rows.append(["that search itself", spread([slow for slow, _ in result.beside])])
    rows.append(["`/readyz` meanwhile, p99", number(percentile(result.answers, 99))])
    rows.append(["`/readyz` meanwhile, worst", number(max(result.answers))])
    print(table(("From the navigation to the content", "seconds"), rows), end="\n\n")
    rows = [[when, number(mib), str(result.threads[when])] for when, mib in result.mib.items()]
    print(table((f"{given.sessions} sessions", "the server's memory, MiB", "threads"), rows), end="\n\n")
    slowest = max(statistics.median(times) for times in result.alone.values())
    each = (result.mib["with them"] - result.mib["before"]) / given.sessions
    print(verdict("the slowest page, alone", slowest, " s", at_most=2.0))
    print(verdict("one session", each, " MiB", at_most=12.0))
    print(verdict("`/readyz` said no, times", sum(result.refused), "", at_most=0))


if __name__ == "__main__":
    main()
