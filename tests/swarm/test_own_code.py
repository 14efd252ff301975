"""Asked to change its own code Timmy looks, proposes, and stops there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scratch_repo import git, make_repo
from timmy_core.router.chat import Chunk, Delta, Done, ToolCall
from timmy_core.settings import Settings
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.swarm.own_code import asks_for_change
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

Opening = Callable[..., tuple[Timmy, ScriptedProvider]]


def calls(name: str, **arguments: Any) -> list[Any]:
    """Return what a model says that calls one tool."""
    return [Chunk(tool_calls=(ToolCall("c1", name, json.dumps(arguments)),)), Chunk(finish_reason="tool_calls")]


EDIT = {"path": "README.md", "find": "Prices are in cents.", "replace": "Prices are in whole cents."}
PROPOSE = calls("propose_change", title="Say whole cents", why="There are no halves.", edits=[EDIT])


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    opened: list[Timmy] = []
    repo = make_repo(tmp_path / "repo")

    def begin(*script: Any) -> tuple[Timmy, ScriptedProvider]:
        provider = ScriptedProvider("local", *script)
        settings = Settings(home=tmp_path / "home", providers=(), upgrades=UpgradeSettings(repo=repo))
        opened.append(Timmy(settings, clock=FakeClock(), providers=[provider]))
        return opened[-1], provider

    yield begin
    for timmy in opened:
        timmy.shutdown()


@pytest.mark.parametrize(
    "text",
    ["Fix the README.md", "please refactor your router", "/propose bessere Worte", "Can you improve your own code?"],
)
def test_a_question_that_asks_for_a_change_is_known(text: str) -> None:
    assert asks_for_change(text)


@pytest.mark.parametrize("text", ["What is a circuit breaker?", "Write a poem about rain", "Who are you?"])
def test_other_questions_are_asked_without_tools(text: str) -> None:
    assert not asks_for_change(text)


async def test_it_reads_proposes_and_stops_there(opening: Opening) -> None:
    timmy, provider = opening(calls("read_own_file", path="README.md"), PROPOSE, "never asked")
    before = git(Path(timmy.upgrades.state()["repo"]), "rev-parse", "main")
    answer = await timmy.ask("Fix your README.md, please")
    (made,) = timmy.upgrades.list().proposals
    assert (made.description, made.proposed_by, made.agent_id) == (
        "Say whole cents\n\nThere are no halves.", "timmy", "timmy",
    )  # fmt: skip
    assert made.state == "proposed"
    assert made.trace_id == answer.trace_id
    assert "I have proposed this change: Say whole cents (1 file)." in answer.text
    assert f"/self-modify/queue?id={made.id}" in answer.text
    assert git(Path(timmy.upgrades.state()["repo"]), "rev-parse", "main") == before
    assert len(provider.requests) == 2
    assert "Prices are in cents." in provider.requests[1].messages[-1].content
    assert timmy.history()[-1].content == answer.text
    types = [event.type for event in timmy.events.list(trace_id=answer.trace_id, family="tool", order="asc")]
    assert types == ["tool.called", "tool.completed"] * 2


async def test_the_stream_shows_words_and_no_calls(opening: Opening) -> None:
    timmy, _ = opening(["Let me look. ", *calls("list_own_files")], PROPOSE)
    parts = [part async for part in timmy.ask_stream("Improve your tests")]
    assert isinstance(parts[-1], Done)
    assert "".join(part.text for part in parts if isinstance(part, Delta)).startswith("Let me look. ")
    assert not [part for part in parts if isinstance(part, ToolCall)]
    assert parts[-1].answer.text.startswith("Let me look.\n\nI have proposed this change")


async def test_what_cannot_be_done_is_told_to_the_model(opening: Opening) -> None:
    wrong = calls("propose_change", title="Odd", why="", edits=[{"path": "README.md", "find": "zebra", "replace": "x"}])
    timmy, provider = opening(wrong, "I cannot find it.")
    answer = await timmy.ask("Change your README")
    assert answer.text == "I cannot find it."
    assert "stands 0 times" in provider.requests[1].messages[-1].content
    assert timmy.upgrades.list().proposals == ()
    assert len(timmy.events.list(type="tool.failed")) == 1


async def test_what_is_refused_for_its_path_is_no_proposal(opening: Opening) -> None:
    planted = calls("propose_change", title="Odd", why="", edits=[{"path": ".git/hooks/post-merge", "content": "x"}])
    timmy, _ = opening(planted, "Refused.")
    await timmy.ask("Add a file to your repo")
    assert timmy.upgrades.list().proposals == ()


async def test_a_model_that_only_reads_is_ended(opening: Opening) -> None:
    timmy, provider = opening(calls("list_own_files"))
    answer = await timmy.ask("Improve your code")
    assert "often enough" in answer.text
    assert len(provider.requests) == 12


async def test_without_tools_a_plain_question_is_asked_as_before(opening: Opening) -> None:
    timmy, provider = opening("Fine.")
    assert (await timmy.ask("How are you?")).text == "Fine."
    assert provider.requests[0].tools == ()
