"""The doors: three official clients against a server that speaks their wire, well and badly."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Attempt, ChatRequest, Chunk, Completion, Message, Provider, Usage
from timmy_core.router.providers import OfflineAnswer, build_provider
from timmy_core.router.providers.door import is_loopback, shown_url
from timmy_core.router.providers.failures import retry_after_s
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import Turn, WireServer

KINDS = ("openai", "anthropic", "ollama")
KEY = "secret-key-1234"
ASK = ChatRequest((Message("system", "be brief"), Message("user", "hi")), "tiny", timeout_s=5, first_token_s=5)
NDJSON_AND_SSE = b'data: {"hel\n\nevent: content_block_delta\ndata: {"hel\n\n{"hel\n'


def door(kind: str, url: str, **more: object) -> Provider:
    path = "/v1" if kind == "openai" else ""
    table = {"name": "p", "kind": kind, "base_url": url + path, "api_key": KEY, "models": {"default": "tiny"}, **more}
    return build_provider(ProviderSettings.model_validate(table), RouterSettings())


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@pytest.fixture(params=KINDS)
async def provider(request: pytest.FixtureRequest, server: WireServer) -> AsyncIterator[Provider]:
    made = door(request.param, server.url)
    yield made
    await made.close()


async def ask(provider: Provider, streamed: bool) -> Completion:
    if not streamed:
        return await provider.chat(ASK)
    async with aclosing(provider.stream(ASK)) as stream:
        chunks = [chunk async for chunk in stream]
    last = chunks[-1]
    assert last.finish_reason is not None
    text = "".join(chunk.text for chunk in chunks)
    return Completion(text, last.finish_reason, last.usage or Usage(), last.model or "")


both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@both
async def test_an_answer_comes_through_with_its_usage(provider: Provider, server: WireServer, streamed: bool) -> None:
    answer = await ask(provider, streamed)
    assert answer == Completion("Hello there.", "stop", Usage(11, 7), "tiny")
    sent = server.requests[-1]
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    roles = [message["role"] for message in sent.body["messages"]]
    assert roles == (["user"] if provider.kind == "anthropic" else ["system", "user"])


# What the server does, and the class it must get: (turn, whole, streamed); one class where both are the same.
FAULTS: dict[str, tuple[Turn, str, str]] = {
    "500": (Turn(status=500), "server_error", "server_error"),
    "502 HTML": (
        Turn(status=502, body=b"<html><h1>Bad gateway</h1></html>", content_type="text/html"),
        "server_error",
        "server_error",
    ),
    "503": (Turn(status=503), "overloaded", "overloaded"),
    "529": (Turn(status=529), "overloaded", "overloaded"),
    "429": (Turn(status=429), "rate_limited", "rate_limited"),
    "401": (Turn(status=401), "authentication_failed", "authentication_failed"),
    "403": (Turn(status=403), "authentication_failed", "authentication_failed"),
    "404": (Turn(status=404), "model_not_found", "model_not_found"),
    "400": (Turn(status=400), "bad_request", "bad_request"),
    "redirect": (Turn(status=307, headers={"location": "http://127.0.0.1:1/"}), "bad_request", "bad_request"),
    "HTML": (Turn(body=b"<html>hi</html>", content_type="text/html"), "malformed_response", "malformed_response"),
    "other JSON": (Turn(body=b'{"hello": 1}'), "malformed_response", "malformed_response"),
    "half a JSON": (Turn(body=NDJSON_AND_SSE), "malformed_response", "malformed_response"),
    "reset before the headers": (Turn(drop=True), "connection_failed", "connection_failed"),
    "reset in the body": (Turn(ending="reset", after=1), "connection_failed", "stream_truncated"),
    "clean end without finish": (Turn(ending="end", after=1), "stream_truncated", "stream_truncated"),
    "error first": (Turn(ending="error", after=0), "server_error", "server_error"),
    "error later": (Turn(ending="error", after=2), "server_error", "server_error"),
}


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_gets_its_class(provider: Provider, server: WireServer, streamed: bool, fault: str) -> None:
    turn, whole, in_stream = FAULTS[fault]
    if fault == "other JSON":
        turn = Turn(body=turn.body, content_type="application/json")
    server.then(turn)
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed)
    assert caught.value.error_class == (in_stream if streamed else whole)
    assert caught.value.message
    assert caught.value.advice
    server.then(Turn())
    assert (await ask(provider, streamed)).text == "Hello there."


@both
@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("openai", "context_length_exceeded", "context_length_exceeded"),
        ("openai", "exceed_context_size_error", "context_length_exceeded"),
        ("openai", "content_filter", "content_filtered"),
        ("openai", "model_not_found", "model_not_found"),
        ("anthropic", "request_too_large", "context_length_exceeded"),
        ("anthropic", "overloaded_error", "overloaded"),
    ],
)
async def test_a_code_says_more_than_the_status(
    server: WireServer, streamed: bool, kind: str, code: str, expected: str
) -> None:
    server.then(Turn(status=400, code=code))
    provider = door(kind, server.url)
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed)
    assert caught.value.error_class == expected
    await provider.close()


async def test_an_overload_inside_a_stream_is_an_overload(server: WireServer) -> None:
    server.then(Turn(ending="error", after=1, code="overloaded_error"))
    provider = door("anthropic", server.url)
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed=True)
    assert caught.value.error_class == "overloaded"
    await provider.close()


@both
async def test_a_filtered_answer_is_reported_in_the_houses_word(server: WireServer, streamed: bool) -> None:
    for kind, word in (("openai", "content_filter"), ("anthropic", "refusal")):
        provider = door(kind, server.url)
        server.then(Turn(pieces=(), finish_reason=word))
        assert (await ask(provider, streamed)).finish_reason == "content_filter"
        await provider.close()


@both
async def test_no_retry_is_made_behind_the_cascades_back(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    # The reset comes first, on a new connection: an old one may be lost between two questions.
    for turn in (Turn(drop=True), Turn(status=503), Turn(status=429)):
        server.then(turn)
        server.requests.clear()
        with pytest.raises(ProviderError):
            await ask(provider, streamed)
        assert len(server.requests) == 1


@both
async def test_the_wait_that_a_rate_limit_asks_for_is_passed_on(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(status=429, headers={"retry-after": "17"}))
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed)
    assert caught.value.retry_after_s == 17


@both
async def test_a_key_that_a_server_repeats_does_not_reach_the_error(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    for turn in (
        Turn(status=401, message=f"wrong key {KEY}, or sk-abc***xyz"),
        Turn(ending="error", after=1, message=f"wrong key {KEY}"),
    ):
        server.then(turn)
        with pytest.raises(ProviderError) as caught:
            await ask(provider, streamed)
        error = caught.value
        told = f"{error} {error.message} {error.advice} {error.__cause__}"
        assert KEY not in told
        assert "sk-abc" not in told


@both
async def test_a_refused_port_says_what_to_start(provider: Provider, server: WireServer, streamed: bool) -> None:
    await server.stop()
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed)
    assert caught.value.error_class == "connection_refused"
    start = "`ollama serve`, then `ollama pull tiny`" if provider.kind == "ollama" else f"listen at {server.url}"
    assert start in caught.value.advice


async def test_a_host_without_an_address_is_a_failed_connection() -> None:
    provider = door("openai", "http://no-such-host.invalid")
    with pytest.raises(ProviderError) as caught:
        await provider.chat(ASK)
    assert caught.value.error_class == "connection_failed"
    await provider.close()


@both
@pytest.mark.parametrize("turn", [Turn(hang=True), Turn(ending="hang", after=1), Turn(pause_s=0.02)])
async def test_a_caller_that_gives_up_leaves_no_connection_in_use(
    provider: Provider, server: WireServer, streamed: bool, turn: Turn
) -> None:
    await ask(provider, streamed)
    server.then(turn)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await ask(provider, streamed)
    server.then(Turn())
    assert (await ask(provider, streamed)).text == "Hello there."


@pytest.mark.parametrize("kind", KINDS)
async def test_only_the_settings_decide_where_a_question_goes_and_with_which_key(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "OLLAMA"):
        for what in ("BASE_URL", "HOST", "API_KEY", "AUTH_TOKEN", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
            monkeypatch.setenv(f"{name}_{what}", "http://stray.invalid")
        monkeypatch.setenv(f"{name}_CUSTOM_HEADERS", "x-stray: 1\nauthorization: stray")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://stray.invalid:9")
    for key, sent in ((KEY, f"Bearer {KEY}"), (None, "Bearer none")):
        provider = door(kind, server.url, api_key=key)
        await ask(provider, streamed=False)
        headers = server.requests[-1].headers
        assert "stray" not in repr({name: value for name, value in headers.items() if name != "host"})
        assert headers.get("authorization") == (None if kind == "ollama" and key is None else sent)
        await provider.close()


async def test_a_check_says_whether_the_model_is_there(provider: Provider, server: WireServer) -> None:
    good = await provider.check(timeout_s=2)
    assert (good.ok, good.models) == (True, ("tiny:latest",) if provider.kind == "ollama" else ("tiny",))
    server.then(Turn(models=("other",)))
    other = await provider.check(timeout_s=2)
    # A server of somebody else's may answer to any name; Ollama does not.
    assert other.ok == (provider.kind != "ollama")
    assert "does not list the model tiny" in other.message
    assert other.advice


async def test_a_check_of_a_sick_provider_says_why(provider: Provider, server: WireServer) -> None:
    server.then(Turn(status=401))
    assert "401" in (await provider.check(timeout_s=2)).message
    server.then(Turn(hang=True))
    assert "within 0.02 s" in (await provider.check(timeout_s=0.02)).message
    await server.stop()
    refused = await provider.check(timeout_s=2)
    assert not refused.ok
    assert refused.advice


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"kind": "openai", "models": {"default": "m"}}, "it has no api_key"),
        ({"kind": "anthropic", "models": {"default": "m"}}, "it has no api_key"),
        ({"kind": "openai", "base_url": "http://h/v1"}, "it has no model"),
        ({"kind": "ollama", "models": {"default": "m"}, "enabled": False}, "it is switched off"),
        (
            {"kind": "openai", "models": {"default": "m"}, "unset_variables": ("OPENAI_API_KEY",)},
            "the environment variable OPENAI_API_KEY is not set",
        ),
        ({"kind": "openai", "models": {"default": "m"}, "api_key": "schlüssel"}, "its api_key cannot be sent"),
        (
            {"kind": "ollama", "models": {"default": "m"}, "base_url": "http://[broken"},
            "its base_url is not an address",
        ),
        ({"kind": "airllm", "models": {"default": "m"}}, "this version has no door for airllm yet"),
    ],
)
def test_what_is_missing_is_said_without_asking_anybody(table: dict[str, object], problem: str) -> None:
    provider = build_provider(ProviderSettings.model_validate({"name": "p", **table}), RouterSettings())
    said = provider.problem()
    assert said is not None
    assert said[0] == problem
    assert said[1]


def test_a_server_of_ones_own_needs_no_key() -> None:
    assert door("openai", "http://127.0.0.1:8080", api_key=None).problem() is None


def test_what_runs_on_this_machine_is_free() -> None:
    assert [door(kind, "http://localhost:1").free for kind in KINDS] == [True] * 3
    assert not door("openai", "https://api.example.com").free


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, 60),
        ({"retry-after": "Thu, 01 Jan 2025 00:01:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_all_forms_of_retry_after_are_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_an_address_is_shown_without_its_password() -> None:
    assert shown_url("https://ann:pw@host:8/v1?key=x") == "https://host:8/v1"
    assert [is_loopback(u) for u in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://h")] == [
        True,
        True,
        True,
        False,
    ]


def test_importing_the_router_loads_no_client() -> None:
    code = (
        "import sys, timmy_core.router, timmy_core.router.providers\n"
        "print([m for m in ('openai', 'anthropic', 'ollama', 'httpx', 'httpx2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_offline_answer_lists_each_attempt_and_what_to_do() -> None:
    compose = OfflineAnswer(Path("/home/ann/.timmy/timmy.toml"))
    text = compose(
        [
            Attempt("ollama", "llama3.2", "failed", message="nothing listens there", advice="run `ollama serve`"),
            Attempt("openai", "m", "skipped", message="OPENAI_API_KEY\n is not set", advice="set it"),
        ]
    )
    assert "1. **ollama** (llama3.2) failed: nothing listens there.\n   What to do: run `ollama serve`." in text
    assert "2. **openai** (m) was not asked: OPENAI_API_KEY is not set." in text
    assert "No model answered" in text


def test_the_offline_answer_helps_without_any_provider() -> None:
    text = OfflineAnswer(Path("/home/ann/.timmy/timmy.toml"))([])
    for word in ("No provider is configured", "`ollama serve`", "/home/ann/.timmy/timmy.toml", "`timmy doctor`"):
        assert word in text


def test_a_refusal_is_not_told_as_a_failure() -> None:
    refused = Attempt("a", "m", "failed", error_class="content_filtered", message="it refused")
    text = OfflineAnswer(Path("timmy.toml"))([refused])
    assert text.startswith("**a refused to answer this.**")
    assert "No other model was asked" in text


async def test_an_answer_of_pieces_is_not_held_back(provider: Provider, server: WireServer) -> None:
    server.then(Turn(ending="hang", after=1))
    async with aclosing(provider.stream(ASK)) as stream:
        async with asyncio.timeout(2):
            while not (chunk := await anext(stream)).text:
                pass
        assert chunk == Chunk("Hello")


@both
async def test_a_question_lost_with_an_old_connection_is_sent_again_without_a_word(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    await ask(provider, streamed)
    server.then(Turn(drop=True), Turn())
    assert (await ask(provider, streamed)).text == "Hello there."
    assert len(server.requests) == 3


@both
async def test_an_answer_that_had_begun_is_never_asked_for_again(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    await ask(provider, streamed)
    server.then(Turn(ending="reset", after=1), Turn())
    with pytest.raises(ProviderError):
        await ask(provider, streamed)
    assert len(server.requests) == 2


async def test_an_answer_that_is_finished_does_not_wait_for_the_end_of_its_stream(
    provider: Provider, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timmy_core.router.providers.door._TAIL_S", 0.02)
    server.then(Turn(ending="linger"))
    async with asyncio.timeout(2):
        assert (await ask(provider, streamed=True)).text == "Hello there."


async def test_a_stream_that_ended_well_leaves_its_connection_for_the_next(
    provider: Provider, server: WireServer
) -> None:
    for _ in range(3):
        await ask(provider, streamed=True)
    assert server.connections == 1
