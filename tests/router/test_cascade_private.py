"""What the system says for local providers alone stays with them, whoever else is asked."""

from __future__ import annotations

from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Done, ErrorClass, Message
from timmy_core.testing import ScriptedProvider

from .house import cascade, down

PRIVATE: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "system", "content": "The dog is called Rex.", "local_only": True},
    {"role": "user", "content": "hi"},
]


def told(provider: ScriptedProvider) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in provider.requests[-1].messages]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_local_provider_is_told_all_in_one_part_and_another_one_the_rest(streamed: bool) -> None:
    here = ScriptedProvider("here", down(ErrorClass.SERVER))
    away = ScriptedProvider("away", "ok", priority=2, local=False)
    house = cascade(here, away)
    if streamed:
        *_, done = [part async for part in house.stream(PRIVATE)]
        assert isinstance(done, Done)
        answer = done.answer
    else:
        answer = await house.chat(PRIVATE)
    assert told(here) == [("system", "Be brief.\n\nThe dog is called Rex."), ("user", "hi")]
    assert told(away) == [("system", "Be brief."), ("user", "hi")]
    assert (answer.provider, answer.local) == ("away", False)


async def test_where_nothing_is_for_local_ones_alone_the_messages_stay_as_they_are() -> None:
    away = ScriptedProvider("away", "ok", local=False)
    await cascade(away).chat([Message("system", "one"), Message("system", "two"), Message("user", "hi")])
    assert told(away) == [("system", "one"), ("system", "two"), ("user", "hi")]


async def test_another_provider_does_not_go_on_with_what_a_local_one_began() -> None:
    here = ScriptedProvider("here", ["Rex is ", ProviderError("server_error", "broke")], can_prefill=True)
    away = ScriptedProvider("away", "I do not know.", priority=2, local=False, can_prefill=True)
    parts = [part async for part in cascade(here, away).stream(PRIVATE)]
    done = parts[-1]
    assert isinstance(done, Done)
    assert done.answer.text == "I do not know."
    assert away.requests[0].prefill == ""


async def test_a_second_local_one_does_go_on() -> None:
    here = ScriptedProvider("here", ["Rex is ", ProviderError("server_error", "broke")], can_prefill=True)
    too = ScriptedProvider("too", "a dog.", priority=2, can_prefill=True)
    parts = [part async for part in cascade(here, too).stream(PRIVATE)]
    assert too.requests[0].prefill == "Rex is"
    assert isinstance(parts[-1], Done)


async def test_only_the_system_can_speak_to_local_ones_alone() -> None:
    with pytest.raises(ValueError, match="local_only is for what the system says"):
        await cascade(ScriptedProvider("a")).chat([{"role": "user", "content": "hi", "local_only": True}])


async def test_a_whole_question_for_local_ones_alone_is_still_a_question() -> None:
    away = ScriptedProvider("away", "ok", local=False)
    await cascade(away).chat([Message("system", "secret", local_only=True), Message("user", "hi")])
    assert told(away) == [("user", "hi")]
