"""AirLLM's door and its process, with a double of the library: answering, loading, stopping."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.waiting import auntil
from timmy_core.router.chat import Message, Usage
from timmy_core.router.providers import airllm, airllm_process

from .airllm_house import Make, ask, doors, failure, foreign_libraries, pid, question, runs


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    foreign_libraries(monkeypatch)
    async with doors(tmp_path) as make:
        yield make


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Answering -------------------------------------------------------------------------------------------------------


async def test_an_answer_comes_token_by_token_with_its_usage(make: Make) -> None:
    door = make()
    async with aclosing(door.stream(question(door, "hé"))) as stream:
        chunks = [chunk async for chunk in stream]
    # The second character takes two tokens, and the first of them says nothing yet.
    assert [chunk.text for chunk in chunks] == ["H", "", "É", "", ""]
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", Usage(3, 4))
    assert door.window_tokens(door.default_model) == 64


async def test_an_answer_has_a_length(make: Make) -> None:
    door = make()
    answer = await ask(door, "abcdef", max_tokens=3)
    assert (answer.text, answer.finish_reason, answer.usage) == ("ABC", "length", Usage(6, 3))
    assert len((await ask(door, "x" * 60)).text) == 4


async def test_a_process_answers_many_questions(make: Make) -> None:
    door = make()
    assert [(await ask(door, text)).text for text in ("one", "two")] == ["ONE", "TWO"]
    first = pid(door)
    assert (await ask(door, "three")).text == "THREE"
    assert pid(door) == first


async def test_what_the_libraries_print_is_no_message(make: Make) -> None:
    assert (await ask(make(), "print")).text == "PRINT"


async def test_a_conversation_takes_the_form_that_the_model_knows(make: Make) -> None:
    said = (Message("system", "be brief"), Message("user", "hi"), Message("assistant", "ho"), Message("user", "he"))
    door = make("templated")
    assert (await ask(door, "", messages=said)).text == "USER:BE BRIEF\n\nHI|ASSISTANT:HO|USER:HE"
    door = make("wide")
    assert (await ask(door, "", messages=said[1:])).text == "USER: HI\nASSISTANT: HO\nUSER: HE\nASSISTANT:"


async def test_processors_get_no_half_precision(make: Make) -> None:
    assert (await ask(make("half"), "dtype")).text == "float32"


async def test_a_temperature_of_zero_takes_the_likeliest_token(make: Make) -> None:
    door = make("wide")
    assert "do_sample" not in (await ask(door, "options")).text
    assert "('do_sample', False)" in (await ask(door, "options", temperature=0.0)).text
    assert "('do_sample', True)" in (await ask(door, "options", temperature=0.5)).text


async def test_the_process_sees_no_key_of_another_provider(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "hub")
    names = (await ask(make("wide"), "env", max_tokens=4000)).text
    assert "HF_TOKEN" in names
    assert "SOME_API_KEY" not in names


# Loading ---------------------------------------------------------------------------------------------------------


async def test_who_cannot_wait_is_told_that_it_loads_and_the_load_goes_on(make: Make) -> None:
    door = make("slow")
    error = await failure(ask(door, "hi", first_token_s=0.1))
    assert error.error_class == "model_loading"
    assert "first_token_s" in error.advice
    assert (await door.check(timeout_s=1)).message.startswith("loads ")
    assert (await ask(door, "hi")).text == "HI"
    assert "in memory" in (await door.check(timeout_s=1)).message


async def test_a_load_has_a_budget_and_leaves_no_process_behind(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    spawn = airllm_process._spawn

    def remember(python: str) -> tuple[subprocess.Popen[bytes], int]:
        process, descriptor = spawn(python)
        started.append(process.pid)
        return process, descriptor

    monkeypatch.setattr(airllm_process, "_spawn", remember)
    error = await failure(ask(make("hanging", load_s=0.5), "hi"))
    assert (error.error_class, "load_s" in error.advice) == ("timeout", True)
    await auntil(lambda: started and not runs(started[0]))


async def test_another_model_takes_the_place_of_the_first(make: Make, tmp_path: Path) -> None:
    door = make()
    await ask(door, "hi")
    first = pid(door)
    other = tmp_path / "other"
    other.mkdir()
    assert (await ask(door, "ho", model=str(other))).text == "HO"
    assert not runs(first)
    assert door.window_tokens(door.default_model) is None


async def test_asking_costs_nothing_before_the_first_question(make: Make) -> None:
    door = make()
    health = await door.check(timeout_s=1)
    assert (health.ok, health.message) == (True, f"is ready to load {door.default_model}")
    assert door._child is None


# Stopping --------------------------------------------------------------------------------------------------------


async def test_a_caller_that_leaves_stops_the_answer_and_keeps_the_process(make: Make) -> None:
    door = make()
    async with aclosing(door.stream(question(door, "slow" * 10))) as stream:
        async for chunk in stream:
            if chunk.text:
                break
    first = pid(door)
    assert (await ask(door, "next")).text == "NEXT"
    assert pid(door) == first


async def test_a_process_that_does_not_stop_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airllm, "STOP_S", 0.2)
    door = make()
    await ask(door, "hi")
    first = pid(door)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(door, "hang")
    assert (await ask(door, "next")).text == "NEXT"
    assert pid(door) != first
    assert not runs(first)


async def test_one_question_at_a_time(make: Make) -> None:
    door = make()
    answers = await asyncio.gather(*(ask(door, f"q{number}") for number in range(5)))
    assert [answer.text for answer in answers] == [f"Q{number}" for number in range(5)]
    assert door.max_concurrency == 1


@pytest.mark.parametrize("text", ["", "slow", "hang"], ids=["idle", "streaming", "deaf"])
async def test_closing_leaves_no_process_no_descriptor_and_no_task(make: Make, text: str) -> None:
    door = make()
    await ask(door, "warm up the loop's own threads")
    await door.close()
    gc.collect()
    before, tasks = descriptors(), len(asyncio.all_tasks())
    await ask(door, "hi")
    number = pid(door)
    if text:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(door, text * 10 if text == "slow" else text)
    await door.close()
    assert not runs(number)
    assert descriptors() == before
    assert len(asyncio.all_tasks()) == tasks


def test_the_process_ends_with_its_parent_even_while_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_libraries(monkeypatch)
    code = f"""
import asyncio, os, sys
from timmy_core.router.providers.airllm_process import Child
async def main():
    child = await Child.start(sys.executable)
    await child.send({{"do": "load", "model": {str(tmp_path)!r}}})
    assert (await child.next())["is"] == "loaded"
    order = {{"do": "ask", "id": 1, "messages": [{{"role": "user", "content": "hang"}}], "max_tokens": 5}}
    await child.send(order)
    assert (await child.next())["is"] == "began"
    print(child.pid, flush=True)
    os._exit(9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 9, done.stderr
    number = int(done.stdout)
    for _ in range(200):
        if not runs(number):
            return
        subprocess.run(["sleep", "0.02"], check=True)
    pytest.fail("the process outlived its parent")
