"""Steering by hand: kept with its event, obeyed at once and after a restart, and by every process that follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import ControlError, ProviderError, RouterError, UnknownProviderError
from timmy_core.loop import LoopThread
from timmy_core.router import Cascade, Router
from timmy_core.settings import Settings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy

ASK = [{"role": "user", "content": "hi"}]
Opener = Callable[..., Timmy]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Open one home several times over, as several processes do, each with the providers a and b."""
    found: list[Timmy] = []

    def begin(*providers: ScriptedProvider, **options: Any) -> Timmy:
        chosen = providers or (ScriptedProvider("a", priority=1), ScriptedProvider("b", priority=2))
        timmy = Timmy(Settings(home=tmp_path, providers=()), providers=chosen, **options)
        found.append(timmy)
        return timmy

    yield begin
    for timmy in found:
        timmy.shutdown()


def answered_by(timmy: Timmy) -> str:
    return timmy.router.chat_sync(ASK).provider


def of(timmy: Timmy, name: str) -> Any:
    return next(status for status in timmy.router.status() if status.name == name)


def test_disabling_and_enabling(opened: Opener) -> None:
    timmy = opened()
    status = timmy.router.control_sync("a", "disable", by="ann")
    assert (status.enabled, status.changed_by) == (False, "ann")
    answer = timmy.router.chat_sync(ASK)
    assert [(attempt.provider, attempt.error_class) for attempt in answer.attempts] == [("a", "disabled"), ("b", None)]
    assert timmy.router.control_sync("a", "enable", by="ann").enabled
    assert answered_by(timmy) == "a"


def test_isolating_and_closing(opened: Opener) -> None:
    timmy = opened()
    status = timmy.router.control_sync("a", "isolate", by="ann")
    assert (status.isolated, status.circuit) == (True, "open")
    assert answered_by(timmy) == "b"
    status = timmy.router.control_sync("a", "close", by="bob")
    assert (status.isolated, status.circuit, status.changed_by) == (False, "closed", "bob")
    assert answered_by(timmy) == "a"


def test_closing_ends_what_failures_and_a_wrong_key_brought(opened: Opener) -> None:
    sick = ScriptedProvider("a", *[ProviderError("server_error", "down")] * 9, priority=1)
    keyless = ScriptedProvider("c", ProviderError("authentication_failed", "wrong key"), "well", priority=0)
    timmy = opened(keyless, sick, ScriptedProvider("b", priority=2))
    for _ in range(6):
        assert answered_by(timmy) == "b"
    assert of(timmy, "a").circuit == "open"
    assert of(timmy, "c").bar == "wrong key"
    assert len(keyless.requests) == 1, "who refuses the key is not asked again"
    timmy.router.control_sync("c", "close", by="ann")
    assert answered_by(timmy) == "c"
    assert timmy.router.control_sync("a", "close", by="ann").circuit == "closed"


def test_the_priority_decides_until_it_is_given_back(opened: Opener) -> None:
    timmy = opened()
    assert timmy.router.control_sync("b", "priority", by="ann", value=0).priority == 0
    assert [status.name for status in timmy.router.status()] == ["b", "a"]
    assert answered_by(timmy) == "b"
    assert timmy.router.control_sync("b", "priority", by="ann").priority == 2
    assert answered_by(timmy) == "a"


async def test_it_works_on_any_loop(opened: Opener) -> None:
    timmy = opened()
    assert (await timmy.router.control("a", "isolate", by="ann")).isolated
    assert (await timmy.router.chat(ASK)).provider == "b"


def test_every_change_is_an_event_that_says_who_and_what_was_before(opened: Opener) -> None:
    timmy = opened(clock=FakeClock())
    for action, value in (("disable", None), ("enable", None), ("isolate", None), ("close", None), ("priority", 7)):
        timmy.router.control_sync("a", action, by="ann", value=value)
    events = timmy.events.list(family="provider", order="asc")
    assert [event.type for event in events] == [
        "provider.disabled",
        "provider.enabled",
        "provider.isolated",
        "provider.closed",
        "provider.reprioritized",
    ]
    assert events[-1].source == "router"
    assert events[-1].data == {
        "provider": "a",
        "by": "ann",
        "enabled": True,
        "priority": 7,
        "isolated": False,
        "before": {"enabled": True, "priority": None, "isolated": False},
    }
    with timmy.store.read() as connection:
        row = connection.execute("SELECT provider, enabled, priority, isolated, changed_by FROM provider_controls")
        assert row.fetchall() == [("a", 1, 7, 0, "ann")]


def test_it_is_there_after_a_restart(opened: Opener) -> None:
    first = opened()
    first.router.control_sync("a", "isolate", by="ann")
    first.router.control_sync("b", "disable", by="ann")
    first.shutdown()
    second = opened()
    assert (of(second, "a").isolated, of(second, "b").enabled) == (True, False)
    assert second.router.chat_sync(ASK).offline
    assert len(second.events.list(family="circuit")) == 1, "the start itself moves nothing"


def test_another_process_follows(opened: Opener) -> None:
    one, other = opened(), opened()
    one.router.control_sync("a", "isolate", by="ann")
    assert answered_by(other) == "a", "who does not look does not see"
    other.router.follow()
    assert answered_by(other) == "b"
    assert of(other, "a").changed_by == "ann"
    other.router.control_sync("b", "disable", by="bob")
    one.router.follow()
    assert one.router.chat_sync(ASK).offline
    one.router.control_sync("a", "close", by="ann")
    other.router.follow()
    assert answered_by(other) == "a"


def test_a_close_elsewhere_closes_what_failed_here(opened: Opener) -> None:
    sick = ScriptedProvider("a", *[ProviderError("server_error", "down")] * 5, "well", priority=1)
    one, other = opened(sick), opened()
    for _ in range(5):
        one.router.chat_sync(ASK)
    assert of(one, "a").circuit == "open"
    other.router.control_sync("a", "close", by="ann")
    one.router.follow()
    assert of(one, "a").circuit == "closed"


def test_one_change_moves_a_circuit_once_in_the_log_however_many_follow(opened: Opener) -> None:
    one, *others = opened(), opened(), opened()
    for action in ("isolate", "close") * 5:
        one.router.control_sync("a", action, by="ann")  # the circuit's move is written after the answer
        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(lambda other: other.router.follow(), others))
        one.router.follow()
    for each in (one, *others):
        each.store.write(lambda _: None)  # what was still to be written is in the log
    assert len(one.events.list(family="provider")) == 10
    moves = [event.type for event in one.events.list(family="circuit", order="asc")]
    assert moves == ["circuit.opened", "circuit.closed"] * 5


def test_a_circuit_that_only_a_follower_has_is_told_too(opened: Opener) -> None:
    one, other = (opened(ScriptedProvider("a", models={"default": model})) for model in ("small", "large"))
    one.router.control_sync("a", "isolate", by="ann")
    one.store.write(lambda _: None)
    other.router.follow()
    other.store.write(lambda _: None)
    moves = one.events.list(family="circuit", order="asc")
    assert [(move.type, (move.data or {})["model"]) for move in moves] == [
        ("circuit.opened", "small"),
        ("circuit.opened", "large"),
    ]
    assert len({move.trace_id for move in moves}) == 1


def test_a_process_that_watches_follows_by_itself(opened: Opener) -> None:
    one, other = opened(), opened()
    other.router.watch()
    other.router.watch()
    one.router.control_sync("a", "isolate", by="ann")

    until = time.monotonic() + 5
    while not of(other, "a").isolated and time.monotonic() < until:
        time.sleep(0.02)
    assert of(other, "a").isolated


def test_an_event_whose_data_was_removed_is_obeyed_all_the_same(opened: Opener) -> None:
    one, other = opened(), opened()
    one.router.control_sync("a", "disable", by="ann")
    (event,) = one.events.list(family="provider")
    one.events.redact(seq=event.seq, reason="a test", by="test")
    other.router.follow()
    assert not of(other, "a").enabled


def test_a_change_for_a_provider_that_this_configuration_lacks_waits(opened: Opener) -> None:
    one = opened(ScriptedProvider("a"), ScriptedProvider("c"))
    other = opened()
    one.router.control_sync("c", "disable", by="ann")
    other.router.follow()
    assert answered_by(other) == "a"


def test_what_is_set_wins_over_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "timmy.toml").write_text(
        '[[providers]]\nname = "x"\nkind = "ollama"\nmodels = { default = "m" }\nenabled = false\n'
    )
    from timmy_core import open_timmy

    with open_timmy(tmp_path) as timmy:
        assert (of(timmy, "x").enabled, of(timmy, "x").configured) == (False, True)
        assert timmy.router.control_sync("x", "enable", by="ann").enabled


@pytest.mark.parametrize(
    ("name", "action", "options", "error", "said"),
    [
        ("z", "disable", {}, UnknownProviderError, r"'z'; expected one of: a, b"),
        ("a", "explode", {}, ControlError, r"'explode' is not known; expected one of enable, disable, isolate"),
        ("a", "priority", {"value": -1}, ControlError, r"-1 is out of range; expected 0 \(asked first\) to 10,000"),
        ("a", "priority", {"value": True}, ControlError, "True is out of range"),
        ("a", "enable", {"value": 3}, ControlError, "enable takes no value, and 3 was given"),
        ("a", "enable", {"by": " "}, ControlError, "by has to say who asks"),
        ("a", "enable", {"by": "x\n"}, ControlError, "by has to say who asks"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    opened: Opener, name: str, action: str, options: dict[str, Any], error: type[RouterError], said: str
) -> None:
    timmy = opened()
    with pytest.raises(error, match=said):
        timmy.router.control_sync(name, action, **{"by": "ann", **options})
    assert timmy.events.list(family="provider") == []


def test_a_router_without_a_home_says_that_nothing_steers_it() -> None:
    loop = LoopThread("bare")
    bare = Router(Cascade([ScriptedProvider("a")], offline=str), loop)
    for call in (bare.config, bare.watch, lambda: bare.control_sync("a", "close", by="x"), bare.reload_sync):
        with pytest.raises(RouterError, match=r"use open_timmy\(\)\.router"):
            call()
    with pytest.raises(RouterError, match="remembers nothing"):
        bare.report()
    bare.close()
    loop.close()


async def test_a_caller_who_gives_up_leaves_nothing_half_done(opened: Opener) -> None:
    timmy = opened()
    task = asyncio.create_task(timmy.router.control("a", "isolate", by="ann"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.3)
    kept = bool(timmy.events.list(family="provider"))
    assert of(timmy, "a").isolated is kept


def test_the_last_failover_is_told_in_words(opened: Opener) -> None:
    sick = ScriptedProvider("a", ProviderError("server_error", "it is down"), "well", priority=1)
    timmy = opened(sick, ScriptedProvider("b", priority=2))
    assert answered_by(timmy) == "b"
    timmy.store.write(lambda _: None)
    assert of(timmy, "a").last_failover == "it failed (server_error: it is down), so b answered instead"
    assert of(timmy, "b").last_failover == ""


def test_what_the_providers_did_is_reported(opened: Opener) -> None:
    timmy = opened()
    answered_by(timmy)
    timmy.store.write(lambda _: None)
    (line,) = timmy.router.report(by="provider").lines
    assert (line.provider, line.completed) == ("a", 1)
    assert timmy.router.report(until=timmy.clock.now() - timedelta(days=9)).lines == ()
    assert timmy.router.timeline("a") == []
    timmy.router.control_sync("a", "isolate", by="ann")
    timmy.store.write(lambda _: None)
    assert [(move.before, move.after) for move in timmy.router.timeline("a")] == [("closed", "open")]
    with pytest.raises(UnknownProviderError):
        timmy.router.timeline("z")
