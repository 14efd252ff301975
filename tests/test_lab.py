"""The lab tries policies on what this home recorded, and proposes the chosen one where people decide."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.waiting import until
from timmy_core.errors import ProviderError, ReplayError, SettingsError, UpgradeError
from timmy_core.settings import load_settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

TABLE = '[[providers]]\nname = "{}"\nkind = "openai"\nbase_url = "http://127.0.0.1:9"\npriority = {} # mine\n\n'
DOWN = ProviderError("server_error", "down")


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def opened(home: Path, *providers: ScriptedProvider) -> Timmy:
    return Timmy(load_settings(home), providers=providers)


@pytest.fixture
def versioned(tmp_path: Path) -> Path:
    """A home whose `timmy.toml` is under version control."""
    repo = tmp_path / "repo"
    home = repo / "home"
    home.mkdir(parents=True)
    text = TABLE.format("one", 1) + TABLE.format("two", 5)
    (home / "timmy.toml").write_text(f'{text}[upgrades]\nrepo = "{repo}"\n', encoding="utf-8")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "home/timmy.toml")
    git(repo, "commit", "-q", "-m", "the beginning")
    return home


@pytest.fixture
def asked(versioned: Path) -> Iterator[Timmy]:
    """The first provider failed a third of the time, too seldom for its circuit to open; the second stood in."""
    one = ScriptedProvider("one", *(["fine", "fine", DOWN] * 10))
    timmy = opened(versioned, one, ScriptedProvider("two", priority=5))
    for number in range(12):
        timmy.router.chat_sync([{"role": "user", "content": f"question {number}"}])
    until(lambda: len(timmy.events.list(type="llm.completed")) == 12, "every answer was recorded")
    yield timmy
    timmy.shutdown()


def test_what_was_asked_is_recorded_and_replayed_as_it_was(asked: Timmy) -> None:
    recording = asked.lab.recording()
    assert len(recording.requests) == 12
    then, again = asked.lab.recorded(recording), asked.lab.replay(recording)
    assert again.figures.answered == then.figures.answered == 12
    assert again.figures.by_provider == then.figures.by_provider
    assert asked.lab.today().order == ("one", "two")


def test_a_time_without_requests_gives_an_empty_replay(asked: Timmy) -> None:
    long_ago = asked.clock.now() - timedelta(days=30)
    recording = asked.lab.recording(since=long_ago - timedelta(days=1), until=long_ago)
    assert asked.lab.replay(recording).figures.requests == 0


def test_the_chosen_policy_becomes_a_proposal_and_the_file_stays_as_it_is(asked: Timmy) -> None:
    before = asked.settings.toml_path.read_text(encoding="utf-8")
    plan = asked.lab.plan(order=("two", "one"), deadline_s=30, hedge=True)
    change = asked.lab.change(plan)
    assert change.path == "home/timmy.toml"
    assert "+priority = 1 # mine" in change.diff
    proposal = asked.lab.propose(plan, by="ann", why="99 % instead of 90 %")
    kept = asked.upgrades.get(proposal.id)
    assert kept.risk == "high"
    assert list(kept.paths) == ["home/timmy.toml"]
    _, text = asked.upgrades.texts(proposal.id, "home/timmy.toml")
    assert text is not None
    data = tomllib.loads(text)
    assert data["router"] == {"deadline_s": 30, "hedge": True}
    assert [table["priority"] for table in data["providers"]] == [2, 1]
    assert asked.settings.toml_path.read_text(encoding="utf-8") == before


def test_who_is_left_out_is_switched_off(asked: Timmy) -> None:
    values = asked.lab.change(asked.lab.plan(order=("two",))).values
    assert values == {("providers", 0, "enabled"): False}


def test_todays_own_policy_is_no_proposal(asked: Timmy) -> None:
    with pytest.raises(ReplayError, match="says this already"):
        asked.lab.propose(asked.lab.today(), by="ann")


def test_a_number_that_makes_no_sense_is_named(asked: Timmy) -> None:
    with pytest.raises(ReplayError, match="deadline_s"):
        asked.lab.plan(deadline_s=-1)
    with pytest.raises(ReplayError, match="this is no policy: max_reset_s is 10, less than reset_timeout_s"):
        asked.lab.plan(max_reset_s=10)


def test_a_file_that_is_not_on_the_branch_is_not_proposed_and_the_lines_are_told(versioned: Path) -> None:
    git(versioned, "rm", "-q", "--cached", "timmy.toml")
    git(versioned, "commit", "-q", "-m", "not here")
    timmy = opened(versioned, ScriptedProvider("one"), ScriptedProvider("two", priority=5))
    try:
        change = timmy.lab.change(timmy.lab.plan(deadline_s=30))
        assert "is not on the branch" in change.problem
        assert change.values == {("router", "deadline_s"): 30}
    finally:
        timmy.shutdown()


def test_a_provider_without_a_table_cannot_be_put_in_order(versioned: Path) -> None:
    timmy = opened(versioned, ScriptedProvider("one"), ScriptedProvider("three", priority=5))
    try:
        with pytest.raises(SettingsError, match="no \\[\\[providers\\]\\] table for three"):
            timmy.lab.change(timmy.lab.plan(order=("three", "one")))
    finally:
        timmy.shutdown()


def test_without_a_repository_the_queue_says_what_to_do(home: Path) -> None:
    timmy = opened(home, ScriptedProvider("one"))
    try:
        with pytest.raises(UpgradeError, match="no repository is named"):
            timmy.lab.propose(timmy.lab.plan(deadline_s=30), by="ann")
    finally:
        timmy.shutdown()
