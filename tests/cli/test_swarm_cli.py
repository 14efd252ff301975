"""`timmy swarm` and `timmy agent`, as a person types them, and an agent in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from timmy_core import Timmy
from timmy_core.server.run import Serving, serve
from timmy_core.settings import Settings
from timmy_core.settings_memory import MemorySettings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.testing import ScriptedProvider

from .running import TIMMY, here, lines

BOUND_S = 60.0


def test_a_task_is_posted_listed_shown_and_canceled(home: Path) -> None:
    (task,) = lines(
        here("swarm", "post", "Say hello.\nTwice.", "--budget", "21", "--need", "text", "--json", home=home)
    )
    assert (task["title"], task["budget_msat"], task["needs"]) == ("Say hello.", 21_000, ["text"])
    assert "lease" not in task
    assert "Say hello." in here("swarm", "tasks", home=home).stdout
    shown = here("swarm", "show", task["id"][-6:], home=home).stdout
    assert "task.created" in shown
    assert "21 sats, paid by timmy" in shown
    assert "is canceled" in here("swarm", "cancel", task["id"], "--reason", "no need", home=home).stdout
    assert "no task is open" in here("swarm", "tasks", home=home).stderr
    assert [one["state"] for one in lines(here("swarm", "tasks", "--all", "--json", home=home))] == ["canceled"]
    again = here("swarm", "show", "nothing", home=home)
    assert (again.returncode, "begins or ends" in again.stderr) == (1, True)


def test_waiting_for_a_task_that_nobody_does_is_no_success(home: Path) -> None:
    done = here("swarm", "post", "Say hello.", "--wait", "0.3", home=home)
    assert done.returncode == 1


def test_agents_are_registered_given_tokens_and_let_go(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    done = here("agent", "register", "far", "--can", "text", "--token-file", str(secret), home=home)
    assert done.returncode == 0, done.stderr
    first = secret.read_text(encoding="utf-8")
    assert first.startswith("tma_")
    assert secret.stat().st_mode & 0o077 == 0
    (agent,) = lines(here("agent", "list", "--json", home=home))
    assert (agent["name"], agent["kind"], agent["has_token"]) == ("far", "remote", True)
    assert "far" in here("agent", "list", home=home).stdout
    assert here("agent", "token", "far", home=home).stdout.strip() not in ("", first.strip())
    assert "is void" in here("agent", "token", "far", "--revoke", home=home).stdout
    assert "left" in here("agent", "leave", "far", home=home).stdout
    assert "no agent" in here("agent", "list", home=home).stderr
    assert here("agent", "register", "far", "--wallet", "purse", home=home).returncode == 1


# A process of its own ----------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Timmy, Serving]]:
    """A home that is served, whose swarm tends itself and whose own agents leave the work to others."""
    settings = Settings(
        home=tmp_path / "home", providers=(), memory=MemorySettings(embedder="none"),
        swarm=SwarmSettings(personas=(), bidding_s=1.0, lease_s=2.0),
    )  # fmt: skip
    timmy = Timmy(settings, providers=[ScriptedProvider("local", "from the cascade")])
    timmy._swarm.start()
    ready = threading.Event()
    box: list[Serving] = []

    def listening(serving: Serving) -> None:
        box.append(serving)
        ready.set()

    def begin() -> None:
        serve(timmy, host="127.0.0.1", port=0, password="a secret", on_ready=listening)

    thread = threading.Thread(target=begin)
    thread.start()
    assert ready.wait(BOUND_S)
    yield timmy, box[0]
    box[0].stop()
    thread.join(BOUND_S)
    timmy.shutdown()


def started(served: tuple[Timmy, Serving], tmp_path: Path, name: str, *words: str) -> subprocess.Popen[str]:
    timmy, serving = served
    timmy.swarm.register(name, capabilities=["text"], wallet="home")
    secret = tmp_path / f"{name}.token"
    secret.write_text(timmy.swarm.make_token(name, by="me"), encoding="utf-8")
    command = [str(TIMMY), "agent", "run", "--url", serving.url, "--token-file", str(secret), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(timmy: Timmy, task_id: str, *states: str) -> Any:
    ends = time.monotonic() + BOUND_S
    while (task := timmy.swarm.task(task_id)).state not in states or task.pay_state in ("due", "paying"):
        assert time.monotonic() < ends, f"the task is {task.state}, {task.pay_state}: {task.problem}"
        time.sleep(0.05)
    return task


def test_two_agents_in_other_processes_bid_and_the_cheaper_one_works(
    served: tuple[Timmy, Serving], tmp_path: Path
) -> None:
    timmy, _ = served
    dear = started(served, tmp_path, "dear", "--bid", "9", "--once")
    program = f"{sys.executable} -c \"import json, sys; print('did:', json.load(sys.stdin)['title'])\""
    cheap = started(served, tmp_path, "cheap", "--bid", "4", "--once", "--command", program)
    try:
        for agent in (dear, cheap):
            assert agent.stdout is not None
            assert "is at work" in agent.stdout.readline()
        task = timmy.swarm.post_task("Say hello.", budget_sats=20, bidding_s=3)
        done = until(timmy, task.id, "completed", "failed")
        assert (done.agent, done.result.strip(), done.pay_state) == ("cheap", "did: Say hello.", "paid")
        assert {(bid.agent, bid.amount_msat) for bid in done.bids} == {("dear", 9000), ("cheap", 4000)}
        assert cheap.wait(BOUND_S) == 0
        other = timmy.swarm.post_task("Say good-bye.", budget_sats=20, bidding_s=3)
        last = until(timmy, other.id, "completed", "failed")
        assert (last.agent, last.result, last.provider) == ("dear", "from the cascade", "local")
        assert timmy.events.list(type="llm.completed")[0].trace_id == last.trace_id
        assert dear.wait(BOUND_S) == 0
    finally:
        for agent in (dear, cheap):
            agent.kill()
            agent.communicate()


def test_a_killed_agents_task_goes_to_the_next(served: tuple[Timmy, Serving], tmp_path: Path) -> None:
    timmy, _ = served
    slow = f'{sys.executable} -c "import time; time.sleep(600)"'
    first = started(served, tmp_path, "first", "--bid", "1", "--command", slow)
    second = started(served, tmp_path, "second", "--bid", "2")
    try:
        for agent in (first, second):
            assert agent.stdout is not None
            assert "is at work" in agent.stdout.readline()
        task = timmy.swarm.post_task("Say hello.", budget_sats=20, bidding_s=3)
        assert until(timmy, task.id, "working").agent == "first"
        first.kill()
        done = until(timmy, task.id, "completed", "failed")
        assert (done.agent, done.result, done.attempts) == ("second", "from the cascade", 2)
        assert timmy.swarm.agent("first").status == "lost"
    finally:
        for agent in (first, second):
            agent.kill()
            agent.communicate()


def test_an_agent_with_a_wrong_token_ends_with_words(served: tuple[Timmy, Serving], tmp_path: Path) -> None:
    _, serving = served
    secret = tmp_path / "wrong"
    secret.write_text("tma_wrong\n", encoding="utf-8")
    words = [str(TIMMY), "agent", "run", "--url", serving.url, "--token-file", str(secret)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 1
    assert "no agent's" in done.stderr
