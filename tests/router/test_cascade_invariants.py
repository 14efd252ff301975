"""Whatever the providers do and whatever is asked for: one end, one account of it, and nothing held afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import StreamBrokenError
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Answer, Chunk, Delta, Done, ErrorClass, StreamPart, Switch, ToolCall, Usage
from timmy_core.router.hedge import LEAST
from timmy_core.router.policy import Policy
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, assert_at_rest, cascade, done, down, text_shown

LOOK = ToolCall("c", "look", "{}")
MISSING = ("no key", "set it")
MODELS = {"default": "m", "small": "s"}

text = st.sampled_from(["one ", "two", " \n", "three words here", ""])
pause = st.sampled_from([0.0, 0.001, 0.03])
failure = st.builds(down, st.sampled_from(sorted(ErrorClass)), st.sampled_from([None, 0.001, 30.0]))
end = st.one_of(
    failure,
    st.sampled_from(
        [Chunk("", "stop", Usage(1, 2)), Chunk(" end", "length"), Chunk("", "content_filter"), Chunk("cut")]
    ),
)
step = st.one_of(text, pause, st.just(Chunk()), st.just(Chunk(tool_calls=(LOOK,))))
script = st.builds(lambda steps, last: [*steps, last], st.lists(step, max_size=4), end)


@st.composite
def a_provider(draw: st.DrawFn, name: str) -> ScriptedProvider:
    return ScriptedProvider(
        name,
        *draw(st.lists(script, min_size=1, max_size=3)),
        priority=draw(st.integers(1, 3)),
        models=MODELS,
        missing=draw(st.sampled_from([None, None, None, MISSING])),
        free=draw(st.booleans()),
        local=draw(st.booleans()),
        can_prefill=draw(st.booleans()),
        max_concurrency=draw(st.sampled_from([None, 1])),
        window=draw(st.sampled_from([None, 5, 8000])),
        first_token_s=draw(st.sampled_from([None, 0.01])),
    )


providers = st.integers(0, 3).flatmap(lambda count: st.tuples(*(a_provider("abc"[n]) for n in range(count))))
limits = st.builds(
    Limits,
    deadline_s=st.sampled_from([0.02, 2.0]),
    between_tokens_s=st.sampled_from([0.01, 1.0]),
    backoff_s=st.just(0.001),
    max_waiting=st.sampled_from([0, 3]),
    hedge=st.booleans(),
    policy=st.builds(Policy, failure_threshold=st.integers(1, 3)),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "local_only": st.booleans(),
        "json_mode": st.booleans(),
        "model": st.sampled_from(["default", "small", "nobody-has-it"]),
        "max_tokens": st.just(5),
        "tools": st.just([{"name": "look", "description": "", "parameters": {}}]),
    },
)


def check_stream(parts: list[StreamPart], *, broke: bool) -> None:
    """One `Done`, and it comes last; what the reader sees then is the answer's text."""
    dones = [part for part in parts if isinstance(part, Done)]
    assert len(dones) == (0 if broke else 1)
    if broke:
        return
    assert isinstance(parts[-1], Done)
    assert text_shown(parts) == parts[-1].answer.text
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert tuple(calls) == parts[-1].answer.tool_calls
    assert all(part.text for part in parts if isinstance(part, Delta))


def check_answer(answer: Answer, asked: dict[str, Any], by_name: dict[str, ScriptedProvider]) -> None:
    completed = [attempt.provider for attempt in answer.attempts if attempt.outcome == "completed"]
    assert completed == ([] if answer.offline else [answer.provider])
    skipped = Counter(attempt.provider for attempt in answer.attempts if attempt.outcome == "skipped")
    assert max(skipped.values(), default=0) <= 1
    assert sum(attempt.why == "retry" for attempt in answer.attempts) <= 2
    tried = {attempt.provider for attempt in answer.attempts if attempt.outcome != "skipped"}
    if asked.get("local_only"):
        assert all(by_name[name].local for name in tried)
    assert all(by_name[name].problem() is None for name in tried)


async def ask(
    house: Cascade, by_name: dict[str, ScriptedProvider], asked: dict[str, Any], streamed: bool, leaves: bool
) -> None:
    if not streamed:
        check_answer(await house.chat(ASK, **asked), asked, by_name)
        return
    parts: list[StreamPart] = []
    try:
        async with aclosing(house.stream(ASK, **asked)) as stream:
            async for part in stream:
                parts.append(part)
                if leaves and isinstance(part, (Delta, Switch)):
                    return
    except StreamBrokenError:
        assert any(isinstance(part, ToolCall) for part in parts)
        check_stream(parts, broke=True)
        return
    check_stream(parts, broke=False)
    check_answer(done(parts), asked, by_name)


@settings(max_examples=250, deadline=None)
@given(providers, limits, st.lists(st.tuples(options, st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_one_end_one_account_and_nothing_held_afterwards(
    row: tuple[ScriptedProvider, ...], limit: Limits, requests: list[tuple[dict[str, Any], bool, bool]]
) -> None:
    heard = Heard()
    by_name = {provider.name: provider for provider in row}

    async def run() -> None:
        house = cascade(*row, limits=limit, recorder=heard, clock=None)
        for provider in row:
            for streamed in (False, True):
                for _ in range(LEAST):
                    house._history.note(provider.name, "m", streamed, 2)
        await asyncio.gather(*(ask(house, by_name, *request) for request in requests))
        assert_at_rest(house)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    recorded = Counter((record.origin.trace_id, record.index) for record in heard.attempts)
    assert max(recorded.values(), default=0) <= 1
    assert len(heard.attempts) == sum(len(provider.requests) for provider in row)


@settings(max_examples=60, deadline=None)
@given(providers, st.floats(0, 0.02))
def test_a_caller_who_leaves_at_any_moment_leaves_nothing_behind(
    row: tuple[ScriptedProvider, ...], after_s: float
) -> None:
    heard = Heard()

    async def run() -> None:
        house = cascade(*row, limits=Limits(hedge=True, backoff_s=0.001), recorder=heard, clock=FakeClock())
        tasks = [asyncio.create_task(house.chat(ASK)) for _ in range(3)]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert_at_rest(house)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert len(heard.attempts) == sum(len(provider.requests) for provider in row)
