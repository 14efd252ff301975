"""`timmy router`: looking, asking and steering from a terminal, also a server that runs in another process."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.waiting import until
from timmy_core import open_timmy
from timmy_core.loop import LoopThread
from timmy_core.testing import Turn, WireServer

from .running import TIMMY, here

run = partial(here, "router")
KEY = "tk-4f8a1c9e7b2d6035"
USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """A provider on a thread of its own."""
    loop = LoopThread("test-wire")
    server = WireServer(Turn(("Hello ", "there")))
    loop.run(server.start())
    yield server
    loop.run(server.stop())
    loop.close()


@pytest.fixture
def asked(home: Path, wire: WireServer) -> Path:
    """A home whose providers `wire` and `spare` answer."""
    tables = [
        f'[[providers]]\nname = "{name}"\nkind = "openai"\nbase_url = "{wire.url}/v1"\napi_key = "{KEY}"\n'
        f'models = {{ default = "m" }}\npriority = {priority}\n'
        for priority, name in enumerate(("wire", "spare"), 1)
    ]
    (home / "timmy.toml").write_text("\n".join(tables))
    return home


class Up:
    """`timmy up` in a process of its own."""

    def __init__(self, home: Path) -> None:
        command = [TIMMY, "up", "--port", "0", "--no-open", "--home", str(home)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found, self.process.communicate()[1]
        self.client = httpx.Client(base_url=found[0], timeout=10)
        self.client.headers["X-Timmy-Token"] = self.get("/api/v1/token")["token"]

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def provider(self, name: str) -> Any:
        return next(found for found in self.get("/api/v1/router/status")["providers"] if found["name"] == name)

    def ask(self) -> str:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        reply = self.client.post("/api/v1/router/complete", json=body).raise_for_status()
        return str(reply.json()["provider"])

    def close(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)


@pytest.fixture
def up(asked: Path) -> Iterator[Up]:
    with closing(Up(asked)) as served:
        yield served


def test_a_running_server_obeys_the_command_line_within_a_second_and_the_event_says_who(up: Up, asked: Path) -> None:
    assert up.ask() == "wire"
    done = run("isolate", "wire", home=asked)
    assert done.returncode == 0, done.stderr
    assert "wire is isolated" in done.stdout
    assert "The running server obeys within a second." in done.stdout
    # The command itself ends after its write, so this is later than the write.
    until(lambda: up.provider("wire")["isolated"], within_s=3)
    assert up.ask() == "spare"
    (event,) = up.get("/api/v1/events?family=provider")["events"]
    assert (event["type"], event["data"]["provider"], event["data"]["by"]) == ("provider.isolated", "wire", USER)
    assert up.provider("wire")["changed_by"] == USER
    assert run("close", "wire", "--by", "ann", home=asked).returncode == 0
    until(lambda: not up.provider("wire")["isolated"], within_s=3)
    assert up.ask() == "wire"
    assert [event["type"] for event in up.get("/api/v1/events?family=circuit")["events"]] == [
        "circuit.closed",
        "circuit.opened",
    ]


def test_the_configuration_is_read_again_while_the_server_runs(up: Up, asked: Path) -> None:
    path = asked / "timmy.toml"
    good = path.read_text()
    path.write_text(good + "[router]\ndeadline_s = 7\n[server]\nport = 1\n")
    done = run("reload", home=asked)
    assert done.returncode == 0, done.stderr
    assert "the server took" in done.stdout
    assert "needs a restart: server" in done.stdout
    assert up.get("/api/v1/router/config")["settings"]["router"]["deadline_s"] == 7
    path.write_text(good + "[router]\ndeadline_s = 0\n")
    done = run("reload", home=asked)
    assert done.returncode == 1
    assert "router.deadline_s" in done.stderr
    until(lambda: up.get("/api/v1/router/config")["problem"], within_s=3)
    assert up.get("/api/v1/router/config")["settings"]["router"]["deadline_s"] == 7
    assert up.ask() == "wire"
    path.write_text(good)
    until(lambda: not up.get("/api/v1/router/config")["problem"], within_s=3)
    served = json.dumps([up.get("/api/v1/router/config"), up.get("/api/v1/status"), up.get("/api/v1/events")])
    assert KEY not in served


def test_reload_without_a_server_checks_the_file(asked: Path) -> None:
    done = run("reload", home=asked)
    assert done.returncode == 0, done.stderr
    assert "no server runs" in done.stdout


def test_each_control_says_what_it_did_and_is_kept(asked: Path) -> None:
    for words, said in (
        (("disable", "wire"), "wire is switched off"),
        (("enable", "wire"), "wire is switched on"),
        (("isolate", "wire"), "wire is isolated"),
        (("close", "wire"), "wire may be asked again at once"),
        (("priority", "wire", "9"), "wire has priority 9"),
        (("priority", "wire"), "wire has priority 1"),
        (("disable", "spare", "--by", "ann"), "spare is switched off"),
    ):
        done = run(*words, home=asked)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert "server obeys" not in done.stdout, "no server runs"
    with open_timmy(asked) as timmy:
        by = [(event.data or {})["by"] for event in timmy.events.list(family="provider", order="asc")]
        assert by == [*[USER] * 6, "ann"]
    status = run("status", home=asked)
    assert "switched off by ann" in status.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("isolate", "nobody"), "no provider is named 'nobody'; expected one of: wire, spare"),
        (("priority", "wire", "99999"), "99999 is out of range; expected 0 (asked first) to 10,000"),
        (("metrics", "--by", "colour"), "no lines by 'colour'; expected one of model, provider, agent"),
        (("complete", "hi", "--provider", "nobody"), "no provider is named 'nobody'"),
        (("complete", "hi", "--temperature", "9"), "temperature is 9"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_1(asked: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words, home=asked)
    assert done.returncode == 1
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_complete_streams_the_answer_of_the_chosen_provider(asked: Path, wire: WireServer) -> None:
    done = run("complete", "hi", "--provider", "spare", "--system", "Be brief.", "--max-tokens", "5", home=asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Hello there"
    assert "spare · m" in done.stderr
    body = wire.questions[-1].body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["max_tokens"] == 5


def test_complete_reads_the_prompt_from_the_input(asked: Path, wire: WireServer) -> None:
    assert run("complete", home=asked, text="from a pipe").returncode == 0
    assert wire.questions[-1].body["messages"][-1]["content"] == "from a pipe"


def test_complete_fails_when_nobody_answers(asked: Path, wire: WireServer) -> None:
    wire.then(Turn(status=401))
    done = run("complete", "hi", home=asked)
    assert done.returncode == 1
    assert "No model answered" in done.stdout


def test_metrics_are_printed_for_people_and_for_programs(asked: Path) -> None:
    assert run("complete", "hi", home=asked).returncode == 0
    printed = run("metrics", home=asked)
    assert printed.returncode == 0, printed.stderr
    assert "wire · m" in printed.stdout
    (line,) = json.loads(run("metrics", "--json", "--by", "provider", home=asked).stdout)["lines"]
    assert (line["provider"], line["completed"]) == ("wire", 1)


def test_the_configuration_is_printed_without_secrets(asked: Path) -> None:
    done = run("config", home=asked)
    shown = json.loads(done.stdout)
    assert shown["providers"][0]["api_key"] == "set"
    assert KEY not in done.stdout + done.stderr
