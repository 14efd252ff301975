"""The router's face: the same answers on any loop and thread, and nothing left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError, RouterError
from timmy_core.events.log import EventLog
from timmy_core.loop import LoopThread
from timmy_core.router import Cascade, Limits, Metrics, Router
from timmy_core.router.breaker import Policy
from timmy_core.router.chat import Answer, Delta, Done, StreamPart
from timmy_core.router.providers import OfflineAnswer, build_provider
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.store.engine import Store
from timmy_core.testing import ScriptedProvider, Turn, WireServer

ASK = [{"role": "user", "content": "hi"}]
DOWN = ProviderError("server_error", "it is down", advice="wait")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread("test-router")
    yield made
    made.close()


def router(loop: LoopThread, *providers: ScriptedProvider) -> Router:
    return Router(Cascade(providers, offline=OfflineAnswer(Path("timmy.toml"))), loop)


def text_of(parts: list[StreamPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Delta))


def test_a_plain_thread_asks_and_streams(loop: LoopThread) -> None:
    face = router(loop, ScriptedProvider("a", "hello", ["he", "llo"]))
    assert face.chat_sync(ASK, trace_id="t").trace_id == "t"
    parts = list(face.stream_sync(ASK))
    assert text_of(parts) == "hello"
    assert isinstance(parts[-1], Done)


async def test_another_loop_asks_and_streams(loop: LoopThread) -> None:
    face = router(loop, ScriptedProvider("a", "hello", ["he", "llo"]))
    assert (await face.chat(ASK)).text == "hello"
    assert text_of([part async for part in face.stream(ASK)]) == "hello"


def test_many_threads_with_loops_of_their_own_share_one_router(loop: LoopThread) -> None:
    face = router(loop, ScriptedProvider("a", "hello"))
    answers: list[Answer] = []
    workers = [threading.Thread(target=lambda: answers.append(asyncio.run(face.chat(ASK)))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [answer.text for answer in answers] == ["hello"] * 8


async def test_cancelling_the_caller_cancels_the_providers_call(loop: LoopThread) -> None:
    slow = ScriptedProvider("slow", [30.0])
    face = router(loop, slow)
    task = asyncio.create_task(face.chat(ASK))
    await asyncio.sleep(0.05)
    assert slow.requests
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    face.close()
    assert slow.cancelled == 1


async def test_leaving_a_stream_early_cancels_the_providers_call(loop: LoopThread) -> None:
    slow = ScriptedProvider("slow", ["one", 30.0])
    face = router(loop, slow)
    async for part in face.stream(ASK):
        assert part == Delta("one")
        break
    with closing(face.stream_sync(ASK)) as stream:
        assert next(stream) == Delta("one")
    await face.chat(ASK, deadline_s=0.01)
    assert slow.cancelled >= 2


def test_wrong_messages_are_refused_at_once(loop: LoopThread) -> None:
    face = router(loop, ScriptedProvider("a"))
    for call in (face.chat_sync, face.stream, face.stream_sync):
        with pytest.raises(ValueError, match="role 'robot'"):
            call([{"role": "robot", "content": "hi"}])


def test_status_shows_each_provider_in_the_order_of_asking(loop: LoopThread) -> None:
    missing = ScriptedProvider("b", missing=("no key", "set it"), priority=1)
    sick = ScriptedProvider("a", DOWN, priority=2)
    limits = Limits(policy=Policy(failure_threshold=2), retry_percent=0)
    house = Cascade([sick, missing], offline=str, limits=limits)
    face = Router(house, loop)
    assert face.chat_sync(ASK).offline
    first, second = face.status()
    assert (first.name, first.configured, first.problem, first.advice) == ("b", False, "no key", "set it")
    assert (second.name, second.circuit, second.consecutive_failures) == ("a", "closed", 1)
    face.chat_sync(ASK)
    opened = face.status()[1]
    assert opened.circuit == "open"
    assert opened.open_until is not None
    assert sick.requests[0].model == second.model


def test_a_test_asks_all_or_the_named_one(loop: LoopThread) -> None:
    face = router(loop, ScriptedProvider("a"), ScriptedProvider("b", DOWN), ScriptedProvider("c", missing=("x", "y")))
    assert [(name, health.ok, health.message) for name, health in face.test_sync()] == [
        ("a", True, "answers"),
        ("b", False, "it is down"),
        ("c", False, "x"),
    ]
    assert [name for name, _ in face.test_sync("b")] == ["b"]
    with pytest.raises(RouterError, match=r"'z'.*a, b, c"):
        face.test_sync("z")


async def test_a_real_client_is_built_used_and_closed_on_timmys_loop(loop: LoopThread) -> None:
    async with WireServer(Turn(), Turn(status=500), Turn()) as server:
        table = {"name": "p", "kind": "openai", "base_url": f"{server.url}/v1", "models": {"default": "tiny"}}
        provider = build_provider(ProviderSettings.model_validate(table), RouterSettings())
        limits = Limits(retry_percent=0)
        face = Router(Cascade([provider], offline=OfflineAnswer(Path("timmy.toml")), limits=limits), loop)
        answer = await face.chat(ASK)
        assert (answer.text, answer.provider, answer.cost_microusd) == ("Hello there.", "p", 0)
        unanswered = await face.chat(ASK)
        assert unanswered.offline
        assert "HTTP 500" in unanswered.text
        parts = [part async for part in face.stream(ASK)]
        assert text_of(parts) == "Hello there."
        await asyncio.to_thread(face.close)


def test_the_limits_are_those_of_the_settings() -> None:
    settings = RouterSettings(deadline_s=9, first_token_s=4, failure_threshold=2, reset_timeout_s=7)
    limits = Limits.from_settings(settings)
    assert (limits.deadline_s, limits.first_token_s) == (9, 4)
    assert (limits.policy.failure_threshold, limits.policy.reset_timeout_s) == (2, 7)


def test_status_shows_what_the_store_remembers(loop: LoopThread, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "timmy.db")
    metrics = Metrics(store, EventLog(store))
    limits = Limits(retry_percent=0)
    house = Cascade([ScriptedProvider("a", "fine", DOWN)], offline=str, recorder=metrics, limits=limits)
    face = Router(house, loop, metrics)
    face.chat_sync(ASK)
    face.chat_sync(ASK)
    store.write(lambda _: None)
    (status,) = face.status()
    assert (status.requests, status.errors, status.consecutive_failures) == (2, 1, 1)
    assert status.p50_ms is not None
    assert status.last_success_at is not None
    assert [failure.message for failure in status.recent_failures] == ["it is down"]
    store.close()
