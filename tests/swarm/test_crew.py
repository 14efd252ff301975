"""The crew: personas join, bid, work through the cascade with memory and tools, and hand in what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError, SwarmError
from timmy_core.router.chat import Completion, ToolCall, Usage
from timmy_core.settings import Settings
from timmy_core.settings_memory import MemorySettings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.swarm.model import Task
from timmy_core.swarm.personas import CHARACTERS
from timmy_core.swarm.toolbox import Toolbox
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

Run = Callable[..., Task]
BOUND_S = 60.0


def made(home: Path, model: ScriptedProvider, **memory: str) -> Timmy:
    swarm = SwarmSettings(bidding_s=1.2)
    settings = Settings(home=home, providers=(), swarm=swarm, memory=MemorySettings(embedder="none", **memory))  # type: ignore[arg-type]
    return Timmy(settings, providers=[model])


@pytest.fixture
def model() -> ScriptedProvider:
    return ScriptedProvider("local", "the result")


@pytest.fixture
def served(tmp_path: Path, model: ScriptedProvider) -> Iterator[Timmy]:
    timmy = made(tmp_path, model)
    timmy._swarm.start()
    yield timmy
    timmy.shutdown()


def ended(timmy: Timmy, task: Task, *, paid: bool = False) -> Task:
    """Wait for a task's end; the crew works by itself."""
    ends = time.monotonic() + BOUND_S
    while time.monotonic() < ends:
        now = timmy.swarm.task(task.id)
        if not now.open and (not paid or now.pay_state not in ("due", "paying")):
            return now
        time.sleep(0.05)
    message = f"the task is still {now.state} and {now.pay_state}"
    raise AssertionError(message)


def wishing(name: str, arguments: str) -> Completion:
    return Completion("", "tool_calls", Usage(), "m", (ToolCall("c1", name, arguments),))


def test_a_task_is_bid_for_done_and_paid_by_itself_under_one_trace(served: Timmy) -> None:
    task = ended(served, served.swarm.post_task("Summarise this in a word.", budget_sats=50), paid=True)
    assert (task.state, task.agent, task.result, task.pay_state) == ("completed", "echo", "the result", "paid")
    assert {bid.agent for bid in task.bids} == {"echo", "forge", "seer"}
    kinds = {event.type for event in served.swarm.history(task.id)}
    expected = {"task.created", "task.bidding", "bid.submitted", "auction.closed", "task.assigned", "task.started",
                "memory.recalled", "llm.completed", "task.completed", "memory.stored", "payment.settled"}  # fmt: skip
    assert expected <= kinds
    assert [one.name for one in served.swarm.agents()] == ["echo", "forge", "seer"]


def test_a_task_done_before_stands_before_the_next_like_it(served: Timmy, model: ScriptedProvider) -> None:
    first = ended(served, served.swarm.post_task("Translate the word cheese into French."))
    model.then("du fromage")
    ended(served, served.swarm.post_task("Translate the word cheese into Italian."))
    system = model.requests[-1].messages[0].content
    assert "Tasks like this one that were done before" in system
    assert first.description in system


def test_a_crew_without_a_model_fails_the_task_with_words(served: Timmy, model: ScriptedProvider) -> None:
    model.then(ProviderError("server_error", "down"))
    task = ended(served, served.swarm.post_task("Say hello.", budget_sats=20))
    assert (task.state, task.pay_state) == ("failed", "none")
    assert "no model answered" in (task.problem or "")


def test_what_agents_call_is_done_logged_and_handed_back(tmp_path: Path) -> None:
    model = ScriptedProvider("local", wishing("calculate", '{"sum": "2 ** 10"}'), "It is 1024.")
    timmy = made(tmp_path, model)
    timmy._swarm.start()
    try:
        task = ended(timmy, timmy.swarm.post_task("Calculate 2 ** 10.", needs=["analysis"], budget_sats=50))
        assert (task.agent, task.result) == ("seer", "It is 1024.")
        assert model.requests[1].messages[-1].content == "1024"
        told = [(event.type, event.task_id) for event in timmy.events.list(family="tool", order="asc")]
        assert told == [("tool.called", task.id), ("tool.completed", task.id)]
        assert {tool.name for tool in model.requests[0].tools} == {"calculate"}  # memory is not for all
    finally:
        timmy.shutdown()


def test_where_memory_may_be_told_tools_may_look_into_it(tmp_path: Path) -> None:
    asks = wishing("query_tables", '{"sql": "select count(*) n from tasks"}')
    model = ScriptedProvider("local", asks, wishing("query_tables", '{"sql": "drop table tasks"}'), "One.")
    timmy = made(tmp_path, model, share_with="all")
    timmy._swarm.start()
    try:
        task = ended(timmy, timmy.swarm.post_task("How many tasks are there?", needs=["sql"]))
        assert task.result == "One."
        assert model.requests[1].messages[-1].content == "n\n1\n"
        assert [event.type for event in timmy.events.list(family="tool", order="asc")] == [
            "tool.called", "tool.completed", "tool.called", "tool.failed",
        ]  # fmt: skip
    finally:
        timmy.shutdown()


def test_a_closing_home_ends_soon_and_its_work_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    timmy = made(tmp_path, ScriptedProvider("local", [60.0, "too late"]))
    timmy._swarm.start()
    task = timmy.swarm.post_task("Say hello.", budget_sats=20)
    while timmy.swarm.task(task.id).state != "working":
        time.sleep(0.05)
    began = time.monotonic()
    timmy.shutdown()
    assert time.monotonic() - began < 10
    again = made(tmp_path, ScriptedProvider("local", "done after all"))
    again._swarm.start()
    try:
        done = ended(again, task)
        assert (done.state, done.result, done.attempts) == ("completed", "done after all", 2)
    finally:
        again.shutdown()


# Prices and tools ------------------------------------------------------------------------------------------------


def priced(timmy: Timmy, text: str, sats: float, *, busy: bool = False) -> dict[str, int | None]:
    task = timmy.swarm.post_task(text, budget_sats=sats)
    return {name: who.price_msat(task, busy=busy) for name, who in CHARACTERS.items()}


def test_prices_follow_words_length_budget_and_load(home_of_swarm: Timmy) -> None:
    summary = priced(home_of_swarm, "Summarise it.", 100)
    code = priced(home_of_swarm, "Write a function.", 100)
    assert min(summary, key=lambda name: summary[name] or 0) == "echo"
    assert (code["forge"] or 0) < (summary["forge"] or 0)
    assert (priced(home_of_swarm, "Summarise it.", 100, busy=True)["echo"] or 0) > (summary["echo"] or 0)
    assert (priced(home_of_swarm, "Summarise it. " + "x" * 9000, 100)["echo"] or 0) > (summary["echo"] or 0)
    assert set(priced(home_of_swarm, "Summarise it.", 0).values()) == {0}
    assert priced(home_of_swarm, "Write a function.", 1)["forge"] is None
    assert priced(home_of_swarm, "Write a function.", 4)["forge"] == 4000


@pytest.mark.parametrize(
    ("given", "said"), [("(3 + 4) * 2.5", "17.5"), ("-7 // 2", "-4"), ("2**100", str(2**100)), ("10 % 4", "2")]
)
def test_sums_are_exact(given: str, said: str) -> None:
    assert Toolbox(("calculate",), None, None).call("calculate", f'{{"sum": "{given}"}}', "t").text == said


@pytest.mark.parametrize(
    "given", ["1/0", "9**9**9", "__import__('os')", "a + 1", "1e308 * 'x'", "(" * 300, "2 **", "(-8) ** 0.5", ""]
)
def test_what_is_no_sum_is_refused_with_words(given: str) -> None:
    with pytest.raises(SwarmError):
        Toolbox(("calculate",), None, None).call("calculate", f'{{"sum": "{given}"}}', "t")


def test_a_tool_that_there_is_not_and_arguments_that_are_none_are_refused() -> None:
    box = Toolbox(("calculate",), None, None)
    for name, arguments in (("rm", "{}"), ("calculate", "no"), ("calculate", "[]"), ("calculate", "{}")):
        with pytest.raises(SwarmError):
            box.call(name, arguments, "t")
