"""The real AirLLM with a tiny random Llama that is made on the spot, on the processor.

Needs an interpreter with torch and airllm: `TIMMY_TEST_AIRLLM_PYTHON` names it, or the one of the tests has both.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Message
from timmy_core.router.providers.airllm import AirllmDoor
from timmy_core.router.providers.airllm_process import Child
from timmy_core.settings import ProviderSettings, RouterSettings

HERE = sys.executable if find_spec("airllm") is not None and find_spec("torch") is not None else None
PYTHON = os.environ.get("TIMMY_TEST_AIRLLM_PYTHON") or HERE
TOKENS = 12
QUESTIONS = ("hello", "Grüße aus Köln", "3 + 4 =")
LOAD_S = 240
# More threads of torch wait for each other by spinning, which takes many times as long where processors are busy.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="no interpreter with airllm; TIMMY_TEST_AIRLLM_PYTHON names one"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The model's folder, and what transformers itself answers."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    maker = Path(__file__).with_name("tiny_llama.py")
    order = [str(PYTHON), str(maker), str(folder), str(TOKENS), *QUESTIONS]
    done = subprocess.run(
        order, capture_output=True, text=True, check=False, timeout=LOAD_S, env={**os.environ, **ONE_THREAD}
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ONE_THREAD.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def door(tiny: tuple[Path, list[str]]) -> AsyncIterator[AirllmDoor]:
    table = {"name": "air", "kind": "airllm", "models": {"default": str(tiny[0])}, "device": "cpu"}
    made = AirllmDoor(ProviderSettings.model_validate(table), RouterSettings(load_s=LOAD_S), python=PYTHON)
    yield made
    await made.close()


def question(door: AirllmDoor, text: str, **more: Any) -> ChatRequest:
    limits = {"timeout_s": LOAD_S, "first_token_s": LOAD_S, "max_tokens": TOKENS, "temperature": 0.0}
    return replace(ChatRequest((Message("user", text),), door.default_model, **limits), **more)


async def test_it_answers_what_transformers_answers_streams_stops_and_survives(
    door: AirllmDoor, tiny: tuple[Path, list[str]]
) -> None:
    for text, expected in zip(QUESTIONS, tiny[1], strict=True):
        answer = await door.chat(question(door, text))
        assert answer.text == expected
        assert answer.usage.output_tokens == TOKENS
    assert door.window_tokens(door.default_model) == 512
    assert door._child is not None
    first = door._child.pid

    async with aclosing(door.stream(question(door, "hello"))) as stream:
        pieces = [chunk.text async for chunk in stream]
    assert len(pieces) > TOKENS
    assert "".join(pieces) == tiny[1][0]

    async with aclosing(door.stream(question(door, "hello", max_tokens=400))) as stream:
        async for _ in stream:
            break
    began = time.monotonic()
    assert (await door.chat(question(door, "hello"))).text == tiny[1][0]
    assert door._child.pid == first, "the answer that nobody waited for did not stop, and its process was killed"
    assert time.monotonic() - began < 30

    os.kill(first, 9)
    with contextlib.suppress(ProviderError):  # where the death is seen before the question, nothing fails
        await door.chat(question(door, "hello", max_tokens=1))
    assert (await door.chat(question(door, "hello"))).text == tiny[1][0]


@pytest.mark.parametrize("needed", [True, False], ids=["needed", "only offered"])
async def test_code_that_comes_with_a_model_is_not_run(
    tiny: tuple[Path, list[str]], tmp_path: Path, needed: bool
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "the-code-ran"
    shutil.copytree(tiny[0], folder, ignore=shutil.ignore_patterns("splitted_model"))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Own: pass\n")
    for name, auto_map in (
        ("config.json", {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Own", "own.Own"]}),
    ):
        config = json.loads((folder / name).read_text(encoding="utf-8"))
        changed = {"model_type": "own"} if needed and name == "config.json" else {}
        (folder / name).write_text(json.dumps({**config, **changed, "auto_map": auto_map}), encoding="utf-8")
    table = {"name": "air", "kind": "airllm", "models": {"default": str(folder)}, "device": "cpu"}
    door = AirllmDoor(ProviderSettings.model_validate(table), RouterSettings(load_s=LOAD_S), python=PYTHON)
    try:
        if needed:
            with pytest.raises(ProviderError) as caught:
                await door.chat(question(door, "hello"))
            assert caught.value.error_class == "not_configured", caught.value
            assert "trust_remote_code" in caught.value.advice
        else:
            assert (await door.chat(question(door, "hello"))).text == tiny[1][0]
    finally:
        await door.close()
    assert not mark.exists()


async def test_what_freezing_the_garbage_collector_saves(tiny: tuple[Path, list[str]]) -> None:
    """AirLLM collects garbage after every layer; what was imported before need not be looked at each time."""
    assert PYTHON is not None
    per_token: dict[bool, float] = {}
    for freeze in (False, True):
        child = await Child.start(PYTHON)
        try:
            order = {"do": "load", "model": str(tiny[0]), "device": "cpu", "freeze": freeze}
            async with asyncio.timeout(LOAD_S):
                await child.send(order)
                loaded = await child.next()
                assert loaded["is"] == "loaded", loaded
                assert (loaded["frozen"] > 10_000) is freeze
                per_token[freeze] = await _per_token_s(child)
        finally:
            await child.kill()
    print(f"a token takes {per_token[False]:.3f} s, and {per_token[True]:.3f} s with what was loaded frozen")
    assert per_token[True] < per_token[False]


async def _per_token_s(child: Child) -> float:
    order = {"do": "ask", "id": 1, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    await child.send(order)
    times: list[float] = []
    while (message := await child.next())["is"] != "done":
        assert message["is"] != "failed", message
        if message["is"] == "text":
            times.append(time.monotonic())
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times))
