"""The documents' examples in Python run, and print what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core import open_timmy
from timmy_core.server.run import Serving, serve
from timmy_core.timmy import Timmy

from .documents import DOCS, REFERENCE

_PYTHON = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(path: Path) -> str:
    """Return the Python of a document, as one program whose lines keep their numbers."""
    text = path.read_text(encoding="utf-8")
    lines = [""] * text.count("\n")
    for block in _PYTHON.finditer(text):
        first = text.count("\n", 0, block.start("code"))
        code = block["code"].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


def run(path: Path, home: Path, **environment: str) -> str:
    """Run a document's examples in a process of their own, warnings being errors, and return what they print."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"exec(compile({examples(path)!r}, {path.name!r}, 'exec'))"],
        env={**os.environ, "TIMMY_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{path.name}: {done.stderr}"
    return done.stdout


def test_the_examples_in_python_run(home: Path) -> None:
    printed = run(REFERENCE / "python.md", home)
    assert "No model answered" in printed
    assert "seen up to" in printed


def test_the_examples_about_memory_run(home: Path) -> None:
    assert run(REFERENCE / "memory.md", home).splitlines() == ["0 entries left"]


def test_the_examples_that_steer_the_cascade_run(home: Path) -> None:
    (home / "timmy.toml").write_text('[[providers]]\nname = "x"\nkind = "ollama"\nmodels = { default = "m" }\n')
    printed = run(DOCS / "how-to" / "steer-the-cascade.md", home)
    assert printed.splitlines() == ["x open", "['provider.closed', 'provider.isolated']"]


def test_the_examples_of_a_memory_in_use_run(home: Path) -> None:
    printed = run(DOCS / "how-to" / "give-timmy-a-memory.md", home)
    assert printed.splitlines() == ["fact The bicycle is in the cellar"]


def test_the_chain_is_checked_as_it_is_described(home: Path, timmy: Timmy) -> None:
    timmy.events.append("x.one", source="test", data={"word": "bäh"})
    timmy.events.append("x.two", source="test", task_id="t", agent_id="a", trace_id="r", id="mine")
    with timmy.store.read() as connection:
        seq, head = connection.execute("SELECT seq, hex(hash) FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    assert seq == 2
    assert head.lower() in run(REFERENCE / "events.md", home)


@pytest.mark.parametrize("name", ["search-and-ask-the-log", "keep-the-log-small"])
def test_the_examples_about_the_log_run(name: str, home: Path, timmy: Timmy) -> None:
    timmy.events.append("task.created", source="test", task_id="t1", data={"title": "a title"})
    printed = run(DOCS / "how-to" / f"{name}.md", home)
    assert {"search-and-ask-the-log": "a title", "keep-the-log-small": "1 redacted"}[name] in printed


def test_the_chain_of_a_pruned_log_is_checked_as_it_is_described(
    home: Path, timmy: Timmy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timmy_core.events.archive.SEGMENT", 5)
    for number in range(12):
        timmy.events.append("x.one", source="test", data={"number": number}, ts=datetime(2026, 1, 1, tzinfo=UTC))
    timmy.events.seal()
    assert timmy.events.prune(timedelta(days=1)).events == 10
    assert timmy.events.head()[1] in run(REFERENCE / "events.md", home)


def test_the_example_that_tries_another_policy_runs(home: Path) -> None:
    away = (
        '[[providers]]\nname = "{}"\nkind = "ollama"\nbase_url = "http://127.0.0.1:9"\nmodels = {{ default = "m" }}\n'
    )
    (home / "timmy.toml").write_text(away.format("one") + away.format("two"), encoding="utf-8")
    with open_timmy(home) as timmy:
        assert timmy.ask_sync("Is anybody there?").offline
    printed = run(DOCS / "how-to" / "try-another-policy.md", home)
    assert [line.split()[0] for line in printed.splitlines()] == ["as", "today", "quick"]


@pytest.fixture
def serving(timmy: Timmy) -> Iterator[Serving]:
    """A server of this test's Timmy, without a password."""
    ready = threading.Event()
    box: list[Serving] = []

    def listening(started: Serving) -> None:
        box.append(started)
        ready.set()

    options: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "password": None, "on_ready": listening}
    thread = threading.Thread(target=serve, args=(timmy,), kwargs=options, name="docs-server")
    thread.start()
    assert ready.wait(30), "the server did not start"
    yield box[0]
    box[0].stop()
    thread.join(10)
    assert not thread.is_alive(), "the server did not stop"


def test_the_examples_that_follow_events_run(home: Path, timmy: Timmy, serving: Serving) -> None:
    timmy.events.append("x.first.made", source="test")
    printed = run(DOCS / "how-to" / "follow-events-from-another-program.md", home, TIMMY_URL=serving.url)
    assert printed.splitlines() == ["1 x.first.made {}", "1 x.first.made"]
    assert timmy.events.get("backup-2026-01-31").type == "x.backup.made"
