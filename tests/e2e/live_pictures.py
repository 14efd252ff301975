"""Take pictures of the live page and of a trace in their states: `python -m tests.e2e.live_pictures FOLDER [LOOK]`.

The workbench is the real one, served by its own process, with its own agents; a provider on loopback follows a script.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.browser import find_browser, flags
from tests.e2e.pictures import LOOKS, history, settle
from tests.e2e.served import Served, loopback, plain_environment, provider_table, until
from timmy_core import open_timmy
from timmy_core.testing import Turn

ANSWERS = ("Beans beside the tomatoes, ", "onions along the path, ", "and the herbs where you pass them every day.")
TASKS = (
    ("Plan the garden for spring: which vegetables stand beside which, and what is sown when.", 250),
    ("Summarise the council's minutes in five lines.", 120),
    ("Find a name for the cat.", 40),
)


def work(home: Path) -> str:
    """Post tasks that the home's own agents bid for, wait until they are done, and return the first one's id."""
    with open_timmy(home) as timmy:
        timmy.swarm.register("mole", capabilities=["text"], description="digs")
        posted = [timmy.swarm.post_task(text, budget_sats=sats, bidding_s=2.0) for text, sats in TASKS]
        timmy.swarm.bid(posted[0].id, "mole", amount_sats=240)
        until(lambda: not timmy.swarm.count("bidding", "assigned", "working"), "the tasks were done", within_s=60)
        time.sleep(2)
        timmy.swarm.post_task("Translate the poem; it has to rhyme.", budget_sats=900, bidding_s=900)
        return posted[0].id


def take(browser: Browser, served: Served, folder: Path, looks: tuple[str, ...]) -> None:
    """Take each state in each look."""
    task = ""
    empty = Served.get(served, "/readyz").status_code
    assert empty == 200
    for look in looks:
        shot(browser, served, folder / f"empty-{look}.png", look)
    history(served.home)
    task = work(served.home)
    with open_timmy(served.home) as timmy:
        trace = timmy.swarm.task(task).trace_id
        seq = timmy.events.list(type="llm.completed", limit=1)[0].seq
    for look in looks:
        shot(browser, served, folder / f"live-{look}.png", look)
        shot(browser, served, folder / f"task-{look}.png", look, f"?task={task}")
        shot(browser, served, folder / f"event-{look}.png", look, f"?seq={seq}")
        shot(browser, served, folder / f"trace-{look}.png", look, f"?trace={trace}")
        shot(browser, served, folder / f"filter-{look}.png", look, "?family=task,bid&range=1h&agent=echo")
        shot(browser, served, folder / f"post-{look}.png", look, then=post)
        shot(browser, served, folder / f"events-trace-{look}.png", look, f"?trace={trace}", path="/swarm/events")


def post(page: Page) -> None:
    """Open the form for a new task."""
    page.get_by_role("button", name="Post a task").click()
    page.locator(".tw-more-fields summary").click()


def shot(
    browser: Browser, served: Served, target: Path, look: str, query: str = "", *,
    then: Callable[[Page], None] | None = None, path: str = "/swarm/live",
) -> None:  # fmt: skip
    """Take one picture."""
    context = browser.new_context(**LOOKS[look])  # type: ignore[arg-type]
    page = context.new_page()
    page.on("console", lambda message: print("SAYS", message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: print("FAILED", error))
    page.goto(f"{served.url}{path}/{query}")
    page.locator("h1").first.wait_for()
    settle(page)
    if then is not None:
        then(page)
        page.wait_for_timeout(300)
    page.screenshot(path=target)
    context.close()


def main() -> None:
    """Serve, work, and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    turns = [Turn(ANSWERS, pause_s=0.05) for _ in range(40)]
    with tempfile.TemporaryDirectory() as place, loopback(*turns) as provider, sync_playwright() as playwright:
        home = Path(place) / "home"
        home.mkdir()
        (home / "timmy.toml").write_text(provider_table("box", provider.url, model="gemma-3-4b"), encoding="utf-8")
        served = Served(home, Path(place) / "logs", plain_environment())
        browser = playwright.chromium.launch(executable_path=find_browser(), args=flags())
        try:
            served.start()
            take(browser, served, folder, tuple(sys.argv[2:]) or tuple(LOOKS))
        finally:
            browser.close()
            served.close()


if __name__ == "__main__":
    main()
