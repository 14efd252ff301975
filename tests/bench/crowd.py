"""Ten clients on the live page for ten minutes at 100 events a second: what each gets, how late, and who grows.

    python tests/bench/crowd.py --minutes 10

`timmy up` serves, a writer process appends to the same home, and every client is a browser window of its own. In each
window every message of the feed is looked at as it comes in: what is missing, what is out of order, and how late it is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browsing import chromium, free_port, running, timmy_up
from figures import load, machine, number, options, percentile, scratch, table, verdict
from playwright.sync_api import CDPSession, Page

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store

REST_S = 3.0
WAIT_S = 60
MIB = 1024 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Looks at every message on its way to the page: the page itself gets it unchanged.
WATCH = """() => {
  const seen = window.crowd = { got: 0, last: 0, gaps: 0, back: 0, late: [] };
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(url, ...more) {
      super(url, ...more);
      if (!String(url).includes("/ws/events")) return;
      this.addEventListener("message", ({ data }) => {
        const now = Date.now();
        for (const event of JSON.parse(data).events ?? []) {
          if (seen.last && event.seq <= seen.last) seen.back += 1;
          else if (seen.last && event.seq !== seen.last + 1) seen.gaps += 1;
          seen.last = event.seq;
          if (event.source !== "bench") continue;
          seen.got += 1;
          if (seen.late.length < 200000) seen.late.push(now - event.data.at);
        }
      });
    }
  };
}"""


def write(home: Path, orders: Any, answers: Any) -> None:
    """Append at a steady rate, in a process of its own, and say how many there were and how late it was itself."""
    store = Store.open(home / "timmy.db")
    log = EventLog(store)
    rate, many = orders.get(timeout=WAIT_S)
    began = time.monotonic()
    behind_s = 0.0
    for index in range(many):
        due = began + index / rate
        time.sleep(max(0.0, due - time.monotonic()))
        behind_s = max(behind_s, time.monotonic() - due)
        data = {"tool": "clock", "n": index, "at": time.time_ns() // 1_000_000}
        log.append("tool.completed", source="bench", data=data, trace_id=f"trace-{index // 10}")
    answers.put((many, time.monotonic() - began, behind_s))
    store.close()


@dataclass(slots=True)
class Client:
    """One window on the live page."""

    page: Page
    tools: CDPSession
    heap_mib: list[float] = field(default_factory=list)

    def weigh(self) -> None:
        """Note how much the page's own memory holds, once what nobody needs is thrown away."""
        self.tools.send("HeapProfiler.collectGarbage")
        metrics = {one["name"]: one["value"] for one in self.tools.send("Performance.getMetrics")["metrics"]}
        self.heap_mib.append(metrics["JSHeapUsedSize"] / MIB)

    def shown(self) -> list[int]:
        """Return the seqs of the rows on the screen, from the top down."""
        rows = self.page.locator(".tw-feed-list [data-seq]").evaluate_all(
            "rows => rows.map(row => [parseFloat(row.style.top), Number(row.dataset.seq)])"
        )
        return [seq for _, seq in sorted(rows)]


@dataclass(slots=True)
class Result:
    """What was seen."""

    written: int
    took_s: float
    behind_s: float
    seen: list[dict[str, Any]]
    on_screen: list[list[int]]
    heaps: list[list[float]]
    server_mib: list[float]


def resident_mib(pid: int) -> float:
    """Return how much memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / MIB


def run(folder: Path, minutes: float, clients: int, rate: int) -> Result:
    home = folder / "home"
    home.mkdir()
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    spawn = multiprocessing.get_context("spawn")
    orders, answers = spawn.Queue(), spawn.Queue()
    url = f"http://127.0.0.1:{free_port()}"
    with running(timmy_up(home, int(url.rpartition(":")[2])), folder, f"{url}/readyz"), chromium() as browser:
        pid = int(json.loads((home / "serve.lock").read_text(encoding="utf-8"))["pid"])
        windows = [window(browser.new_context(viewport={"width": 1280, "height": 900}), url) for _ in range(clients)]
        writer = spawn.Process(target=write, args=(home, orders, answers))
        writer.start()
        orders.put((rate, round(rate * 60 * minutes)))
        server = watch(windows, pid, 60 * minutes)
        written, took_s, behind_s = answers.get(timeout=WAIT_S + 60 * minutes)
        writer.join()
        time.sleep(REST_S)
        return Result(
            written, took_s, behind_s,
            [one.page.evaluate("window.crowd") for one in windows],
            [one.shown() for one in windows],
            [one.heap_mib for one in windows],
            server,
        )  # fmt: skip


def window(context: Any, url: str) -> Client:
    """Open the live page in a window of its own."""
    page = context.new_page()
    page.add_init_script(f"({WATCH})()")
    page.goto(f"{url}/swarm/live")
    page.locator(".tw-feed[data-state=open]").wait_for(timeout=60_000)
    tools = context.new_cdp_session(page)
    tools.send("Performance.enable")
    return Client(page, tools)


def watch(windows: Sequence[Client], pid: int, seconds: float) -> list[float]:
    """Weigh server and pages from time to time until the time is over; twenty times in all."""
    server: list[float] = []
    began = time.monotonic()
    for step in range(1, 21):
        windows[0].page.wait_for_timeout(1000 * max(0.0, began + seconds * step / 20 - time.monotonic()))
        server.append(resident_mib(pid))
        for one in windows:
            one.weigh()
    return server


def growth(values: Sequence[float]) -> float:
    """Return by how many percent the last quarter is more than the second: the first fills the bounded buffers."""
    quarter = len(values) // 4
    before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
    return 100 * (after - before) / before


def lost(result: Result) -> int:
    """Return how many events did not come to a client, came twice or out of order, over all clients."""
    wrong = sum(abs(result.written - one["got"]) + one["gaps"] + one["back"] for one in result.seen)
    newest = max(one["last"] for one in result.seen)
    # The rows on the screen are the newest, without a hole.
    return wrong + sum(rows != list(range(newest, newest - len(rows), -1)) for rows in result.on_screen)


def main() -> None:
    given = options(__doc__ or "", minutes=10.0, clients=10, rate=100)
    before = load()
    with scratch(given.folder) as folder:
        result = run(folder, given.minutes, given.clients, given.rate)
    print(f"A crowd on the live page. {machine(given.folder)}; {before} before, {load()} after.\n")
    pace = f"{result.written / result.took_s:.0f} a second; the writer was at most {result.behind_s:.2f} s behind"
    print(f"{given.clients} windows, {result.written:,} events in {result.took_s:.0f} s ({pace}).\n")
    late = [value for one in result.seen for value in one["late"]]
    heaps = [statistics.median(values) for values in zip(*result.heaps, strict=True)]
    times = [number(value) for value in (percentile(late, 50), percentile(late, 99), max(late))]
    rows = [["append called → message in the page, ms", *times]]
    for name, values in (("memory of the server, MiB", result.server_mib), ("memory of a page's script, MiB", heaps)):
        rows.append([name, *(number(values[step]) for step in (4, 9, -1))])
    print(table(("What", "p50, or after a quarter", "p99, or after a half", "worst, or at the end"), rows), end="\n\n")
    print(verdict("events lost, doubled or out of order, over all windows", lost(result), "", at_most=0))
    print(verdict("the server grew since the first quarter", growth(result.server_mib), " %", at_most=5))
    print(verdict("the pages grew since the first quarter", growth(heaps), " %", at_most=5))


if __name__ == "__main__":
    main()
