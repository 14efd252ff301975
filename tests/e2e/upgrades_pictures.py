"""Take pictures of the upgrades page in its states: `python -m tests.e2e.upgrades_pictures FOLDER`."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.album import Album
from tests.e2e.browser import chromium
from tests.e2e.scratch_repo import BETTER, CI, DEARER, PIN, README, make_repo, settings
from tests.e2e.served import Served, serving
from tests.waiting import until
from timmy_core import open_timmy


def fill(home: Path) -> None:
    """Propose what there is to see: one decided, one landed, the others on their way."""
    with open_timmy(home) as timmy:
        queue = timmy.upgrades
        timmy.upgrading.approvals.set_pin(PIN, by="ann")
        title = "Say in the README that prices hold for a year\n\nCustomers asked, and the tariff is fixed in January."
        made = queue.propose(
            description=title, files={"README.md": README + "They hold for a year.\n"}, proposed_by="timmy"
        )
        shown = queue.test(made.id)
        queue.approve(made.id, by="ann", pin=PIN, seen=shown.seen)
        queue.apply(made.id)
        odd = queue.propose(description="Print prices in euro", files={"notes.md": "€\n"}, proposed_by="forge")
        queue.reject(
            odd.id, by="ann", reason="Prices stay in cents everywhere; format them where they are shown.", pin=PIN
        )
        queue.propose(description="Raise the price of far parcels", files={"tariff.py": DEARER}, proposed_by="forge")
        queue.propose(
            description="Run the tests on two versions of Python",
            files={".ci/steps.yml": CI + "  - run: python3.12 -m pytest -q\n", "docs/ci.md": "# Tests\n\nTwice.\n"},
            proposed_by="seer",
        )
        queue.propose(
            description="Sum with sum\n\nThe loop hid the builtin `sum`; one line says the same.",
            files={
                "tariff.py": BETTER,
                "README.md": README.replace("cents.", "whole cents.") + "They hold for a year.\n",
            },
            proposed_by="timmy",
        )


def tested(served: Served) -> bool:
    """Whether everything that was proposed has its tests behind it."""
    found = served.get("/api/v1/upgrades").json()["proposals"]
    return all(one["state"] not in {"proposed", "testing"} for one in found)


def approving(page: Page) -> None:
    """Open the dialog that asks for the PIN."""
    page.get_by_role("button", name="Approve …").click()
    page.locator("dialog[open]").wait_for()


def main() -> None:
    """Serve each state and take its pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        album = Album(browser, folder, "upgrades", "/self-modify/queue/")
        for name in ("full", "empty"):
            home = Path(place) / name
            home.mkdir()
            if name == "full":
                repo = make_repo(Path(place) / "tariff")
                repo.chmod(0o755)
                (home / "timmy.toml").write_text(settings(repo), encoding="utf-8")
                fill(home)
            with serving(home, Path(place) / f"logs-{name}") as served:
                if name == "full":
                    until(partial(tested, served), "all tests have ended", within_s=300)
                    red = next(
                        one
                        for one in served.get("/api/v1/upgrades").json()["proposals"]
                        if one["state"] == "test_failed"
                    )
                    album.take("red", served, query=f"?id={red['id']}")
                    album.take("approve", served, then=approving, whole=False)
                album.take(name, served)


if __name__ == "__main__":
    main()
