"""The doors: three official clients against a server that speaks their wire, well and badly."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Chunk, Completion, Provider, Usage
from timmy_core.router.providers import build_provider
from timmy_core.router.providers.door import is_loopback, shown_url
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import Turn, WireServer

from .doors import ASK, KEY, KINDS, ask, both, door

NDJSON_AND_SSE = b'data: {"hel\n\nevent: content_block_delta\ndata: {"hel\n\n{"hel\n'


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


def test_what_runs_on_the_owners_machines_is_local_and_free() -> None:
    assert [door(kind, "http://localhost:1").free for kind in KINDS] == [True] * 3
    lan = "http://192.168.1.7:8080"
    for more, local, free in (
        ({}, False, False),
        ({"local": True}, True, True),
        ({"local": True, "price": {"input": "1", "output": "2"}}, True, False),
        ({"price": {"input": "0", "output": "0"}}, False, True),
    ):
        made = door("openai", lan, **more)
        assert (made.local, made.free) == (local, free), more
    # Something on this machine that passes everything on to somebody else.
    relay = door("openai", "http://127.0.0.1:4000", local=False)
    assert (relay.local, relay.free) == (False, False)


def test_its_own_address_is_known_however_it_is_written() -> None:
    for url in ("https://api.anthropic.com", "https://api.anthropic.com/"):
        said = door("anthropic", url, api_key=None).problem()
        assert said is not None
        assert said[0] == "it has no api_key"


def test_limits_of_its_own_are_passed_on() -> None:
    made = door("openai", "http://h", context_tokens=4096, max_concurrency=3, first_token_s=7)
    assert (made.window_tokens("tiny"), made.max_concurrency, made.first_token_s) == (4096, 3, 7)
    assert door("openai", "http://h").window_tokens("tiny") is None


def test_an_address_is_shown_without_its_password() -> None:
    assert shown_url("https://ann:pw@host:8/v1?key=x") == "https://host:8/v1"
    assert [is_loopback(u) for u in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://h")] == [
        True,
        True,
        True,
        False,
    ]


async def test_an_answer_of_pieces_is_not_held_back(provider: Provider, server: WireServer) -> None:
    server.then(Turn(ending="hang", after=1))
    async with aclosing(provider.stream(ASK)) as stream:
        async with asyncio.timeout(2):
            while not (chunk := await anext(stream)).text:
                pass
        assert chunk == Chunk("Hello")
