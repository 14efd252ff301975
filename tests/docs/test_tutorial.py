"""The tutorial does what it says: its commands are typed beside a running `timmy up`, and what they print compared."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from timmy_core.testing import Turn, WireServer

from .documents import DOCS

TUTORIAL = DOCS / "tutorial.md"
OLLAMA = "http://127.0.0.1:11434"
COMMANDS_S = 400

_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>console|toml|python)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = "\x1e"

# What is written goes to the top of a file that is there already.
WRITE = """\
touch "{name}"
{{ cat - "{name}" > written <<'END_OF_FILE'
{body}END_OF_FILE
}} && cat written > "{name}" && rm written"""


@dataclass(frozen=True, slots=True)
class Step:
    """A command that is typed with what it has to print, or a file that is written."""

    line: int
    command: str
    expected: str


def steps(text: str) -> Iterator[Step]:
    """Yield what a reader does, in order."""
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start("body")) + 1
        if block["kind"] == "console":
            yield from typed(block["body"], line)
        else:
            assert block["file"], f"line {line}: a {block['kind']} block that is in no file"
            yield Step(line, WRITE.format(name=block["file"], body=block["body"]), "")


def typed(body: str, line: int) -> Iterator[Step]:
    """Yield each command of a console block with what is printed below it."""
    for number, part in enumerate(re.split(r"^\$ ", body, flags=re.MULTILINE)):
        if number == 0:
            assert not part.strip(), f"line {line}: a console block has to begin with a command"
            continue
        command, _, expected = part.partition("\n")
        yield Step(line, command, expected)
        line += part.count("\n")


def fits(expected: str, printed: str) -> bool:
    """Whether a text is as expected, `…` standing for anything and blanks counting once."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in expected.split("…")]
    return re.fullmatch(r"\s*" + r"\s*.*?\s*".join(parts) + r"\s*", printed, re.DOTALL) is not None


class Ollama:
    """A server that speaks Ollama's wire, in a thread of its own; its models answer whatever they are asked."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tutorial-ollama")
        self._server = WireServer(Turn(pieces=("It is in the cellar.",)))

    @property
    def url(self) -> str:
        return self._server.base_url("ollama")

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    server = Ollama()
    server.start()
    yield server
    server.stop()
    server.end()


@pytest.fixture
def environment(tmp_path: Path, ollama: Ollama) -> dict[str, str]:
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("TIMMY_", "OPENAI", "ANTHROPIC"))
    }
    return plain | {
        "TIMMY_HOME": str(tmp_path / "home"),
        "OLLAMA_HOST": ollama.url.removeprefix("http://"),
        "PATH": f"{Path(sys.executable).parent}:{plain['PATH']}",
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


@contextmanager
def up(environment: dict[str, str]) -> Iterator[None]:
    """Run `timmy up` as the first terminal does."""
    command = [str(Path(sys.executable).parent / "timmy"), "up", "--no-open", "--port", "0"]
    serving = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert serving.stdout is not None
        assert any("http://127.0.0.1:" in line for line in iter(serving.stdout.readline, "")), "it serves nothing"
        yield
    finally:
        serving.terminate()
        serving.communicate(timeout=30)


def printed(wanted: list[Step], folder: Path, environment: dict[str, str]) -> list[str]:
    """Type the commands into one shell and return what each printed."""
    script = "\n".join(f"{step.command}\nprintf '{_MARK}'" for step in wanted)
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMANDS_S,
        check=False,
    )
    return done.stdout.split(_MARK)[:-1]


def test_the_tutorial_prints_what_it_says(tmp_path: Path, ollama: Ollama, environment: dict[str, str]) -> None:
    text = TUTORIAL.read_text(encoding="utf-8").replace(OLLAMA, ollama.url)
    everything = [step for step in steps(text) if not step.command.startswith("source ")]
    pull = next(number for number, step in enumerate(everything) if " pull " in step.command)
    with up(environment):
        # Before the reader has started Ollama nothing listens at its address.
        asked = everything[:pull]
        closed = {**environment, "OLLAMA_HOST": "127.0.0.1:9"}
        outputs = printed(asked, tmp_path, closed)
        outputs += printed(everything[pull:], tmp_path, environment)
    assert len(outputs) == len(everything), "the shell stopped before the end"
    wrong = [
        f"tutorial.md:{step.line}: `{step.command}` printed:\n{output}"
        for step, output in zip(everything, outputs, strict=True)
        if not fits(step.expected, output)
    ]
    assert not wrong, "\n".join(wrong)


def test_an_ellipsis_stands_for_anything_and_other_words_for_themselves() -> None:
    assert fits("a … c\n", "a  b\nb c")
    assert not fits("a … d", "a b c")
    assert fits("…", "")
