"""Take pictures of every page, light, dark and at phone width: `python -m tests.e2e.pictures FOLDER [--readme]`.

The workbench is the real one, served by its own process; its providers are wire servers on loopback that follow a
script. `--readme` also takes the picture that the README shows.
"""

from __future__ import annotations

import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.album import Album
from tests.e2e.browser import chromium
from tests.e2e.served import loopback, provider_table, serving
from timmy_core import NewEvent, open_timmy
from timmy_core.testing import Turn

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "home": "/",
    "live": "/swarm/live/",
    "events": "/swarm/events/",
    "ledger": "/lightning/ledger/",
    "memory": "/memory/",
    "router": "/router/status/",
    "upgrades": "/self-modify/queue/",
}
CONVERSATION = (
    ("What did you do this morning?", "I watched the log: nothing failed, and two tasks were finished before nine."),
    ("Which of them took longest?", "Sorting the invoices of October. Forge had it for **14 minutes**."),
    ("Why did that take so long?", "The first provider was away for a while, so each question went to the second."),
)


def history(home: Path) -> None:
    """Fill the log with a made-up day; every event goes through the real log."""
    chance = random.Random(7)  # noqa: S311 - a seed, not a secret
    now = datetime.now(UTC)
    agents = ("echo", "forge", "seer")
    events: list[NewEvent] = []
    for number in range(180):
        moment = now - timedelta(minutes=480) + timedelta(minutes=2.6 * number)
        task, agent = f"task-{number // 3:03d}", chance.choice(agents)
        step = ("task.created", "task.assigned", "task.completed")[number % 3]
        events.append(NewEvent(step, "swarm", {"title": "sort the invoices"}, task, agent, ts=moment))
        if number % 4 == 0:
            data = {"tool": chance.choice(["search", "read_file", "calculator"]), "ms": chance.randrange(3, 900)}
            events.append(NewEvent("tool.called", agent, data, task, agent, ts=moment))
        if number % 37 == 0:
            events.append(NewEvent("system.info", "store", {"message": "the disk has 82 GB free"}, ts=moment))
    with open_timmy(home) as timmy:
        timmy.events.append_many(sorted(events, key=lambda event: event.ts or now))


def main() -> None:
    """Serve, ask, and take the pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    answers = [Turn(tuple(text.split(" ")), pause_s=0.01) for _, text in CONVERSATION]
    spaced = [Turn(tuple(f"{piece} " for piece in turn.pieces), pause_s=0.01) for turn in answers]
    with tempfile.TemporaryDirectory() as place, loopback(*spaced) as ollama, loopback(*spaced) as second:
        home = Path(place) / "home"
        home.mkdir()
        base = ollama.url.removesuffix("/v1")
        (home / "timmy.toml").write_text(
            provider_table("ollama", base, kind="ollama", model="llama3.2", priority=1)
            + provider_table("box", second.url, model="gemma-3-4b", priority=2)
            + '[[providers]]\nname = "anthropic"\nkind = "anthropic"\napi_key = "${ANTHROPIC_API_KEY}"\n'
            'models = { default = "claude-haiku-4-5" }\npriority = 10\n'
        )
        history(home)
        with open_timmy(home) as timmy:
            ollama.then(Turn(status=503, message="the model is loading"), *spaced)
            for number in range(24):
                timmy.ask_sync("How are you?", session=f"warm-{number % 3}")
            ollama.then(*spaced)
            for question, _ in CONVERSATION:
                timmy.ask_sync(question)
        with serving(home, Path(place) / "logs") as served, chromium() as browser:
            for name, path in PAGES.items():
                Album(browser, folder, "page", path).take(name, served, whole=False)
    if "--readme" in sys.argv:
        target = ROOT / "docs" / "images" / "home.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((folder / "page-home-light.png").read_bytes())
        print(target)


if __name__ == "__main__":
    main()
