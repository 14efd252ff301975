"""The router over HTTP: looking, asking whole and in parts, steering, and what is wrong with a request."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Chunk, ToolCall
from timmy_core.settings import Settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

ASK = [{"role": "user", "content": "hi"}]
API = "/api/v1/router"


@pytest.fixture
def providers() -> list[ScriptedProvider]:
    down = ProviderError("server_error", "it is down", advice="wait")
    return [ScriptedProvider("first", down, "back", priority=1), ScriptedProvider("second", priority=2, local=False)]


@pytest.fixture
def timmy(home: Path, providers: list[ScriptedProvider]) -> Iterator[Timmy]:
    opened = Timmy(Settings(home=home, providers=()), providers=providers)
    yield opened
    opened.shutdown()


@pytest.fixture
def asker(site: httpx.Client) -> httpx.Client:
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    return site


def error_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


def parts_of(response: httpx.Response) -> list[tuple[str, Any]]:
    """Return the server-sent events of a reply."""
    blocks = [block.splitlines() for block in response.text.split("\n\n") if block]
    return [(first.removeprefix("event: "), json.loads(second.removeprefix("data: "))) for first, second in blocks]


def test_status_shows_every_provider_and_no_problem(site: httpx.Client) -> None:
    found = site.get(f"{API}/status").json()
    assert [provider["name"] for provider in found["providers"]] == ["first", "second"]
    assert found["problem"] is None
    assert {"enabled", "isolated", "bar", "in_flight", "p99_ms", "availability", "last_failover", "circuits"} <= set(
        found["providers"][0]
    )


def test_providers_are_described(site: httpx.Client) -> None:
    first = site.get(f"{API}/providers").json()["providers"][0]
    assert (first["name"], first["models"], first["local"]) == ("first", {"default": "first-model"}, True)
    assert first["window_tokens"] == {"first-model": None}


def test_the_configuration_is_shown_without_its_secrets(site: httpx.Client, home: Path) -> None:
    config = site.get(f"{API}/config").json()
    assert config["path"] == str(home / "timmy.toml")
    assert config["settings"]["server"]["password"] == "not set"
    assert config["settings"]["router"]["deadline_s"] == 60


def test_a_wrong_file_shows_in_status_and_config_of_a_running_server(site: httpx.Client, home: Path) -> None:
    time.sleep(1)
    path = home / "timmy.toml"
    path.write_text("[router]\ndeadline_s = 0\n")
    os.utime(path, (1, 1))
    until = time.monotonic() + 5
    while site.get(f"{API}/status").json()["problem"] is None and time.monotonic() < until:
        time.sleep(0.05)
    assert "line 2: router.deadline_s" in site.get(f"{API}/status").json()["problem"]["message"]
    assert "line 2: router.deadline_s" in site.get(f"{API}/config").json()["problem"]["message"]
    assert "line 2: router.deadline_s" in site.get("/api/v1/status").json()["problem"]["message"]
    path.write_text("[router]\ndeadline_s = 7\n")
    while site.get(f"{API}/status").json()["problem"] is not None and time.monotonic() < until:
        time.sleep(0.05)
    assert site.get(f"{API}/config").json()["settings"]["router"]["deadline_s"] == 7


def test_metrics_report_what_was_done(asker: httpx.Client, timmy: Timmy) -> None:
    asker.post(f"{API}/complete", json={"messages": ASK})
    timmy.store.write(lambda _: None)
    found = asker.get(f"{API}/metrics", params={"by": "provider"}).json()
    assert {line["provider"]: line["completed"] for line in found["lines"]} == {"first": 0, "second": 1}
    assert (found["by"], found["complete"]) == ("provider", True)
    assert {budget["period"] for budget in found["budgets"]} == {"day", "month"}
    assert found["budgets"][0]["left_microusd"] is None
    for query, said in (({"by": "x"}, "'model', 'provider' or 'agent'"), ({"since": "2999-01-01T00:00:00Z"}, "empty")):
        response = asker.get(f"{API}/metrics", params=query)
        assert response.status_code == 400
        assert said in error_of(response)


def test_complete_answers_with_the_attempts_and_their_cost(asker: httpx.Client) -> None:
    response = asker.post(f"{API}/complete", json={"messages": ASK, "agent_id": "ann", "trace_id": "t1"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["text"], answer["provider"], answer["trace_id"]) == ("ok", "second", "t1")
    assert [(attempt["provider"], attempt["outcome"]) for attempt in answer["attempts"]] == [
        ("first", "failed"),
        ("second", "completed"),
    ]


def test_options_reach_the_cascade(asker: httpx.Client, providers: list[ScriptedProvider]) -> None:
    body = {
        "messages": ASK,
        "provider": "second",
        "max_tokens": 3,
        "temperature": 0,
        "deadline_s": 9,
        "json_mode": True,
    }
    assert asker.post(f"{API}/complete", json=body).json()["provider"] == "second"
    (request,) = providers[1].requests
    assert (request.max_tokens, request.temperature, request.json_mode) == (3, 0, True)
    assert providers[0].requests == []
    answer = asker.post(f"{API}/complete", json={"messages": ASK, "local_only": True}).json()
    assert answer["provider"] == "first", "the one on this machine is asked again rather than the other at all"
    assert len(providers[1].requests) == 1


def test_a_question_to_timmy_may_stay_local_too(asker: httpx.Client, providers: list[ScriptedProvider]) -> None:
    answer = asker.post("/api/v1/ask", json={"text": "hello", "local_only": True}).json()
    assert answer["provider"] == "first"
    assert providers[1].requests == []


def test_a_stream_comes_as_events(asker: httpx.Client, providers: list[ScriptedProvider]) -> None:
    broken = ProviderError("stream_truncated", "cut")
    providers[0].then(["a", broken])
    providers[1].then(["b", "ä"])
    response = asker.post(f"{API}/complete", json={"messages": ASK, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    parts = parts_of(response)
    assert [kind for kind, _ in parts] == ["delta", "switch", "delta", "delta", "done"]
    assert parts[1][1] == {"from_provider": "first", "to_provider": "second", "reason": "cut", "continues": False}
    assert parts[-1][1]["answer"]["text"] == "bä"


def test_a_stream_that_breaks_after_a_tool_call_ends_with_an_error(
    asker: httpx.Client, providers: list[ScriptedProvider]
) -> None:
    call = Chunk(tool_calls=(ToolCall("c1", "search", "{}"),))
    providers[0].then([call, ProviderError("stream_truncated", "cut")])
    tools = [{"name": "search", "description": "", "parameters": {"type": "object"}}]
    response = asker.post(f"{API}/complete", json={"messages": ASK, "stream": True, "tools": tools})
    parts = parts_of(response)
    assert parts[0] == ("tool_call", {"id": "c1", "name": "search", "arguments": "{}"})
    assert parts[-1][0] == "error"
    assert parts[-1][1]["type"] == "stream_broken"
    assert "'search'" in parts[-1][1]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_cancels_the_call(asker: httpx.Client, providers: list[ScriptedProvider], stream: bool) -> None:
    providers[0].then(["one", 30.0])
    with pytest.raises(httpx.ReadTimeout):
        asker.post(f"{API}/complete", json={"messages": ASK, "stream": stream}, timeout=0.5)
    until = time.monotonic() + 5
    while not providers[0].cancelled and time.monotonic() < until:
        time.sleep(0.02)
    assert providers[0].cancelled == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'messages' is missing"),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "robot", "content": "x"}]}, "message role 'robot' is not known; expected one of"),
        ({"messages": [{"role": "user"}]}, "message content has to be text"),
        ({"messages": ASK, "max_tokens": 0}, "max_tokens is 0; expected a whole number"),
        ({"messages": ASK, "temperature": 9}, "temperature is 9"),
        ({"messages": ASK, "deadline_s": 0}, "deadline_s is 0"),
        ({"messages": ASK, "deadline_s": "x"}, "deadline_s: expected a valid number"),
        ({"messages": ASK, "tool_choice": "required"}, "but no tools are given"),
        ({"messages": ASK, "provder": "x"}, "'provder' is not known; did you mean provider?"),
    ],
)
def test_a_wrong_request_says_what_was_expected(
    asker: httpx.Client, body: dict[str, Any], said: str, stream: bool
) -> None:
    response = asker.post(f"{API}/complete", json={**body, "stream": stream})
    assert response.status_code == 422, response.text
    assert said in error_of(response)


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_is_not_there_is_named(asker: httpx.Client, stream: bool) -> None:
    response = asker.post(f"{API}/complete", json={"messages": ASK, "provider": "z", "stream": stream})
    assert response.status_code in (404, 422)
    assert "'z'; expected one of: first, second" in error_of(response)


def test_steering_is_obeyed_and_recorded(asker: httpx.Client, timmy: Timmy) -> None:
    response = asker.post(f"{API}/providers/first/control", json={"action": "isolate", "by": "ann"})
    assert response.status_code == 200, response.text
    assert (response.json()["isolated"], response.json()["changed_by"]) == (True, "ann")
    assert asker.post(f"{API}/complete", json={"messages": ASK}).json()["attempts"][0]["error_class"] == "isolated"
    asker.post(f"{API}/providers/first/control", json={"action": "close"})
    asker.post(f"{API}/providers/second/control", json={"action": "priority", "value": 0})
    assert asker.get(f"{API}/status").json()["providers"][0]["name"] == "second"
    found = [(event.type, event.data["by"]) for event in timmy.events.list(family="provider", order="asc")]
    assert found == [("provider.isolated", "ann"), ("provider.closed", "api"), ("provider.reprioritized", "api")]


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("z", {"action": "close"}, 404, "no provider is named 'z'; expected one of: first, second"),
        ("first", {"action": "explode"}, 422, "expected 'enable', 'disable', 'isolate', 'close' or 'priority'"),
        ("first", {"action": "priority", "value": -1}, 422, "greater than or equal to 0"),
        ("first", {"action": "close", "value": 1}, 422, "close takes no value"),
        ("first", {"action": "close", "by": " "}, 422, "by has to say who asks"),
        ("first", {}, 422, "'action' is missing"),
    ],
)
def test_wrong_steering_says_what_was_expected(
    asker: httpx.Client, timmy: Timmy, name: str, body: dict[str, Any], status: int, said: str
) -> None:
    response = asker.post(f"{API}/providers/{name}/control", json=body)
    assert response.status_code == status
    assert said in error_of(response)
    assert timmy.events.list(family="provider") == []


def test_a_health_check_asks_all_or_one(asker: httpx.Client) -> None:
    found = asker.post(f"{API}/health-check", json={}).json()["results"]
    assert [(result["name"], result["ok"]) for result in found] == [("first", False), ("second", True)]
    found = asker.post(f"{API}/health-check", json={"name": "second", "timeout_s": 1}).json()["results"]
    assert [result["name"] for result in found] == ["second"]
    assert asker.post(f"{API}/health-check", json={"name": "z"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("complete", {"messages": ASK}),
        ("providers/first/control", {"action": "disable"}),
        ("health-check", {}),
    ],
)
def test_who_shows_neither_token_nor_password_changes_nothing(
    site: httpx.Client, timmy: Timmy, path: str, body: dict[str, Any]
) -> None:
    assert site.post(f"{API}/{path}", json=body).status_code == 403


@pytest.mark.parametrize("path", ["status", "metrics", "providers", "config"])
def test_with_a_password_nothing_is_read_without_it(locked: httpx.Client, path: str) -> None:
    assert locked.get(f"{API}/{path}").status_code == 401
    assert locked.get(f"{API}/{path}", headers={"Authorization": "Bearer correct horse"}).status_code == 200


def test_wrong_methods_are_refused(asker: httpx.Client) -> None:
    for method, path in (("POST", "status"), ("GET", "complete"), ("GET", "providers/first/control")):
        assert asker.request(method, f"{API}/{path}").status_code == 405


def test_many_read_the_status_while_others_stream(asker: httpx.Client, providers: list[ScriptedProvider]) -> None:
    providers[0].then(["w", 0.3, "x"])

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(base_url=asker.base_url, headers=asker.headers, timeout=10) as client:
            calls: list[Any] = [client.get(f"{API}/status") for _ in range(10)]
            calls += [client.post(f"{API}/complete", json={"messages": ASK, "stream": True}) for _ in range(10)]
            return [response.status_code for response in await asyncio.gather(*calls)]

    assert asyncio.run(crowd()) == [200] * 20
