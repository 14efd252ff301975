"""Take pictures of the labs: `python -m tests.e2e.lab_pictures FOLDER`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.album import Album
from tests.e2e.browser import chromium
from tests.e2e.lab_house import home_with_a_past
from tests.e2e.served import loopback, serving

SHOWN = {"latency": "latency/", "policy": "policy/?order=cloud,llama&reset_timeout_s=20&hedge=true", "today": "policy/"}


def drawn(page: Page) -> None:
    """Wait for the charts."""
    page.locator(".tw-lines").first.wait_for(timeout=60_000)


def main(folder: Path) -> None:
    """Take every lab in every look."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        loopback() as provider,
        chromium() as browser,
        serving(home_with_a_past(Path(scratch) / "repo", provider.url), Path(scratch) / "server") as served,
    ):
        album = Album(browser, folder, "lab", "/labs/")
        for name, path in SHOWN.items():
            album.take(name, served, query=path, then=drawn)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
