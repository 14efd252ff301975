"""AirLLM's door for its tests, its process working with a double of the library."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Completion, Message
from timmy_core.router.providers.airllm import AirllmDoor
from timmy_core.settings import ProviderSettings, RouterSettings

FOREIGN = Path(__file__).with_name("foreign")
KEY = "hf-very-secret"

Make = Callable[..., AirllmDoor]


def foreign_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started from here find the doubles."""
    monkeypatch.setenv("PYTHONPATH", str(FOREIGN))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@asynccontextmanager
async def doors(tmp_path: Path) -> AsyncIterator[Make]:
    """Hand out what makes doors; they are closed at the end."""
    made: list[AirllmDoor] = []

    def build(model: str = "tiny", load_s: float = 20, python: str | None = None, **more: object) -> AirllmDoor:
        folder = tmp_path / model
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}", encoding="utf-8")
        table = {"name": "air", "kind": "airllm", "models": {"default": str(folder)}, "api_key": KEY, **more}
        settings = ProviderSettings.model_validate(table)
        # A link, so that the door does not look for the package in this interpreter.
        link = tmp_path / "python"
        if not link.exists():
            link.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
            link.chmod(0o700)
        made.append(AirllmDoor(settings, RouterSettings(load_s=load_s), python=python or str(link)))
        return made[-1]

    yield build
    for door in made:
        await door.close()


def question(door: AirllmDoor, text: str, **more: object) -> ChatRequest:
    asked = ChatRequest((Message("user", text),), door.default_model, timeout_s=20, first_token_s=20)
    return replace(asked, **more)


async def ask(door: AirllmDoor, text: str, **more: object) -> Completion:
    return await door.chat(question(door, text, **more))


async def failure(asking: Awaitable[object]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await asking
    return caught.value


def pid(door: AirllmDoor) -> int:
    assert door._child is not None
    return door._child.pid


def runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
