"""Pictures of a served page in every look, each after nothing on it moves any more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from tests.e2e.served import Served

WIDE: Final = {"viewport": {"width": 1360, "height": 860}}
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {**WIDE, "color_scheme": "light"},
    "dark": {**WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
TALLEST: Final = 4200


def settle(page: Page) -> None:
    """Wait until nothing on the page changes any more for half a second, at most ten."""
    page.wait_for_load_state("networkidle")
    page.evaluate(
        """() => new Promise(done => {
            let timer = setTimeout(done, 500);
            const seen = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(done, 500); });
            seen.observe(document.body, { childList: true, subtree: true });
            setTimeout(done, 10000);
        })"""
    )


class Album:
    """Takes pictures of one page of a workbench.

    Args:
        browser: a Chromium.
        folder: where they go, as `PREFIX-NAME-LOOK.png`.
        prefix: what their names begin with.
        path: the page's.
        looks: which of `LOOKS`.
    """

    def __init__(
        self, browser: Browser, folder: Path, prefix: str, path: str, looks: Collection[str] = tuple(LOOKS)
    ) -> None:
        self._browser, self._folder, self._prefix, self._path, self._looks = browser, folder, prefix, path, looks

    def take(
        self,
        name: str,
        served: Served,
        *,
        query: str = "",
        path: str | None = None,
        then: Callable[[Page], None] | None = None,
        whole: bool = True,
    ) -> None:
        """Take one state in each look, after `then` did something on the page; `whole` means to its end."""
        for look in self._looks:
            context = self._browser.new_context(**LOOKS[look])
            page = context.new_page()
            page.on("console", lambda message: print("SAYS", message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: print("FAILED", error))
            page.goto(f"{served.url}{self._path if path is None else path}{query}")
            page.locator("h1").first.wait_for()
            settle(page)
            if then is not None:
                then(page)
                settle(page)
            if whole:
                _to_its_end(page, LOOKS[look]["viewport"]["width"])
            target = self._folder / f"{self._prefix}-{name}-{look}.png"
            page.screenshot(path=target)
            wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            print(target, "" if wide[0] <= wide[1] else f"SCROLLS SIDEWAYS {wide}")
            context.close()


def _to_its_end(page: Page, width: int) -> None:
    height = page.evaluate("document.querySelector('.marimo-cell').closest('.flex').scrollHeight + 140")
    page.set_viewport_size({"width": width, "height": min(int(height), TALLEST)})
    settle(page)
