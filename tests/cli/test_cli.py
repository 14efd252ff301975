"""The command line, as a person types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.served import Served
from timmy_core import open_timmy
from timmy_core.testing import Turn, WireServer

from .running import TIMMY, typed


def test_version() -> None:
    done = subprocess.run([TIMMY, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("timmy-workbench ")


def test_an_unanswered_question_prints_the_offline_answer_and_fails(home: Path) -> None:
    done = typed("chat", "hello?", home=home)
    assert done.returncode == 1
    assert "No model answered" in done.stdout
    assert "offline" in done.stderr


async def test_a_conversation_streams_and_names_the_provider(home: Path) -> None:
    import asyncio

    async with WireServer(Turn(("Hello ", "there"))) as server:
        (home / "timmy.toml").write_text(
            f'[[providers]]\nname = "wire"\nkind = "openai"\nbase_url = "{server.url}/v1"\napi_key = "k"\n'
            'models = { default = "m" }\n'
        )
        done = await asyncio.to_thread(typed, "chat", home=home, text="hello?\nagain?\n\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Hello there") == 2
    assert "wire · m" in done.stderr


def test_events_are_listed_verified_and_explained(home: Path) -> None:
    with open_timmy(home) as timmy:
        timmy.events.append("task.created", source="test", task_id="t1", data={"title": "[bold]not markup[/]"})
        timmy.events.append("llm.failed", source="test")
    listed = typed("events", "list", home=home)
    assert "[bold]not markup[/]" in listed.stdout
    assert listed.stdout.index("task.created") < listed.stdout.index("llm.failed")
    lines = typed("events", "list", "--family", "task", "--json", home=home).stdout.splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["t1"]
    verified = typed("events", "verify", home=home)
    assert verified.returncode == 0
    assert "holds over 2 events" in verified.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("events", "list", "--type", "task.craeted"), "did you mean task.created"),
        (("events", "list", "--since", "yesterday"), "is not a time; expected ISO 8601"),
        (("router", "test", "nobody"), "no provider is named 'nobody'"),
        (("chat", " "), "the question is empty"),
        (("chat", "hi", "--session", "[/x]"), "the session '[/x]' is not usable"),
        (("router", "test", "[/x]"), "no provider is named '[/x]'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_1(home: Path, words: tuple[str, ...], said: str) -> None:
    done = typed(*words, home=home)
    assert done.returncode == 1
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_tail_follows_another_process_until_ctrl_c(home: Path) -> None:
    with open_timmy(home) as timmy:
        timmy.events.append("task.created", source="test")
        command = [TIMMY, "events", "tail", "--json", "--after", "0", "--home", str(home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            assert json.loads(tail.stdout.readline())["seq"] == 1
            timmy.events.append("task.started", source="test")
            assert json.loads(tail.stdout.readline())["type"] == "task.started"
            tail.send_signal(signal.SIGINT)
    assert tail.returncode == 0


def test_a_served_home_ends_before_the_interpreter_is_taken_apart(home: Path, tmp_path: Path) -> None:
    late = "lambda _, write=os.write: write(1, b'taken apart')"
    code = (
        "import os, sys\n"
        f"sys.modules['late'] = type('Late', (), {{'__del__': {late}}})()\n"
        "from timmy_core.cli import main\n"
        "main()\n"
    )
    served = Served(home, tmp_path / "logs", command=[sys.executable, "-c", code])
    served.start()
    served.stop()
    assert "Ctrl-C stops it" in served.printed()
    assert "taken apart" not in served.printed()


def test_the_type_list_names_every_declared_type() -> None:
    done = subprocess.run([TIMMY, "events", "types"], capture_output=True, text=True, check=True)
    assert "llm.unanswered" in done.stdout
    assert "begin with x." in done.stdout


def test_the_router_status_asks_nobody_and_tells_what_is_missing(tmp_path: Path) -> None:
    done = typed("router", "status", home=tmp_path)
    assert done.returncode == 0
    assert "OPENAI_API_KEY is not set" in done.stdout
    assert "ollama" in done.stdout


def test_the_doctor_tells_what_to_do_about_each_provider(tmp_path: Path) -> None:
    done = typed("doctor", home=tmp_path, env={"OLLAMA_HOST": "127.0.0.1:9"})
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("Python", "SQLite", "DuckDB", "sync to disk", "write lock: free", "ollama serve", "OPENAI_API_KEY"):
        assert word in done.stdout
    assert "none can answer now" in done.stdout


def test_the_doctor_names_a_wrong_configuration(home: Path) -> None:
    (home / "timmy.toml").write_text("[router]\nx = 1\n")
    done = typed("doctor", home=home)
    assert done.returncode == 1
    assert "line 2" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(home: Path) -> None:
    with open_timmy(home) as timmy:
        for _ in range(200):
            timmy.events.append("system.info", source="test", data={"long": "x" * 2000})
    command = f"{TIMMY} events list --limit 200 --home {home} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
