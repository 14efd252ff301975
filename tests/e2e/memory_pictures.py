"""Take pictures of the memory page in its states: `python -m tests.e2e.memory_pictures FOLDER [MODEL]`.

The workbench is the real one, served by its own process; what it remembers is made up. MODEL is a folder or a wheel
with the embedding model's files; without one the pictures show what is found by words alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from tests.e2e.album import Album
from tests.e2e.browser import chromium
from tests.e2e.served import loopback, provider_table, serving
from timmy_core import open_timmy
from timmy_core.memory.model import NewEntry
from timmy_core.memory.model_files import ModelFolder
from timmy_core.memory.model_install import install
from timmy_core.testing import Turn

FACTS = (
    ("My sister Ann lives in Graz.", "home of my sister"),
    ("I am allergic to peanuts.", None),
    ("The green bicycle belongs to Jo.", "owner of the green bicycle"),
    ("I pay the rent on the third of each month.", None),
    ("The garden is watered every second evening.", None),
    ("My dentist is Dr. Berger in the Lindengasse.", "my dentist"),
    ("I prefer trains to planes.", None),
    ("The house has a heat pump since 2024.", None),
    ("My passport expires in March 2028.", "expiry of my passport"),
    ("I read the newspaper on paper, on Saturdays only.", None),
)
AGAINST = (
    ("The spare key is under the blue pot.", "The spare key is under the red pot."),
    ("I drink coffee in the morning.", "I do not drink coffee in the morning."),
    ("The bakery closes at six on Fridays.", "The bakery closes at six on Fridays"),
)
TALK = (
    ("What grows well beside tomatoes?", "Basil and marigolds do; both keep insects away from the tomatoes."),
    ("Which plants does rust need?", "Rust fungi need two hosts; for wheat the other one is the barberry."),
    ("When is the next train to Graz?", "I cannot look that up; on Fridays the 16:25 was the one you took."),
    ("Remind me what the electrician said.", "That the fuse box is from 1978, and should be replaced before winter."),
    ("How long do I boil the eggs?", "Six minutes, as you like them; seven when they come out of the refrigerator."),
    ("What did we decide about the fence?", "To paint it white in spring, after the frost."),
    ("Is the report for Mara finished?", "Two chapters are; the third waits for her numbers."),
    ("Which book did Ann recommend?", "The Wall, by Marlen Haushofer; you have not begun it yet."),
)
NOTES = """# The garden

The beds beside the wall get sun from ten to four. Tomatoes stand there, with basil between them.

## Water

The barrel holds 300 litres. In July it is empty after nine days without rain.

## Compost

It is turned in March and in September. Nothing cooked goes in.
"""


def fill(home: Path, number: int = 260) -> None:
    """Remember a made-up half year."""
    chance = random.Random(5)  # noqa: S311 - a seed, not a secret
    now = datetime.now(UTC)
    new = []
    for turn in range(number):
        at = now - timedelta(days=170 * (1 - (turn / number) ** 0.6)) + timedelta(minutes=chance.randrange(600))
        question, answer = TALK[turn % len(TALK)]
        word = f"({at:%-d %B}, the {turn}th time)" if turn >= len(TALK) else ""
        session = chance.choice(("default", "garden", "work"))
        for speaker, text in (("user", question), ("timmy", f"{answer} {word}".strip())):
            new.append(
                NewEntry(f"{text}", agent_id="timmy", session=session, source="agent", speaker=speaker, created_at=at)
            )
    with open_timmy(home) as timmy:
        timmy.memory.remember_many(new)
        days = iter(range(150, 0, -7))
        for text, subject in FACTS:
            moment = now - timedelta(days=next(days))
            timmy.memory.remember(text, kind="fact", subject=subject, source="page", created_at=moment)
        for pair in AGAINST:
            for text in pair:
                timmy.memory.remember(
                    text, kind="fact", source="page", created_at=now - timedelta(days=next(days)), valid_from=now
                )
        for text in ("Jo starts at the new school in September.", "The user wants to learn Slovenian."):
            timmy.memory.remember(text, kind="fact", source="extraction", proposed=True)
        timmy.memory.remember(NOTES, kind="document", source="import", metadata={"title": "garden.md"})
        for question in ("What grows beside tomatoes?", "Where does my sister live?"):
            timmy.ask_sync(question)


def seek(words: str) -> Callable[[Page], None]:
    """Return what types words into the search and opens the first that is found."""

    def do(page: Page) -> None:
        page.get_by_label("search what Timmy remembers").fill(words)
        page.locator(".tw-seek[data-busy=false] .tw-why").first.wait_for()
        page.locator(".tw-hit-head").first.click()
        page.locator(".tw-whole").first.wait_for()

    return do


def forget(page: Page) -> None:
    """Ask what a forgetting would remove."""
    page.get_by_role("button", name="forget these").click()
    page.locator("dialog[open]").wait_for()


def main() -> None:
    """Serve each state and take its pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    model = sys.argv[2] if len(sys.argv) > 2 else None
    with (
        tempfile.TemporaryDirectory() as place,
        loopback(*[Turn((answer,)) for _, answer in TALK]) as one,
        chromium() as browser,
    ):
        album = Album(browser, folder, "memory", "/memory/")
        for name in ("full", "empty"):
            home = Path(place) / name
            home.mkdir()
            (home / "timmy.toml").write_text(provider_table("ollama", one.url, model="llama3.2"), encoding="utf-8")
            if name == "full":
                fill(home)
                if model is not None:
                    install(ModelFolder(home / "models"), model)
            with serving(home, Path(place) / f"logs-{name}") as served:
                album.take(name, served)
                if name == "full":
                    album.take("found", served, then=seek("tomato plants"))
                    album.take("forget", served, query="?session=garden&range=30d", then=forget, whole=False)
                    album.take("home", served, path="/", whole=False)


if __name__ == "__main__":
    main()
