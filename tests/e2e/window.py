"""A browser's window that takes notes: what its pages asked for, what they complained about, how they look."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Request, WebError, WebSocket

from tests.waiting import until

PATIENCE_MS = 20_000
# What a browser and marimo say while the server is away; only tests that end it may pass over these.
OUTAGE = ("net::ERR_", "WebSocket connection to", "Failed to fetch", "Failed to update a ServiceWorker")


class Window:
    """One browser context: its tabs share cookies, and nothing is shared with another one.

    Args:
        browser: where it opens.
        folder: where its pictures are kept.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._folder = folder
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", self._requested)
        self.context.on("console", self._said)
        self.context.on("weberror", self._failed)

    def tab(self) -> Page:
        """Open an empty tab."""
        page = self.context.new_page()
        page.on("websocket", self._connected)
        return page

    def foreign_requests(self, netloc: str) -> list[str]:
        """Return every address that was asked for outside the server's own host and port."""
        addresses = [(address, urlsplit(address)) for address in self.requests]
        return [
            address for address, parts in addresses if parts.scheme not in {"data", "blob"} and parts.netloc != netloc
        ]

    def errors(self, *, but: Iterable[str] = ()) -> list[str]:
        """Return the pages' complaints without those that contain a text of `but`."""
        return [text for text in self.complaints if not any(part in text for part in but)]

    def screenshots(self) -> list[Path]:
        """Save how each tab looks now."""
        taken: list[Path] = []
        for number, page in enumerate(self.context.pages, 1):
            path = self._folder / f"tab-{number}.png"
            try:
                page.screenshot(path=path, timeout=10_000)
            except Error:
                continue  # a tab that crashed has no looks, and the test's own error matters more
            taken.append(path)
        return taken

    def close(self) -> None:
        """Close every tab."""
        self.context.close()

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)

    def _connected(self, socket: WebSocket) -> None:
        self.requests.append(socket.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _failed(self, error: WebError) -> None:
        self.complaints.append(f"uncaught: {error.error}")


def row_seqs(page: Page) -> list[int]:
    """Return the seqs of the live feed's rows as the eye reads them, from the top down."""
    # Found and measured in one go: a row that is taken away in between would lie at the very top.
    found = page.locator(".tw-feed-list").evaluate_all(
        "lists => lists.flatMap(list => [...list.querySelectorAll('[data-seq]')]"
        ".map(row => [row.getBoundingClientRect().top, Number(row.dataset.seq)]))"
    )
    return [seq for _, seq in sorted(found, key=lambda row: row[0])]


def chart(page: Page) -> tuple[float, float, float, float]:
    """Return where the first chart is, once it has come to rest: left, top, width and height."""
    seen: list[object] = []

    def at_rest() -> dict[str, float] | None:
        drawn = page.locator("marimo-vega canvas, marimo-vega svg")
        box = drawn.first.bounding_box() if drawn.count() else None
        seen.append(box)
        return box if box is not None and seen[-3:] == [box] * 3 else None

    box = until(at_rest, "the chart was drawn and came to rest")
    return box["x"], box["y"], box["width"], box["height"]


def brush(page: Page, begin: float, end: float, *, pause_s: float = 0) -> None:
    """Drag over a part of the chart; the ends are shares of its width, `pause_s` lies between the eight steps."""
    left, top, width, height = chart(page)
    page.mouse.move(left + begin * width, top + height / 2)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(left + (begin + (end - begin) * step / 8) * width, top + height / 2)
        if pause_s and step < 8:
            page.wait_for_timeout(pause_s * 1000)
    page.mouse.up()


def heading(page: Page, title: str) -> Locator:
    """Return a page's own heading; the document's hidden title says the same words."""
    return page.locator("h1", has_text=re.compile(rf"^\s*{re.escape(title)}\s*$"))


def log_in(page: Page, password: str) -> None:
    """Type the password into the login page and send it."""
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def ask(page: Page, question: str) -> None:
    """Type a question into the chat of the first page and send it."""
    box = page.locator(".tw-chat").get_by_role("textbox")
    box.click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def chat_text(page: Page) -> str:
    """Return all that the chat shows now."""
    # The chat draws into a shadow root, which Playwright's own texts leave out.
    return page.locator(".tw-chat marimo-chatbot").evaluate(
        "chat => [...(chat.shadowRoot?.children ?? [])].map(part => part.innerText ?? '').join('\\n')"
    )
