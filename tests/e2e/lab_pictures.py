"""Take pictures of the labs: `python -m tests.e2e.lab_pictures FOLDER`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.browser import find_browser, flags
from tests.e2e.lab_house import home_with_a_past
from tests.e2e.pictures import LOOKS, settle
from tests.e2e.served import Served, loopback

SHOWN = {"latency": "latency/", "policy": "policy/?order=cloud,llama&reset_timeout_s=20&hedge=true", "today": "policy/"}


def main(folder: Path) -> None:
    """Take every lab in every look."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, loopback() as provider, sync_playwright() as playwright:
        served = Served(home_with_a_past(Path(scratch) / "repo", provider.url), Path(scratch) / "server")
        served.start()
        try:
            browser = playwright.chromium.launch(executable_path=find_browser(), args=flags())
            for look, options in LOOKS.items():
                for name, path in SHOWN.items():
                    context = browser.new_context(**options)  # type: ignore[arg-type]
                    page = context.new_page()
                    page.goto(f"{served.url}/labs/{path}")
                    page.locator(".tw-lines").first.wait_for(timeout=60_000)
                    settle(page)
                    height = page.evaluate("document.querySelector('.marimo-cell').closest('.flex').scrollHeight + 140")
                    width = options["viewport"]["width"]  # type: ignore[index]
                    page.set_viewport_size({"width": width, "height": min(int(height), 4200)})
                    page.wait_for_timeout(1500)
                    page.screenshot(path=folder / f"lab-{name}-{look}.png")
                    context.close()
            browser.close()
        finally:
            served.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
