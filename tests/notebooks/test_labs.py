"""The labs' pages on a past in which it is known what they have to find."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.router.replay_house import START, Weather, kept, lived
from timmy_core.router.replay import Plan
from timmy_core.settings import load_settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy
from ui import knobs, labs, latency_views, plan_hands, policy_views

Load = Callable[[str], ModuleType]

FIRST = Weather("first", 0.4, down=((4000.0, 9000.0),))
SECOND = Weather("second", 1.5, local=False)
NOW = START + timedelta(hours=6)


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Timmy]:
    """Four hours in which the first of two was down for more than one; `timmy.toml` is under version control."""
    repo = tmp_path / "repo"
    repo.mkdir()
    text = "".join(
        f'[[providers]]\nname = "{one.name}"\nkind = "openai"\nbase_url = "http://127.0.0.1:9"\npriority = {place}\n\n'
        for place, one in enumerate((FIRST, SECOND), 1)
    )
    (repo / "timmy.toml").write_text(f'{text}[upgrades]\nrepo = "{repo}"\n', encoding="utf-8")
    for command in (["init", "-q", "-b", "main"], ["add", "timmy.toml"], ["commit", "-q", "-m", "first"]):
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        subprocess.run(["git", *who, *command], cwd=repo, check=True)
    store = Store.open(repo / "timmy.db")
    kept(lived((FIRST, SECOND), [60.0 * number for number in range(1, 240)], streamed=True), store)
    store.close()
    doors = [ScriptedProvider(one.name, priority=place) for place, one in enumerate((FIRST, SECOND), 1)]
    timmy = Timmy(load_settings(repo), clock=FakeClock(NOW), providers=doors)
    yield timmy
    timmy.shutdown()


def shown(page: Load, name: str, timmy: Timmy, **more: Any) -> str:
    outputs, _ = page(name).app.run(defs={"timmy": timmy, **more})
    return "\n".join(str(getattr(output, "text", output)) for output in outputs if output is not None)


def test_the_latency_lab_measures_and_shows_its_sql(page: Load, past: Timmy) -> None:
    text = shown(page, "latency_lab", past)
    assert "<strong>239 answers</strong> in the last 7 days" in text
    assert text.count("<summary>SQL</summary>") == 8
    assert "quantile_cont(latency_ms, 0.95)" in text
    for title in ("How long answers took", "First token against", "Error budget", "Cost against", "Single attempts"):
        assert title in text
    assert "before and after" in text


def test_a_box_in_the_chart_narrows_the_attempts_below(past: Timmy) -> None:
    among = latency_views.chosen({"range": "24h"}, NOW)
    ends = [(START + timedelta(minutes=minutes)).timestamp() * 1000 for minutes in (100, 90)]
    narrow, least, most, words = latency_views.narrowed(among, {"box": {"ts": ends, "latency": [2000, 1000]}})
    assert (narrow.since, narrow.until) == (START + timedelta(minutes=90), START + timedelta(minutes=100))
    assert (least, most) == (1000, 2000)
    assert "1 s to 2 s" in words


def test_the_policy_lab_replays_today_and_says_how_far_to_trust_it(page: Load, past: Timmy) -> None:
    text = shown(page, "policy_lab", past)
    assert "<strong>239 requests</strong>" in text
    assert "How far to trust it" in text
    assert "What a replay cannot know" in text
    assert "data-steer" not in text


def test_another_policy_is_compared_and_can_be_proposed(past: Timmy) -> None:
    before = policy_views.past(past, {"range": "24h"})
    found = policy_views.tried(past, before, {"order": ["second", "first"], "numbers": {"deadline_s": 30}})
    assert found.problem == ""
    words = policy_views.headline(before, found, {"range": "24h"})
    assert "instead of" in words
    table = policy_views.comparison(before, found)
    assert "answered by second" in table
    change = policy_views.change(past, found)
    assert "data-steer" in change
    assert "+deadline_s = 30" in change
    told: list[dict[str, Any]] = []
    assert found.plan is not None
    plan_hands.propose(told.append, past.lab, found.plan, "ann", policy_views.why(before, found))
    assert told[0]["state"] == "good"
    (proposal,) = past.upgrades.list().proposals
    assert proposal.proposed_by == "ann"
    assert "Replayed over 239 recorded requests" in proposal.description


def test_a_proposal_that_is_refused_says_why(past: Timmy) -> None:
    told: list[dict[str, Any]] = []
    plan_hands.propose(told.append, past.lab, past.lab.today(), "ann", "")
    assert told[0]["state"] == "bad"
    assert "says this already" in told[0]["words"]


def test_a_policy_that_makes_no_sense_is_said_on_the_page(past: Timmy) -> None:
    before = policy_views.past(past, {})
    found = policy_views.tried(past, before, {"order": ["first"], "numbers": {"max_reset_s": 1}})
    assert "this could not be replayed" in policy_views.headline(before, found, {}).lower()


def test_the_address_holds_the_policy_and_nothing_that_cannot_be_meant() -> None:
    today = Plan(("first", "second"))
    asked = {"order": "second,nobody,first", "deadline_s": "30", "hedge": "true", "failure_threshold": "9999", "x": "1"}
    wanted = knobs.from_address(asked, today, ["first", "second"])
    assert wanted == {"order": ["second", "first"], "numbers": {"deadline_s": 30, "hedge": True}}
    assert knobs.from_address({}, today, ["first"]) == {"order": ["first", "second"], "numbers": {}}


def test_every_knob_is_a_number_of_the_router_and_reaches_its_usual_value() -> None:
    router = Plan(()).router
    for knob in knobs.KNOBS:
        assert knob.switch or getattr(router, knob.key) in knob.steps


def test_sql_that_fails_becomes_words(past: Timmy) -> None:
    asked = labs.ask(past, "SELECT nonsense")
    assert asked.problem
    assert not asked.any
