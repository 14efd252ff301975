"""Errors as the real APIs write them, and the class that each has to get."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Provider
from timmy_core.router.providers.failures import from_exception, from_reply, retry_after_s
from timmy_core.testing import Turn, WireServer

from .doors import ask, both, door, failure

INVALID = "invalid_request_error"


def openai(message: str, code: str | int | None = None, kind: str | None = INVALID) -> Mapping[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(message: str, kind: str = INVALID) -> Mapping[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011"}


# (status, body, class); each body as its API really writes it.
REPLIES: dict[str, tuple[int, object, str]] = {
    "openai: window": (
        400,
        openai("This model's maximum context length is 128000 tokens.", "context_length_exceeded"),
        "context_length_exceeded",
    ),
    "openai: one message too long": (
        400,
        openai("Invalid 'messages[0].content': string too long.", "string_above_max_length"),
        "context_length_exceeded",
    ),
    "openai: flagged": (
        400,
        openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"),
        "content_filtered",
    ),
    "openai: rejected": (
        400,
        openai("Your request was rejected by our safety system.", "content_policy_violation"),
        "content_filtered",
    ),
    "openai: key": (401, openai("Incorrect API key provided: sk-x.", "invalid_api_key"), "authentication_failed"),
    "openai: country": (
        403,
        openai("Country not supported", "unsupported_country_region_territory", "request_forbidden"),
        "authentication_failed",
    ),
    "openai: model": (404, openai("The model `x` does not exist", "model_not_found"), "model_not_found"),
    "openai: requests": (429, openai("Rate limit reached", "rate_limit_exceeded", "requests"), "rate_limited"),
    "openai: quota": (
        429,
        openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
        "rate_limited",
    ),
    "openai: parameter": (400, openai("Unsupported value: 'temperature'", "unsupported_value"), "bad_request"),
    "openai: itself": (500, openai("The server had an error", None, "server_error"), "server_error"),
    "openai: busy": (503, openai("The engine is currently overloaded", None, "server_error"), "overloaded"),
    "azure: filter": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure's content management policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "content_filtered",
    ),
    "anthropic: window": (
        400,
        anthropic("prompt is too long: 210000 tokens > 200000 maximum"),
        "context_length_exceeded",
    ),
    "anthropic: window and answer": (
        400,
        anthropic("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease"),
        "context_length_exceeded",
    ),
    "anthropic: bytes": (
        413,
        anthropic("Request exceeds the maximum size", "request_too_large"),
        "context_length_exceeded",
    ),
    "anthropic: filter": (400, anthropic("Output blocked by content filtering policy"), "content_filtered"),
    "anthropic: key": (401, anthropic("invalid x-api-key", "authentication_error"), "authentication_failed"),
    "anthropic: right": (
        403,
        anthropic("Your API key does not have permission", "permission_error"),
        "authentication_failed",
    ),
    "anthropic: model": (404, anthropic("model: claude-x", "not_found_error"), "model_not_found"),
    "anthropic: rate": (
        429,
        anthropic("This request would exceed your rate limit", "rate_limit_error"),
        "rate_limited",
    ),
    "anthropic: credit": (
        400,
        anthropic("Your credit balance is too low to access the Anthropic API."),
        "rate_limited",
    ),
    "anthropic: bill": (402, anthropic("There is a problem with your payment", "billing_error"), "rate_limited"),
    "anthropic: itself": (500, anthropic("Internal server error", "api_error"), "server_error"),
    "anthropic: late": (504, anthropic("Request timed out", "timeout_error"), "timeout"),
    "anthropic: busy": (529, anthropic("Overloaded", "overloaded_error"), "overloaded"),
    "anthropic: prefill": (
        400,
        anthropic("This model does not support assistant message prefill."),
        "bad_request",
    ),
    "llama.cpp: window": (
        400,
        {"error": {"code": 400, "message": "the request exceeds", "type": "exceed_context_size_error", "n_ctx": 512}},
        "context_length_exceeded",
    ),
    "llama.cpp: loading": (
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        "model_loading",
    ),
    "llama.cpp: busy": (
        503,
        {"error": {"code": 503, "message": "no slot available", "type": "unavailable_error"}},
        "overloaded",
    ),
    "vllm: window": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
        "context_length_exceeded",
    ),
    "vllm: model": (404, openai("The model `x` does not exist.", 404, "NotFoundError"), "model_not_found"),
    "deepseek: credit": (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error"), "rate_limited"),
    "google: window": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "context_length_exceeded",
    ),
    "openrouter: flagged": (
        403,
        {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "…"}}},
        "content_filtered",
    ),
    "openrouter: credit": (402, {"error": {"code": 402, "message": "Insufficient credits"}}, "rate_limited"),
    "proxy: HTML": (502, "<html><title>502</title><h1>Bad gateway</h1></html>", "server_error"),
    "words alone decide nothing where a code is known": (
        400,
        openai("maximum context length is not the problem", "invalid_api_key"),
        "authentication_failed",
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_real_error_gets_its_class(name: str) -> None:
    status, body, expected = REPLIES[name]
    said = from_reply(status, body)
    assert said.kind == expected
    assert said.message
    assert "<" not in said.message
    unpaid = "quota" in name or "credit" in name or "bill" in name
    assert said.unpaid == unpaid


@both
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("openai", "openai: window"),
        ("openai", "google: window"),
        ("anthropic", "anthropic: credit"),
        ("openai", "llama.cpp: loading"),
    ],
)
async def test_a_real_error_gets_its_class_through_a_real_client(
    server: WireServer, streamed: bool, kind: str, name: str
) -> None:
    status, body, expected = REPLIES[name]
    server.then(Turn(status=status, body=json.dumps(body).encode()))
    provider = door(kind, server.url)
    error = await failure(provider, streamed)
    assert error.error_class == expected
    assert error.advice
    await provider.close()


@both
@pytest.mark.parametrize("code", ["insufficient_quota", "billing_not_active"])
async def test_a_quota_that_is_used_up_rests_for_ten_minutes_and_says_who_has_to_pay(
    server: WireServer, streamed: bool, code: str
) -> None:
    server.then(Turn(status=429, code=code, message="You exceeded your current quota", headers={"retry-after": "1"}))
    provider = door("openai", server.url)
    error = await failure(provider, streamed)
    assert (error.error_class, error.retry_after_s) == ("rate_limited", 600)
    assert "billing" in error.advice
    await provider.close()


@both
async def test_a_limit_that_names_only_its_reset_is_understood(server: WireServer, streamed: bool) -> None:
    reset = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-reset-tokens": "9ms",
    }
    server.then(Turn(status=429, code="rate_limit_exceeded", headers=reset))
    provider = door("openai", server.url)
    assert (await failure(provider, streamed)).retry_after_s == 360
    await provider.close()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "1s"}, 1),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "12ms"}, 0.012),
        ({"x-ratelimit-reset-tokens": "1m2.5s", "x-ratelimit-remaining-tokens": "0"}, 62.5),
        ({"x-ratelimit-reset-tokens": "17"}, 17),
        ({"x-ratelimit-reset-tokens": "later"}, None),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:30Z", "anthropic-ratelimit-tokens-remaining": "0"}, 30),
        ({"retry-after": "2", "x-ratelimit-reset-requests": "6m0s"}, 2),
    ],
)
def test_a_reset_is_read_where_nothing_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_a_date_is_measured_by_the_clock_of_who_wrote_it() -> None:
    headers = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 00:00:40 GMT"}
    assert retry_after_s(headers) == 40


def test_exceptions_of_the_operating_system_get_their_class() -> None:
    assert from_exception(ConnectionRefusedError())[0] == "connection_refused"
    assert from_exception(ConnectionResetError())[0] == "connection_failed"
    assert "TLS" in from_exception(ssl.SSLCertVerificationError())[1]
    assert from_exception(TimeoutError())[0] == "timeout"
    assert from_exception(RuntimeError("?"))[0] == "server_error"
    assert from_exception(ExceptionGroup("all", [OSError(), ConnectionRefusedError()]))[0] == "connection_refused"


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
async def test_the_wait_that_a_rate_limit_asks_for_is_passed_on(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(status=429, headers={"retry-after": "17"}))
    with pytest.raises(ProviderError) as caught:
        await ask(provider, streamed)
    assert caught.value.retry_after_s == 17


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
