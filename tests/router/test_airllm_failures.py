"""AirLLM's door when something is wrong: processes that die, models that do not load, questions that it refuses."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from timmy_core.router.chat import Image, Message, Tool
from timmy_core.router.providers import build_provider
from timmy_core.settings import ProviderSettings, RouterSettings

from .airllm_house import KEY, Make, ask, doors, failure, foreign_libraries, pid, question


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    foreign_libraries(monkeypatch)
    async with doors(tmp_path) as make:
        yield make


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("crash", "connection_failed", "exit status 3: Segmentation fault, or the like"),
        ("killed", "connection_failed", "as the system does when memory runs out"),
        ("garbage", "connection_failed", "no message"),
        ("huge", "connection_failed", "a line of more than 1,048,576 bytes"),
        ("raise", "server_error", "RuntimeError: the tensors do not fit"),
        ("memory", "server_error", "not enough memory"),
        ("x" * 64, "context_length_exceeded", "the question has 64 tokens, and the window is 64"),
    ],
    ids=lambda value: value[:8],
)
async def test_a_failure_gets_its_class_and_the_next_question_its_answer(
    make: Make, text: str, kind: str, said: str
) -> None:
    door = make()
    error = await failure(ask(door, text))
    assert error.error_class == kind
    assert said in error.message
    assert error.advice
    assert (await ask(door, "next")).text == "NEXT"


async def test_a_process_that_dies_in_mid_answer_cuts_the_stream(make: Make) -> None:
    door = make()

    async def killing() -> None:
        async with aclosing(door.stream(question(door, "slow" * 10))) as stream:
            async for chunk in stream:
                if chunk.text:
                    os.kill(pid(door), 9)

    assert (await failure(killing())).error_class == "stream_truncated"


@pytest.mark.parametrize(
    ("model", "kind", "said", "advice"),
    [
        ("broken", "model_not_found", "FileNotFoundError: a layer of", "download the model into a folder"),
        ("dead", "connection_failed", "exit status 7", "ask again"),
        ("coded", "not_configured", "custom code", "trust_remote_code = true"),
    ],
)
async def test_a_model_that_cannot_be_loaded_says_why(
    make: Make, model: str, kind: str, said: str, advice: str
) -> None:
    error = await failure(ask(make(model), "hi"))
    assert error.error_class == kind
    assert said in error.message
    assert advice in error.advice
    assert KEY not in str(error)


async def test_code_that_comes_with_a_model_runs_only_where_the_configuration_says_so(make: Make) -> None:
    door = make("coded")
    await failure(ask(door, "hi"))
    assert "custom code" in (door.problem() or ("", ""))[0]
    assert (await ask(make("coded", trust_remote_code=True), "hi")).text == "HI"


async def test_an_interpreter_without_the_package_says_what_to_install(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    door = make()
    error = await failure(ask(door, "hi"))
    assert error.error_class == "not_configured"
    assert "pip install 'timmy-workbench[airllm]'" in error.advice
    # It is not tried again at every question.
    assert door.problem() == (error.message, error.advice)


async def test_an_interpreter_that_is_not_there_says_so(make: Make) -> None:
    error = await failure(ask(make(python="/no/such/python"), "hi"))
    assert error.error_class == "not_configured"
    assert "cannot be started" in error.message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"models": {}}, "it has no model"),
        ({"enabled": False}, "it is switched off"),
        ({"models": {"default": "/no/such/folder"}}, "there is no model in /no/such/folder"),
        ({"unset_variables": ("HF_TOKEN",)}, "the environment variable HF_TOKEN is not set"),
    ],
)
async def test_what_is_missing_is_said_before_anything_is_started(
    make: Make, table: dict[str, object], said: str
) -> None:
    door = make(**table)
    problem = door.problem()
    assert problem is not None
    assert problem[0] == said
    assert (await failure(ask(door, "hi"))).error_class == "not_configured"
    assert not (await door.check(timeout_s=1)).ok


def test_this_interpreter_without_airllm_is_a_problem() -> None:
    if any((Path(entry) / "airllm").is_dir() for entry in sys.path):
        pytest.skip("airllm is installed here")
    settings = ProviderSettings.model_validate({"name": "a", "kind": "airllm", "models": {"default": "org/model"}})
    problem = build_provider(settings, RouterSettings()).problem()
    assert problem is not None
    assert problem[0] == "airllm or torch is not installed"


@pytest.mark.parametrize(
    "more",
    [
        {"messages": (Message("user", "x", images=(Image("image/png", b""),)),)},
        {"tools": (Tool("t", "", {}),)},
        {"json_mode": True},
    ],
)
async def test_what_it_cannot_do_it_refuses_at_once(make: Make, more: dict[str, object]) -> None:
    door = make()
    assert (await failure(ask(door, "hi", **more))).error_class == "bad_request"
    assert door._child is None
