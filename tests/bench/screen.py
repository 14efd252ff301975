"""From another process's append to a row in a browser, at 10 and at 100 events a second.

    python tests/bench/screen.py

`timmy up` serves, Chromium shows the live page, and a writer process appends to the same home. In the page an observer
notes the moment when a row stands in the document and the next frame after it, by which time it is on the screen.
Beside it, in turns: a page of five lines on a bare WebSocket, which is the least that a browser needs.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browsing import chromium, free_port, running, timmy_up
from figures import load, machine, number, options, percentile, scratch, spread, table, verdict
from playwright.sync_api import Page
from websockets.sync.server import ServerConnection, serve

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store

RATES = (10, 100)
REST_S = 1.0
WAIT_S = 120

# Notes [seq, when it stood in the document, when the next frame began, whether it lay inside the window].
OBSERVE = """space => {
  const list = space.parentElement, now = () => performance.timeOrigin + performance.now();
  window.seen = [];
  new MutationObserver(records => {
    const notes = [], here = now();
    for (const record of records) for (const node of record.addedNodes) {
      if (!node.dataset?.seq) continue;
      const top = parseFloat(node.style.top) - list.scrollTop;
      notes.push([Number(node.dataset.seq), here, 0, top >= 0 && top < list.clientHeight]);
    }
    requestAnimationFrame(() => {
      const then = now();
      for (const note of notes) { note[2] = then; window.seen.push(note); }
    });
  }).observe(space, { childList: true });
}"""
FLOOR = """port => {
  const now = () => performance.timeOrigin + performance.now();
  document.body.innerHTML = '<div id="rows"></div>';
  const rows = document.getElementById("rows");
  window.seen = [];
  new WebSocket(`ws://127.0.0.1:${port}`).onmessage = message => {
    const row = document.createElement("div");
    row.textContent = message.data; rows.prepend(row); if (rows.children.length > 50) rows.lastChild.remove();
    const here = now();
    const then = () => window.seen.push([Number(message.data), here, now(), true]);
    requestAnimationFrame(() => requestAnimationFrame(then));
  };
}"""


def write(home: Path, orders: Any, answers: Any) -> None:
    """Do what is ordered, in a process of its own: ("append" or "send", how many a second, for how long)."""
    store = Store.open(home / "timmy.db")
    log = EventLog(store)
    clients: list[ServerConnection] = []
    numbers = itertools.count(1)

    def hold(client: ServerConnection) -> None:
        clients.append(client)
        for _ in client:
            pass

    def append(index: int) -> int:
        return log.append("tool.completed", source="bench", data={"tool": "clock", "n": index}).seq

    def send(_: int) -> int:
        key = next(numbers)
        clients[-1].send(str(key))
        return key

    with serve(hold, "127.0.0.1", 0, compression=None) as server:
        import threading

        threading.Thread(target=server.serve_forever, daemon=True).start()
        answers.put(server.socket.getsockname()[1])
        while (order := orders.get(timeout=WAIT_S)) is not None:
            kind, rate, seconds = order
            answers.put(_paced(append if kind == "append" else send, rate, round(rate * seconds)))
        server.shutdown()
    store.close()


def _paced(act: Callable[[int], int], rate: int, many: int) -> list[tuple[int, float, float]]:
    """Act at a steady rate, and note (seq, called, returned) in milliseconds of wall time."""
    stamps = []
    began = time.monotonic()
    for index in range(many):
        time.sleep(max(0.0, began + index / rate - time.monotonic()))
        called = time.time_ns() / 1e6
        seq = act(index)
        stamps.append((seq, called, time.time_ns() / 1e6))
    return stamps


@dataclass(slots=True)
class Round:
    """One stretch of one page at one rate, in milliseconds."""

    visible: list[float]
    inserted: list[float]
    commit: list[float]
    unseen: int


def measure(page: Page, kind: str, rate: int, seconds: float, orders: Any, answers: Any) -> Round:
    page.evaluate("window.seen.length = 0")
    orders.put((kind, rate, seconds))
    stamps = answers.get(timeout=WAIT_S)
    page.wait_for_timeout(REST_S * 1000)
    notes = {seq: (here, then) for seq, here, then, inside in page.evaluate("window.seen") if inside}
    found = [(called, *notes[seq]) for seq, called, _ in stamps if seq in notes]
    return Round(
        visible=[then - called for called, _, then in found],
        inserted=[here - called for called, here, _ in found],
        commit=[returned - called for _, called, returned in stamps],
        unseen=len(stamps) - len(found),
    )


def run(folder: Path, rounds: int, seconds: float) -> dict[tuple[str, int], list[Round]]:
    home = folder / "home"
    home.mkdir()
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    spawn = multiprocessing.get_context("spawn")
    orders, answers = spawn.Queue(), spawn.Queue()
    url = f"http://127.0.0.1:{free_port()}"
    result: dict[tuple[str, int], list[Round]] = {(kind, rate): [] for rate in RATES for kind in ("append", "send")}
    with running(timmy_up(home, int(url.rpartition(":")[2])), folder, f"{url}/readyz"), chromium() as browser:
        writer = spawn.Process(target=write, args=(home, orders, answers))
        writer.start()
        port = answers.get(timeout=WAIT_S)
        live, floor = browser.new_context(viewport={"width": 1280, "height": 900}).new_page(), browser.new_page()
        floor.evaluate(FLOOR, port)
        live.goto(f"{url}/swarm/live")
        live.locator(".tw-feed-space").evaluate(OBSERVE, timeout=60_000)
        live.locator(".tw-feed[data-state=open]").wait_for()
        pages = {"append": live, "send": floor}
        for index in range(rounds + 1):
            for (kind, rate), all_rounds in result.items():
                pages[kind].bring_to_front()
                one = measure(pages[kind], kind, rate, seconds if index else 2.0, orders, answers)
                if index:  # the first round warms up
                    all_rounds.append(one)
        orders.put(None)
        writer.join()
    return result


def row(name: str, rounds: list[Round]) -> list[str]:
    def over(pick: Callable[[Round], list[float]], percent: float) -> str:
        return spread([percentile(pick(one), percent) for one in rounds])

    return [
        name,
        over(lambda one: one.visible, 50),
        over(lambda one: one.visible, 99),
        over(lambda one: one.inserted, 50),
        over(lambda one: one.commit, 50),
        number(max(max(one.visible) for one in rounds)),
        f"{sum(one.unseen for one in rounds)} of {sum(one.unseen + len(one.visible) for one in rounds)}",
    ]


def main() -> None:
    given = options(__doc__ or "", rounds=3, seconds=10.0)
    before = load()
    with scratch(given.folder) as folder:
        result = run(folder, given.rounds, given.seconds)
    print(f"Append to screen. {machine(given.folder)}; {before} before, {load()} after.\n")
    names = {"append": "the live page", "send": "a bare page on a bare WebSocket"}
    header = ("What", "called → visible p50 ms", "p99 ms", "called → in the document p50 ms", "call p50 ms", "worst ms")
    rows = [row(f"{rate} a second: {names[kind]}", rounds) for (kind, rate), rounds in result.items()]
    print(table((*header, "never seen"), rows), end="\n\n")
    for rate in RATES:
        times = [value for one in result["append", rate] for value in one.visible]
        print(verdict(f"{rate} a second, p50", percentile(times, 50), " ms", at_most=50.0))
        print(verdict(f"{rate} a second, p99", percentile(times, 99), " ms", at_most=250.0))


if __name__ == "__main__":
    main()
