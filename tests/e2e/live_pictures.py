"""Take pictures of the live page and of a trace in their states: `python -m tests.e2e.live_pictures FOLDER [LOOK]`.

The workbench is the real one, served by its own process, with its own agents; a provider on loopback follows a script.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.album import LOOKS, Album
from tests.e2e.browser import chromium
from tests.e2e.pictures import history
from tests.e2e.served import Served, loopback, provider_table, serving
from tests.waiting import until
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


def take(album: Album, served: Served) -> None:
    """Take each state."""
    album.take("empty", served, whole=False)
    history(served.home)
    task = work(served.home)
    with open_timmy(served.home) as timmy:
        trace = timmy.swarm.task(task).trace_id
        seq = timmy.events.list(type="llm.completed", limit=1)[0].seq
    album.take("all", served, whole=False)
    album.take("task", served, query=f"?task={task}", whole=False)
    album.take("event", served, query=f"?seq={seq}", whole=False)
    album.take("trace", served, query=f"?trace={trace}", whole=False)
    album.take("filter", served, query="?family=task,bid&range=1h&agent=echo", whole=False)
    album.take("post", served, then=post, whole=False)
    album.take("events-trace", served, query=f"?trace={trace}", path="/swarm/events/", whole=False)


def post(page: Page) -> None:
    """Open the form for a new task."""
    page.get_by_role("button", name="Post a task").click()
    page.locator(".tw-more-fields summary").click()


def main() -> None:
    """Serve, work, and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    turns = [Turn(ANSWERS, pause_s=0.05) for _ in range(40)]
    with tempfile.TemporaryDirectory() as place, loopback(*turns) as provider, chromium() as browser:
        home = Path(place) / "home"
        home.mkdir()
        (home / "timmy.toml").write_text(provider_table("box", provider.url, model="gemma-3-4b"), encoding="utf-8")
        with serving(home, Path(place) / "logs") as served:
            take(Album(browser, folder, "live", "/swarm/live/", tuple(sys.argv[2:]) or tuple(LOOKS)), served)


if __name__ == "__main__":
    main()
