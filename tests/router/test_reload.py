"""A changed configuration: in force while calls are under way, as a whole; a wrong one changes nothing and is shown."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import auntil
from timmy_core import open_timmy
from timmy_core.errors import ProviderError, SettingsError
from timmy_core.router.build import TableDoors
from timmy_core.router.chat import Delta, Done
from timmy_core.settings import Settings, load_settings
from timmy_core.testing import ScriptedProvider, Turn, WireServer
from timmy_core.timmy import Timmy

ASK = [{"role": "user", "content": "hi"}]
KEY = "tk-4f8a1c9e7b2d6035"


def table(name: str, url: str = "http://127.0.0.1:9/v1", *more: str) -> str:
    lines = [f'name = "{name}"', 'kind = "openai"', f'base_url = "{url}"', 'models = { default = "m" }', *more]
    return "\n".join(["[[providers]]", *lines, ""])


@pytest.fixture
def write(home: Path) -> Callable[..., None]:
    """Return what writes the file, so that it is never the same as before to who looks at its time."""
    moment = iter(range(1, 1000))

    def put(*texts: str) -> None:
        path = home / "timmy.toml"
        path.write_text("\n".join(texts), encoding="utf-8")
        os.utime(path, ns=(next(moment) * 10**9, next(moment) * 10**9))

    return put


@pytest.fixture
def opened(home: Path, write: Callable[..., None]) -> Iterator[Timmy]:
    write("[router]\ndeadline_s = 9", table("one"))
    with open_timmy(home) as timmy:
        yield timmy


def look_twice(timmy: Timmy) -> None:
    """Do what the follower does, until it takes a file that is at rest."""
    timmy.router.follow()
    timmy.router.follow()


def told(timmy: Timmy) -> list[tuple[str, Any]]:
    return [(event.type, event.data) for event in timmy.events.list(family="router", order="asc")]


def names(timmy: Timmy) -> list[str]:
    return [status.name for status in timmy.router.status()]


def test_what_changed_takes_effect_and_is_told(opened: Timmy, write: Callable[..., None]) -> None:
    write("[router]\ndeadline_s = 5", "[budget]\nday_usd = 2", table("two", "http://127.0.0.1:9/v1", "priority = 1"))
    done = opened.router.reload_sync()
    assert done.changed == ("router.deadline_s", "budget", "providers.one", "providers.two")
    assert done.restart == ()
    assert names(opened) == ["two"]
    assert opened.settings.router.deadline_s == 5
    assert opened.router.budgets()[0].limit_microusd == 2_000_000
    assert told(opened) == [("router.reloaded", {"changed": list(done.changed), "restart": []})]


def test_the_file_is_followed_and_read_once_a_change(opened: Timmy, write: Callable[..., None]) -> None:
    for _ in range(3):
        look_twice(opened)
    assert told(opened) == [], "finding what was read at the start is no news"
    write(table("two"))
    opened.router.follow()
    assert names(opened) == ["one"], "a file that is being written is left in peace"
    opened.router.follow()
    assert names(opened) == ["two"]
    look_twice(opened)
    assert len(told(opened)) == 1


def test_a_file_that_was_saved_without_a_change_is_told_too(opened: Timmy, home: Path) -> None:
    look_twice(opened)
    os.utime(home / "timmy.toml")
    look_twice(opened)
    assert told(opened) == [("router.reloaded", {"changed": [], "restart": []})]


def test_what_needs_a_restart_is_named_until_it_is_taken_back(opened: Timmy, write: Callable[..., None]) -> None:
    write("[server]\nport = 1", "[router]\ndeadline_s = 9", table("one"))
    done = opened.router.reload_sync()
    assert (done.changed, done.restart) == ((), ("server",))
    config = opened.router.config()
    assert config.restart == ("server",)
    assert config.settings["server"]["port"] == 8765, "what is shown is what is in force"
    assert opened.settings.server.port == 8765
    write("[router]\ndeadline_s = 9", table("one"))
    assert opened.router.reload_sync().restart == ()
    assert opened.router.config().restart == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[router]\ndeadline_s = -1", "line 2: router.deadline_s"),
        ("[router", "is not valid TOML"),
        ("[routr]\nx = 1", "this key is not known"),
        (table("one") + table("one"), "two providers are named 'one'"),
        (
            '[[providers]]\nname = "a"\nkind = "openai"\nprice = { input = 1 }',
            "providers.0.price.output: it is missing",
        ),
    ],
)
def test_a_wrong_file_changes_nothing_is_said_once_and_can_be_mended(
    opened: Timmy, write: Callable[..., None], text: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    look_twice(opened)
    write(text)
    for _ in range(3):
        look_twice(opened)
    assert names(opened) == ["one"]
    problem = opened.router.config().problem
    assert problem is not None
    assert said in problem.message
    assert opened.status().as_dict()["problem"]["message"] == problem.message
    assert told(opened) == [("router.reload_failed", {"problem": problem.message})]
    assert caplog.text.count(said) == 1
    with pytest.raises(SettingsError, match=r"timmy\.toml"):
        opened.router.reload_sync()
    write("[router]\ndeadline_s = 9", table("one"))
    look_twice(opened)
    assert opened.router.config().problem is None
    assert told(opened)[-1] == ("router.reloaded", {"changed": [], "restart": []})


def test_a_file_that_went_away_changes_nothing(opened: Timmy, home: Path, write: Callable[..., None]) -> None:
    look_twice(opened)
    text = (home / "timmy.toml").read_text()
    (home / "timmy.toml").unlink()
    for _ in range(3):
        look_twice(opened)
    assert names(opened) == ["one"]
    problem = opened.router.config().problem
    assert problem is not None
    assert "timmy.toml is gone, so what it said stays in force" in problem.message
    assert len(told(opened)) == 1
    write(text)
    look_twice(opened)
    assert opened.router.config().problem is None


def test_a_door_whose_table_did_not_change_stays_and_the_others_go() -> None:
    def made(_: Any, __: Any) -> ScriptedProvider:
        return ScriptedProvider("x")

    doors = TableDoors(made)
    tables = [{"name": name, "kind": "openai", "models": {"default": "m"}} for name in ("a", "b")]

    def settings(*changed: dict[str, Any], **router: Any) -> Settings:
        return Settings.model_validate({"home": "/", "providers": [*changed], "router": router})

    first = doors.of(settings(*tables))
    assert doors.of(settings(*tables, deadline_s=3)) == first
    assert doors.of(settings(tables[0], tables[1] | {"enabled": False})) == first
    second = doors.of(settings(tables[0], tables[1] | {"priority": 3}))
    assert second[0] is first[0]
    assert second[1] is not first[1]
    assert doors.of(settings(*tables, connect_s=1))[0] is not first[0]


def test_every_limit_that_a_door_is_built_with_makes_it_anew() -> None:
    import re

    from timmy_core.router import build

    folder = Path(build.__file__).parent / "providers"
    used = {
        name for path in folder.glob("*.py") for name in re.findall(r"\b(?:router|limits)\.(\w+_s)\b", path.read_text())
    }
    assert used
    assert used <= set(build._OF_DOORS)


def test_circuits_and_controls_are_kept(home: Path) -> None:
    (home / "timmy.toml").write_text("[router]\nfailure_threshold = 2\n")
    sick = ScriptedProvider("a", ProviderError("server_error", "down"), priority=1)
    timmy = Timmy(load_settings(home), providers=[sick, ScriptedProvider("b", priority=2)])
    timmy.router.control_sync("b", "priority", by="ann", value=9)
    for _ in range(2):
        timmy.router.chat_sync(ASK)
    before = timmy.router.status()[0]
    assert before.circuit == "open"
    (home / "timmy.toml").write_text("[router]\nfailure_threshold = 3\ndeadline_s = 7\n")
    timmy.router.reload_sync()
    after = timmy.router.status()
    assert (after[0].circuit, after[0].open_until) == (before.circuit, before.open_until)
    assert (after[1].priority, after[1].changed_by) == (9, "ann")
    timmy.shutdown()


def test_a_table_that_is_mended_lifts_the_bar(home: Path, write: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with WireServer(Turn(status=401), Turn()) as server:
            write(table("one", server.base_url("openai"), 'api_key = "wrong-key"'))
            async with open_timmy(home) as timmy:
                assert (await timmy.router.chat(ASK)).offline
                assert (await timmy.router.chat(ASK)).attempts[0].outcome == "skipped"
                assert timmy.router.status()[0].bar
                write(table("one", server.base_url("openai"), 'api_key = "right-key"'))
                await timmy.router.reload()
                assert not timmy.router.status()[0].bar
                assert not (await timmy.router.chat(ASK)).offline

    asyncio.run(scenario())


def test_a_good_health_check_lifts_the_bar(home: Path, write: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with WireServer(Turn(status=401), Turn(models=("m",))) as server:
            write(table("one", server.base_url("openai"), 'api_key = "k"'))
            async with open_timmy(home) as timmy:
                assert (await timmy.router.chat(ASK)).offline
                assert timmy.router.status()[0].bar
                assert (await timmy.router.test("one"))[0][1].ok
                assert not timmy.router.status()[0].bar

    asyncio.run(scenario())


async def read(stream: AsyncIterator[Any], into: list[Any]) -> None:
    async for part in stream:
        into.append(part)  # noqa: PERF401 - somebody looks at the list meanwhile


async def test_a_stream_ends_well_on_its_old_door_and_the_next_call_takes_the_new_one(
    home: Path, write: Callable[..., None]
) -> None:
    slow = Turn(tuple(f"w{n} " for n in range(20)), pause_s=0.1)
    async with WireServer(slow) as old, WireServer(Turn(("new",))) as new:
        write(table("one", old.base_url("openai")))
        async with open_timmy(home) as timmy:
            timmy.router.watch()
            parts: list[Any] = []
            reading = asyncio.create_task(read(timmy.router.stream(ASK), parts))
            await auntil(lambda: parts)
            write(table("one", new.base_url("openai")))
            await auntil(lambda: told(timmy), within_s=3)
            assert not reading.done()
            assert (await timmy.router.chat(ASK)).text == "new"
            assert old.open_connections == 1
            await reading
            assert isinstance(parts[-1], Done)
            assert parts[-1].answer.text == slow.text
            assert "".join(part.text for part in parts if isinstance(part, Delta)) == slow.text
            # The old door is closed once its last call has ended.
            await auntil(lambda: old.open_connections == 0)
            assert new.open_connections == 1


async def test_closing_closes_a_replaced_door_that_is_still_in_use(home: Path, write: Callable[..., None]) -> None:
    async with WireServer(Turn(("a", "b"), pause_s=30)) as old:
        write(table("one", old.base_url("openai")))
        timmy = open_timmy(home)
        reading = asyncio.create_task(read(timmy.router.stream(ASK), []))
        await auntil(lambda: old.questions)
        write(table("two"))
        await timmy.router.reload()
        await asyncio.to_thread(timmy.close)
        await auntil(lambda: old.open_connections == 0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    "broken",
    [
        f'api_key = ["{KEY}"]',
        f'api_key = "{KEY}"\nbase_ulr = "{KEY}"',
        f'api_key = "{KEY}"\nbase_url = "ftp://user:{KEY}@x"',
        f'api_key = "{KEY}"\nfirst_token_s = "{KEY}"',
        f'api_key = "{KEY}',
        f'api_key = "{KEY}"\nprice = {{ input = "{KEY}", output = 1 }}',
        f'api_key = "{KEY}"\nmodels = "{KEY}"',
        f'api_key = "{KEY}"\ndevice = "{KEY}"',
    ],
)
def test_no_secret_leaves_by_config_events_or_logs(
    home: Path, write: Callable[..., None], broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = f'[server]\npassword = "{KEY}-p"\n' + table("one", f"http://u:{KEY}@127.0.0.1:9/v1?key={KEY}")
    write(good + f'api_key = "{KEY}"')
    with open_timmy(home) as timmy:
        timmy.router.reload_sync()
        shown = timmy.router.config().settings
        assert shown["server"]["password"] == "set"
        assert (shown["providers"][0]["api_key"], shown["providers"][0]["base_url"]) == ("set", "http://127.0.0.1:9/v1")
        write(f'[[providers]]\nname = "two"\nkind = "openai"\n{broken}\n')
        look_twice(timmy)
        look_twice(timmy)
        assert timmy.router.config().problem is not None
        everything = [
            repr(timmy.router.config()),
            json.dumps(timmy.router.config().settings),
            repr(timmy.status()),
            repr(timmy.router.status()),
            repr(timmy.router.providers()),
            *(json.dumps(event.as_dict()) for event in timmy.events.list(limit=1000)),
            caplog.text,
        ]
    assert all(KEY not in text for text in everything)


def test_a_secret_that_stands_elsewhere_too_is_hidden_there(home: Path, write: Callable[..., None]) -> None:
    write(table("one", "http://127.0.0.1:9/v1", f'api_key = "{KEY}"') + f'[agent]\nsystem_prompt = "Say {KEY}."\n')
    with open_timmy(home) as timmy:
        assert timmy.router.config().settings["agent"]["system_prompt"] == "Say [hidden]."


def test_without_a_key_it_says_so(opened: Timmy) -> None:
    shown = opened.router.config().settings
    assert (shown["providers"][0]["api_key"], shown["server"]["password"]) == ("not set", "not set")
