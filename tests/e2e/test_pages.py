"""Every page in a browser, and the first page of a home where nothing is set up."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.waiting import until
from timmy_core.server.pages import PAGES

from .conftest import Serve
from .served import plain_environment, refused_port
from .window import PATIENCE_MS, Window, ask, chat_text, heading


def test_each_of_the_seven_pages_is_reached_by_the_navigation_and_says_honestly_what_it_has(
    home: Path, serve: Serve, window: Window
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    assert len(PAGES) == 9
    served, page = serve(home), window.tab()
    page.goto(served.url)
    for place in PAGES:
        link = page.get_by_role("navigation", name="Pages").get_by_role(
            "link", name=re.compile(rf"^{place.word}$", re.IGNORECASE)
        )
        # The second of the labs is reached from the first.
        tab = page.get_by_role("link", name="Policy", exact=True)
        (tab if place.title == "Policy lab" else link).click()
        heading(page, place.title).wait_for()
        assert urlsplit(page.url).path.rstrip("/") == place.path.rstrip("/")
        expect(link).to_have_attribute("aria-current", "page")
        expect(page.get_by_text("not there yet", exact=True)).to_have_count(0)
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []


def test_without_any_provider_the_first_page_says_what_to_do_and_the_answer_why_there_is_none(
    tmp_path: Path, serve: Serve, window: Window
) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    home = tmp_path / "not there yet"
    with refused_port() as port:
        served = serve(home, environment=plain_environment(OLLAMA_HOST=f"http://127.0.0.1:{port}"))
        assert str(home / "timmy.toml") in served.printed(), "the first start names the file that it wrote"
        page = window.tab()
        page.goto(served.url)
        expect(page.locator("header")).to_contain_text("No provider answers yet")
        for command in ("ollama serve", "ollama pull llama3.2", "timmy router test"):
            expect(page.locator(f'[data-copy="{command}"]').first).to_be_visible()

        ask(page, "Is anybody there?")
        until(lambda: "no model answered" in chat_text(page), "the chat marked the answer as an offline one")
    answer = " ".join(chat_text(page).split())
    for words in (
        "No model answered. This text comes from Timmy itself, not from a model.",
        "ollama (llama3.2) failed: nothing listens there: the connection was refused.",
        "start it with ollama serve, then ollama pull llama3.2",
        "openai (gpt-5.6-luna) was not asked: the environment variable OPENAI_API_KEY is not set.",
        "set OPENAI_API_KEY and start Timmy again",
        "set ANTHROPIC_API_KEY and start Timmy again",
        f"add a [[providers]] table to {home / 'timmy.toml'}; it is asked from then on",
        "timmy doctor checks every provider",
    ):
        assert words in answer, f"the offline answer does not say {words!r}; it says: {answer}"
    events = served.get("/api/v1/events?order=asc").json()["events"]
    # The server begins the play node's book by itself, at some moment of its own.
    kinds = [event["type"] for event in events if event["type"] != "ledger.opened"]
    recalled, stored = "memory.recalled", "memory.stored"
    assert kinds == ["chat.asked", recalled, "llm.failed", "llm.unanswered", "chat.answered", stored]
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []
