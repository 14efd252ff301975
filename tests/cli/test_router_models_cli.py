"""`timmy router models` and `timmy router pull`, as a person types them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from timmy_core.testing import Turn, WireServer
from timmy_core.testing.ollama_host import OllamaModel

TIMMY = Path(sys.executable).with_name("timmy")


@pytest.fixture
async def server(home: Path) -> AsyncIterator[WireServer]:
    async with WireServer(Turn(models=("listed",))) as running:
        running.ollama.models = {"tiny": OllamaModel(size=3_400_000_000), "small:1b": OllamaModel(size=9_000_000)}
        running.ollama.loaded["small:1b"] = 4096
        models = "models = { default = 'tiny' }"
        (home / "timmy.toml").write_text(
            f"[[providers]]\nname = 'ollama'\nkind = 'ollama'\nbase_url = '{running.url}'\n{models}\n"
            f"[[providers]]\nname = 'other'\nkind = 'openai'\nbase_url = '{running.url}/v1'\n{models}\n"
            "[[providers]]\nname = 'down'\nkind = 'ollama'\nbase_url = 'http://127.0.0.1:1'\n"
            "models = { default = '[bold]m[/]' }\n"
        )
        yield running


async def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [TIMMY, "router", *words, "--home", str(home)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.usefixtures("server")
async def test_the_models_of_all_providers_are_listed_and_who_cannot_be_asked_is_named(home: Path) -> None:
    done = await run("models", home=home)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert lines == [
        ["ollama", "tiny:latest", "3.4", "GB", "1B", "Q4_K_M", "no"],
        ["ollama", "small:1b", "9.0", "MB", "1B", "Q4_K_M", "●", "yes"],
        ["other", "listed", "–", "–", "–", "–"],
    ]
    assert "down: nothing listens there" in done.stderr
    assert "`ollama serve`" in done.stderr
    alone = await run("models", "down", home=home)
    assert (alone.returncode, alone.stdout) == (1, "")


async def test_a_model_is_pulled(home: Path, server: WireServer) -> None:
    done = await run("pull", "ollama", "new:2b", home=home)
    assert done.returncode == 0, done.stderr
    assert "new:2b is there" in done.stdout
    assert server.ollama.pulled == ["new:2b"]


async def test_a_pull_that_fails_says_why(home: Path, server: WireServer) -> None:
    server.ollama.pull = replace(server.ollama.pull, error="pull model manifest: file does not exist")
    done = await run("pull", "ollama", "nowhere", home=home)
    assert done.returncode == 1
    assert "file does not exist" in done.stderr
    assert "https://ollama.com/library" in done.stderr


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("nobody", "no provider is named 'nobody'; there are: ollama, other, down"),
        ("other", "other is of kind openai, and only ollama can pull models"),
        ("down", "nothing listens there"),
    ],
)
async def test_a_provider_that_cannot_pull_says_so(home: Path, provider: str, said: str) -> None:
    done = await run("pull", provider, "m", home=home)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_pull_is_stopped_by_the_keyboard(home: Path, server: WireServer) -> None:
    server.ollama.pull = replace(server.ollama.pull, pause_s=0.05, steps=10_000)
    command = [TIMMY, "router", "pull", "ollama", "big", "--home", str(home)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        async with asyncio.timeout(30):
            while not server.requests:  # noqa: ASYNC110 - the server has no bell
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 130, said
    assert "`timmy router pull ollama big` goes on from there" in said
    assert server.ollama.pulled == []
