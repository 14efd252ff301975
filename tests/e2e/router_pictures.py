"""Take pictures of the router's page in its states: `python -m tests.e2e.router_pictures FOLDER`.

The workbench is the real one, served by its own process; its providers are wire servers on loopback that follow a
script, and its past is a made-up week that went through the real recorder.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from playwright.sync_api import Page

from tests.e2e.album import Album
from tests.e2e.browser import chromium
from tests.e2e.served import Served, loopback, provider_table, serving
from timmy_core.events.log import EventLog
from timmy_core.router.breaker import Snapshot, Transition
from timmy_core.router.chat import Attempt, Usage
from timmy_core.router.costs import daily_costs
from timmy_core.router.metrics import Metrics
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, Turn

ANSWER = Turn(
    ("Rust ", "fungi ", "need ", "two ", "hosts; ", "the barberry ", "is one of them."), pause_s=0.01, usage=(21, 14)
)
FAILED = ("timeout", "server_error", "overloaded", "stream_truncated", "rate_limited")


def past(home: Path, names: dict[str, tuple[str, float, int]]) -> None:
    """Write a week of attempts: name -> (model, typical seconds, micro-dollars an answer)."""
    chance = random.Random(11)  # noqa: S311 - a seed, not a secret
    now = datetime.now(UTC)
    clock = FakeClock(now - timedelta(days=6.6))
    store = Store.open(home / "timmy.db")
    metrics = Metrics(store, EventLog(store, clock))
    first = next(iter(names))
    number = 0
    while clock.now() < now - timedelta(minutes=1):
        number += 1
        store.write(lambda _: None)  # what was recorded is written before the clock goes on
        clock.advance(min(chance.expovariate(1 / 700), (now - clock.now()).total_seconds()))
        out = 300 < number < 318 or 640 < number < 652 or 797 < number < 803
        asked = 0
        for name, (model, typical, cost) in names.items():
            bad = (out and (name == first or chance.random() < 0.4)) or chance.random() < 0.006
            if name != first and not bad and not (out or chance.random() < 0.18):
                continue
            _attempt(metrics, chance, name, model, typical, cost, bad=bad, trace=f"{number:032x}", index=asked)
            asked += 1
            if not bad:
                break
        if number in (302, 642, 799):
            _moved(metrics, first, names[first][0], "open")
        if number in (317, 651, 802):
            _moved(metrics, first, names[first][0], "half_open")
            store.write(lambda _: None)
            clock.advance(40)
            _moved(metrics, first, names[first][0], "closed")
    store.close()


def _attempt(
    metrics: Metrics,
    chance: random.Random,
    name: str,
    model: str,
    typical: float,
    cost: int,
    *,
    bad: bool,
    trace: str,
    index: int,
) -> None:
    kind = chance.choice(FAILED) if bad else None
    took = typical * 1000 * math.exp(chance.gauss(0, 0.55))
    begun = None if bad else took * chance.uniform(0.08, 0.3)
    message = "nothing came within its share of the time" if bad else ""
    attempt = Attempt(name, model, "failed" if bad else "completed", took, begun, kind, message)
    usage = Usage() if bad else Usage(chance.randrange(20, 900), chance.randrange(20, 400))
    price = 0 if bad else round(cost * chance.uniform(0.3, 2))
    origin = Origin(trace)
    metrics.attempted(
        AttemptRecord(origin, index, "openai", True, attempt, usage, model, None if bad else "stop", price), None
    )


def _moved(metrics: Metrics, name: str, model: str, after: str) -> None:
    before = {"open": "closed", "half_open": "open", "closed": "half_open"}[after]
    move = Transition(before, after, "5 failures in a row" if after == "open" else "its time was over", None)  # type: ignore[arg-type]
    metrics.circuit_changed(CircuitRecord(Origin("f" * 32), name, model, Snapshot(after), move))  # type: ignore[arg-type]


def spent(home: Path) -> float:
    """Return what was spent today, in dollars."""
    store = Store.open(home / "timmy.db")
    try:
        return sum(cost.microusd for cost in daily_costs(store, datetime.now(UTC), days=1)) / 1e6
    finally:
        store.close()


def post(served: Served, path: str, body: dict[str, object]) -> None:
    """Send something to the API."""
    token = served.get("/api/v1/token").json()["token"]
    answer = httpx.post(
        f"{served.url}/api/v1/router/{path}", json=body, headers={"X-Timmy-Token": token}, timeout=30, trust_env=False
    )
    assert answer.is_success, answer.text


def ask(served: Served, times: int = 1) -> None:
    """Ask the cascade over the API."""
    for _ in range(times):
        post(served, "complete", {"messages": [{"role": "user", "content": "How are you?"}]})


def try_it(page: Page) -> None:
    """Ask on the page itself."""
    page.get_by_label("prompt").fill("Which plants does rust need?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".tw-took").wait_for()


def sure(page: Page) -> None:
    """Open the question that stands before what hurts."""
    page.get_by_text("Steer", exact=True).first.click()
    page.get_by_text("Isolate …", exact=False).first.click()


def main() -> None:
    """Serve each state and take its pictures."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        loopback(ANSWER) as one,
        loopback(ANSWER) as two,
        loopback(ANSWER) as three,
        chromium() as browser,
    ):
        album = Album(browser, folder, "router", "/router/status/")
        price = "price = { input = 0.4, output = 1.6 }\n"
        toml = (
            provider_table("ollama", one.url.removesuffix("/v1"), kind="ollama", model="llama3.2", priority=1)
            + provider_table("box", two.url, model="gemma-3-4b", priority=2).rstrip() + "\n\n"
            + provider_table("paid", three.url, model="gpt-5.6-luna", priority=10).rstrip() + "\n" + price
            + '\n[[providers]]\nname = "claude"\nkind = "anthropic"\napi_key = "${ANTHROPIC_API_KEY}"\n'
            'models = { default = "claude-haiku-4-5" }\npriority = 20\n'
            "\n[budget]\nday_usd = 0.02\nmonth_usd = 4.0\n"
        )  # fmt: skip
        home = Path(place) / "busy"
        home.mkdir()
        (home / "timmy.toml").write_text(toml)
        past(home, {"ollama": ("llama3.2", 1.9, 0), "box": ("gemma-3-4b", 3.2, 0), "paid": ("gpt-5.6-luna", 0.8, 2400)})
        toml = toml.replace("day_usd = 0.02", f"day_usd = {max(0.0005, spent(home) / 0.86):.5f}")
        (home / "timmy.toml").write_text(toml)
        with serving(home, Path(place) / "logs") as served:
            ask(served, 3)
            album.take("well", served, query="?range=7d")
            one.then(Turn(status=503, message="the model is loading"))
            ask(served, 6)
            album.take("open", served, then=try_it)
            post(served, "providers/box/control", {"action": "isolate"})
            (home / "timmy.toml").write_text(toml.replace("month_usd = 4.0", 'month_usd = "much"'))
            album.take("broken", served, then=lambda page: page.get_by_text("Steer", exact=True).first.click())
        for name, text in (("none", "providers = []\n"), ("fresh", toml)):
            home = Path(place) / name
            home.mkdir()
            (home / "timmy.toml").write_text(text)
            with serving(home, Path(place) / f"logs-{name}") as served:
                album.take(name, served, then=sure if name == "fresh" else None)
                if name == "fresh":
                    for provider in (one, two, three):
                        provider.then(Turn(status=503, message="the model is loading"))
                    ask(served, 6)
                    album.take("down", served, then=try_it)


if __name__ == "__main__":
    main()
